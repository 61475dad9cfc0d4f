"""The memorisation-informed Fréchet distance."""

import torch
from torch import Tensor

from ganfast.metrics.frechet import frechet_distance_from_features
from ganfast.metrics.mmd import as_pair
from ganfast.metrics.validation import Array, directions, to_float64

_TILE = 4096


def mifid(real: Array, fake: Array, *, threshold: float = 0.1) -> float:
    """Fréchet distance of features over their memorisation distance m (Bai et al. 2021).

    m is the mean over reals of min over fakes of 1 - |cos|, or 1 if that is ``threshold`` or more.
    The result is FD / (m + 1e-14), and 0 for FD <= 1e-8. As in torchmetrics, features whose sum is
    0 take no part in m. On Inception features it is MiFID. It is computed in float64.

    Args:
        real, fake: features (N, D) and (M, D), floating-point.
        threshold: above 0 and at most 1.

    Raises:
        TypeError, ValueError: as `frechet_distance_from_features`.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be above 0 and at most 1, got {threshold}")
    one, two = as_pair(real, fake)
    distance = float(frechet_distance_from_features(one, two))
    if distance <= 1e-8:
        return 0.0
    a, b = _directions(one, "real"), _directions(two, "fake")
    closest = [
        torch.stack([(rows @ columns.T).abs().amax(1) for columns in torch.split(b, _TILE)]).amax(0)
        for rows in torch.split(a, _TILE)
    ]
    m = float((1 - torch.cat(closest)).mean())
    return distance / ((m if m < threshold else 1.0) + 1e-14)


def _directions(features: Tensor, name: str) -> Tensor:
    x = to_float64(features)
    x = x[x.sum(1) != 0]
    if len(x) == 0:
        raise ValueError(f"{name} must hold features whose sum is not 0, got none")
    return directions(x)
