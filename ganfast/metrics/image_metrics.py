"""Metrics that take images batch by batch, in the form that evaluation loops know.

Under torch.distributed every process updates its own metric. All of them call `compute`, which
returns the score of all images to each.

Example:
    >>> metric = FrechetInceptionDistance(features.load("inception"))
    >>> metric.update(images, real=True)
    >>> metric.update(samples, real=False)
    >>> metric.compute()
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import torch
from torch import Tensor
from typing_extensions import Self

from ganfast.data.image_data import check_range
from ganfast.distributed import gather_objects
from ganfast.features import Encoder
from ganfast.metrics.frechet import frechet_distance
from ganfast.metrics.kernel_distance import KernelName, kid
from ganfast.metrics.logit_scores import Chunks, inception_score
from ganfast.metrics.memorization import mifid
from ganfast.metrics.precision_recall import PRDC, prdc
from ganfast.metrics.sampling import Draws, Spread
from ganfast.metrics.statistics import FrechetStatistics
from ganfast.metrics.validation import as_features

Features = Encoder | Callable[[Tensor], Tensor]
State = dict[str, Tensor]

_SIDES = ("real", "fake")


class _ImageMetric(ABC):
    """Keeps the features of real and fake images until `compute`.

    Args:
        features: an `Encoder`, which takes uint8 images (N, C, H, W) of any size, or a callable
            from images to features (N, D).
        normalize: the images are floats in [0, 1], converted to uint8 as torchmetrics does.
        reset_real_features: `reset` forgets the real images too.
    """

    _layer = "features"

    def __init__(
        self, features: Features, *, normalize: bool = False, reset_real_features: bool = True
    ) -> None:
        if not callable(features):
            raise TypeError(f"features must be an Encoder or a callable, got {type(features)}")
        self.features = features
        self.normalize = normalize
        self.reset_real_features = reset_real_features
        self._kept: dict[str, list[Tensor]] = {side: [] for side in _SIDES}

    def update(self, imgs: Tensor, real: bool) -> None:
        """Add a batch of real or fake images. Raises as the feature network does."""
        self._add(self._features(imgs), "real" if real else "fake")

    @abstractmethod
    def compute(self) -> object:
        """Return the metric of all images so far."""

    def reset(self) -> None:
        """Forget the fake images, and with ``reset_real_features`` the real ones."""
        for side in _SIDES if self.reset_real_features else _SIDES[1:]:
            self._kept[side] = []

    def merge_state(self, metrics: Iterable[Self]) -> Self:
        """Add what other metrics of this kind have seen, and return this one."""
        for other in metrics:
            for side in _SIDES:
                self._kept[side] = [*self._kept[side], *other._kept[side]]
        return self

    def state_dict(self) -> State:
        """Return what has been seen as tensors; a side without images has no key."""
        return {side: torch.cat(parts) for side, parts in self._kept.items() if parts}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a `state_dict`.

        Raises:
            ValueError: the state is of another metric.
        """
        if set(state) - set(_SIDES):
            raise ValueError(f"state must have the keys real and fake, got {sorted(state)}")
        self._kept = {
            side: [as_features(state[side], side)] if side in state else [] for side in _SIDES
        }

    def _features(self, imgs: Tensor) -> Tensor:
        if not isinstance(imgs, Tensor):
            raise TypeError(f"imgs must be a torch tensor, got {type(imgs)}")
        if self.normalize:
            if not imgs.is_floating_point():
                raise TypeError(f"imgs must be floats since normalize is True, got {imgs.dtype}")
            check_range("imgs", imgs, 0.0, 1.0)
            imgs = (imgs.clamp(0, 1) * 255).to(torch.uint8)
        if isinstance(self.features, Encoder):
            found = self.features(imgs, (self._layer,))[self._layer]
        else:
            with torch.no_grad():
                found = self.features(imgs)
        return as_features(found, "features").detach()

    def _add(self, features: Tensor, side: str) -> None:
        self._kept[side].append(features.cpu())

    def _all(self, side: str) -> Tensor:
        """The features of one side in all processes."""
        parts = [part for those in gather_objects(self._kept[side]) for part in those]
        if not parts:
            raise ValueError(f"compute needs {side} images, got none")
        return torch.cat(parts)


class FrechetInceptionDistance(_ImageMetric):
    """`frechet_distance` of the moments, as a float. Takes 16 D^2 bytes for any number of images.

    Where there are fewer samples than dimensions, `frechet_distance_from_features` is more
    accurate, but needs the features.

    Args:
        features, normalize, reset_real_features: as for every metric here.
        ddof: covariances are divided by N - ddof.
    """

    def __init__(
        self, features: Features, *, normalize: bool = False, reset_real_features: bool = True,
        ddof: int = 1,
    ) -> None:  # fmt: skip
        super().__init__(features, normalize=normalize, reset_real_features=reset_real_features)
        self.ddof = ddof
        self._statistics: dict[str, FrechetStatistics] = {}

    def compute(self) -> float:
        """Return the distance.

        Raises:
            ValueError: a side has fewer than 2 images.
        """
        arguments = []
        for side in _SIDES:
            if side not in self._statistics:
                raise ValueError(f"compute needs {side} images, got none")
            statistics = self._statistics[side].reduce()
            arguments += [statistics.mean, statistics.covariance(self.ddof)]
        return float(frechet_distance(*arguments))

    def reset(self) -> None:
        for side in _SIDES if self.reset_real_features else _SIDES[1:]:
            self._statistics.pop(side, None)

    def merge_state(self, metrics: Iterable[Self]) -> Self:
        for other in metrics:
            for side, statistics in other._statistics.items():
                self._of(side, statistics.dim).merge(statistics)
        return self

    def state_dict(self) -> State:
        return {
            f"{side}.{key}": value
            for side, statistics in self._statistics.items()
            for key, value in statistics.state_dict().items()
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self._statistics = {}
        for side in _SIDES:
            own = {k.partition(".")[2]: v for k, v in state.items() if k.startswith(side + ".")}
            if own:
                self._of(side, len(own["mean"])).load_state_dict(own)

    def _add(self, features: Tensor, side: str) -> None:
        self._of(side, features.shape[1]).update(features)

    def _of(self, side: str, dim: int) -> FrechetStatistics:
        return self._statistics.setdefault(side, FrechetStatistics(dim))


class KernelInceptionDistance(_ImageMetric):
    """`kid`, with its options."""

    def __init__(
        self, features: Features, *, normalize: bool = False, reset_real_features: bool = True,
        subsets: int = 100, subset_size: int = 1000, kernel: KernelName = "poly", degree: int = 3,
        gamma: float | None = None, coef0: float = 1.0, sigma: float = 10.0, unbiased: bool = True,
        seed: int = 2020, draws: Draws = "numpy",
    ) -> None:  # fmt: skip
        super().__init__(features, normalize=normalize, reset_real_features=reset_real_features)
        self._score = partial(
            kid, subsets=subsets, subset_size=subset_size, kernel=kernel, degree=degree,
            gamma=gamma, coef0=coef0, sigma=sigma, unbiased=unbiased, seed=seed, draws=draws,
        )  # fmt: skip

    def compute(self) -> Spread:
        """Return the mean and the standard deviation over the subsets."""
        return self._score(self._all("real"), self._all("fake"))


class PrecisionRecall(_ImageMetric):
    """`prdc`, with its options."""

    def __init__(
        self, features: Features, *, normalize: bool = False, reset_real_features: bool = True,
        k: int = 5, inclusive: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(features, normalize=normalize, reset_real_features=reset_real_features)
        self.k, self.inclusive = k, inclusive

    def compute(self) -> PRDC:
        """Return precision, recall, density and coverage."""
        return prdc(self._all("real"), self._all("fake"), k=self.k, inclusive=self.inclusive)


class MemorizationInformedFrechetInceptionDistance(_ImageMetric):
    """`mifid`, with its options."""

    def __init__(
        self, features: Features, *, normalize: bool = False, reset_real_features: bool = True,
        threshold: float = 0.1,
    ) -> None:  # fmt: skip
        super().__init__(features, normalize=normalize, reset_real_features=reset_real_features)
        self.threshold = threshold

    def compute(self) -> float:
        """Return the distance over the memorisation distance."""
        return mifid(self._all("real"), self._all("fake"), threshold=self.threshold)


class InceptionScore(_ImageMetric):
    """`inception_score` of the fake images, with its options; real images are ignored.

    An `Encoder` has to have logits; a callable has to return them.
    """

    _layer = "logits"

    def __init__(
        self, features: Features, *, normalize: bool = False, reset_real_features: bool = True,
        splits: int = 10, chunks: Chunks = "even", seed: int | None = 2020, draws: Draws = "numpy",
        ddof: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(features, normalize=normalize, reset_real_features=reset_real_features)
        self._score = partial(
            inception_score, splits=splits, chunks=chunks, seed=seed, draws=draws, ddof=ddof
        )

    def update(self, imgs: Tensor, real: bool = False) -> None:
        """Add a batch of images."""
        if not real:
            super().update(imgs, False)

    def compute(self) -> Spread:
        """Return the mean and the standard deviation over the splits."""
        return self._score(self._all("fake"))
