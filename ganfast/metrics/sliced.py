"""The sliced Wasserstein distance of features, and its multiple MIND."""

import torch

from ganfast.metrics.mmd import as_pair
from ganfast.metrics.validation import Array, finite

_DIRECTIONS = 128  # projected and sorted at a time


def sliced_wasserstein(x: Array, y: Array, *, projections: int = 1000, seed: int = 2020) -> float:
    """Squared sliced 2-Wasserstein distance of features (Bonneel et al. 2015).

    The mean over random unit directions u of the mean of |sort(u x)_i - sort(u y)_i|^2, with a
    random subset of the larger set. The subset, then the directions (float32) come from one torch
    generator, as in torch-fidelity. Projections have the dtype of the features (float32 at least),
    sums are float64.

    Args:
        x, y: features (N, D) and (M, D), floating-point.
        projections: number of directions.
        seed: of the subset and the directions.

    Raises:
        TypeError, ValueError: the features do not fit, or there are no samples or no projections.
    """
    one, two = as_pair(x, y)
    n = min(len(one), len(two))
    if projections < 1 or n < 1:
        raise ValueError(f"projections and samples must be at least 1, got {projections} and {n}")
    generator = torch.Generator().manual_seed(seed)
    one, two = (
        a if len(a) == n else a[torch.randperm(len(a), generator=generator)[:n].to(a.device)]
        for a in (one, two)
    )
    directions = torch.randn(projections, one.shape[1], generator=generator)
    directions /= torch.linalg.vector_norm(directions, dim=1, keepdim=True)
    total = 0.0
    for part in torch.split(directions.to(one), _DIRECTIONS):
        a, b = ((part @ features.T).sort(dim=1).values for features in (one, two))
        total += float((a - b).double().square().sum())
    return finite(total / (n * projections), "x and y", "distance")


def mind(x: Array, y: Array, *, projections: int = 1000, seed: int = 2020) -> float:
    """MIND of features: 3 D times `sliced_wasserstein` (arXiv:2605.06797).

    For Gaussians that differ in their means alone it is about 3 |mu1 - mu2|^2. The defaults are
    those of torch-fidelity.

    Args:
        x, y, projections, seed: as for `sliced_wasserstein`.

    Raises:
        TypeError, ValueError: as `sliced_wasserstein`.
    """
    dim = as_pair(x, y)[0].shape[1]
    return 3 * dim * sliced_wasserstein(x, y, projections=projections, seed=seed)
