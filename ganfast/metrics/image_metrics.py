"""Metrics that take images batch by batch, in the form that evaluation loops know.

    metric = FrechetInceptionDistance(features.load("inception"))
    metric.update(images, real=True)
    metric.update(samples, real=False)
    metric.compute()

Under torch.distributed every process updates its own, and `compute`, called by all, is of them all.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Self

from ganfast.features import Encoder
from ganfast.metrics.frechet import frechet_distance
from ganfast.metrics.inception_score import inception_score
from ganfast.metrics.kid import kid
from ganfast.metrics.mifid import mifid
from ganfast.metrics.prdc import PRDC, prdc
from ganfast.metrics.sampling import Spread
from ganfast.metrics.statistics import FrechetStatistics
from ganfast.metrics.validation import as_features

Features = Encoder | Callable[[Tensor], Tensor]
State = dict[str, Tensor]


class _ImageMetric(ABC):
    """Features of real and fake images, kept until `compute`.

    ``features`` is an `Encoder`, which takes uint8 images (N, C, H, W) of any size, or a callable
    from images to (N, D). ``normalize``: images are floats in [0, 1], and made uint8 as
    torchmetrics does. ``reset_real_features``: whether `reset` forgets the real ones, too.
    Further ``options`` go to the function of the metric.
    """

    _layer = "features"

    def __init__(
        self,
        features: Features,
        *,
        normalize: bool = False,
        reset_real_features: bool = True,
        **options: Any,
    ) -> None:
        if not callable(features):
            raise TypeError(f"features: expected an Encoder or a callable, got {type(features)}")
        self.features = features
        self.normalize = normalize
        self.reset_real_features = reset_real_features
        self.options = options
        self._kept: dict[bool, list[Tensor]] = {True: [], False: []}

    def update(self, imgs: Tensor, real: bool) -> None:
        """Add a batch of real or fake images. Raises as the features do."""
        self._add(self._features(imgs), real)

    @abstractmethod
    def compute(self) -> object:
        """The metric of all images so far."""

    def reset(self) -> None:
        """Forget the images, the real ones only with ``reset_real_features``."""
        self._kept[False] = []
        if self.reset_real_features:
            self._kept[True] = []

    def merge_state(self, metrics: Iterable[Self]) -> Self:
        """Add all that others of the same kind have seen, and return itself."""
        for other in metrics:
            for real, parts in other._kept.items():
                self._kept[real] = [*self._kept[real], *parts]
        return self

    def state_dict(self) -> State:
        """What has been seen, as tensors; of a side without images there is no key."""
        sides = {"real": self._kept[True], "fake": self._kept[False]}
        return {name: torch.cat(parts) for name, parts in sides.items() if parts}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a `state_dict`."""
        unknown = set(state) - {"real", "fake"}
        if unknown:
            raise ValueError(f"state: expected the keys real and fake, got {sorted(state)}")
        self._kept = {
            real: [as_features(state[name], name)] if name in state else []
            for real, name in ((True, "real"), (False, "fake"))
        }

    def _features(self, imgs: Tensor) -> Tensor:
        if self.normalize:
            imgs = (imgs * 255).to(torch.uint8)
        if isinstance(self.features, Encoder):
            found = self.features(imgs, (self._layer,))[self._layer]
        else:
            with torch.no_grad():
                found = self.features(imgs)
        return as_features(found, "features").detach()

    def _add(self, features: Tensor, real: bool) -> None:
        self._kept[real].append(features.cpu())

    def _side(self, real: bool) -> Tensor:
        """All features of one side, of all processes."""
        parts = self._kept[real]
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            gathered: list[Any] = [None] * torch.distributed.get_world_size()
            torch.distributed.all_gather_object(gathered, parts)
            parts = [part for those in gathered for part in those]
        if not parts:
            raise ValueError(f"compute: expected {'real' if real else 'fake'} images, got none")
        return torch.cat(parts)


class FrechetInceptionDistance(_ImageMetric):
    """`frechet_distance` of the moments, a float; 16 D^2 bytes, however many images. Option: ddof.

    Fewer samples than dimensions are scored from moments, too: keep features and call
    `frechet_distance_from_features` where you can.
    """

    def __init__(self, features: Features, **options: Any) -> None:
        super().__init__(features, **options)
        self._statistics: dict[bool, FrechetStatistics] = {}

    def compute(self) -> float:
        """The distance. Raises ValueError for fewer than 2 images on either side."""
        sides = []
        for real, name in ((True, "real"), (False, "fake")):
            if real not in self._statistics:
                raise ValueError(f"compute: expected {name} images, got none")
            statistics = self._statistics[real].reduce()
            sides += [statistics.mean, statistics.covariance(self.options.get("ddof", 1))]
        return float(frechet_distance(*sides))

    def reset(self) -> None:
        kept = {} if self.reset_real_features else {True: self._statistics.get(True)}
        self._statistics = {real: side for real, side in kept.items() if side is not None}

    def merge_state(self, metrics: Iterable[Self]) -> Self:
        for other in metrics:
            for real, statistics in other._statistics.items():
                self._of(real, statistics.dim).merge(statistics)
        return self

    def state_dict(self) -> State:
        return {
            f"{'real' if real else 'fake'}.{key}": value
            for real, statistics in self._statistics.items()
            for key, value in statistics.state_dict().items()
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self._statistics = {}
        for real, name in ((True, "real"), (False, "fake")):
            side = {k.partition(".")[2]: v for k, v in state.items() if k.startswith(name + ".")}
            if side:
                self._of(real, len(side["mean"])).load_state_dict(side)

    def _add(self, features: Tensor, real: bool) -> None:
        self._of(real, features.shape[1]).update(features)

    def _of(self, real: bool, dim: int) -> FrechetStatistics:
        return self._statistics.setdefault(real, FrechetStatistics(dim))


class KernelInceptionDistance(_ImageMetric):
    """`kid`, a `Spread`; its options."""

    def compute(self) -> Spread:
        """Mean and standard deviation over the subsets."""
        return kid(self._side(True), self._side(False), **self.options)


class PrecisionRecall(_ImageMetric):
    """`prdc`: precision, recall, density, coverage; its options."""

    def compute(self) -> PRDC:
        """The four."""
        return prdc(self._side(True), self._side(False), **self.options)


class MemorizationInformedFrechetInceptionDistance(_ImageMetric):
    """`mifid`, a float; its options."""

    def compute(self) -> float:
        """The distance over the memorisation distance."""
        return mifid(self._side(True), self._side(False), **self.options)


class InceptionScore(_ImageMetric):
    """`inception_score` of the fake images, a `Spread`; its options. Real images are passed over.

    Of an `Encoder` the logits are taken; a callable has to give logits.
    """

    _layer = "logits"

    def update(self, imgs: Tensor, real: bool = False) -> None:
        """Add a batch of images."""
        if not real:
            super().update(imgs, False)

    def compute(self) -> Spread:
        """Mean and standard deviation over the splits."""
        return inception_score(self._side(False), **self.options)
