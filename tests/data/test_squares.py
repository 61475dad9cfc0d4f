"""Images as squares: in memory and in the cache, broken ones, and labels that stay with theirs."""

import json
import os
import shutil
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import processes
import pytest
import torch
from PIL import Image

from ganfast import data
from ganfast.data import open_source, squares
from ganfast.data.image_source import Source
from ganfast.data.survey import survey
from ganfast.workflows import gan


@pytest.fixture
def photos(tmp_path):
    """Ten colour photographs of different sizes in two classes; the last of each is broken."""
    random = np.random.default_rng(0)
    for i in range(10):
        path = tmp_path / "photos" / ("cat" if i < 5 else "dog") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (20 + i, 30 - i, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        if i % 5 == 4:
            path.write_bytes(path.read_bytes()[:200])
    return tmp_path / "photos"


@pytest.fixture
def small_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(sys.modules["ganfast.data.squares"], "IN_MEMORY", 0)
    monkeypatch.setattr(sys.modules["ganfast.data.squares"], "_PART", 3)
    monkeypatch.setenv("GANFAST_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "images"


def expected(path, size):
    with Image.open(path) as image:
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        cut = image.convert("RGB").crop((left, top, left + side, top + side))
        return np.asarray(cut.resize((size, size), Image.Resampling.BICUBIC)).transpose(2, 0, 1)


def test_broken_images_are_named_or_left_out_with_their_labels(photos):
    with pytest.raises(ValueError, match=r"2 of 10 images cannot be read .*\n.*cat/4\.png.*\n.*9"):
        data.load(photos, size=16)
    with pytest.warns(UserWarning, match=r"2 of 10 images .*left out"):
        found = data.load(photos, size=16, on_error="skip")
    kept = [i for i in range(10) if i % 5 != 4]
    assert found.labels.tolist() == [0] * 4 + [1] * 4
    assert found.class_names == ("cat", "dog")
    for image, i in zip(found.images, kept, strict=True):
        wanted = expected(photos / ("cat" if i < 5 else "dog") / f"{i}.png", 16)
        assert np.array_equal(image.numpy(), wanted)


def test_the_cache_gives_the_same_images_once(photos, small_memory, monkeypatch):
    with pytest.warns(UserWarning, match="left out"):
        in_cache = data.load(photos, size=16, on_error="skip")
    (folder,) = small_memory.iterdir()
    assert (folder / "images.u8").stat().st_size == 8 * 3 * 16 * 16
    # The second time nothing is decoded; the problems are still named.
    source = open_source(photos, 3, data.WHITE)
    monkeypatch.setattr(type(source), "read", None)
    with pytest.warns(UserWarning, match=r"cat/4\.png"):
        again = squares(source, 16, "skip")
    assert torch.equal(in_cache.images, again.images)
    assert torch.equal(in_cache.labels, again.labels)
    with pytest.raises(ValueError, match="2 of 10"):
        squares(source, 16)
    monkeypatch.undo()
    with pytest.warns(UserWarning, match="left out"):
        assert torch.equal(in_cache.images, data.load(photos, size=16, on_error="skip").images)


def test_an_interrupted_cache_goes_on(photos, small_memory, monkeypatch):
    source = open_source(photos, 3, data.WHITE)
    read, starts = type(source).read, []

    def dies(self, start, stop, prepare=None):
        starts.append(start)
        if start == 6:
            raise KeyboardInterrupt
        return read(self, start, stop, prepare)

    with monkeypatch.context() as patch:
        patch.setattr(type(source), "read", dies)
        with pytest.raises(KeyboardInterrupt):
            squares(source, 16, "skip")
        (folder,) = small_memory.iterdir()
        # A crash in the middle of a write leaves more bytes than the record knows of.
        with open(folder / "images.u8", "ab") as file:
            file.write(b"partial")
        patch.setattr(type(source), "read", lambda *a: starts.append(a[1]) or read(*a))
        with pytest.warns(UserWarning, match="left out"):
            found = squares(source, 16, "skip")
    assert starts == [0, 3, 6, 6, 9]
    monkeypatch.undo()
    with pytest.warns(UserWarning, match="left out"):
        assert torch.equal(found.images, data.load(photos, size=16, on_error="skip").images)


@pytest.mark.parametrize("damage", ["{", '{"done": 99}', '{"done": "x", "problems": []}'])
def test_a_damaged_record_is_made_again(photos, small_memory, damage):
    with pytest.warns(UserWarning, match="left out"):
        found = data.load(photos, size=16, on_error="skip")
    (folder,) = small_memory.iterdir()
    (folder / "record.json").write_text(damage)
    with pytest.warns(UserWarning, match="left out"):
        assert torch.equal(found.images, data.load(photos, size=16, on_error="skip").images)
    assert json.loads((folder / "record.json").read_text())["done"] == 10


def test_a_cache_without_space_says_what_to_do(photos, small_memory, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(9, 9, 1 << 20))
    with pytest.raises(OSError, match="set GANFAST_CACHE to a folder on another disk"):
        data.load(photos, size=16)


def test_transparency_is_composed_and_pictures_are_upright(tmp_path):
    half = np.zeros((4, 6, 4), np.uint8)
    half[..., 0], half[:, :3, 3] = 200, 255  # opaque red beside transparent red
    Image.fromarray(half).save(tmp_path / "a.png")
    found = data.load(tmp_path, size=4, background=(10, 20, 30)).images[0]
    assert found[:, 0, 0].tolist() == [200, 0, 0]
    assert found[:, 0, 3].tolist() == [10, 20, 30]
    assert data.load(tmp_path, size=4).images[0][:, 0, 3].tolist() == [255, 255, 255]

    turned = tmp_path / "turned"
    turned.mkdir()
    stored = Image.new("RGB", (8, 8), "black")
    stored.paste("white", (0, 0, 8, 2))  # a line at the top, which EXIF says is at the right
    exif = Image.Exif()
    exif[0x0112] = 6
    stored.save(turned / "a.png", exif=exif)
    upright = data.load(turned, size=8, channels=1).images[0, 0]
    assert upright[:, -1].min() == 255
    assert upright[:, 0].max() == 0


def test_a_survey_says_what_is_there(photos, tmp_path):
    found = survey(open_source(photos, 3))
    assert (found.count, found.grey, found.classes) == (10, False, {"cat": 5, "dog": 5})
    assert (found.smallest, found.largest) == ((20, 30), (25, 25))
    assert found.side == 22  # of 20, 21, 22, 23, 25, 24, 23, 22
    assert str(found) == "10 images in 2 classes, 30 x 20 to 25 x 25, colour"
    grey = tmp_path / "grey"
    grey.mkdir()
    Image.new("RGB", (7, 5), (3, 3, 3)).save(grey / "a.png")
    assert str(survey(open_source(grey, 3))) == "1 images, 7 x 5, grey"
    (grey / "a.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"must hold readable images: .*a\.png"):
        survey(open_source(grey, 3))


class Painted(Source):
    """Many images that take no memory until they are read."""

    name, channels, key, labels = "painted", 3, "painted", None

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def read(self, start, stop, prepare=None):
        pixels = torch.arange(64 * 64, dtype=torch.int64).view(1, 64, 64)
        images = [
            ((pixels + i) % 251).to(torch.uint8).expand(3, -1, -1) for i in range(start, stop)
        ]
        return [image if prepare is None else prepare(image) for image in images], {}


def anonymous() -> int:
    """Bytes of this process that no file holds."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("Anonymous:")).split()[1])


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux")
def test_large_sets_take_disk_and_not_memory(monkeypatch, tmp_path):
    monkeypatch.setenv("GANFAST_CACHE", str(tmp_path))
    monkeypatch.setattr(sys.modules["ganfast.data.squares"], "IN_MEMORY", 1 << 20)
    count = 20_000  # 245 MB of pixels
    stream = data.BatchStream(squares(Painted(64), 64), 64, 0)
    next(stream)  # what the first use of everything takes
    before = anonymous()
    found = squares(Painted(count), 64)
    stream = data.BatchStream(found, 64, seed=1, mirror=True)
    for _ in range(300):
        images, _ = next(stream)
    assert anonymous() - before < 60 << 20
    assert found.images[count - 1, 0, 0, :3].tolist() == [(count - 1 + i) % 251 for i in range(3)]
    assert images.shape == (64, 3, 64, 64)


def _sees(rank: int, photos: Path, out: Path) -> None:
    os.environ["GANFAST_CACHE"] = str(out / "cache")  # the server of the processes is older
    sys.modules["ganfast.data.squares"].IN_MEMORY = 0
    config = gan.Config(data=str(photos), size=32, model="dcgan", batch_size=4, on_error="skip")
    with pytest.warns(UserWarning, match="left out"):
        images = gan.real_images(gan.fitted(config)).images
    np.save(out / f"{rank}.npy", images.numpy())


def test_processes_decode_a_set_once(photos, tmp_path):
    processes.run(2, tmp_path, _sees, photos, tmp_path)
    one, two = (np.load(tmp_path / f"{rank}.npy") for rank in range(2))
    assert one.shape == (8, 3, 32, 32)
    assert np.array_equal(one, two)
    assert len(list((tmp_path / "cache" / "images").iterdir())) == 1
