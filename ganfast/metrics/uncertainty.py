"""What a Fréchet distance of finitely many samples says about the distributions.

The distance of N samples is too large by about c / N, and it scatters. The estimates here factor
the reference once and reuse moments, so that each distance costs one decomposition.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ganfast.metrics.frechet import centred, frechet_distance_from_features
from ganfast.metrics.matrix import Root, nuclear_norm, psd_root, sum_of_roots, times_root
from ganfast.metrics.moments import Moments
from ganfast.metrics.statistics import FrechetStatistics
from ganfast.metrics.validation import (
    LARGEST,
    SLACK,
    Array,
    as_features,
    as_mean,
    as_symmetric,
    as_tensor,
    to_float64,
)

Reference = FrechetStatistics | Moments

_BLOCK = 2048  # rows converted to float64 at a time


class Extrapolation(NamedTuple):
    """The distance at infinitely many samples, and the distances it was extrapolated from."""

    value: float
    slope: float  # of the distance over 1 / N
    sizes: list[int]
    distances: list[float]


class Interval(NamedTuple):
    """A distance with its standard error, an interval, and the distance without its bias."""

    value: float
    standard_error: float
    low: float
    high: float
    unbiased: float


def frechet_distance_infinity(
    reference: Reference,
    features: Array,
    points: int = 15,
    smallest: int | None = None,
    seed: int = 0,
) -> Extrapolation:
    """Fréchet distance extrapolated to infinitely many generated samples (Chong & Forsyth 2020).

    It is the intercept of the least-squares line over 1 / N through the distances of the first N of
    the shuffled features. The subsets are nested, so that their moments take one pass. On the
    features of the 2015 Inception it is FID-infinity.

    Args:
        reference: moments of the real features.
        features: (M, D), generated.
        points: number of sizes N, in equal steps from ``smallest`` to M.
        smallest: the smaller of 5,000 and M / 10 by default.
        seed: of the shuffle.

    Raises:
        TypeError, ValueError: as `FrechetStatistics.update`, and if there are fewer than 2 points,
            or the sizes or the reference do not fit.
    """
    moments, x = _checked(reference, features)
    smallest = min(5000, max(len(x) // 10, 2)) if smallest is None else smallest
    if points < 2 or not 2 <= smallest < len(x):
        raise ValueError(
            f"points must be at least 2 and smallest from 2 to {len(x) - 1}, "
            f"got {points} and {smallest}"
        )
    sizes = np.linspace(smallest, len(x), points).astype(int).tolist()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed)).to(x.device)
    samples = _Samples(_Reference(moments))
    distances = []
    for begin, end in pairwise([0, *sizes]):
        samples.update(x[order[begin:end]])
        distances.append(samples.distance(partial(x.__getitem__, order[:end])))
    slope, value = np.polyfit(1 / np.array(sizes), distances, 1)
    return Extrapolation(float(value), float(slope), sizes, distances)


def jackknife_interval(
    reference: Reference, features: Array, groups: int = 20, z: float = 1.96
) -> Interval:
    """Fréchet distance with a delete-a-group jackknife interval (Quenouille 1956).

    With d the distance of all samples and d_g that without group g of G, the standard error is ((G
    - 1) / G sum_g (d_g - mean d_g)^2)^(1/2), the interval d -+ z standard errors, and the unbiased
    value, without the bias of order 1 / M, G d - (G - 1) mean d_g. A group's moments are subtracted
    from those of all, so that the features are read twice. The reference counts as exact.

    Args:
        reference: moments of the real features.
        features: (M, D), generated, M >= 2 groups.
        groups: G.
        z: standard errors on either side.

    Raises:
        TypeError, ValueError: as `FrechetStatistics.update`, and if there are fewer than 2 groups,
            or they or the reference do not fit.
    """
    moments, x = _checked(reference, features)
    if not 2 <= groups <= len(x) // 2:
        raise ValueError(f"groups must be from 2 to half the {len(x)} features, got {groups}")
    fixed = _Reference(moments)
    everything = _Samples(fixed)
    everything.update(x)
    value = everything.distance(lambda: x)
    without = []
    for g in range(groups):
        part = _Samples(fixed)
        part.update(x[g::groups])
        rest = torch.ones(len(x), dtype=torch.bool)
        rest[g::groups] = False
        without.append(everything.without(part).distance(partial(x.__getitem__, rest)))
    mean = sum(without) / groups
    spread = sum((d - mean) ** 2 for d in without)
    error = ((groups - 1) / groups * spread) ** 0.5
    unbiased = groups * value - (groups - 1) * mean
    return Interval(value, error, value - z * error, value + z * error, unbiased)


def intra_frechet_distance(
    x: Array, x_labels: Array, y: Array, y_labels: Array
) -> dict[int, float]:
    """Fréchet distance within each class, by label in order; the mean is the intra-class distance.

    Args:
        x, y: features (N, D) and (M, D).
        x_labels, y_labels: integers (N,) and (M,).

    Raises:
        TypeError, ValueError: as `frechet_distance_from_features`, and if labels and features
            differ in number, or a class has fewer than 2 samples on either side.
    """
    x, y = as_features(x, "x").detach(), as_features(y, "y").detach()
    of_x, of_y = _as_labels(x_labels, len(x), "x_labels"), _as_labels(y_labels, len(y), "y_labels")
    distances = {}
    for label in sorted({*of_x.tolist(), *of_y.tolist()}):
        part_x, part_y = x[(of_x == label).to(x.device)], y[(of_y == label).to(y.device)]
        if min(len(part_x), len(part_y)) < 2:
            raise ValueError(
                f"label {label} must have at least 2 samples on both sides, "
                f"got {len(part_x)} and {len(part_y)}"
            )
        distances[label] = float(frechet_distance_from_features(part_x, part_y))
    return distances


def moments_of(reference: Reference) -> Moments:
    """Return the checked moments of a reference, in float64."""
    if isinstance(reference, FrechetStatistics):
        return reference.moments
    if not isinstance(reference, tuple) or len(reference) < 2:
        raise TypeError(f"reference must be FrechetStatistics or Moments, got {type(reference)}")
    mean = as_mean(reference[0], "reference mean", LARGEST)
    if mean.ndim != 1:
        raise ValueError(f"reference mean must have shape (D,), got {tuple(mean.shape)}")
    covariance, _ = as_symmetric(reference[1], "reference covariance", len(mean), LARGEST**2)
    return Moments(mean, covariance, reference[2] if len(reference) > 2 else None)


def _checked(reference: Reference, features: Array) -> tuple[Moments, Tensor]:
    """Check a reference and features (M, D) of its dimension."""
    moments = moments_of(reference)
    return moments, as_features(features, "features", len(moments.mean)).detach()


class _Reference:
    """The moments that distances are taken to, with the covariance factored once into R R^T."""

    def __init__(self, moments: Moments) -> None:
        self.mean, self.trace = moments.mean, moments.covariance.trace()
        self.root = psd_root(moments.covariance, SLACK, "reference covariance")
        if not self.root.matrix.shape[1]:  # all samples of the reference are equal
            self.root = Root(torch.zeros_like(self.mean).unsqueeze(1), False)


class _Samples:
    """What a distance needs of samples x: sums about the reference's mean, and moments of z = x R.

    The covariance of z is R^T Sigma R, and the roots of its eigenvalues add up to the trace: one
    product for all samples instead of two for each distance. Sums about another mean than their own
    lose no more digits than the distance has, which holds the difference of the means.
    """

    def __init__(self, reference: _Reference) -> None:
        self._reference = reference
        self._sum, self._squares = torch.zeros_like(reference.mean), reference.mean.new_zeros(())
        root = reference.root.matrix
        self._moments = FrechetStatistics(root.shape[1], root.device)

    def update(self, features: Tensor) -> None:
        """Add features (N, D), converted to float64 block by block."""
        for block in torch.split(features, _BLOCK):
            x = to_float64(block).to(self._sum) - self._reference.mean
            self._sum += x.sum(0)
            self._squares += x.square().sum()
            self._moments.update(times_root(x, self._reference.root))

    def without(self, part: "_Samples") -> "_Samples":
        rest = _Samples(self._reference)
        rest._sum, rest._squares = self._sum - part._sum, self._squares - part._squares
        rest._moments = self._moments.without(part._moments)
        return rest

    def distance(self, features: Callable[[], Tensor]) -> float:
        """From the moments, or from the features themselves if that is not accurate."""
        n, reference, nuclear = self._moments.n, self._reference, None
        if n > self._moments.dim:
            nuclear = sum_of_roots(torch.linalg.eigvalsh(self._moments.covariance()))
        if nuclear is None:
            _, x = centred(to_float64(features()).to(reference.mean), "features", 1)
            nuclear = nuclear_norm(times_root(x, reference.root))
        means = (self._sum / n).square().sum()
        variances = (self._squares - n * means) / (n - 1)
        return max(0.0, float(means + (variances + reference.trace - 2 * nuclear)))


def _as_labels(value: Array, n: int, name: str) -> Tensor:
    labels = as_tensor(value, name).detach().cpu()
    if labels.is_floating_point() or labels.is_complex():
        raise TypeError(f"{name} must hold integers, got {labels.dtype}")
    if labels.shape != (n,):
        raise ValueError(f"{name} must have shape ({n},), got {tuple(labels.shape)}")
    return labels
