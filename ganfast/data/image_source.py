"""Sources of images: numbered sets, and the shards that they are worked on in."""

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from ganfast.data import listing

Prepare = Callable[[Tensor], Tensor]  # of an image (C, H, W)

_SMALLEST, _LARGEST = 128, 1024  # images of a shard
_SHARDS = 512  # at which shards grow


class Source(Protocol):
    """What is scored: images, or the features of what they stand for.

    Attributes:
        name: where it comes from.
        key: changes whenever the content does; None if that is not known.
        unread: files that were left aside, by their ending.
        repeats: items that are there once more, as a list names them again.
        moments: moments of features, by layer, that came with the content.
        is_features: it holds features.
        held: what must stay as long as the source, such as a temporary folder.
    """

    name: str
    is_features: bool
    held: object
    unread: Mapping[str, int]
    repeats: int
    moments: Mapping[str, Any]

    @property
    def key(self) -> str | None: ...

    @property
    def labels(self) -> Sequence[str] | None:
        """The class of each item, if there are classes."""

    @property
    def count(self) -> int | None:
        """How many there are, if that is known without reading them."""

    def __len__(self) -> int: ...

    def shards(self, count: int | None = None) -> "Sequence[Shard]":
        """Return the parts, each with its own name and key.

        Args:
            count: of a folder or an archive, how many: as many as there were at first keep the
                images of each part, however many are added. As many as fit by default.
        """


@dataclass(frozen=True, eq=False)
class Shard:
    """A part of a source: the unit of finished features, of distribution and of failure.

    Attributes:
        name: tells it from all other shards of the source, whoever opens the source.
        numbers: of its items among those of the source, in order. If these are not known before
            the shards are opened, each has 2^32 numbers of its own.
        open: returns a source of its items.
        key: returns what changes with its items, and with nothing else; or None.
    """

    name: str
    numbers: Sequence[int]
    open: Callable[[], "Source"]
    key: Callable[[], str | None]


def shard_size(n: int) -> int:
    """Return how many of ``n`` images make a shard: few enough that all processes have some."""
    size = _SMALLEST
    while size < _LARGEST and n > size * _SHARDS:
        size *= 2
    return size


def ranges(source: Source, part: Callable[[int, int], "Source"]) -> list[Shard]:
    """Return shards of consecutive items; ``part`` opens those from start to stop."""
    n = len(source)
    size = shard_size(n)

    def key(start: int, stop: int) -> str | None:
        return None if source.key is None else digest(source.key, start, stop)

    bounds = [(start, min(start + size, n)) for start in range(0, n, size)]
    return [
        Shard(f"{start}-{stop}", range(start, stop), partial(part, start, stop),
              partial(key, start, stop))
        for start, stop in bounds
    ]  # fmt: skip


def notes_of(source: Source) -> list[str]:
    """Return what a reader of the scores should know: files that are no images, and repeats."""
    note = listing.not_images(source.unread)
    notes = [f"{source.name}: {note}"] if note else []
    if source.repeats:
        images = "image is" if source.repeats == 1 else "images are"
        notes.append(f"{source.name}: {source.repeats} {images} named again, and count again")
    return notes


def file_state(path: Path) -> str:
    """Return the place, size and time of a file, as text.

    The place, because files of one size may have one time: unpacked from one archive, for example.
    """
    state = path.stat()
    return f"{os.path.realpath(path)} {state.st_size} {state.st_mtime_ns}"


def digest(*words: object) -> str:
    """Return the sha256 of some words, which may come from file names of any bytes."""
    text = "\n".join(map(str, words))
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


class Numbered(ABC):
    """What sources of images and of features have in common; see `Source`."""

    name: str
    held: object = None
    unread: Mapping[str, int] = {}
    repeats: int = 0
    moments: Mapping[str, Any] = {}

    @property
    @abstractmethod
    def key(self) -> str | None: ...

    @property
    def labels(self) -> Sequence[str] | None:
        return None

    @property
    def count(self) -> int | None:
        return len(self)

    @abstractmethod
    def __len__(self) -> int: ...


class Part(Numbered):
    """The items from ``start`` to ``stop`` of another source, which stays open."""

    def __init__(self, source: Numbered, start: int, stop: int) -> None:
        self.name, self._whole = source.name, source
        self._start, self._stop = start, stop

    @property
    def key(self) -> str | None:
        return None

    @property
    def labels(self) -> Sequence[str] | None:
        labels = self._whole.labels
        return None if labels is None else labels[self._start : self._stop]

    def __len__(self) -> int:
        return self._stop - self._start


class ImageSource(Numbered):
    """A numbered set of uint8 images (C, H, W), each of its own size; see `Source`.

    Attributes:
        channels: 1 (grey) or 3 (RGB), of all images.
    """

    channels: int
    is_features: bool = False

    @abstractmethod
    def read(
        self, start: int, stop: int, prepare: Prepare | None = None
    ) -> tuple[list[Tensor], dict[int, str]]:
        """Return the images of a range, and by number what is wrong with the missing ones.

        ``prepare`` is applied to each image as soon as it is there, so that no more than a few are
        held at their full size.
        """

    def shards(self, count: int | None = None) -> Sequence[Shard]:
        return ranges(self, partial(Range, self))

    def image(self, number: int, prepare: Prepare) -> Tensor:
        """Return one image, by its number in a shard."""
        return self.read(number, number + 1, prepare)[0][0]


class Range(Part, ImageSource):
    """The images from ``start`` to ``stop`` of another source."""

    def __init__(self, source: ImageSource, start: int, stop: int) -> None:
        super().__init__(source, start, stop)
        self._source, self.channels = source, source.channels

    def read(
        self, start: int, stop: int, prepare: Prepare | None = None
    ) -> tuple[list[Tensor], dict[int, str]]:
        first = self._start
        images, wrong = self._source.read(first + start, first + stop, prepare)
        return images, {number - first: words for number, words in wrong.items()}


class Arrays(ImageSource):
    """Images in memory or mapped into it, uint8 (N, 1 or 3, H, W), converted to ``channels``.

    Their key is a hash of their bytes unless one is given.
    """

    def __init__(
        self,
        images: Tensor,
        name: str,
        channels: int,
        labels: Sequence[int | str] | None = None,
        key: str | None = None,
    ) -> None:
        if len(images) == 0:
            raise ValueError(f"{name} must hold images, got none")
        as_channels(images[:1], channels)
        self._stored, self.name, self.channels = images, name, channels
        self._labels = None if labels is None else [str(label) for label in labels]
        self._key = _digest_of(images) if key is None else key

    @property
    def images(self) -> Tensor:
        """All of them, with the wanted channels."""
        return as_channels(self._stored, self.channels)

    @property
    def key(self) -> str | None:
        return self._key

    @property
    def labels(self) -> Sequence[str] | None:
        return self._labels

    def __len__(self) -> int:
        return len(self._stored)

    def read(
        self, start: int, stop: int, prepare: Prepare | None = None
    ) -> tuple[list[Tensor], dict[int, str]]:
        images = list(as_channels(self._stored[start:stop], self.channels))
        return images if prepare is None else [prepare(image) for image in images], {}


def _digest_of(images: Tensor) -> str:
    digest = hashlib.sha256(str(tuple(images.shape)).encode())
    for part in torch.split(images, 1024):
        digest.update(part.contiguous().numpy().tobytes())
    return digest.hexdigest()


def as_channels(images: Tensor, channels: int) -> Tensor:
    """Convert uint8 images (N, 1 or 3, H, W) to so many channels, to grey as Pillow does."""
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(
            f"images must be uint8 (N, 1 or 3, H, W), got {images.dtype} {tuple(images.shape)}"
        )
    if images.shape[1] == channels:
        return images
    if channels == 3:
        return images.expand(-1, 3, -1, -1)
    weights = torch.tensor([19595, 38470, 7471]).view(3, 1, 1)
    grey = ((images.to(torch.int64) * weights).sum(1, keepdim=True) + 0x8000) >> 16
    return grey.to(torch.uint8)
