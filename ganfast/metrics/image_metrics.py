"""Metrics that take images batch by batch: torchmetrics' classes, options, defaults and numbers.

Where torchmetrics is installed they are its metrics, for `MetricCollection`, Lightning and the
rest; without it they have the same interface. Under torch.distributed every process updates its
own metric, which may see no image at all. All of them call `compute`, which returns the score of
all images to each.

Example:
    >>> metric = FrechetInceptionDistance(feature=2048)
    >>> metric.update(images, real=True)
    >>> metric.update(samples, real=False)
    >>> metric.compute()

Options that all of them have:

- ``feature``: a layer of Inception (64, 192, 768, 2048, for some ``"logits_unbiased"``), a module
  or a callable from images to features (N, D), or an `Encoder`, which takes uint8 images
  (N, C, H, W) of any size.
- ``normalize``: images are floats in [0, 1]. For Inception and an `Encoder` they become bytes; a
  module of your own gets them as they are.
- ``reset_real_features``: `reset` forgets the real images too. If it does not, the first real
  images after a `reset` replace those that were kept, so that a data set that comes again in each
  epoch is counted once.
- ``feature_extractor_weights_path``: a file for Inception, in place of the public weights.
- ``antialias``: Inception's images are resized with antialiasing, as torchmetrics does since 1.8;
  otherwise as in TensorFlow 1.
- ``features``: the former name of ``feature``, for one more release.
- ``compute_on_cpu``, ``dist_sync_on_step``, ``process_group``, ``dist_sync_fn``,
  ``distributed_available_fn``, ``sync_on_compute``, ``compute_with_cache``: as in torchmetrics.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from ganfast._numbers import check_between, check_whole
from ganfast.distributed import gather_numbers
from ganfast.features.registry import DIMS
from ganfast.metrics.frechet import frechet_distance, mifid
from ganfast.metrics.image_metric import (
    Available,
    Gather,
    Group,
    ImageMetric,
    Path,
)
from ganfast.metrics.image_network import LOGITS, Feature
from ganfast.metrics.kernel_distance import kid
from ganfast.metrics.logit_scores import inception_score
from ganfast.metrics.precision_recall import prdc
from ganfast.metrics.statistics import FrechetStatistics


class _TwoSided(ImageMetric):
    """A metric of real and fake images."""

    real_features: list[Tensor]  # unless the class has other states
    fake_features: list[Tensor]

    def update(self, imgs: Tensor, real: bool) -> None:
        """Add a batch of real or fake images; an empty one adds nothing.

        Args:
            imgs: uint8 (N, C, H, W), floats with ``normalize``, or what your module takes.
            real: whether they are real: True, False, or a number.

        Raises:
            TypeError, ValueError: the images do not fit, or the network raises it.
        """
        given: object = real
        if isinstance(given, str | bytes):
            raise TypeError(f"real must be True or False, got {real!r}")
        name = self._sides[0] if real else self._sides[1]
        features = self._features(imgs)
        if features is None:
            return
        if self._of_last_epoch and name == self._sides[0]:
            setattr(self, name, [])
            self._of_last_epoch = False
        self._add(features, name)

    def forward(self, imgs: Tensor, real: bool) -> Any:
        """Add fake images, and return the metric of them and of the real images that `reset` keeps.

        Raises:
            TooFewImagesError: none were kept: a batch of one side has no score, and is not added.
        """
        return self._score_of(lambda: self.update(imgs, real))


class FrechetInceptionDistance(_TwoSided):
    """`frechet_distance` of the moments, in 16 D^2 bytes for any number of images.

    On Inception's features it is FID. With fewer samples than dimensions,
    `frechet_distance_from_features` is more accurate, but needs the features.

    Args:
        feature, reset_real_features, normalize, feature_extractor_weights_path, antialias, and
            those from features on: see the module.
        input_img_size: unused, since the first batch gives the number of features.
        ddof: covariances are divided by N - ddof.
    """

    # Each a list of flat tensors (1, 4 + D + D^2): whether the features were float64, and the
    # counts, mean and scatter of FrechetStatistics.
    real_moments: list[Tensor]
    fake_moments: list[Tensor]
    _sides = ("real_moments", "fake_moments")

    def __init__(
        self, feature: Feature = 2048, reset_real_features: bool = True, normalize: bool = False,
        input_img_size: tuple[int, int, int] = (3, 299, 299),
        feature_extractor_weights_path: Path = None, antialias: bool = True, *, ddof: int = 1,
        features: Feature | None = None, compute_on_cpu: bool = False,
        dist_sync_on_step: bool = False, process_group: Group = None, dist_sync_fn: Gather = None,
        distributed_available_fn: Available = None, sync_on_compute: bool = True,
        compute_with_cache: bool = True,
    ) -> None:  # fmt: skip
        if len(input_img_size) != 3 or min(input_img_size) < 1:
            raise ValueError(f"input_img_size must be (C, H, W), got {input_img_size}")
        if ddof not in (0, 1):
            raise ValueError(f"ddof must be 0 or 1, got {ddof}")
        super().__init__(
            feature, features, feature_extractor_weights_path, antialias, normalize,
            reset_real_features, compute_on_cpu, dist_sync_on_step, process_group, dist_sync_fn,
            distributed_available_fn, sync_on_compute, compute_with_cache,
        )  # fmt: skip
        self.ddof = ddof

    def compute(self) -> Tensor:
        """Return the distance.

        Raises:
            TooFewImagesError: a side has fewer than 2 images.
        """
        arguments, double = [], self._dtype == torch.float64
        for name in self._sides:
            statistics, exact = _merged(self._parts(name))
            if statistics is None or statistics.n < 2:
                self._refuse(name, 2, 0 if statistics is None else statistics.n)
            else:
                arguments += [statistics.mean, statistics.covariance(self.ddof)]
                double |= exact
        return frechet_distance(*arguments).to(torch.float64 if double else torch.float32)

    def _add(self, features: Tensor, name: str) -> None:
        batch = FrechetStatistics(features.shape[1], features.device)
        batch.update(features)
        own, double = _merged(self._parts(name))
        if own is not None:
            own.merge(batch)
        setattr(self, name, [_packed(own or batch, double or features.dtype == torch.float64)])

    def _check_states(self, states: Mapping[str, Any]) -> None:
        super()._check_states(states)
        for name in set(self._sides) & set(states):
            _merged(states[name])

    def _sync_dist(self, dist_sync_fn: Any = None, process_group: Any = None) -> None:
        if self.dist_sync_fn is not None:
            super()._sync_dist(dist_sync_fn, process_group)
            return
        group = process_group or self.process_group
        for name in self._sides:
            own, double = _merged(self._parts(name))
            facts = gather_numbers([own.dim if own else 0, int(double)], self.device, group)
            dims = {dim for dim, _ in facts if dim}
            if len(dims) > 1:
                raise ValueError(f"features must have one length, got {sorted(dims)} in processes")
            if dims:
                own = own or FrechetStatistics(dims.pop(), self.device)
                every = _packed(own.reduce(group), any(double for _, double in facts))
                setattr(self, name, [every])


def _packed(statistics: FrechetStatistics, double: bool) -> Tensor:
    state = statistics.state_dict()
    mean = state["mean"]
    parts = (mean.new_tensor([double]), state["counts"].to(mean), mean, state["scatter"].flatten())
    return torch.cat(parts).unsqueeze(0)


def _merged(parts: Iterable[Tensor]) -> tuple[FrechetStatistics | None, bool]:
    total: FrechetStatistics | None = None
    double = False
    for row in (row for part in parts for row in part):
        dim = (math.isqrt(4 * (len(row) - 4) + 1) - 1) // 2
        if row.dtype != torch.float64 or len(row) != 4 + dim + dim**2:
            raise ValueError(f"moments must be packed in float64, got {row.dtype} {len(row)}")
        exact, counts, mean, scatter = row.split([1, 3, dim, dim**2])
        double |= bool(exact)
        one = FrechetStatistics(dim, row.device)
        one.load_state_dict({"counts": counts, "mean": mean, "scatter": scatter.view(dim, dim)})
        if total is None:
            total = one
        else:
            total.merge(one)
    return total, double


class KernelInceptionDistance(_TwoSided):
    """`kid`: mean and standard deviation of MMD^2 over subsets.

    Args:
        feature, reset_real_features, normalize, and those from feature_extractor_weights_path on:
            see the module.
        subsets: how many.
        subset_size: samples of each side in a subset; `compute` needs at least as many.
        degree, gamma, coef: of the kernel (gamma <a, b> + coef)^degree; gamma is 1 / D by default.
        seed: of the subsets, for the same ones in each `compute`; by default they are drawn from
            torch's global generator, as torchmetrics does.
    """

    plot_upper_bound = 1.0
    _layers = (LOGITS, *DIMS)

    def __init__(
        self, feature: Feature = 2048, subsets: int = 100, subset_size: int = 1000,
        degree: int = 3, gamma: float | None = None, coef: float = 1.0,
        reset_real_features: bool = True, normalize: bool = False, *,
        feature_extractor_weights_path: Path = None, antialias: bool = True,
        seed: int | None = None, features: Feature | None = None, compute_on_cpu: bool = False,
        dist_sync_on_step: bool = False, process_group: Group = None, dist_sync_fn: Gather = None,
        distributed_available_fn: Available = None, sync_on_compute: bool = True,
        compute_with_cache: bool = True,
    ) -> None:  # fmt: skip
        check_whole("subsets", subsets, 1)
        check_whole("subset_size", subset_size, 2)
        check_whole("degree", degree, 1)
        check_between("coef", coef, math.inf, zero=False)
        if gamma is not None:
            check_between("gamma", gamma, math.inf, zero=False)
        super().__init__(
            feature, features, feature_extractor_weights_path, antialias, normalize,
            reset_real_features, compute_on_cpu, dist_sync_on_step, process_group, dist_sync_fn,
            distributed_available_fn, sync_on_compute, compute_with_cache,
        )  # fmt: skip
        self.subsets, self.subset_size, self.degree = subsets, subset_size, degree
        self.gamma, self.coef, self.seed = gamma, coef, seed

    def compute(self) -> tuple[Tensor, Tensor]:
        """Return the mean and the standard deviation (ddof 0) over the subsets.

        Raises:
            TooFewImagesError: a side has fewer than ``subset_size`` images.
        """
        real, fake = (self._all(name, self.subset_size) for name in self._sides)
        found = kid(
            real, fake, subsets=self.subsets, subset_size=self.subset_size, degree=self.degree,
            gamma=self.gamma, coef0=self.coef, seed=self.seed, draws="torch",
        )  # fmt: skip
        return self._result(found.mean, fake), self._result(found.std, fake)


class PrecisionRecall(_TwoSided):
    """`prdc`: precision, recall, density and coverage.

    Args:
        feature, reset_real_features, normalize, feature_extractor_weights_path, antialias, and
            those from features on: see the module.
        k: neighbours.
        inclusive: count a sample on the surface of a ball as inside it.
    """

    higher_is_better = True

    def __init__(
        self, feature: Feature = 2048, reset_real_features: bool = True, normalize: bool = False,
        *, feature_extractor_weights_path: Path = None, antialias: bool = True, k: int = 5,
        inclusive: bool = False, features: Feature | None = None, compute_on_cpu: bool = False,
        dist_sync_on_step: bool = False, process_group: Group = None, dist_sync_fn: Gather = None,
        distributed_available_fn: Available = None, sync_on_compute: bool = True,
        compute_with_cache: bool = True,
    ) -> None:  # fmt: skip
        check_whole("k", k, 1)
        super().__init__(
            feature, features, feature_extractor_weights_path, antialias, normalize,
            reset_real_features, compute_on_cpu, dist_sync_on_step, process_group, dist_sync_fn,
            distributed_available_fn, sync_on_compute, compute_with_cache,
        )  # fmt: skip
        self.k, self.inclusive = k, inclusive

    def compute(self) -> dict[str, Tensor]:
        """Return precision, recall, density and coverage, by these names.

        Raises:
            TooFewImagesError: a side has no more than ``k`` images.
        """
        real, fake = (self._all(name, self.k + 1) for name in self._sides)
        found = prdc(real, fake, k=self.k, inclusive=self.inclusive)
        return {name: self._result(value, fake) for name, value in found._asdict().items()}


class MemorizationInformedFrechetInceptionDistance(_TwoSided):
    """`mifid`: the Fréchet distance over the memorisation distance.

    Args:
        feature, reset_real_features, normalize, and those from feature_extractor_weights_path on:
            see the module.
        cosine_distance_eps: memorisation distances of this or more count as 1.
    """

    def __init__(
        self, feature: Feature = 2048, reset_real_features: bool = True, normalize: bool = False,
        cosine_distance_eps: float = 0.1, *, feature_extractor_weights_path: Path = None,
        antialias: bool = True, features: Feature | None = None, compute_on_cpu: bool = False,
        dist_sync_on_step: bool = False, process_group: Group = None, dist_sync_fn: Gather = None,
        distributed_available_fn: Available = None, sync_on_compute: bool = True,
        compute_with_cache: bool = True,
    ) -> None:  # fmt: skip
        check_between("cosine_distance_eps", cosine_distance_eps, 1, zero=False, last=True)
        super().__init__(
            feature, features, feature_extractor_weights_path, antialias, normalize,
            reset_real_features, compute_on_cpu, dist_sync_on_step, process_group, dist_sync_fn,
            distributed_available_fn, sync_on_compute, compute_with_cache,
        )  # fmt: skip
        self.cosine_distance_eps = cosine_distance_eps

    def compute(self) -> Tensor:
        """Return the score.

        Raises:
            TooFewImagesError: a side has fewer than 2 images.
        """
        real, fake = (self._all(name, 2) for name in self._sides)
        return self._result(mifid(real, fake, threshold=self.cosine_distance_eps), fake)


class InceptionScore(ImageMetric):
    """`inception_score` of images: its mean and standard deviation over splits.

    Args:
        feature, normalize, and those from feature_extractor_weights_path on: see the module; an
            `Encoder` has to have logits, a module or a callable has to return them. As in
            torchmetrics, these get bytes too if ``normalize`` is true.
        splits: how many; fewer if there are fewer images.
        seed: of the shuffle before the split, for the same one in each `compute`; by default it is
            drawn from torch's global generator, as torchmetrics does.
    """

    features: list[Tensor]
    higher_is_better = True
    _sides = ("features",)
    _layers, _layer = (LOGITS, *DIMS), "logits"

    def __init__(
        self, feature: Feature = LOGITS, splits: int = 10, normalize: bool = False, *,
        feature_extractor_weights_path: Path = None, antialias: bool = True,
        seed: int | None = None, features: Feature | None = None, compute_on_cpu: bool = False,
        dist_sync_on_step: bool = False, process_group: Group = None, dist_sync_fn: Gather = None,
        distributed_available_fn: Available = None, sync_on_compute: bool = True,
        compute_with_cache: bool = True,
    ) -> None:  # fmt: skip
        check_whole("splits", splits, 1)
        super().__init__(
            feature, features, feature_extractor_weights_path, antialias, normalize,
            True, compute_on_cpu, dist_sync_on_step, process_group, dist_sync_fn,
            distributed_available_fn, sync_on_compute, compute_with_cache,
        )  # fmt: skip
        self.splits, self.seed = splits, seed
        self._takes_bytes = True

    def update(self, imgs: Tensor) -> None:
        """Add a batch of images; an empty one adds nothing.

        Raises:
            TypeError, ValueError: the images do not fit, or the network raises it.
        """
        features = self._features(imgs)
        if features is not None:
            self._add(features, "features")

    def forward(self, imgs: Tensor) -> tuple[Tensor, Tensor]:
        """Add a batch, and return its own score."""
        score: tuple[Tensor, Tensor] = self._score_of(lambda: self.update(imgs))
        return score

    def compute(self) -> tuple[Tensor, Tensor]:
        """Return the mean and the standard deviation (ddof 1) over the splits.

        A single split has no deviation: it is NaN, as in torchmetrics.

        Raises:
            TooFewImagesError: there are no images.
        """
        logits = self._all("features")
        draw = None if self.seed is None else torch.Generator().manual_seed(self.seed)
        logits = logits[torch.randperm(len(logits), generator=draw).to(logits.device)]
        splits = len(logits.chunk(self.splits))
        found = inception_score(
            logits, splits=min(self.splits, len(logits)), chunks="ceil", seed=None,
            ddof=int(splits > 1),
        )  # fmt: skip
        std = found.std if splits > 1 else math.nan
        return self._result(found.mean, logits), self._result(std, logits)
