"""Features that others have computed, in place of images: of audio, video, molecules or text."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ganfast.data.image_source import Shard, ranges


class FeatureSource(ABC):
    """Features (N, D), which need no network; see `Source`."""

    name: str
    is_features = True
    held: object = None
    unread: Mapping[str, int] = {}
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

    @abstractmethod
    def rows(self, start: int, stop: int) -> Tensor:
        """Return the features from number ``start`` to ``stop``, floating-point (n, D)."""

    def shards(self, count: int | None = None) -> Sequence[Shard]:
        return ranges(self, partial(_Range, self))


class _Range(FeatureSource):
    """The features from ``start`` to ``stop`` of another source."""

    def __init__(self, source: FeatureSource, start: int, stop: int) -> None:
        self._source, self._start, self._stop, self.name = source, start, stop, source.name

    @property
    def key(self) -> str | None:
        return None

    @property
    def labels(self) -> Sequence[str] | None:
        labels = self._source.labels
        return None if labels is None else labels[self._start : self._stop]

    def __len__(self) -> int:
        return self._stop - self._start

    def rows(self, start: int, stop: int) -> Tensor:
        return self._source.rows(self._start + start, self._start + stop)


class FeatureArray(FeatureSource):
    """Features (N, D) in memory or mapped into it."""

    def __init__(
        self, features: Tensor, name: str, key: str | None, labels: Sequence[str] | None = None
    ) -> None:
        if len(features) == 0 or features.shape[1] == 0:
            raise ValueError(f"{name} must hold features (N, D), got {tuple(features.shape)}")
        self._features, self.name, self._key, self._labels = features, name, key, labels

    @property
    def key(self) -> str | None:
        return self._key

    @property
    def labels(self) -> Sequence[str] | None:
        return self._labels

    def __len__(self) -> int:
        return len(self._features)

    def rows(self, start: int, stop: int) -> Tensor:
        return self._features[start:stop]


def is_features(shape: Sequence[int], dtype: torch.dtype) -> bool:
    """Say whether an array of this shape and type can hold features."""
    return len(shape) == 2 and dtype.is_floating_point
