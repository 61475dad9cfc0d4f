"""Precision, recall, density, coverage, and the realism of single samples."""

from typing import NamedTuple

import torch
from torch import Tensor

from ganfast.metrics.mmd import as_pair
from ganfast.metrics.neighbours import (
    Best,
    exact_squares,
    inside,
    points,
    radii,
    squares_of,
    tiles,
)
from ganfast.metrics.validation import Array

_CANDIDATES = 8


class PRDC(NamedTuple):
    """Precision, recall and coverage in [0, 1], and density, about 1 for equal distributions."""

    precision: float
    recall: float
    density: float
    coverage: float

    @property
    def f_score(self) -> float:
        """2 P R / (P + R), or 0 if both are 0, as in torch-fidelity."""
        return 2 * self.precision * self.recall / max(1e-5, self.precision + self.recall)


def prdc(real: Array, fake: Array, *, k: int = 5, inclusive: bool = False) -> PRDC:
    """Precision, recall, density and coverage of features.

    B(a) is the ball around a that reaches to its k-th nearest neighbour in its own set:

        precision  mean over fakes of [in some B(real)]     (Kynkäänniemi et al. 2019)
        recall     mean over reals of [in some B(fake)]
        density    1 / (k M) times the number of pairs with the fake in B(real)
        coverage   mean over reals of [some fake in B(real)]     (Naeem et al. 2020)

    The result is that of a float64 search; memory is bounded. The defaults are those of prdc,
    dgm-eval and StudioGAN. torch-fidelity, StyleGAN and guided-diffusion: ``k=3, inclusive=True``;
    the first two on VGG-16 features.

    Args:
        real, fake: features (N, D) and (M, D), floating-point, of any scale.
        k: neighbours.
        inclusive: count a sample on the surface of a ball as inside it.

    Raises:
        TypeError, ValueError: the features do not fit, or a set has no more than k samples.
    """
    one, two = as_pair(real, fake)
    _check_k(k, one, "real")
    _check_k(k, two, "fake")
    a, b = points(one, two)
    squares_a, squares_b = radii(a, k), radii(b, k)
    device = squares_a.device
    in_a_real = torch.zeros(len(b), dtype=torch.bool, device=device)
    in_a_fake, covered = torch.zeros(2, len(a), dtype=torch.bool, device=device)
    total = 0
    for rows, columns, of_real, of_fake in inside(a, b, squares_a, squares_b, inclusive):
        in_a_real[columns] |= of_real.any(0)
        covered[rows] |= of_real.any(1)
        in_a_fake[rows] |= of_fake.any(1)
        total += int(of_real.sum())
    return PRDC(
        precision=float(in_a_real.double().mean()),
        recall=float(in_a_fake.double().mean()),
        density=total / (k * len(b)),
        coverage=float(covered.double().mean()),
    )


def realism(real: Array, fake: Array, *, k: int = 3, prune: bool = True) -> Tensor:
    """Realism (M,), float64, of each fake: max over reals of r_i / |real_i - fake_j|.

    r_i is the distance from real i to its k-th nearest other (Kynkäänniemi et al. 2019; dgm-eval
    with k = 5). It is at least 1 for a fake in a ball that counts, and infinite for one on a real
    sample.

    Args:
        real, fake: features (N, D) and (M, D), floating-point.
        k: neighbours.
        prune: leave out reals whose r_i is the median or more.

    Raises:
        TypeError, ValueError: as `prdc`, and if pruning leaves no real sample.
    """
    one, two = as_pair(real, fake)
    _check_k(k, one, "real")
    if len(two) == 0:
        raise ValueError("fake must hold at least 1 sample, got 0")
    a, b = points(one, two)
    limits = radii(a, k)
    if prune:
        kept = limits < limits.quantile(0.5)
        if not bool(kept.any()):
            raise ValueError("real must have radii below their median, got equal radii")
        a, limits = a.part(kept), limits[kept]
    tiny = torch.finfo(torch.float32).tiny
    scaled = a.in_my_units(limits).clamp(min=tiny).unsqueeze(1)
    best = Best(len(b), min(_CANDIDATES, len(a)), limits.device)
    for rows in tiles(len(a)):
        for columns in tiles(len(b)):
            squares = squares_of(a, rows, b, columns).clamp_(min=tiny)
            best.add(columns, -(scaled[rows] / squares).T, rows)
    width = best.indices.shape[1]
    fakes = torch.arange(len(b), device=limits.device).repeat_interleave(width)
    reals = best.indices.flatten()
    exact = exact_squares(a, reals, b, fakes)
    quotients = torch.where(exact > 0, limits[reals] / exact, torch.inf)
    return quotients.view(-1, width).amax(1).sqrt()


def _check_k(k: int, features: Tensor, name: str) -> None:
    if len(features) < 2:
        raise ValueError(f"{name} must hold more than {k} samples, got {len(features)}")
    if not 1 <= k < len(features):
        raise ValueError(
            f"k must be from 1 to {len(features) - 1}, the other samples in {name}, got {k}"
        )
