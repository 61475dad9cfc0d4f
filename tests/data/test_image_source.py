"""Folders, archives and arrays of images of all kinds, and what cannot be used of them."""

import io
import re
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from ganfast.data import file_source
from ganfast.data.image_source import Arrays, as_channels
from ganfast.data.opening import open_images

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)


def encoded(mode="RGB", form="PNG"):
    file = io.BytesIO()
    Image.fromarray(PIXELS).convert(mode).save(file, form)
    return file.getvalue()


@pytest.fixture
def folder(tmp_path):
    """Two images, one below a sub-folder, among files that are none."""
    root = tmp_path / "images"
    (root / "deep" / "er").mkdir(parents=True)
    (root / "b.PNG").write_bytes(encoded())
    (root / "deep" / "er" / "a.bmp").write_bytes(encoded(form="BMP"))
    (root / "notes.txt").write_text("no image")
    (root / ".hidden.png").write_bytes(b"no image")
    (root / "folder.png").mkdir()
    return root


def pixels(image):
    return image.permute(1, 2, 0).numpy()


def test_folder(folder):
    source = open_images(folder, 3)
    images, problems = source.read(0, len(source))
    assert len(source) == 2
    assert source.entries == ["b.PNG", "deep/er/a.bmp"]
    assert problems == {}
    assert all((pixels(image) == PIXELS).all() for image in images)
    assert source.read(1, 2)[0][0].shape == (3, 9, 7)


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tgz"])
def test_archives(folder, tmp_path, kind):
    path = tmp_path / f"images.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for file in folder.rglob("*"):
                archive.write(file, file.relative_to(folder))
    else:
        with tarfile.open(path, "w:gz" if kind.endswith("gz") else "w") as archive:
            archive.add(folder, ".")
    source = open_images(path, 3)
    images, problems = source.read(0, 2)
    assert len(source) == 2
    assert problems == {}
    assert all((pixels(image) == PIXELS).all() for image in images)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW", "grey"])
def test_npz(tmp_path, layout):
    array = np.stack([PIXELS, PIXELS[::-1]])
    stored = {"NHWC": array, "NCHW": array.transpose(0, 3, 1, 2), "grey": array[..., :1]}[layout]
    np.savez(tmp_path / "images.npz", arr_0=stored, labels=np.arange(2))
    images, _ = open_images(tmp_path / "images.npz", 3).read(0, 2)
    expected = array if layout != "grey" else array[..., :1].repeat(3, -1)
    assert (torch.stack(images).permute(0, 2, 3, 1).numpy() == expected).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
@pytest.mark.parametrize("channels", [1, 3])
def test_modes_become_what_pillow_makes_of_them(tmp_path, mode, channels):
    form = "TIFF" if mode == "CMYK" else "PNG"
    (tmp_path / f"a.{form.lower()}").write_bytes(encoded(mode, form))
    (image,), problems = open_images(tmp_path, channels).read(0, 1)
    with Image.open(io.BytesIO(encoded(mode, form))) as opened:
        expected = np.asarray(opened.convert("L" if channels == 1 else "RGB")).reshape(9, 7, -1)
    assert problems == {}
    assert (pixels(image) == expected).all()


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("white", "black")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert (open_images(tmp_path, 3).read(0, 1)[0][0] == 255).all()


BROKEN = {
    "empty.png": b"",
    "cut.png": encoded()[:-40],
    "text.jpg": b"this is no image at all",
    "deep.png": None,  # 16 bits
    "link.png": None,  # to nowhere
}


def test_what_cannot_be_used_is_named(folder):
    for name, raw in BROKEN.items():
        if raw is not None:
            (folder / name).write_bytes(raw)
    Image.fromarray(np.zeros((3, 3), np.uint16)).save(folder / "deep.png")
    (folder / "link.png").symlink_to(folder / "nowhere")
    source = open_images(folder, 3)
    images, problems = source.read(0, len(source))
    assert len(source) == 2 + len(BROKEN)
    assert len(images) == 2
    assert sorted(re.match(r"[^ :]*", problem)[0] for problem in problems.values()) == sorted(
        BROKEN
    )


def test_bombs_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(file_source, "_LARGEST_ENTRY", 50)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)  # an error from twice as many
    (tmp_path / "a.png").write_bytes(encoded())
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / "a.png", "a.png")
    for path, words in ((tmp_path, "exceeds limit"), (tmp_path / "a.zip", "more than")):
        images, problems = open_images(path, 3).read(0, 1)
        assert images == []
        assert words in problems[0]


def test_paths_out_of_an_archive_touch_no_disk(tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    with zipfile.ZipFile(inner / "a.zip", "w") as archive:
        archive.writestr("../escaped.png", encoded())
        archive.writestr("a.png", encoded())
    before = sorted(tmp_path.rglob("*"))
    assert len(open_images(inner / "a.zip", 3).read(0, 1)[0]) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_the_key_changes_with_the_images(folder):
    key = open_images(folder, 3).key
    assert open_images(folder, 3).key == key
    assert open_images(folder, 1).key != key
    (folder / "b.PNG").write_bytes(encoded("L"))
    changed = open_images(folder, 3).key
    assert changed != key
    (folder / "c.png").write_bytes(encoded())
    assert open_images(folder, 3).key not in (key, changed)
    one = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    other = one.clone()
    other[1, 2, 3, 3] = 1
    assert Arrays(one, "a", 3).key != Arrays(other, "a", 3).key


def test_grey_is_mixed_as_pillow_does():
    colours = torch.from_numpy(PIXELS).permute(2, 0, 1)[None]
    expected = np.asarray(Image.fromarray(PIXELS).convert("L"))
    assert (as_channels(colours, 1)[0, 0].numpy() == expected).all()


@pytest.mark.parametrize(
    ("name", "raw", "words"),
    [
        ("a.zip", b"no zip", "must be a zip file"),
        ("a.tar", b"no tar", "must be a tar file"),
        ("a.npz", b"no npz", "must be a .npz file"),
        ("a.exe", b"", "must be a folder, images, or files of one of the kinds"),
    ],
)
def test_files_of_another_kind(tmp_path, name, raw, words):
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(ValueError, match=words):
        open_images(tmp_path / name, 3)


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="got nothing"):
        open_images(tmp_path / "nowhere", 3)
    with pytest.raises(ValueError, match="must hold images"):
        open_images(tmp_path, 3)
    np.savez(tmp_path / "a.npz", x=np.zeros(3))
    with pytest.raises(ValueError, match="must hold one uint8 array"):
        open_images(tmp_path / "a.npz", 3)
    with pytest.raises(ValueError, match="must hold images, got none"):
        Arrays(torch.zeros(0, 3, 4, 4, dtype=torch.uint8), "a", 3)


def test_classes(tmp_path):
    for name in ("cat/a.png", "cat/deep/b.png", "ant/c.png"):
        (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / name).write_bytes(encoded())
    assert open_images(tmp_path / "folder", 3).labels == ["ant", "cat", "cat"]
    (tmp_path / "folder" / "top.png").write_bytes(encoded())
    assert open_images(tmp_path / "folder", 3).labels is None
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("cat/a.png", encoded())
        archive.writestr("ant/c.png", encoded())
    assert open_images(tmp_path / "a.zip", 3).labels == ["ant", "cat"]
    np.savez(
        tmp_path / "a.npz", images=np.zeros((3, 4, 4, 3), np.uint8), labels=np.array([2, 0, 2])
    )
    assert open_images(tmp_path / "a.npz", 3).labels == ["2", "0", "2"]
