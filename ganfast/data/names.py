"""Many names in little memory."""

import heapq
import marshal
import os
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import overload

IN_MEMORY = 1 << 18  # names that are kept in a list; more go to a temporary file
_BLOCK = 512  # names that are read together


def kept(names: Iterable[str]) -> Sequence[str]:
    """Return the names in their order: a list, or from `IN_MEMORY` names on a file of them."""
    left = iter(names)
    first = list(islice(left, IN_MEMORY))
    return first if len(first) < IN_MEMORY else _Filed(_chained(first, left))


def path_order(names: Iterable[str]) -> Iterator[str]:
    """Yield paths with forward slashes as ``sorted`` orders `Path` objects, a part at a time."""
    left = iter(names)
    runs: list[Sequence[str]] = []
    while run := sorted(map(_key, islice(left, IN_MEMORY))):
        runs.append(run if len(run) < IN_MEMORY else _Filed(run))
    for key in heapq.merge(*runs):
        yield key.replace("\0", "/")


def _key(name: str) -> str:
    return name.replace("/", "\0")  # which comes before all that a name may hold


def _chained(first: list[str], rest: Iterator[str]) -> Iterator[str]:
    yield from first
    first.clear()
    yield from rest


class _Filed(Sequence[str]):
    """Names in a temporary file, which is gone with this object."""

    def __init__(self, names: Iterable[str]) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  open as long as this object
        self._starts = array("q", [0])
        self._count = 0
        left = iter(names)
        while block := list(islice(left, _BLOCK)):
            self._file.write(marshal.dumps(block))
            self._starts.append(self._file.tell())
            self._count += len(block)
        self._file.flush()
        self._last = lru_cache(4)(self._read)

    def _read(self, block: int) -> list[str]:
        start, stop = self._starts[block], self._starts[block + 1]
        # At a place, since threads share the file.
        names: list[str] = marshal.loads(os.pread(self._file.fileno(), stop - start, start))
        return names

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._count))]
        if not -self._count <= index < self._count:
            raise IndexError(f"index must be below {self._count}, got {index}")
        block, place = divmod(index % self._count, _BLOCK)
        return self._last(block)[place]

    def __iter__(self) -> Iterator[str]:
        for block in range(len(self._starts) - 1):
            yield from self._read(block)
