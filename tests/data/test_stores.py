"""Files by URL: what a store says, what it fails to say, and what is asked of it."""

import functools
import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from ganfast.data import opening, stores
from ganfast.data.image_source import Shard
from ganfast.data.opening import open_images
from ganfast.evaluation import Settings, score
from ganfast.evaluation.collect import Work, collect, map_shards
from ganfast.evaluation.inputs import is_statistics
from ganfast.features import load
from tests.data import image_formats as formats


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryFileSystem]:
    """An empty store in memory; nothing waits."""
    monkeypatch.setattr(stores, "_WAIT", 0)
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    yield system
    system.store.clear()


def put(system: MemoryFileSystem, root: Path, at: str) -> None:
    for file in sorted(root.rglob("*")):
        if file.is_file():
            system.pipe_file(f"{at}/{file.relative_to(root)}", file.read_bytes())


@pytest.fixture
def images(memory: MemoryFileSystem, tmp_path: Path) -> MemoryFileSystem:
    """Images as a folder, tars, a table and an array, in the store."""
    pixels = formats.pictures(30)
    for make in (formats.folder, formats.tars, formats.webdataset, formats.parquet, formats.npy):
        make(pixels, tmp_path)
    put(memory, tmp_path, "/set")
    return memory


@pytest.mark.parametrize(
    "spec",
    ["images", "tars", "tars/a.tar::memory://set/tars/b.tar", "train-{0000..0002}.tar",
     "train-*.tar", "hub", "hub/data/*.parquet", "images.npy", "simplecache"],
)  # fmt: skip
def test_every_kind_is_read(images: MemoryFileSystem, spec: str) -> None:
    url = (
        "simplecache::memory://set/tars/*.tar" if spec == "simplecache" else f"memory://set/{spec}"
    )
    source = open_images(url, 3)
    found, problems = source.read(0, len(source))
    assert (len(found), problems) == (30, {})
    keys = [shard.key() for shard in source.shards()]
    assert None not in keys
    assert [shard.key() for shard in open_images(url, 3).shards()] == keys


@pytest.mark.parametrize("spec", ["images", "tars", "hub", "images.npy"])
def test_keys_need_more_than_a_size(
    images: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch, spec: str
) -> None:
    """A server without tags and times never says that a file is the same; others do."""
    monkeypatch.setattr(MemoryFileSystem, "created", None)
    info, listing = MemoryFileSystem.info, MemoryFileSystem.ls
    added: dict[str, str] = {}

    def of(facts: object) -> object:
        keep = {k: v for k, v in facts.items() if k != "created"}
        return keep | added if facts["type"] == "file" else keep

    monkeypatch.setattr(MemoryFileSystem, "info", lambda *a, **k: of(info(*a, **k)))
    monkeypatch.setattr(
        MemoryFileSystem, "ls",
        lambda self, path, detail=True, **k:
            [of(x) for x in listing(self, path, detail=True)] if detail
            else listing(self, path, detail=False),
    )  # fmt: skip

    def keys() -> list[str | None]:
        source = open_images(f"memory://set/{spec}", 3)
        return [source.key, *(shard.key() for shard in source.shards())]

    assert set(keys()) == {None}
    for name in ("ETag", "Last-Modified", "last_modified", "blob_id"):
        found = []
        for value in ("one", "two"):
            added.clear()
            added[name] = value
            assert None not in keys()
            found.append(keys())
        assert not set(found[0]) & set(found[1])


def test_a_right_that_ends_breaks_no_image(images: MemoryFileSystem, monkeypatch) -> None:
    source = open_images("memory://set/images", 1)

    def refused(*arguments: object, **options: object) -> None:
        raise PermissionError("the token has expired")

    monkeypatch.setattr(MemoryFileSystem, "cat_file", refused)
    with pytest.raises(PermissionError, match="cannot be read: the token has expired"):
        list(map_shards(source.shards(), Work(load("digits"), on_error="skip")))


def test_the_key_follows_the_file(images: MemoryFileSystem) -> None:
    source = open_images("memory://set/tars", 3)
    before = [shard.key() for shard in source.shards()]
    images.pipe_file("/set/tars/b.tar", images.cat_file("/set/tars/a.tar"))
    after = [shard.key() for shard in open_images("memory://set/tars", 3).shards()]
    assert after[0] == before[0]
    assert after[1] != before[1]


@pytest.mark.parametrize("spec", ["images", "tars", "hub"])
@pytest.mark.parametrize("failures", [2, 10_000])
def test_a_store_that_fails_is_asked_again(
    images: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch, spec: str, failures: int
) -> None:
    """Twice it does no harm. If it goes on no image is counted as broken: the run stops."""
    monkeypatch.setattr(stores, "_TAIL", 8)
    source = open_images(f"memory://set/{spec}", 3)
    left = [failures]

    def failing(method):
        def call(*arguments, **options):
            if left[0]:
                left[0] -= 1
                raise TimeoutError("no answer")
            return method(*arguments, **options)

        return call

    for name in ("cat_file", "open"):
        monkeypatch.setattr(MemoryFileSystem, name, failing(getattr(MemoryFileSystem, name)))
    work = Work(load("digits"), on_error="skip")
    if failures == 2:
        assert collect(open_images(f"memory://set/{spec}", 1), work, quiet=True).n == 30
        return
    with pytest.raises(stores.StoreError, match="cannot be reached: TimeoutError: no answer"):
        list(map_shards(source.shards(), work))


@pytest.mark.parametrize(
    ("spec", "error", "words"),
    [
        ("memory://set/none.tar", FileNotFoundError, "none.tar must be there, got nothing"),
        ("memory://set/none", FileNotFoundError, "none must be there, got nothing"),
        ("memory://set/none-*.tar", FileNotFoundError, "must match files, got none"),
        ("memory://set/notes.md", ValueError, "must be a folder, or a file of one of the kinds"),
        ("memory://set/images/cat/*.png", ValueError, "got single images"),
        ("nowhere://set/x.tar", ValueError, "must be of a store that fsspec knows"),
    ],
)
def test_one_sentence(
    images: MemoryFileSystem, spec: str, error: type[Exception], words: str
) -> None:
    images.pipe_file("/set/notes.md", b"x")
    with pytest.raises(error, match=words.replace("*", r"\*")):
        len(open_images(spec, 3))


def test_statistics_in_a_store(memory: MemoryFileSystem, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(90, 3))
    for name in "ab":
        np.savez(tmp_path / f"{name}.npz", mu=x.mean(0) + (name == "b"), sigma=np.cov(x.T))
    put(memory, tmp_path, "/stats")
    inputs = ("memory://stats/a.npz", "memory://stats/b.npz")
    found = score(*inputs, ["fid"], Settings(features="digits"), quiet=True)
    assert found.rows[0].value == pytest.approx(3, rel=1e-9)
    assert found.fake.name == inputs[1]
    memory.pipe_file("/stats/c.npz", b"no archive")
    with pytest.raises(ValueError, match=r"c\.npz must be a \.npz file of arrays"):
        score(inputs[0], "memory://stats/c.npz", ["fid"], Settings(), quiet=True)


def test_features_in_a_store_never_pass_for_those_of_a_network(
    memory: MemoryFileSystem, tmp_path: Path
) -> None:
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "0.npy", np.random.default_rng(0).normal(size=(9, 3)))
    put(memory, tmp_path, "/features")
    settings = Settings(features="digits")
    with pytest.raises(ValueError, match="must hold images, got features: to score these, name"):
        score("memory://features/x", "memory://features/y", ["fid"], settings, quiet=True)
    by_name = [f"memory://features/{name}/*.npy" for name in ("x", "y")]
    found = score(*by_name, ["fid"], settings, quiet=True)
    assert (found.label, found.real.n) == ("FD (given features)", 9)


def test_credentials_and_permission(memory: MemoryFileSystem, monkeypatch) -> None:
    class NoCredentialsError(Exception):
        pass

    for error, words in (
        (NoCredentialsError("unable to locate"), "needs credentials: unable to locate"),
        (PermissionError("denied"), "cannot be read: denied"),
    ):

        def refused(*arguments: object, error: Exception = error, **options: object) -> None:
            raise error

        monkeypatch.setattr(MemoryFileSystem, "info", refused)
        with pytest.raises(PermissionError, match=words):
            stores.state("memory://x/a.tar")


def test_public_files_need_no_credentials() -> None:
    """What the error advises."""
    pytest.importorskip("s3fs")
    config = {}
    fsspec.config.set_conf_env(config, {"FSSPEC_S3_ANON": "true"})
    kind = fsspec.get_filesystem_class("s3")
    assert fsspec.config.apply_config(kind, {}, config) == {"anon": True}


def test_a_server_without_ranges(tmp_path: Path) -> None:
    """Python's own: archives and arrays are fetched whole, tables cannot be read in parts."""
    pytest.importorskip("aiohttp")
    formats.tars(formats.pictures(6), tmp_path)
    formats.zip_file(formats.pictures(200, side=32), tmp_path)
    np.save(tmp_path / "large.npy", formats.pictures(200, side=32))
    formats.parquet(formats.pictures(200, side=64), tmp_path)
    np.savez(tmp_path / "images.npz", np.zeros((2, 4, 4, 3), np.uint8))
    np.savez(tmp_path / "moments.npz", mu=np.zeros(2), sigma=np.eye(2))
    handler = functools.partial(_Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        root = f"http://127.0.0.1:{server.server_port}"
        try:
            assert len(open_images(f"{root}/tars/{{a,b}}.tar", 3)) == 6
            for name in ("images.zip", "large.npy"):
                assert len(open_images(f"{root}/{name}", 3).read(0, 200)[0]) == 200
            table = f"{root}/hub/data/train-00000-of-00002.parquet"
            with pytest.raises(stores.StoreError, match="its store ignores ranges: copy it, or"):
                open_images(table, 3)
            assert len(open_images(f"simplecache::{table}", 3)) == 100
            assert not is_statistics(f"{root}/images.npz")
            assert is_statistics(f"{root}/moments.npz")
            with pytest.raises(FileNotFoundError):
                len(open_images(f"{root}/none.tar", 3))
        finally:
            server.shutdown()


def test_a_server_that_is_down_is_no_missing_file(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("aiohttp")
    monkeypatch.setattr(stores, "_WAIT", 0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(stores.StoreError, match=r"x\.tar cannot be reached: ClientConnectorError"):
        open_images(f"http://127.0.0.1:{port}/x.tar", 3)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


def test_a_file_that_is_fetched_is_gone_with_its_source(images: MemoryFileSystem) -> None:
    shard: Shard = open_images("memory://set/tars", 3).shards()[0]
    source = shard.open()
    folder = Path(source.held.name)
    assert [path.name for path in folder.iterdir()] == ["a.tar"]
    source.held.cleanup()
    assert not folder.exists()


def test_without_the_package_of_a_store(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(url: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    with pytest.raises(ModuleNotFoundError, match="needs s3fs: pip install s3fs"):
        opening.open_images("s3://bucket/x.tar", 3)
