"""Many names in little memory."""

import heapq
import marshal
import os
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import IO, overload

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


class Groups:
    """Names in groups, each of which is read at once.

    Attributes:
        numbers: of the names of each group, in order.
    """

    def __init__(self, names: Iterable[str], group: Callable[[str], int], count: int) -> None:
        """``group`` says to which of ``count`` groups a name belongs."""
        self.numbers = [array("I") for _ in range(count)]
        self._new: list[list[str]] = [[] for _ in range(count)]
        self._chunks = [array("q") for _ in range(count)]  # start and size of what is in the file
        self._file: IO[bytes] | None = None
        for number, name in enumerate(names):
            i = group(name)
            self.numbers[i].append(number)
            self._new[i].append(name)
            if number % IN_MEMORY == IN_MEMORY - 1:
                self._write()

    def names(self, group: int) -> list[str]:
        """Return the names of a group, in order."""
        found: list[str] = []
        chunks = self._chunks[group]
        for start, size in zip(chunks[::2], chunks[1::2], strict=True):
            assert self._file is not None
            found += marshal.loads(os.pread(self._file.fileno(), size, start))
        return found + self._new[group]

    def _write(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115  open as long as this object
        for new, chunks in zip(self._new, self._chunks, strict=True):
            if new:
                raw = marshal.dumps(new)
                chunks.extend((self._file.tell(), len(raw)))
                self._file.write(raw)
                new.clear()
        self._file.flush()


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
