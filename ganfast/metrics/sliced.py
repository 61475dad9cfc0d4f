"""The sliced Wasserstein distance of features, and MIND, which is a multiple of it."""

import torch

from ganfast.metrics.mmd import as_pair
from ganfast.metrics.validation import Array

_DIRECTIONS = 128  # projected and sorted at a time


def sliced_wasserstein(x: Array, y: Array, *, projections: int = 1000, seed: int = 2020) -> float:
    """Squared sliced 2-Wasserstein distance of features (N, D) and (M, D).

    The mean over random unit directions u of the mean of |sort(u x)_i - sort(u y)_i|^2
    (Bonneel et al. 2015), with a seeded subset of the larger set. Projections in the dtype of the
    features (float32 at least), sums in float64. The subset, then the directions (float32) come
    from one torch generator of the ``seed``, as in torch-fidelity.

    Raises TypeError and ValueError for other features, and ValueError for no samples or fewer than
    1 projection.
    """
    one, two = as_pair(x, y)
    n = min(len(one), len(two))
    if projections < 1 or n < 1:
        raise ValueError(f"expected 1 projection and 1 sample or more, got {projections} and {n}")
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
    return total / (n * projections)


def mind(x: Array, y: Array, *, projections: int = 1000, seed: int = 2020) -> float:
    """MIND of features (N, D) and (M, D): 3 D times `sliced_wasserstein` (arXiv:2605.06797).

    For Gaussians that differ in their means alone it is about 3 |mu1 - mu2|^2. The defaults are
    those of torch-fidelity. Raises as `sliced_wasserstein` does.
    """
    dim = as_pair(x, y)[0].shape[1]
    return 3 * dim * sliced_wasserstein(x, y, projections=projections, seed=seed)
