"""The Fréchet distance between two Gaussians, or two sets of features taken for Gaussians.

    d^2 = |mu1 - mu2|^2 + tr Sigma1 + tr Sigma2 - 2 tr (Sigma1 Sigma2)^(1/2)

With Sigma1 = R1 R1^T and Sigma2 = R2 R2^T the last trace is the nuclear norm of R1^T R2, the sum
of its singular values: no root of a non-symmetric matrix, so nothing complex, is ever formed.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ganfast.metrics.statistics import FrechetStatistics, as_features

Array = Tensor | npt.NDArray[np.generic]

_EPS = torch.finfo(torch.float64).eps
_LEAST_ROUNDINGS = 32  # a covariance has summed over samples: not D roundings alone
_LEAST_SQUARE = 1e-10  # smallest to largest square: each root to 1e-11 of the largest


def frechet_distance(mu1: Array, sigma1: Array, mu2: Array, sigma2: Array) -> float:
    """Fréchet distance (squared, as the field reports it) of N(mu1, sigma1) and N(mu2, sigma2).

    |mu1 - mu2|^2 + tr sigma1 + tr sigma2 - 2 tr (sigma1 sigma2)^(1/2)   (Dowson & Landau 1982)

    ``mu``: (D,), ``sigma``: (D, D) symmetric positive semi-definite, singular or not; torch or
    numpy, float32, float64 or integer, computed in float64 on the CPU. The result is >= 0,
    symmetric in its arguments and 0 for equal ones. Eigenvalues of a singular sigma below
    max(D, 32) * 2.2e-16 times the largest cannot be told from rounding and count as 0; where the
    features are at hand, `frechet_distance_from_features` needs no such cut.

    Raises TypeError for another type or dtype and ValueError for shapes that do not fit, values
    that are not finite, or a sigma that is asymmetric or has negative eigenvalues beyond rounding
    (the square root of the machine epsilon of the dtype it came in, relative to its largest).
    """
    mean1, mean2 = _mean(mu1, "mu1"), _mean(mu2, "mu2")
    if len(mean1) != len(mean2):
        raise ValueError(f"mu2: expected {len(mean1)} entries as in mu1, got {len(mean2)}")
    dim = len(mean1)
    cov1, slack1 = _covariance(sigma1, dim, "sigma1")
    cov2, slack2 = _covariance(sigma2, dim, "sigma2")

    means = (mean1 - mean2).square().sum()
    if torch.equal(cov1, cov2):
        return float(means)
    root1, root2 = _root(cov1, slack1, "sigma1"), _root(cov2, slack2, "sigma2")
    return _distance(means, cov1.trace(), cov2.trace(), root1, root2)


def frechet_distance_from_features(x: Array, y: Array) -> float:
    """Fréchet distance of two feature sets (N, D) and (M, D), with covariances of ddof = 1.

    Where a set has no more samples than dimensions its covariance is singular, and the distance is
    taken from the centred features themselves, which is exact to rounding. Raises TypeError and
    ValueError as `frechet_distance` does, and ValueError for fewer than 2 samples.
    """
    x, y = as_features(x, "x"), as_features(y, "y")
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"y: expected {x.shape[1]} features as in x, got {y.shape[1]}")
    if min(len(x), len(y)) > x.shape[1]:
        one, two = FrechetStatistics(x.shape[1]), FrechetStatistics(x.shape[1])
        one.update(x)
        two.update(y)
        return frechet_distance(one.mean, one.covariance(), two.mean, two.covariance())

    mean1, root1 = _centred(x, "x")
    mean2, root2 = _centred(y, "y")
    means = (mean1 - mean2).square().sum()
    if x.shape == y.shape and torch.equal(root1, root2):
        return float(means)
    return _distance(means, root1.square().sum(), root2.square().sum(), root1, root2)


def _distance(means: Tensor, trace1: Tensor, trace2: Tensor, root1: Tensor, root2: Tensor) -> float:
    # Ordered by trace, so that swapping the arguments gives the same bits.
    first, second = (root1, root2) if trace1 <= trace2 else (root2, root1)
    distance = float(means + (trace1 + trace2)) - 2 * _nuclear_norm(first.T @ second)
    return max(0.0, distance)


def _nuclear_norm(a: Tensor) -> float:
    """Sum of the singular values: by the Gram matrix, 3 times faster, where that is accurate."""
    if a.shape[0] < a.shape[1]:
        a = a.T
    squares: Tensor = torch.linalg.eigvalsh(a.T @ a)
    # A square is off by up to eps times the largest, so its root s by eps * largest / (2 s).
    if len(squares) and squares[0] > _LEAST_SQUARE * squares[-1]:
        return float(squares.sqrt().sum())
    return float(torch.linalg.svdvals(a).sum())


def _root(sigma: Tensor, slack: float, name: str) -> Tensor:
    """R (D, r) with sigma = R R^T: Cholesky where it is well conditioned, else by eigenvalues."""
    rounding = max(len(sigma), _LEAST_ROUNDINGS) * _EPS
    factor: Tensor
    factor, info = torch.linalg.cholesky_ex(sigma)
    if info == 0 and factor.diagonal().min().square() > rounding * sigma.trace():
        return factor
    values: Tensor
    vectors: Tensor
    values, vectors = torch.linalg.eigh(sigma)
    if values[0] < -slack * values.abs().max():
        raise ValueError(
            f"{name}: expected a positive semi-definite matrix, got the eigenvalue "
            f"{float(values[0]):.6g} (largest {float(values[-1]):.6g})"
        )
    kept = values > rounding * values[-1]
    return vectors[:, kept] * values[kept].sqrt()


def _centred(features: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """Mean (D,) and R (D, N), the centred features over sqrt(N - 1), so that sigma = R R^T."""
    if len(features) < 2:
        raise ValueError(f"{name}: expected at least 2 samples, got {len(features)}")
    features = features.to("cpu", torch.float64)
    mean = features.mean(dim=0)
    return mean, ((features - mean) / (len(features) - 1) ** 0.5).T


def _mean(value: Array, name: str) -> Tensor:
    mean, _ = _float64(value, name)
    if mean.ndim != 1 or len(mean) == 0:
        raise ValueError(f"{name}: expected shape (D,), got {tuple(mean.shape)}")
    return mean


def _covariance(value: Array, dim: int, name: str) -> tuple[Tensor, float]:
    """The matrix, exactly symmetric, and the relative rounding to allow for its dtype."""
    sigma, slack = _float64(value, name)
    if sigma.shape != (dim, dim):
        raise ValueError(
            f"{name}: expected shape ({dim}, {dim}) for a mean of {dim} entries, "
            f"got {tuple(sigma.shape)}"
        )
    asymmetry = (sigma - sigma.T).abs().max()
    if asymmetry > slack * sigma.abs().max():
        raise ValueError(
            f"{name}: expected a symmetric matrix, got entries that differ from their mirror "
            f"image by up to {float(asymmetry):.6g}"
        )
    return (sigma + sigma.T) / 2, slack


def _float64(value: Array, name: str) -> tuple[Tensor, float]:
    if not isinstance(value, (Tensor, np.ndarray)):
        raise TypeError(f"{name}: expected a torch tensor or numpy array, got {type(value)}")
    tensor = torch.as_tensor(value).detach()
    floating = tensor.dtype in (torch.float32, torch.float64)
    if not floating and (tensor.is_floating_point() or tensor.is_complex()):
        raise TypeError(f"{name}: expected float32, float64 or integers, got {tensor.dtype}")
    slack = torch.finfo(tensor.dtype if floating else torch.float64).eps ** 0.5
    tensor = tensor.to("cpu", torch.float64)
    if not tensor.isfinite().all():
        raise ValueError(f"{name}: expected finite numbers, got NaN or infinity")
    return tensor, slack
