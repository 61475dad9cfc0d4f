"""Sources of images or features: numbered sets, and the shards that they are worked on in."""

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganfast.data import listing
from ganfast.data.image_data import check_range

Prepare = Callable[[Tensor], Tensor]  # of an image (C, H, W)
Read = tuple[list[Tensor], dict[int, str]]  # images, and by number what is wrong with others

_SMALLEST, _LARGEST = 128, 1024  # images of a shard
_SHARDS = 512  # at which shards grow


class Source(ABC):
    """A numbered set of uint8 images (C, H, W), each of its own size, or of features.

    Attributes:
        name: where it comes from.
        channels: of all images, 1 (grey) or 3 (RGB).
        is_features: it holds features, which need no network; `rows` returns them, not `read`.
        held: what must stay as long as the source, such as a temporary folder.
        unread: files that were left aside, by their ending.
        repeats: items that are there once more, as a list names them again.
        moments: moments of features, by layer, that came with the content.
    """

    name: str
    channels: int = 0
    is_features: bool = False
    held: object = None
    unread: Mapping[str, int] = {}
    repeats: int = 0
    moments: Mapping[str, Any] = {}
    _key: str | None = None
    _labels: Sequence[str] | None = None

    @property
    def key(self) -> str | None:
        """What changes whenever the content does; None if that is not known."""
        return self._key

    @property
    def labels(self) -> Sequence[str] | None:
        """The class of each item, if there are classes."""
        return self._labels

    @property
    def count(self) -> int | None:
        """How many there are, if that is known without reading them."""
        return len(self)

    @abstractmethod
    def __len__(self) -> int: ...

    def read(self, start: int, stop: int, prepare: Prepare | None = None) -> Read:
        """Return the images of a range, and by number what is wrong with the missing ones.

        ``prepare`` is applied to each image as soon as it is there, so that no more than a few are
        held at their full size.
        """
        raise NotImplementedError

    def rows(self, start: int, stop: int) -> Tensor:
        """Return the features of a range, floating-point (n, D)."""
        raise NotImplementedError

    def image(self, number: int, prepare: Prepare) -> Tensor:
        """Return one image, by its number in a shard."""
        return self.read(number, number + 1, prepare)[0][0]

    def shards(self, count: int | None = None) -> "Sequence[Shard]":
        """Return the parts, each with its own name and key: here ranges of consecutive items.

        Args:
            count: of a folder or an archive, how many: as many as there were at first keep the
                images of each part, however many are added. As many as fit by default.
        """
        n = len(self)
        size = shard_size(n)
        bounds = [(start, min(start + size, n)) for start in range(0, n, size)]

        def key(start: int, stop: int) -> str | None:
            return key_of(self.key, start, stop)

        return [
            Shard(f"{start}-{stop}", range(start, stop), partial(Range, self, start, stop),
                  partial(key, start, stop))
            for start, stop in bounds
        ]  # fmt: skip


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
    open: Callable[[], Source]
    key: Callable[[], str | None]


def shard_size(n: int) -> int:
    """Return how many of ``n`` images make a shard: few enough that all processes have some."""
    size = _SMALLEST
    while size < _LARGEST and n > size * _SHARDS:
        size *= 2
    return size


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


def key_of(state: str | None, *settings: object) -> str | None:
    """Return the key of what depends on a state and on settings, if the state is known."""
    return None if state is None else digest(state, *settings)


class Range(Source):
    """The items from ``start`` to ``stop`` of another source, which stays open."""

    def __init__(self, source: Source, start: int, stop: int) -> None:
        self.name, self.channels = source.name, source.channels
        self.is_features = source.is_features
        self._source, self._start, self._stop = source, start, stop

    @property
    def labels(self) -> Sequence[str] | None:
        labels = self._source.labels
        return None if labels is None else labels[self._start : self._stop]

    def __len__(self) -> int:
        return self._stop - self._start

    def read(self, start: int, stop: int, prepare: Prepare | None = None) -> Read:
        first = self._start
        images, wrong = self._source.read(first + start, first + stop, prepare)
        return images, {number - first: words for number, words in wrong.items()}

    def rows(self, start: int, stop: int) -> Tensor:
        return self._source.rows(self._start + start, self._start + stop)


class Rows:
    """An array that is read in parts: features (N, D), or images with channels before pixels."""

    def __init__(self, shape: tuple[int, ...], read: Callable[[int, int], Tensor]) -> None:
        """``read`` returns the rows from start to stop as they are stored, maybe channels last."""
        self._read, self._are_last = read, len(shape) == 4 and shape[3] in (1, 3)
        self.shape = (shape[0], shape[3], *shape[1:3]) if self._are_last else shape

    def __getitem__(self, rows: slice) -> Tensor:
        found = self._read(rows.start, rows.stop)
        return found.permute(0, 3, 1, 2) if self._are_last else found


class FeatureArray(Source):
    """Features (N, D) of an array, as others have computed them: of audio, molecules or text."""

    is_features = True

    def __init__(
        self,
        features: Tensor | Rows,
        name: str,
        key: str | None,
        labels: Sequence[str] | None = None,
    ) -> None:
        if 0 in features.shape:
            raise ValueError(f"{name} must hold features (N, D), got {tuple(features.shape)}")
        self._features, self.name, self._key, self._labels = features, name, key, labels

    def __len__(self) -> int:
        return self._features.shape[0]

    def rows(self, start: int, stop: int) -> Tensor:
        return self._features[start:stop]


class Arrays(Source):
    """Images of an array, uint8 (N, 1 or 3, H, W), converted to ``channels``.

    The key of those in memory, or mapped into it, is a hash of their bytes unless one is given.
    """

    def __init__(
        self,
        images: Tensor | Rows,
        name: str,
        channels: int,
        labels: Sequence[int | str] | None = None,
        key: str | None = None,
    ) -> None:
        if isinstance(images, Tensor):
            if len(images) == 0:
                raise ValueError(f"{name} must hold images, got none")
            as_channels(images[:1], channels)
            key = key or _digest_of(images)
        self._stored, self.name, self.channels, self._key = images, name, channels, key
        self._labels = None if labels is None else [str(label) for label in labels]

    @property
    def images(self) -> Tensor | None:
        """All of them, with the wanted channels; None if they are read in parts."""
        found = self._stored
        return as_channels(found, self.channels) if isinstance(found, Tensor) else None

    def __len__(self) -> int:
        return self._stored.shape[0]

    def read(self, start: int, stop: int, prepare: Prepare | None = None) -> Read:
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


def as_bytes(images: Tensor, name: str, value_range: tuple[float, float], channels: int) -> Tensor:
    """Convert images (N, 1 or 3, H, W), uint8 or floats, which are rounded, as `as_channels`."""
    if images.is_floating_point():
        low, high = value_range
        check_range(f"images of {name}", images, low, high)
        wide = images.to(torch.promote_types(images.dtype, torch.float32))
        images = ((wide - low) * (255 / (high - low))).round_().clamp_(0, 255).to(torch.uint8)
    return as_channels(images, channels)
