"""Arrays of .npz files, read one by one and never larger than their file can mean."""

import math
import os
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any, Literal, NamedTuple

import numpy as np

from ganfast._files import refuse_bomb

File = str | os.PathLike[str] | IO[bytes]  # a path, or an open file with a name
Header = tuple[tuple[int, ...], np.dtype[Any]]
Arrays = dict[str, np.ndarray[Any, np.dtype[Any]]]

_PART = 1 << 24  # bytes
# What damaged files raise. (BadZipFile and zlib's error are Exceptions, NotImplementedError is a
# RuntimeError.)
_DAMAGED = (
    *(OSError, ValueError, EOFError, KeyError, TypeError, SyntaxError, RuntimeError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, tokenize.TokenError, OverflowError, IndexError),
)


class Place(NamedTuple):
    """Where in a file an array is, and what it is."""

    start: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool


def headers(path: File) -> dict[str, Header]:
    """Return the shape and dtype of each array, without reading the arrays.

    Raises OSError if the file cannot be opened, and ValueError if it is no .npz file.
    """
    found = {}
    with _opened(path) as archive:
        for name, entry in _entries(archive).items():
            with archive.open(entry) as file:
                shape, _, dtype = _header(file)
            found[name] = (shape, dtype)
    return found


def names(path: str | os.PathLike[str]) -> list[str]:
    """Return the names of the arrays; raises as `headers`."""
    with _opened(path) as archive:
        return sorted(_entries(archive))


def read(path: File, wanted: Iterable[str]) -> Arrays:
    """Return those of the named arrays that the file has, and read no other.

    Raises as `headers`, and ValueError for objects and for what is far larger than its file.
    """
    with _opened(path) as archive:
        entries = _entries(archive)
        size = _size(archive.fp)
        return {name: _array(archive, entries[name], size) for name in wanted if name in entries}


def mapped(path: str | os.PathLike[str], name: str) -> np.ndarray[Any, Any] | None:
    """Map an array into memory; None if its file is packed, as `numpy.savez_compressed` packs.

    Writes go to a copy. Raises as `read`, and ValueError for a file that is shorter than it says.
    """
    place = placed(path, name)
    return None if place is None else _map(path, place)


def placed(path: File, name: str) -> Place | None:
    """Return where an array is; None if it is packed. Raises as `mapped`."""
    with _opened(path) as archive:
        entry, file = _entries(archive)[name], archive.fp
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
            return None
        assert file is not None
        file.seek(entry.header_offset)
        local = file.read(30)
        if local[:4] != b"PK\3\4":
            raise ValueError(f"{entry.filename} must begin with a header")
        start = 30 + int.from_bytes(local[26:28], "little")
        start += entry.header_offset + int.from_bytes(local[28:30], "little")
        return _place(file, start, entry.file_size)


def mapped_npy(path: str | os.PathLike[str]) -> np.ndarray[Any, Any]:
    """Map the array of a .npy file into memory; writes go to a copy. Raises as `mapped`."""
    with open(path, "rb") as file:
        return _map(path, placed_npy(file))


def placed_npy(file: IO[bytes]) -> Place:
    """Return where the array of an open .npy file is. Raises as `mapped`."""
    try:
        return _place(file, 0, _size(file))
    except ConnectionError:  # of a store
        raise
    except _DAMAGED as error:
        words = str(error) or type(error).__name__
        raise ValueError(f"{file.name} must be a .npy file: {words}") from error


def _place(file: IO[bytes], start: int, size: int) -> Place:
    """Return where the array is that takes ``size`` bytes of a file from ``start`` on."""
    whole = _size(file)
    file.seek(start)
    shape, fortran, dtype = _header(file)
    if dtype.hasobject or not dtype.itemsize:
        raise ValueError(f"an array must hold numbers, got {dtype}")
    count = math.prod(shape) * dtype.itemsize
    if file.tell() - start + count != size or start + size > whole:
        raise ValueError(f"an array must have {count} bytes of data, got {size} with its header")
    return Place(file.tell(), shape, dtype, fortran)


def _map(path: str | os.PathLike[str], place: Place) -> np.ndarray[Any, Any]:
    if not math.prod(place.shape):
        return np.zeros(place.shape, place.dtype)
    order: Literal["C", "F"] = "F" if place.fortran else "C"
    return np.memmap(path, place.dtype, "c", place.start, place.shape, order)


def _size(file: IO[bytes] | None) -> int:
    assert file is not None
    return file.seek(0, os.SEEK_END)


@contextmanager
def _opened(path: File) -> Iterator[zipfile.ZipFile]:
    """Open a file, and turn what a damaged one raises into one sentence."""
    if isinstance(path, str | os.PathLike):
        with open(path, "rb") as opened, _opened(opened) as archive:
            yield archive
        return
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except ConnectionError:  # of a store
        raise
    except _DAMAGED as error:
        words = str(error) or type(error).__name__
        raise ValueError(f"{path.name} must be a .npz file of arrays: {words}") from error


def _entries(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    return {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    one = version == (1, 0)
    read = np.lib.format.read_array_header_1_0 if one else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if any(side < 0 for side in shape):
        raise ValueError(f"an array must have a shape, got {shape}")
    return shape, fortran, dtype


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, size: int) -> np.ndarray[Any, Any]:
    """Read an array whose header and whose entry agree on its size; ``size`` is the file's."""
    with archive.open(entry) as file:
        shape, fortran, dtype = _header(file)
        if dtype.hasobject:
            raise ValueError(f"{entry.filename} must hold numbers or text, got {dtype}")
        count = math.prod(shape) * dtype.itemsize
        refuse_bomb(entry.filename, count, min(entry.compress_size, size))
        raw = np.empty(count, np.uint8)
        done = 0
        while part := file.read(min(_PART, count - done + 1)):  # one more than there should be
            if done + len(part) > count:
                raise ValueError(f"{entry.filename} must have {count} bytes of data, got more")
            raw[done : done + len(part)] = np.frombuffer(part, np.uint8)
            done += len(part)
        if done < count:
            raise ValueError(f"{entry.filename} must have {count} bytes of data, got {done}")
    if not dtype.itemsize:
        return np.zeros(shape, dtype)
    return raw.view(dtype).reshape(shape, order="F" if fortran else "C")
