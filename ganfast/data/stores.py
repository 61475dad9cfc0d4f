"""Files that are not on this machine: whatever fsspec reaches by a URL."""

import io
import random
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, TypeVar

from ganfast.data.listing import is_hidden

_TRIES = 3  # of each request, besides those that a file system makes by itself
_WAIT = 0.5  # seconds before the second one, twice as many before the third
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


def read(url: str) -> bytes:
    """Return the bytes of a file.

    Raises:
        FileNotFoundError, PermissionError, ModuleNotFoundError: it cannot be read.
        StoreError: its store does not answer.
    """
    system, path = _system(url)
    content: bytes = _tried(url, lambda: system.cat_file(path))
    return content


def fetched(url: str) -> tuple[Path, "tempfile.TemporaryDirectory[str]"]:
    """Copy a file to a temporary folder, which is gone with the second of the results.

    Raises:
        FileNotFoundError, PermissionError, ModuleNotFoundError, StoreError: as `read`.
    """
    folder = tempfile.TemporaryDirectory(prefix="ganfast-")
    target = Path(folder.name) / PurePosixPath(url.partition("?")[0]).name
    system, path = _system(url)

    def copy() -> None:
        with system.open(path, "rb", block_size=1 << 22) as source, open(target, "wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)

    _tried(url, copy)
    return target, folder


def opened(url: str) -> IO[bytes]:
    """Open a file that can be read at any place. Raises as `read`, also when it is read."""
    return io.BufferedReader(_Ranges(url), 1 << 20)


class _Ranges(io.RawIOBase):
    """A file whose parts are asked for one by one, each until it comes."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._system, self._path = _system(url)
        self._size = int(_tried(url, lambda: self._system.info(self._path))["size"])
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = max(0, start + offset)
        return self._place

    def readinto(self, buffer: Any) -> int:
        end = min(self._size, self._place + len(buffer))
        if self._place >= end:
            return 0
        place = self._place
        part = _tried(self._url, lambda: self._system.cat_file(self._path, start=place, end=end))
        if len(part) != end - place:
            raise StoreError(
                f"{self._url} cannot be read in parts, as its store ignores ranges: copy it, or "
                "put simplecache:: before the URL"
            )
        buffer[: len(part)] = part
        self._place = end
        return len(part)


def state(url: str) -> str | None:
    """Return a text that is of this file alone and changes with it; None if the store says none.

    Raises as `read`.
    """
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


def below(url: str) -> Iterator[tuple[str, str | None]]:
    """Yield the name and the `state` of each file below a folder; hidden ones are skipped."""
    system, path = _system(url)
    root = path.rstrip("/")
    left = [root]
    while left:
        folder = left.pop()
        for info in sorted(_listing(url, system, folder), key=lambda info: str(info["name"])):
            name = str(info["name"]).rstrip("/")
            relative = name.removeprefix(root).lstrip("/")
            if not relative or is_hidden(relative):
                continue
            if info["type"] == "directory":
                left.append(name)
            else:
                yield relative, _state(info)


def matching(pattern: str) -> list[str]:
    """Return the URLs that match a pattern with ``*``, in order. Raises as `read`."""
    chain, _, last = pattern.rpartition("::")
    system, path = _system(last)
    found = _tried(pattern, lambda: sorted(system.glob(path)))
    start = f"{chain}::" if chain else ""
    return [f"{start}{system.unstrip_protocol(name)}" for name in found]


def _listing(url: str, system: Any, folder: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = _tried(url, lambda: system.ls(folder, detail=True))
    return found


def _state(info: dict[str, Any]) -> str | None:
    """Return name, size, and tag or times: many servers make the tag of size and time alone."""
    tags = [str(info[k]) for k in _TAGS if info.get(k)]
    changes = tags or [str(info[k]) for k in _TIMES if info.get(k)]
    return f"{info['name']} {info.get('size')} {' '.join(changes)}" if changes else None


def _system(url: str) -> tuple[Any, str]:
    """Return the file system of a URL, and the path there."""
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise ModuleNotFoundError(
            f"{url} needs fsspec: pip install 'ganfast[remote]'", name="fsspec"
        ) from error
    try:
        system, path = url_to_fs(url)
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
        except Exception as raised:  # each client has types of its own
            why = _meant(raised)
            if isinstance(why, FileNotFoundError):
                raise FileNotFoundError(f"{url} must be there, got nothing") from raised
            if "Credential" in type(why).__name__:
                raise PermissionError(f"{url} needs credentials: {why}") from raised
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
