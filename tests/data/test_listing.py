"""What of a folder or an archive is read, and which classes it has."""

import io
import json
import os
import sys
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ganfast.data import image_files as reading
from ganfast.data import image_folder, listing
from ganfast.data.image_source import notes_of
from ganfast.data.opening import open_images

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)


def picture(form="PNG", number=0):
    file = io.BytesIO()
    Image.fromarray(PIXELS + np.uint8(number)).save(file, form)
    return file.getvalue()


def put(root, *names):
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number=number))
    return root


def tar_of(path, files, links):
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for name, (kind, target) in links.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            tar.addfile(info)
    return path


def test_links_within_a_tar_are_images(tmp_path):
    files = {f"d/{i}.png": picture(number=i) for i in range(4)}
    links = {
        "hard.png": (tarfile.LNKTYPE, "d/1.png"),
        "d/soft.png": (tarfile.SYMTYPE, "2.png"),
        "up.png": (tarfile.SYMTYPE, "./d/../d/soft.png"),
    }
    source = open_images(tar_of(tmp_path / "a.tar", files, links), 3)
    images, problems = source.read(0, len(source))
    assert (len(images), problems) == (7, {})
    by_name = dict(zip(source.entries, images, strict=True))
    for name, target in (("hard.png", "d/1.png"), ("d/soft.png", "d/2.png"), ("up.png", "d/2.png")):
        assert torch.equal(by_name[name], by_name[target])


def test_links_out_of_a_tar_and_in_circles_are_named(tmp_path):
    links = {
        "out.png": (tarfile.SYMTYPE, "../../etc/passwd.png"),
        "a.png": (tarfile.SYMTYPE, "b.png"),
        "b.png": (tarfile.SYMTYPE, "a.png"),
        "pipe.png": (tarfile.FIFOTYPE, ""),
    }
    source = open_images(tar_of(tmp_path / "a.tar", {"x.png": picture()}, links), 3)
    images, problems = source.read(0, len(source))
    assert len(images) == 1
    words = sorted(problems.values())
    assert [w.partition(" ")[0] for w in words] == ["a.png", "b.png", "out.png", "pipe.png"]
    assert "not in the tar" in words[2]
    assert "in a circle" in words[0]
    assert "pipe" in words[3]


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_name_that_is_there_twice_is_one_image(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    if kind == "tar":
        with tarfile.open(path, "w") as tar:
            for number in (1, 2):
                info = tarfile.TarInfo("x.png")
                content = picture(number=number)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x.png", picture(number=1))
            with pytest.warns(UserWarning, match="Duplicate"):
                archive.writestr("x.png", picture(number=2))
    source = open_images(path, 3)
    images, _ = source.read(0, len(source))
    assert [(image.permute(1, 2, 0).numpy() == PIXELS + np.uint8(2)).all() for image in images] == [
        True
    ]


def test_links_to_folders_are_followed_once(tmp_path):
    put(tmp_path / "elsewhere", "a.png", "b.png")
    root = put(tmp_path / "root", "own.png")
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "linked-again").symlink_to(tmp_path / "elsewhere")
    source = open_images(root, 3)
    assert len(source) == 3
    assert source.read(0, 3)[1] == {}
    assert len(image_folder(root, 8)) == 3


def test_links_that_lead_back_are_refused(tmp_path):
    root = put(tmp_path / "root", "deep/own.png")
    (root / "deep" / "back").symlink_to(root)
    with pytest.raises(ValueError, match="back: this link leads back to a folder that holds it"):
        open_images(root, 3)


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes with names")
def test_a_pipe_is_named_and_never_waited_for(tmp_path):
    put(tmp_path, "a.png")
    os.mkfifo(tmp_path / "z.png")
    source = open_images(tmp_path, 3)
    images, problems = source.read(0, 2)
    assert len(images) == 1
    assert problems == {1: "z.png must be a file, got a pipe, socket or device"}
    with pytest.raises(ValueError, match=r"z\.png must be a file"):
        image_folder(tmp_path, 8)


def test_what_is_not_read_is_counted(tmp_path):
    put(tmp_path, "a.png")
    for name in ("x.heic", "y.heic", "notes.txt", "README", ".hidden.txt"):
        (tmp_path / name).write_text("")
    assert (
        notes_of(open_images(tmp_path, 3))
        == [f"{tmp_path}: 4 files are not read as images (.heic 2, .txt 1, no ending 1)"]
        or len(notes_of(open_images(tmp_path, 3))) == 1
    )
    (tmp_path / "a.png").unlink()
    with pytest.raises(ValueError, match=r"got none; 4 files are not read as images.*\.heic 2"):
        open_images(tmp_path, 3)


@pytest.mark.parametrize(
    ("ending", "form"),
    [
        ("avif", "AVIF"), ("jfif", "JPEG"), ("jpe", "JPEG"), ("jp2", "JPEG2000"), ("tga", "TGA"),
        ("pnm", "PPM"), ("dib", "DIB"), ("webp", "WEBP"), ("TIF", "TIFF"), ("gif", "GIF"),
    ],
)  # fmt: skip
def test_what_pillow_reads_is_read(tmp_path, ending, form):
    Image.init()
    if form not in Image.SAVE:
        pytest.skip(f"this Pillow writes no {form}")
    Image.fromarray(PIXELS).save(tmp_path / f"x.{ending}", form)
    with Image.open(tmp_path / f"x.{ending}") as image:
        want = np.asarray(image.convert("RGB"))
    [found], problems = open_images(tmp_path, 3).read(0, 1)
    assert problems == {}
    assert (found.permute(1, 2, 0).numpy() == want).all()


@pytest.mark.parametrize("form", ["EPS", "PDF", "ICNS", "IM", "SGI", "PCX"])
def test_no_other_decoder_is_tried(tmp_path, form):
    """An EPS by another name would start Ghostscript."""
    Image.fromarray(PIXELS).save(tmp_path / "x", form)
    (tmp_path / "x").rename(tmp_path / "x.png")
    images, problems = open_images(tmp_path, 3).read(0, 1)
    assert images == []
    assert "x.png must be a readable 8-bit image" in problems[0]


def wide(form, tmp_path):
    path = tmp_path / f"x.{form}"
    wide = np.arange(48, dtype=np.uint16).reshape(4, 4, 3) * 1000
    if form == "png":  # by hand: Pillow writes no such file
        import struct
        import zlib

        def chunk(name, data):
            return (
                struct.pack(">I", len(data)) + name + data
                + struct.pack(">I", zlib.crc32(name + data))
            )  # fmt: skip

        rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in wide)
        path.write_bytes(
            b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
        )  # fmt: skip
    elif form == "ppm":
        path.write_bytes(b"P6\n4 4\n65535\n" + wide.astype(">u2").tobytes())
    elif form == "pgm":
        path.write_bytes(b"P5\n4 4\n65535\n" + wide[..., 0].astype(">u2").tobytes())
    elif form == "jp2":
        Image.fromarray(wide[..., 0]).save(path, "JPEG2000")
    return path


@pytest.mark.parametrize("form", ["png", "ppm", "pgm", "jp2"])
def test_more_than_eight_bits_are_refused_in_colour_too(tmp_path, form):
    wide(form, tmp_path)
    images, problems = open_images(tmp_path, 3).read(0, 1)
    assert images == []
    assert "not 8 bits per channel" in problems[0]


def test_images_of_too_many_pixels_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    put(tmp_path, "a.png")
    monkeypatch.setattr(reading, "MAX_PIXELS", 62)
    _, problems = open_images(tmp_path, 3).read(0, 1)
    assert "7 x 9 pixels, more than ganfast.data.image_files.MAX_PIXELS, 62" in problems[0]
    monkeypatch.setattr(reading, "MAX_PIXELS", 63)
    assert open_images(tmp_path, 3).read(0, 1)[1] == {}


CLASSES = {
    "flat": (["a.png", "b.png"], None),
    "classes": (["cat/1.png", "dog/1.png"], ["cat", "dog"]),
    "deeper": (["cat/x/1.png", "dog/y/1.png"], ["cat", "dog"]),
    "some at the top": (["cat/1.png", "2.png"], None),
    "wrapped": (["train/cat/1.png", "train/dog/2.png"], ["cat", "dog"]),
    "wrapped twice": (["a/b/cat/1.png", "a/b/dog/2.png"], ["cat", "dog"]),
    "one folder": (["all/1.png", "all/2.png"], None),
    "splits": (["train/cat/1.png", "val/dog/2.png"], ["cat", "dog"]),
    "splits alone": (["train/1.png", "test/2.png"], None),
    "digits": (["0/000001.png", "0/000003.png", "1/000002.png"], ["0", "0", "1"]),
    "numbers of two digits": (["00/0.png", "01/0.png", "10/1.png"], ["00", "01", "10"]),
    "FFHQ": (["00000/00007.png", "01000/01500.png", "69000/69999.png"], None),
    "StyleGAN": (["00000/img00000999.png", "00001/img00001000.png"], None),
    "StyleGAN, one shard": (["00000/img00000000.png", "00000/img00000001.png"], None),
    "wrapped shards": (["ffhq/00000/00007.png", "ffhq/01000/01500.png"], None),
    "ImageNet": (["n01440764/n01440764_18.JPEG", "n01443537/n01443537_2.JPEG"],
                 ["n01440764", "n01443537"]),
}  # fmt: skip


def classes(names):
    folders = listing.Folders()
    for name in names:
        folders.add(name)
    level = folders.level()
    return None if level is None else listing.classes_at(level, names)


@pytest.mark.parametrize("case", CLASSES)
def test_classes_are_folders_that_divide(tmp_path, case):
    names, want = CLASSES[case]
    assert classes(names) == want
    source = open_images(put(tmp_path, *names), 3)
    assert (source.labels and dict(zip(source.entries, source.labels, strict=True))) == (
        want and dict(zip(names, want, strict=True))
    )


LABELS = {"00000/img00000000.png": 3, "00000/img00000001.png": 0, "00001/img00001000.png": 3}


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_stylegans_labels_are_read(tmp_path, kind):
    described = json.dumps({"labels": [[name, label] for name, label in LABELS.items()]}).encode()
    if kind == "folder":
        path = put(tmp_path / "x", *LABELS)
        (path / "dataset.json").write_bytes(described)
        assert image_folder(path, 8).labels.tolist() == [1, 0, 1]
    elif kind == "zip":
        path = tmp_path / "x.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("dataset.json", described)
            for name in LABELS:
                archive.writestr(name, picture())
    else:
        files = {"dataset.json": described, **{name: picture() for name in LABELS}}
        path = tar_of(tmp_path / "x.tar", files, {})
    source = open_images(path, 3)
    assert source.labels == ["3", "0", "3"]
    assert notes_of(source) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "must be an object with labels"),
        (b"[]", "must be an object with labels"),
        (b'{"labels": 3}', "labels must be pairs"),
        (b'{"labels": [["a.png"]]}', "labels must be pairs"),
        (b'{"labels": [["b.png", 1]]}', r"must have a label for every image, got none for a\.png"),
        (b"[" * 100_000, "must be an object with labels"),
    ],
)
def test_labels_that_do_not_fit_are_named(tmp_path, text, message):
    put(tmp_path, "a.png")
    (tmp_path / "dataset.json").write_bytes(text)
    with pytest.raises(ValueError, match=rf"dataset\.json.{{1,2}}{message}"):
        open_images(tmp_path, 3)


@pytest.mark.parametrize("labels", ["null", '[["a.png", [0.5, 0.5]]]'])
def test_conditions_that_are_no_classes_are_none(tmp_path, labels):
    put(tmp_path, "a.png")
    (tmp_path / "dataset.json").write_text(f'{{"labels": {labels}}}')
    assert open_images(tmp_path, 3).labels is None


@given(st.lists(st.integers(0, 69_999), min_size=1, unique=True), st.sampled_from([1000, 10_000]))
def test_no_sharding_by_numbers_is_taken_for_classes(numbers, size):
    for names in (
        [f"{n // size:05d}/img{n:08d}.png" for n in numbers],
        [f"{n // size * size:05d}/{n:05d}.png" for n in numbers],
    ):
        assert classes(names) is None


def test_hidden_files_are_hidden():
    assert not listing.is_image_name(".x/a.png")
    assert not listing.is_image_name("a/.b.png")
    assert listing.is_image_name("a/b.JFIF")


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_stylegans_labels_are_read_from_a_folder_that_wraps_everything(tmp_path, kind):
    described = json.dumps({"labels": [[name, label] for name, label in LABELS.items()]}).encode()
    if kind == "folder":
        path = tmp_path / "x"
        put(path, *(f"ffhq/{name}" for name in LABELS))
        (path / "ffhq" / "dataset.json").write_bytes(described)
    else:
        path = tmp_path / "x.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("ffhq/dataset.json", described)
            for name in LABELS:
                archive.writestr(f"ffhq/{name}", picture())
    source = open_images(path, 3)
    assert source.labels == ["3", "0", "3"]
    assert notes_of(source) == []


def test_a_dataset_json_of_some_images_alone_is_counted_not_believed(tmp_path):
    put(tmp_path, "cat/a.png", "dog/b.png")
    (tmp_path / "cat" / "dataset.json").write_text('{"labels": [["a.png", 7]]}')
    source = open_images(tmp_path, 3)
    assert source.labels == ["cat", "dog"]
    assert notes_of(source) == [f"{tmp_path}: 1 file is not read as an image (.json 1)"]


def test_a_zip_entry_without_a_name_is_no_image(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo("a.png"), picture())
        archive.writestr(zipfile.ZipInfo("z.png"), picture())
    path.write_bytes(path.read_bytes().replace(b"z.png", b"\0.png"))  # names end at a zero byte
    assert open_images(path, 3).entries == ["a.png"]
