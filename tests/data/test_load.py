import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ganfast.data import digits, load


def write_idx(folder: Path, prefix: str, images: np.ndarray) -> None:
    header = struct.pack(">4B3I", 0, 0, 8, 3, *images.shape)
    raw = gzip.compress(header + images.tobytes())
    (folder / f"{prefix}-images-idx3-ubyte.gz").write_bytes(raw)
    header = struct.pack(">4BI", 0, 0, 8, 1, len(images))
    (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(header + bytes(len(images)))


def test_an_embedded_data_set_by_name() -> None:
    assert torch.equal(load("digits").images, digits().images)
    assert load("digits", size=28, channels=1).name == "digits"


def test_an_idx_folder_by_its_files(tmp_path: Path) -> None:
    write_idx(tmp_path, "train", np.zeros((2, 4, 4), np.uint8))
    write_idx(tmp_path, "t10k", np.ones((3, 4, 4), np.uint8))
    assert load(tmp_path).images.shape == (2, 1, 4, 4)
    assert load(str(tmp_path), split="test", size=4, channels=1).images.shape == (3, 1, 4, 4)


def test_an_idx_folder_with_the_test_split_alone(tmp_path: Path) -> None:
    write_idx(tmp_path, "t10k", np.ones((3, 4, 4), np.uint8))
    assert len(load(tmp_path, split="test")) == 3
    with pytest.raises(FileNotFoundError, match="train-images"):
        load(tmp_path)


def test_an_image_folder(tmp_path: Path) -> None:
    Image.new("RGB", (9, 7)).save(tmp_path / "a.png")
    assert load(tmp_path, size=6).images.shape == (1, 3, 6, 6)
    assert load(tmp_path, size=6, channels=1).images.shape == (1, 1, 6, 6)
    with pytest.raises(ValueError, match="size must be given"):
        load(tmp_path)
    with pytest.raises(ValueError, match=r"split must be 'train' for .* got 'test'"):
        load(tmp_path, size=6, split="test")


def test_any_source_is_resized(tmp_path: Path) -> None:
    assert load("digits", size=32).images.shape == (5000, 1, 32, 32)
    coloured = load("digits", channels=3).images
    assert torch.equal(coloured, digits().images.expand(-1, 3, -1, -1))
    wide = np.arange(2 * 4 * 6, dtype=np.uint8).reshape(2, 4, 6)
    write_idx(tmp_path, "train", wide)
    # The centre square of 4 x 6 pixels has their columns 1 to 4.
    assert torch.equal(load(tmp_path, size=4).images[:, 0], torch.from_numpy(wide[:, :, 1:5]))


def test_what_is_not_there_and_what_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"or one of digits, got 'cats', where there is no"):
        load("cats")
    with pytest.raises(ValueError, match="size must be at least 1 pixel, got 0"):
        load("digits", size=0)
    with pytest.raises(ValueError, match=r"channels must be 1 \(grey\) or 3 \(RGB\), got 2"):
        load("digits", channels=2)
    with pytest.raises(ValueError, match="split must be 'train' for digits"):
        load("digits", split="test")
    write_idx(tmp_path, "train", np.zeros((2, 4, 6), np.uint8))
    with pytest.raises(ValueError, match="size must be given"):
        load(tmp_path)
