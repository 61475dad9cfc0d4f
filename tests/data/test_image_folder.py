from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganfast.data import image_folder

RNG = np.random.default_rng(0)


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def cubic(x: np.ndarray) -> np.ndarray:
    """Keys' cubic with a = -1/2."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def resized(pixels: np.ndarray, size: int) -> np.ndarray:
    """Antialiased bicubic in float64: the kernel is stretched by the reduction."""
    source = pixels.shape[0]
    scale = source / size
    centres = (np.arange(size) + 0.5) * scale
    distance = np.arange(source) + 0.5 - centres[:, None]
    weights = cubic(distance / max(scale, 1.0))
    weights /= weights.sum(axis=1, keepdims=True)
    return np.einsum("ij,jk...,lk->il...", weights, pixels.astype(np.float64), weights)


def test_images_of_the_right_size_are_kept_byte_by_byte(tmp_path: Path) -> None:
    pictures = {"b.png": noise(8, 8), "a.BMP": noise(8, 8), "c/d/e.png": noise(8, 8)}
    for name, pixels in pictures.items():
        save(tmp_path / name, pixels)
    data = image_folder(tmp_path, size=8, channels=3)
    assert data.labels is None  # not all in sub-folders
    assert data.images.shape == (3, 3, 8, 8)
    for image, name in zip(data.images, ("a.BMP", "b.png", "c/d/e.png"), strict=True):
        assert np.array_equal(image.permute(1, 2, 0).numpy(), pictures[name])


def test_top_sub_folders_are_the_classes_in_sorted_order(tmp_path: Path) -> None:
    for name in ("zebra/1.png", "ant/2.png", "ant/deep/3.png", "bee/4.png"):
        save(tmp_path / name, noise(4, 4))
    (tmp_path / "empty").mkdir()
    data = image_folder(tmp_path, size=4)
    assert data.labels is not None
    assert data.labels.tolist() == [0, 0, 1, 2]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(40, 40), (41, 64), (90, 33), (5, 7)])
def test_centre_crop_and_antialiased_bicubic(
    tmp_path: Path, height: int, width: int, channels: int
) -> None:
    # Away from 0 and 255, for Pillow clamps between its two passes.
    pixels = noise(height, width, channels) // 2 + 64
    save(tmp_path / "a.png", pixels)
    image = image_folder(tmp_path, size=16, channels=channels).images[0].permute(1, 2, 0).numpy()
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = pixels[top : top + side, left : left + side].reshape(side, side, channels)
    exact = resized(square, 16)
    # Pillow rounds to bytes after each of its two passes, and so may be one off.
    assert np.abs(image - exact).max() <= 1.6
    assert np.abs(image - exact).mean() <= 0.5


def test_colour_becomes_grey_and_grey_becomes_colour(tmp_path: Path) -> None:
    save(tmp_path / "a.png", np.full((4, 4, 3), (255, 0, 0), dtype=np.uint8))
    save(tmp_path / "b.png", np.full((4, 4), 9, dtype=np.uint8))
    grey = image_folder(tmp_path, size=4, channels=1).images
    assert grey[:, 0, 0, 0].tolist() == [76, 9]  # 0.299 * 255 = 76.2 (ITU-R 601)
    colour = image_folder(tmp_path, size=4, channels=3).images
    assert colour[:, :, 0, 0].tolist() == [[255, 0, 0], [9, 9, 9]]


def test_other_files_and_hidden_ones_are_passed_over(tmp_path: Path) -> None:
    save(tmp_path / "a.png", noise(4, 4))
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "._a.png").write_bytes(b"no image")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "b.png").write_bytes(b"no image")
    (tmp_path / "folder.png").mkdir()
    assert len(image_folder(tmp_path, size=4)) == 1


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    save(tmp_path / "whole.png", noise(32, 32))
    cut = (tmp_path / "whole.png").read_bytes()[:-200]
    readable, empty = "must be a readable 8-bit image", "must be an image, got an empty file"
    for content, words in ((b"", empty), (b"not an image", readable), (cut, readable)):
        (tmp_path / "broken.png").write_bytes(content)
        with pytest.raises(ValueError, match=rf"broken\.png {words}"):
            image_folder(tmp_path, size=8)


def test_sixteen_bit_images_are_refused_rather_than_clipped(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 40_000, dtype=np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(ValueError, match=r"deep\.png.*not 8 bits"):
        image_folder(tmp_path, size=4)


def test_folders_and_settings_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must hold images .*got none"):
        image_folder(tmp_path, size=4)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        image_folder(tmp_path / "nowhere", size=4)
    with pytest.raises(ValueError, match="size must be at least 1 pixel, got 0"):
        image_folder(tmp_path, size=0)
    with pytest.raises(ValueError, match=r"channels must be 1 .* or 3 .*, got 4"):
        image_folder(tmp_path, size=4, channels=4)
