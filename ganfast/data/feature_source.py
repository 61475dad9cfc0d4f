"""Features that others have computed, in place of images: of audio, video, molecules or text."""

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from ganfast.data.image_source import Numbered, Part, Shard, ranges


class FeatureSource(Numbered):
    """Features (N, D), which need no network; see `Source`."""

    is_features = True

    @abstractmethod
    def rows(self, start: int, stop: int) -> Tensor:
        """Return the features from number ``start`` to ``stop``, floating-point (n, D)."""

    def shards(self, count: int | None = None) -> Sequence[Shard]:
        return ranges(self, partial(_Range, self))


class _Range(Part, FeatureSource):
    """The features from ``start`` to ``stop`` of another source."""

    def __init__(self, source: FeatureSource, start: int, stop: int) -> None:
        super().__init__(source, start, stop)
        self._source = source

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
