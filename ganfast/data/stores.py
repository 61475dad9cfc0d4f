"""Files that are not on this machine: whatever fsspec reaches by a URL."""

import io
import random
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple, TypeVar

from ganfast.data.extras import needed
from ganfast.data.listing import is_hidden

_TRIES = 3  # of each request, besides those that a file system makes by itself
_WAIT = 0.5  # seconds before the second one, twice as many before the third
_TAIL = 1 << 16  # bytes at the end of a file, where tables and archives say what they hold
_PART = 1 << 20  # bytes that are copied or read ahead at a time
_EXTRAS = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "hf": "huggingface_hub", "az": "adlfs",
           "abfs": "adlfs", "http": "aiohttp", "https": "aiohttp"}  # fmt: skip

# What stores say of a file that changes with it, each under names of its own.
_TAGS = ("ETag", "etag", "md5Hash", "Content-MD5", "Digest", "blob_id")
_TIMES = ("LastModified", "Last-Modified", "last_modified", "mtime", "updated", "created",
          "modificationTime")  # fmt: skip

T = TypeVar("T")


class StoreError(ConnectionError):
    """A store did not answer: nothing is known of what was asked for."""


def is_url(spec: str) -> bool:
    """Say whether a text names a file by URL, such as ``s3://`` or ``simplecache::https://``."""
    return re.match(r"[a-z][a-z0-9+.-]*(::[a-z][a-z0-9+.-]*)*://", spec) is not None


class NoRanges(StoreError):
    """A store sends files only whole."""


class Listed(NamedTuple):
    """What a store says of a file: its `state`, and how many bytes it has, if that is known."""

    state: str | None
    size: int | None


def read(url: str, size: int | None, most: int) -> bytes:
    """Return the bytes of a file: all if their number is known, else at most ``most`` + 1.

    Raises:
        FileNotFoundError, PermissionError, ModuleNotFoundError: it cannot be read.
        StoreError: its store does not answer.
    """
    system, path = _system(url)

    def content() -> bytes:
        if size is not None:
            found: bytes = system.cat_file(path)
            return found
        with system.open(path, "rb") as file:
            part: bytes = file.read(most + 1)
            return part

    return _tried(url, content)


def fetched(url: str) -> tuple[Path, "tempfile.TemporaryDirectory[str]"]:
    """Copy a file to a temporary folder, which is gone with the second of the results.

    Raises as `read`, and OSError if there is too little space.
    """
    folder = tempfile.TemporaryDirectory(prefix="ganfast-")
    target = Path(folder.name) / PurePosixPath(url.partition("?")[0]).name
    system, path = _system(url)

    def copy() -> None:
        with system.open(path, "rb", block_size=1 << 22) as source, open(target, "wb") as file:
            while part := source.read(_PART):
                try:
                    file.write(part)
                    file.flush()
                except OSError as error:
                    raise _DiskFull(
                        f"{url} must fit into {tempfile.gettempdir()}, got {error.strerror}: set "
                        "TMPDIR to a folder on another disk"
                    ) from error

    _tried(url, copy)
    return target, folder


class _DiskFull(OSError):
    """A file that was fetched does not fit."""


def opened(url: str) -> IO[bytes]:
    """Open a file that can be read at any place. Raises as `Ranges`, also when it is read."""
    return io.BufferedReader(Ranges(url), _PART)


class Ranges(io.RawIOBase):
    """A file of ``size`` bytes whose parts are asked for one by one, each until it comes.

    Raises as `read`, and `NoRanges` if the store sends no parts of files.
    """

    def __init__(self, url: str) -> None:
        self.name = url
        self._system, self._path = _system(url)
        self.size, self._tail = _tried(url, self._end)
        self._place = 0
        self._own = threading.local()  # what each thread has asked for

    def _end(self) -> tuple[int, bytes]:
        """Return the size and the last bytes, without reading all if the store ignores ranges."""
        with self._system.open(self._path, "rb") as file:
            try:
                size = file.seek(0, io.SEEK_END)
                file.seek(max(0, size - _TAIL))
                return size, file.read()
            except (ValueError, NotImplementedError) as error:
                raise self._no_ranges() from error

    def _no_ranges(self) -> NoRanges:
        return NoRanges(
            f"{self.name} cannot be read in parts, as its store ignores ranges: copy it, or "
            "put simplecache:: before the URL"
        )

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self.size}[whence]
        self._place = max(0, start + offset)
        return self._place

    def part(self, start: int, end: int) -> bytes:
        """Return the bytes from ``start`` to ``end``; fewer at the end of the file."""
        end = min(self.size, end)
        if start >= end:
            return b""
        found: bytes = _tried(
            self.name, lambda: self._system.cat_file(self._path, start=start, end=end)
        )
        if len(found) != end - start:
            raise self._no_ranges()
        return found

    @contextmanager
    def ahead(self, start: int, end: int) -> Iterator[None]:
        """Ask for a part at once, from which this thread reads in this block."""
        self._own.part = start, self.part(start, end)
        try:
            yield
        finally:
            del self._own.part

    def readinto(self, buffer: Any) -> int:
        place, end = self._place, self._place + len(buffer)
        for start, held in (
            (self.size - len(self._tail), self._tail),
            getattr(self._own, "part", (0, b"")),
        ):
            if start <= place < start + len(held):
                found = held[place - start : end - start]
                break
        else:
            found = self.part(place, end)
        buffer[: len(found)] = found
        self._place += len(found)
        return len(found)


def state(url: str) -> str | None:
    """Return a text of this file alone that changes with it, if there is one. Raises as `read`."""
    system, path = _system(url)
    return _state(_tried(url, lambda: system.info(path)))


def is_folder(url: str) -> bool:
    """Say whether a URL is a folder. Raises as `read`, also where there is nothing."""
    system, path = _system(url)

    def look() -> bool:
        if system.isdir(path):
            return True
        if not system.exists(path):
            raise FileNotFoundError
        return False

    return _tried(url, look)


def below(url: str) -> Iterator[tuple[str, Listed]]:
    """Yield the name of each file below a folder, and what is known of it; no hidden ones."""
    system, path = _system(url)
    root = path.rstrip("/")
    left = [root]
    while left:
        listed = _tried(url, partial(system.ls, left.pop(), detail=True))
        for info in sorted(listed, key=lambda info: str(info["name"])):
            name = str(info["name"]).rstrip("/")
            relative = name.removeprefix(root).lstrip("/")
            if not relative or is_hidden(relative):
                continue
            if info["type"] == "directory":
                left.append(name)
            else:
                yield relative, Listed(_state(info), info.get("size"))


def matching(pattern: str) -> list[str]:
    """Return the URLs that match a pattern with ``*``, in order. Raises as `read`."""
    chain, _, last = pattern.rpartition("::")
    system, path = _system(last)
    found = _tried(pattern, lambda: sorted(system.glob(path)))
    start = f"{chain}::" if chain else ""
    return [f"{start}{system.unstrip_protocol(name)}" for name in found]


def _state(info: dict[str, Any]) -> str | None:
    """Return name, size, and tag or times: many servers make the tag of size and time alone."""
    tags = [str(info[k]) for k in _TAGS if info.get(k)]
    changes = tags or [str(info[k]) for k in _TIMES if info.get(k)]
    return f"{info['name']} {info.get('size')} {' '.join(changes)}" if changes else None


def _system(url: str) -> tuple[Any, str]:
    """Return the file system of a URL, and the path there."""
    core = needed("fsspec.core", "remote", url)
    try:
        system, path = core.url_to_fs(url)
    except ImportError as error:
        protocol = url.rpartition("::")[2].partition("://")[0]
        package = _EXTRAS.get(protocol, "the package of its file system")
        raise ModuleNotFoundError(f"{url} needs {package}: pip install {package}") from error
    except ValueError as error:
        raise ValueError(f"{url} must be of a store that fsspec knows: {error}") from error
    return system, path


def _tried(url: str, call: Callable[[], T]) -> T:
    """Call until the store answers, and turn what it raises into one sentence."""
    for again in range(_TRIES):
        try:
            return call()
        except PermissionError as error:
            raise PermissionError(f"{url} cannot be read: {error}") from error
        except (NoRanges, _DiskFull):
            raise
        except Exception as raised:  # each client has types of its own
            why = _meant(raised)
            if isinstance(why, FileNotFoundError):
                raise FileNotFoundError(f"{url} must be there, got nothing") from raised
            if "Credential" in type(why).__name__:
                anonymous = "; FSSPEC_S3_ANON=true reads public files without" * ("s3://" in url)
                raise PermissionError(f"{url} needs credentials: {why}{anonymous}") from raised
            if again == _TRIES - 1:
                words = " ".join(f"{type(why).__name__}: {why}".split())
                raise StoreError(f"{url} cannot be reached: {words}") from raised
        time.sleep(_WAIT * 2**again * random.uniform(0.5, 1.5))
    raise AssertionError


def _meant(error: Exception) -> Exception:
    """Return why there is no file: of a web server that fails, fsspec says that it has none."""
    cause = error.__cause__
    of_the_web = type(cause).__module__.startswith("aiohttp.")
    answered = getattr(cause, "status", None) in (404, 410)
    if isinstance(cause, Exception) and of_the_web and not answered:
        return cause
    return error
