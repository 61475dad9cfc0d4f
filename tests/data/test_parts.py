"""Of a file in a store no more is asked for than is needed, and little is kept."""

import gzip
import io
import tempfile
import zipfile
from pathlib import Path
from unittest import mock

import fsspec
import numpy as np
import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem

from ganfast import data
from ganfast.data import array_source, file_source, joined, stores
from ganfast.data.opening import open_images
from ganfast.data.squares import squares
from ganfast.data.survey import survey
from tests.data import image_formats as formats

SIDE = 64
ONE = 3 * SIDE * SIDE  # bytes of an image, about as many as a file of random pixels takes


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes each request has brought, of an empty store in memory; nothing waits."""
    monkeypatch.setattr(stores, "_WAIT", 0)
    monkeypatch.setattr(stores, "_TAIL", 1024)
    system = fsspec.filesystem("memory")
    system.store.clear()
    found: list[int] = []
    cat = MemoryFileSystem.cat_file

    def counted(self, path, start=None, end=None, **options):
        part = cat(self, path, start, end, **options)
        found.append(len(part))
        return part

    monkeypatch.setattr(MemoryFileSystem, "cat_file", counted)
    return found


def put(name: str, content: bytes) -> str:
    fsspec.filesystem("memory").pipe_file(f"/parts/{name}", content)
    return f"memory://parts/{name}"


@pytest.mark.parametrize("kind", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("extra", [0, 256], ids=["a long header", "usual headers"])
def test_a_zip_is_read_image_by_image(asked, monkeypatch, kind: int, extra: int) -> None:
    monkeypatch.setattr(file_source, "_MORE_EXTRA", extra)
    images, content = formats.pictures(60, SIDE), io.BytesIO()
    with zipfile.ZipFile(content, "w", kind) as archive:
        for i, image in enumerate(images):
            # The header beside the image has 20 bytes more than the directory.
            with archive.open(f"{i:02}.png", "w", force_zip64=True) as file:
                file.write(formats.png(image))
    url = put("a.zip", content.getvalue())
    source = open_images(url, 3)
    assert sum(asked) < 10_000
    found, problems = source.read(0, 60)
    assert problems == {}
    assert (torch.stack(found).permute(0, 2, 3, 1).numpy() == images).all()
    assert 60 * ONE < sum(asked) < 1.1 * 60 * ONE
    asked.clear()
    source.read(20, 21)
    assert sum(asked) < 1.1 * ONE
    assert len(asked) == (1 if extra else 2)
    key = source.key
    assert key is not None
    assert open_images(url, 3).key == key
    put("a.zip", content.getvalue()[:-30])
    with pytest.raises(ValueError, match=r"^memory://parts/a.zip must be a zip file"):
        open_images(url, 3)


def test_classes_of_a_zip(asked, tmp_path: Path) -> None:
    images = formats.pictures(9)
    url = put("s.zip", formats.stylegan_zip(images, tmp_path).read_bytes())
    assert list(open_images(url, 3).labels) == [str(i % 3) for i in range(9)]


@pytest.mark.parametrize("kind", ["npy", "npz", "channels first"])
def test_arrays_are_read_row_by_row(asked, kind: str) -> None:
    images, file = formats.pictures(200, SIDE), io.BytesIO()
    if kind == "npz":
        np.savez(file, images, np.arange(200) % 7)
    else:
        np.save(file, images if kind == "npy" else images.transpose(0, 3, 1, 2))
    url = put("a.npz" if kind == "npz" else "a.npy", file.getvalue())
    source = open_images(url, 3)
    assert sum(asked) < 200 * ONE
    for shard in source.shards():
        asked.clear()
        found, problems = shard.open().read(3, 5)
        assert problems == {}
        first = shard.numbers[3]
        assert (torch.stack(found).permute(0, 2, 3, 1).numpy() == images[first : first + 2]).all()
        assert asked == [2 * ONE]
    assert source.labels == ([str(i % 7) for i in range(200)] if kind == "npz" else None)
    before = [shard.key() for shard in source.shards()]
    assert None not in before
    put(url[15:], file.getvalue())
    assert not {shard.key() for shard in open_images(url, 3).shards()} & {*before}


def test_features_are_read_row_by_row(asked) -> None:
    x, file = np.random.default_rng(0).normal(size=(5000, 30)).astype(">f4"), io.BytesIO()
    np.save(file, x)
    source = open_images(put("x.npy", file.getvalue()), 3)
    assert source.is_features
    asked.clear()
    assert (source.rows(1000, 1010).numpy() == x[1000:1010]).all()
    assert asked == [1200]


def test_arrays_that_cannot_be_read_by_row_are_fetched(asked) -> None:
    images = formats.pictures(20, 16)
    packed, turned = io.BytesIO(), io.BytesIO()
    np.savez_compressed(packed, images)
    np.save(turned, np.asfortranarray(images))
    for name, file in (("a.npz", packed), ("a.npy", turned)):
        source = open_images(put(name, file.getvalue()), 3)
        found = torch.stack(source.read(0, 20)[0])
        assert (found.permute(0, 2, 3, 1).numpy() == images).all()
    for name, content, words in (
        ("b.npz", b"none", r"b\.npz must be a \.npz file of arrays"),
        ("b.npy", b"none", r"b\.npy must be a \.npy file"),
        ("c.npy", _npy(images[:0]), "must hold images, got none"),
        ("d.npy", _npy(np.zeros((3, 5, 5, 4), np.uint8)), r"d\.npy must hold images of 1 or 3"),
        ("e.npy", _npy(np.zeros(3)), r"^memory://parts/e\.npy must hold one uint8 array"),
        ("f.npy", _npy(images)[:-1], r"f\.npy must be a \.npy file: an array must have"),
    ):
        with pytest.raises(ValueError, match=words):
            open_images(put(name, content), 3)


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize("known", [True, False])
def test_an_image_that_is_too_large_is_not_read(asked, monkeypatch, known: bool) -> None:
    """By the size in the listing; if there is none, no more is read than shows it."""
    monkeypatch.setattr(file_source, "_LARGE_ENTRY", 1000)
    monkeypatch.setattr(file_source, "_LARGEST_ENTRY", 5000)
    images = formats.pictures(3, 8)
    put("f/small.png", formats.png(images[0]))
    put("f/large.png", formats.png(formats.pictures(1, 32)[0]))  # 3 kB
    put("f/too_large.png", bytes(50_000))
    listing = MemoryFileSystem.ls
    if not known:
        monkeypatch.setattr(
            MemoryFileSystem, "ls",
            lambda *a, **k: [{**x, "size": None} for x in listing(*a, **k)],
        )  # fmt: skip
    most = []
    opened = MemoryFileSystem.open

    def watched(*arguments, **options):
        file = opened(*arguments, **options)
        read = file.read

        def counted(size=-1):
            part = read(size)
            most.append(len(part))
            return part

        return mock.Mock(wraps=file, read=counted, __enter__=lambda m: m, __exit__=lambda *a: None,
                         spec=["read", "__enter__", "__exit__"])  # fmt: skip

    monkeypatch.setattr(MemoryFileSystem, "open", watched)
    source = open_images("memory://parts/f", 3)
    found, problems = source.read(0, 3)
    assert len(found) == 2
    assert "too_large.png must be an image, got more than" in problems[2]
    assert max(asked, default=0) < 5000
    assert (max(most) == 5001) if not known else not most


def tars(count: int) -> tuple[np.ndarray, str]:
    images = formats.pictures(4 * count, 16)
    with tempfile.TemporaryDirectory() as folder:
        for i in range(count):
            some = range(4 * i, 4 * i + 4)
            files = [(f"{j:04}.png", formats.png(images[j])) for j in some]
            files += [(f"{j:04}.cls", str(j % 3).encode()) for j in some]
            files.sort()
            put(f"{i:02}.tar", formats.write_tar(Path(folder) / "a.tar", files).read_bytes())
    return images, f"memory://parts/{{00..{count - 1:02}}}.tar"


@pytest.mark.parametrize("few", [True, False])
def test_training_on_many_tars_keeps_few_of_them(asked, monkeypatch, tmp_path, few: bool) -> None:
    """Each is fetched once where there is room, and else once more for each time of reading."""
    images, spec = tars(9)
    if few:
        monkeypatch.setattr(joined, "_ON_DISK", 25_000)  # two tars
    place = tmp_path / "fetched"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    fetched, at_once = [], []
    real = stores.fetched

    def watched(url: str):
        found = real(url)
        fetched.append(url)
        at_once.append(sum(1 for _ in place.iterdir()))
        return found

    monkeypatch.setattr(stores, "fetched", watched)
    source = data.open_source(spec, 3)
    assert len(source) == 36
    assert source.labels == [str(i % 3) for i in range(36)]
    assert survey(source).classes == {"0": 12, "1": 12, "2": 12}
    found = squares(source, 16)
    assert (found.images.permute(0, 2, 3, 1).numpy() == images).all()
    assert len(fetched) == (27 if few else 9)
    assert max(at_once) <= (4 if few else 9)


def test_a_full_disk_is_named(asked, monkeypatch) -> None:
    class Full(io.BytesIO):
        def write(self, part: bytes) -> int:
            raise OSError(28, "No space left on device")

    tars(1)
    monkeypatch.setattr(stores, "open", lambda *a: Full(), raising=False)
    words = r"00\.tar must fit into .*, got No space left on device: set TMPDIR to"
    with pytest.raises(OSError, match=words):
        open_images("memory://parts/00.tar", 3).shards()[0].open()


def test_what_is_no_archive_is_named_by_its_url(asked) -> None:
    put("a.tar", b"no tar")
    put("b.tar.gz", gzip.compress(b"no tar"))
    for name in ("a.tar", "b.tar.gz"):
        with pytest.raises(ValueError, match=f"^memory://parts/{name} must be a tar file"):
            len(open_images(f"memory://parts/{name}", 3))
    assert array_source.open_remote(put("c.npz", _packed()), 3) is None


def _packed() -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, formats.pictures(4, 8))
    return file.getvalue()
