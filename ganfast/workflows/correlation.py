"""Rank correlations with bootstrap intervals, calibration error and agreement of classifiers."""

from typing import NamedTuple

import torch
from torch import Tensor


class Correlation(NamedTuple):
    """A rank correlation in [-1, 1] with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def spearman(x: Tensor, y: Tensor) -> float:
    """Return Pearson's correlation of the ranks, ties at mean ranks; NaN if one is constant."""
    a, b = (_ranks(v) - _ranks(v).mean() for v in (x, y))
    return float((a * b).sum() / (a.square().sum() * b.square().sum()).sqrt())


def kendall(x: Tensor, y: Tensor) -> float:
    """Return Kendall's tau-b: concordant minus discordant pairs, over pairs without ties."""
    a, b = (torch.sign(v[:, None] - v[None, :]).double() for v in (x, y))
    return float((a * b).sum() / (a.square().sum() * b.square().sum()).sqrt())


def bootstrap(
    synthetic: Tensor, real: Tensor, draws: int = 1000, seed: int = 0
) -> tuple[Correlation, Correlation]:
    """Return Spearman's and Kendall's correlation of models' accuracies on two sets of images.

    Args:
        synthetic, real: bool (models, images), True where the model is right on the image.
        draws: number of times that both sets of images are resampled with replacement.
        seed: seed of the resampling.
    """
    random = torch.Generator().manual_seed(seed)
    values: list[tuple[float, float]] = []
    for _ in range(draws):
        means = []
        for right in (synthetic, real):
            n = right.shape[1]
            drawn = torch.randint(n, (n,), generator=random).bincount(minlength=n).double()
            means.append(right.double() @ drawn / n)
        values.append((spearman(*means), kendall(*means)))
    x, y = synthetic.double().mean(1), real.double().mean(1)
    redrawn = torch.tensor(values, dtype=torch.float64)
    low, high = redrawn.nanquantile(torch.tensor([0.025, 0.975], dtype=torch.float64), 0).tolist()
    return Correlation(spearman(x, y), low[0], high[0]), Correlation(kendall(x, y), low[1], high[1])


def calibration_error(probabilities: Tensor, labels: Tensor, bins: int = 15) -> float:
    """Return the expected calibration error: mean |accuracy - confidence| over bins of equal width.

    Source: Guo et al. 2017.

    Args:
        probabilities: (N, classes). The confidence is the largest probability.
        labels: (N,).
        bins: number of bins of the confidence.
    """
    confidence, predicted = probabilities.max(1)
    right = (predicted == labels).double()
    bin_index = (confidence * bins).ceil().long().sub(1).clamp(0, bins - 1)
    gap = torch.zeros(bins, dtype=torch.float64)
    gap.index_add_(0, bin_index, right - confidence.double())
    return float(gap.abs().sum() / len(labels))


def agreement(predicted: Tensor) -> Tensor:
    """Return for each two rows of ``predicted`` (models, N) the share of equal labels."""
    return (predicted[:, None] == predicted[None, :]).double().mean(2)


def _ranks(x: Tensor) -> Tensor:
    below = (x[:, None] > x[None, :]).double().sum(1)
    tied = (x[:, None] == x[None, :]).double().sum(1)
    return below + (tied + 1) / 2
