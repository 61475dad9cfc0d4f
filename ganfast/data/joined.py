"""Several sources as one."""

import os
import sys
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache, partial
from itertools import accumulate

import torch
from torch import Tensor

from ganfast.data.image_source import Prepare, Read, Shard, Source, digest

_OWN = 1 << 32  # numbers of each shard whose count is not known
_OPEN = 32  # files that stay open
_ON_DISK = 1 << 30  # bytes of those that were fetched


class Joined(Source):
    """Images, or features, of several sources in turn."""

    def __init__(self, name: str, pieces: Sequence[tuple[str, Source]]) -> None:
        """``pieces``: name and content of each; the names tell them apart."""
        if not pieces:
            raise ValueError(f"{name} must hold images or features, got none")
        self.name, self._pieces = name, pieces
        self._sources = [source for _, source in pieces]
        self.is_features, self.channels = self._sources[0].is_features, self._sources[0].channels
        if any(source.is_features != self.is_features for source in self._sources):
            raise ValueError(f"{name} must hold images or features, got both")
        self._ends = list(accumulate(len(source) for source in self._sources))
        self.unread = sum((Counter(source.unread) for source in self._sources), Counter[str]())
        self.repeats = sum(source.repeats for source in self._sources)

    @cached_property
    def key(self) -> str | None:
        return _key_of_all([source.key for source in self._sources])

    @property
    def labels(self) -> Sequence[str] | None:
        found = [source.labels for source in self._sources]
        known = [labels for labels in found if labels is not None]
        return [y for labels in known for y in labels] if len(known) == len(found) else None

    def __len__(self) -> int:
        return self._ends[-1]

    def read(self, start: int, stop: int, prepare: Prepare | None = None) -> Read:
        return _read_across(self._ends, self._sources.__getitem__, start, stop, prepare)

    def rows(self, start: int, stop: int) -> Tensor:
        firsts = [end - len(source) for source, end in zip(self._sources, self._ends, strict=True)]
        return torch.cat(
            [
                source.rows(max(start - first, 0), min(stop - first, len(source)))
                for source, first in zip(self._sources, firsts, strict=True)
                if start < first + len(source) and first < stop
            ]
        )

    def shards(self, count: int | None = None) -> Sequence[Shard]:
        shards: list[Shard] = []
        for (name, source), end in zip(self._pieces, self._ends, strict=True):
            first = end - len(source)
            shards += [
                Shard(f"{name}/{shard.name}", _Shifted(shard.numbers, first), shard.open, shard.key)
                for shard in source.shards()
            ]
        return shards


def _read_across(
    ends: Sequence[int], source_at: Callable[[int], Source], start: int, stop: int,
    prepare: Prepare | None,
) -> Read:  # fmt: skip
    """Read the images from ``start`` to ``stop`` of sources that end at ``ends``."""
    images: list[Tensor] = []
    wrong: dict[int, str] = {}
    while start < stop:
        i = bisect_right(ends, start)
        first = ends[i - 1] if i else 0
        end = min(stop, ends[i])
        found, problems = source_at(i).read(start - first, end - first, prepare)
        images += found
        wrong |= {first + number: words for number, words in problems.items()}
        start = end
    return images, wrong


class _Shifted(Sequence[int]):
    """Numbers, each more by the same."""

    def __init__(self, numbers: Sequence[int], by: int) -> None:
        self._numbers, self._by = numbers, by

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self._numbers[index] + self._by


class Several(Source):
    """Files that are opened one by one: each is a shard, and only their names are held.

    To read them as one source each is opened to count its items, and again to read them, unless
    it is among the last `_OPEN` files, of `_ON_DISK` bytes, that were fetched.
    """

    def __init__(
        self,
        name: str,
        files: Sequence[str],
        open_file: Callable[[str], Source],
        key: Callable[[str], str | None],
        channels: int,
        of_images: bool,
    ) -> None:
        """``open_file`` opens one of the files; ``key`` returns what changes with it, or None.

        Unless files of this kind are always ``of_images``, the first one is opened to see.
        """
        self.name, self.channels = name, channels
        self._files, self._key_at = files, key
        self._open = lru_cache(1)(open_file)
        self._kept: dict[str, Source] = {}
        self.is_features = not of_images and self._open(files[0]).is_features

    @cached_property
    def key(self) -> str | None:
        return _key_of_all([self._key_at(file) for file in self._files])

    @cached_property
    def _found(self) -> tuple[list[int], list[str] | None]:
        """Return where the items of each file end, and the class of each item."""
        sizes: list[int] = []
        labels: list[str] = []
        known = True
        for file in self._files:
            source = self._at_hand(file)
            sizes.append(len(source))
            of_file = source.labels if known else None
            known = of_file is not None
            labels += map(sys.intern, of_file or ())
        return list(accumulate(sizes)), labels if known else None

    def _at_hand(self, file: str) -> Source:
        """Open a file, and close those that were used longest ago."""
        source = self._kept.pop(file, None) or self._open(file)
        self._kept[file] = source
        while len(self._kept) > 1 and (
            len(self._kept) > _OPEN or sum(map(_on_disk, self._kept.values())) > _ON_DISK
        ):
            del self._kept[next(iter(self._kept))]
        return source

    @property
    def labels(self) -> Sequence[str] | None:
        return self._found[1]

    @property
    def count(self) -> int | None:
        return None

    def __len__(self) -> int:
        return self._found[0][-1]

    def read(self, start: int, stop: int, prepare: Prepare | None = None) -> Read:
        return _read_across(
            self._found[0], lambda i: self._at_hand(self._files[i]), start, stop, prepare
        )

    def image(self, number: int, prepare: Prepare) -> Tensor:
        position, index = divmod(number, _OWN)
        return self._open(self._files[position]).image(index, prepare)

    def shards(self, count: int | None = None) -> Sequence[Shard]:
        return [
            Shard(file, range(i * _OWN, (i + 1) * _OWN), partial(self._open, file),
                  partial(self._key_at, file))
            for i, file in enumerate(self._files)
        ]  # fmt: skip


def _on_disk(source: Source) -> int:
    """Return how many bytes of a source were fetched to this machine."""
    folder = getattr(source.held, "name", None)
    return sum(entry.stat().st_size for entry in os.scandir(folder)) if folder else 0


def _key_of_all(keys: Sequence[str | None]) -> str | None:
    return None if None in keys else digest(*keys)
