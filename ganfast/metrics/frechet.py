"""The Fréchet distance between two Gaussians, or two sets of features taken for Gaussians.

d^2 = |mu1 - mu2|^2 + tr Sigma1 + tr Sigma2 - 2 tr (Sigma1 Sigma2)^(1/2)
"""

from typing import Any

import torch
from torch import Tensor

from ganfast.metrics.matrix import nuclear_norm, once_differentiable, singular_vectors
from ganfast.metrics.mmd import as_pair
from ganfast.metrics.statistics import FrechetStatistics
from ganfast.metrics.trace import Method, broadcast, clamped, comes_second, trace_of, traces
from ganfast.metrics.validation import (
    Array,
    as_features,
    as_mean,
    as_symmetric,
    directions,
    on_one_device,
    to_float64,
)

_TILE = 4096  # samples that are compared at a time


def frechet_distance(
    mu1: Array, sigma1: Array, mu2: Array, sigma2: Array, *, method: Method = "auto"
) -> Tensor:
    """Fréchet distance, squared as the field reports it, of N(mu1, sigma1) and N(mu2, sigma2).

    |mu1 - mu2|^2 + tr sigma1 + tr sigma2 - 2 tr (sigma1 sigma2)^(1/2)   (Dowson & Landau 1982)

    It is at least 0, symmetric in its arguments, and 0 for equal ones. It is differentiable once in
    all arguments; on a singular sigma the gradient is that of the directions that have variance.

    Scaled to unit variances, eigenvalues below max(D, 32) * 2.2e-16 times the largest cannot be
    told from rounding and count as 0. `frechet_distance_from_features` needs no such cut.

    Args:
        mu1, mu2: (..., D), torch or NumPy, float32, float64 or integer.
        sigma1, sigma2: (..., D, D), symmetric positive semi-definite, singular or not. Leading
            dimensions broadcast: one call gives the distances of all classes.
        method: as for `trace_sqrt_product`.

    Returns:
        Float64, of the leading shape, on the arguments' GPU or the CPU.

    Raises:
        TypeError: another type or dtype.
        ValueError: shapes do not fit, values are not finite, or a sigma is asymmetric or has
            negative eigenvalues beyond rounding: the root of the machine epsilon of its dtype,
            relative to its largest eigenvalue; or the distance overflows.
    """
    mean1, mean2 = as_mean(mu1, "mu1"), as_mean(mu2, "mu2")
    dim = mean1.shape[-1]
    if mean2.shape[-1] != dim:
        raise ValueError(f"mu2 must have {dim} entries as in mu1, got {mean2.shape[-1]}")
    cov1, slack1 = as_symmetric(sigma1, "sigma1", dim)
    cov2, slack2 = as_symmetric(sigma2, "sigma2", dim)
    mean1, mean2, cov1, cov2 = on_one_device(mean1, mean2, cov1, cov2)
    cov1, cov2 = broadcast(cov1, cov2)
    means = (mean1 - mean2).square().sum(-1)
    variances = trace_of(cov1) + trace_of(cov2)
    distance = means + (variances - 2 * traces(cov1, cov2, (slack1, slack2), method))
    if not distance.isfinite().all():
        raise ValueError(
            "mu1, sigma1, mu2 and sigma2 must be small enough for a finite distance, "
            f"got {float(distance.detach().max())}"
        )
    return clamped(distance, 0)


def frechet_distance_from_features(x: Array, y: Array, ddof: int = 1) -> Tensor:
    """Fréchet distance of two feature sets, with covariances over N - ``ddof``.

    If a set has no more samples than dimensions, its covariance is singular; the distance then
    comes from the centred features themselves, and is exact to rounding.

    It is differentiable once. With X and Y centred and scaled, and U the polar factor of X Y^T, the
    gradient of the trace is U Y in X and U^T X in Y. Nothing is inverted, so that it is stable
    where covariances are singular.

    Args:
        x, y: (N, D) and (M, D), floating-point.
        ddof: 0 or 1.

    Returns:
        A float64 scalar.

    Raises:
        TypeError, ValueError: as `frechet_distance`, and for fewer than 2 samples or another ddof.
    """
    x = as_features(x, "x")
    y = as_features(y, "y", x.shape[1])
    x, y = on_one_device(to_float64(x), to_float64(y))
    gradient = torch.is_grad_enabled() and (x.requires_grad or y.requires_grad)
    if min(len(x), len(y)) > x.shape[1] and not gradient:
        one, two = (FrechetStatistics(x.shape[1], x.device) for _ in range(2))
        one.update(x)
        two.update(y)
        return frechet_distance(one.mean, one.covariance(ddof), two.mean, two.covariance(ddof))
    mean1, root1 = centred(x, "x", ddof)
    mean2, root2 = centred(y, "y", ddof)
    return distance_of_roots(mean1, root1, mean2, root2)


def centred(features: Tensor, name: str, ddof: int) -> tuple[Tensor, Tensor]:
    """Return the mean (D,), and X (N - 1, D) with sigma = X^T X.

    The N centred features add up to 0, so that a reflection turns them into X and a row of zeros.
    """
    if len(features) < 2:
        raise ValueError(f"{name} must hold at least 2 samples, got {len(features)}")
    if ddof not in (0, 1):
        raise ValueError(f"ddof must be 0 or 1, got {ddof}")
    n, mean = len(features), features.mean(dim=0)
    centred = features - mean
    return mean, (centred[1:] - centred[0] / (n**0.5 + 1)) / (n - ddof) ** 0.5


def distance_of_roots(mean1: Tensor, x: Tensor, mean2: Tensor, y: Tensor) -> Tensor:
    """Fréchet distance for sigma1 = x^T x and sigma2 = y^T y, with x (N, D) and y (M, D)."""
    means = (mean1 - mean2).square().sum()
    # Equal bits for swapped arguments, and 0 for equal ones.
    if x.shape == y.shape and torch.equal(x, y):
        trace = (x * y).sum()
    elif len(x) < len(y) or (len(x) == len(y) and not comes_second(x.flatten(), y.flatten())):
        trace = _NuclearNorm.apply(x, y)  # type: ignore[no-untyped-call]
    else:
        trace = _NuclearNorm.apply(y, x)  # type: ignore[no-untyped-call]
    distance = means + (x.square().sum() + y.square().sum() - 2 * trace)
    return clamped(distance, 0)


class _NuclearNorm(torch.autograd.Function):
    """|X Y^T|_* of x (N, D) and y (M, D), whose gradient in x is U y and in y is U^T x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        if not any(ctx.needs_input_grad):
            return nuclear_norm(x @ y.T)
        # X Y^T = Q1 (R1 R2^T) Q2^T, and the factors in the middle are small.
        q1, r1 = _rows(x)
        q2, r2 = _rows(y)
        left, values, right = singular_vectors(r1 @ r2.T)
        grad_x, grad_y = left @ (right @ r2), right.T @ (left.T @ r1)
        grad_x = grad_x if q1 is None else q1 @ grad_x
        grad_y = grad_y if q2 is None else q2 @ grad_y
        ctx.save_for_backward(x, y, grad_x, grad_y)
        return values.sum()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        x, y, *gradients = ctx.saved_tensors
        return tuple(once_differentiable(grad * gradient, grad, x, y) for gradient in gradients)


def _rows(x: Tensor) -> tuple[Tensor | None, Tensor]:
    """Return Q and R with x = Q R and at most D rows in R; no Q if x has no more rows itself."""
    if len(x) <= x.shape[1]:
        return None, x
    q, r = torch.linalg.qr(x)
    return q, r


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
