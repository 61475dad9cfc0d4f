"""Roots and polar factors of matrices in float64, and sums of singular values."""

import warnings
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor

from ganfast.metrics.polar import DOUBLE, polar_iteration
from ganfast.metrics.validation import EPS, Array, as_mean, as_symmetric

_POWER_STEPS = 3
_LEAST_ROUNDINGS = 32  # a covariance also sums over samples, beyond its D roundings
_GRAM_ERROR = 2e-11  # relative, of a nuclear norm
_BLOCK = 512  # columns of one product, where part of them is zero or not needed


def polar_factor(a: Array) -> Tensor:
    """The polar factor U of A = U H: the partial isometry nearest to A, with <U, A> = |A|_*.

    It is differentiable once if all singular values are positive. On CUDA it comes from
    `polar_iteration`, or from singular values if that does not resolve all of them.

    Args:
        a: (..., m, n), float32, float64 or integer, of any rank.

    Returns:
        Float64, of the shape of a.

    Raises:
        TypeError, ValueError: another type, dtype or shape, or values that are not finite.
    """
    a = as_mean(a, "a")
    if a.ndim < 2 or a.shape[-2] == 0:
        raise ValueError(f"a must have shape (..., m, n), got {tuple(a.shape)}")
    u: Tensor = _PolarFactor.apply(a)  # type: ignore[no-untyped-call]
    return u


def sqrtm_psd(s: Array) -> Tensor:
    """The positive semi-definite square root of positive semi-definite matrices.

    It is differentiable once if s is positive definite.

    Args:
        s: (..., D, D), float32, float64 or integer.

    Returns:
        Float64, of the shape of s.

    Raises:
        TypeError, ValueError: as `frechet_distance` for its sigma.
    """
    return _root(s, 0.5, 0.0)


def inv_sqrtm_psd(s: Array, eps: float = 0.0) -> Tensor:
    """(S + eps I)^(-1/2), differentiable once.

    Args:
        s: (..., D, D), float32, float64 or integer, positive semi-definite.
        eps: at least 0, in the units of S.

    Returns:
        Float64, of the shape of s.

    Raises:
        TypeError, ValueError: as `frechet_distance` for its sigma, and if S + eps I is singular to
            rounding.
    """
    if not eps >= 0:
        raise ValueError(f"eps must be at least 0, got {eps}")
    return _root(s, -0.5, eps)


def _root(s: Array, power: float, eps: float) -> Tensor:
    sigma, slack = as_symmetric(s, "s")
    root: Tensor = _PowerPSD.apply(sigma, slack, power, eps)  # type: ignore[no-untyped-call]
    return root


def once_differentiable(gradient: Tensor, *origins: Tensor) -> Tensor:
    """Return the gradient; differentiating it again in one of its origins raises.

    `torch.autograd.function.once_differentiable` would take the origins for constants.
    """
    marked: Tensor = _Once.apply(gradient, *origins)  # type: ignore[no-untyped-call]
    return marked


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gradient: Tensor, *origins: Tensor) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> NoReturn:
        raise RuntimeError("derivatives of second order are not implemented for this function")


class _PowerPSD(torch.autograd.Function):
    """(S + eps I)^(1/2) or its inverse, by eigenvalues; gradient by divided differences."""

    @staticmethod
    def forward(ctx: Any, sigma: Tensor, slack: float, power: float, eps: float) -> Tensor:
        values, vectors = torch.linalg.eigh(sigma)
        largest = values.abs().amax(-1)
        if (values[..., 0] < -slack * largest).any():
            raise ValueError(indefinite("s", values))
        roots = (values.clamp(min=0) + eps).sqrt()
        rounding = max(values.shape[-1], _LEAST_ROUNDINGS) * EPS
        if power < 0 and (roots[..., 0].square() <= rounding * roots[..., -1].square()).any():
            raise ValueError(
                f"s must not be singular with eps = {eps:.6g} added, got the "
                f"eigenvalue {float(values.min()):.6g} (largest {float(values.max()):.6g})"
            )
        ctx.power = power
        ctx.save_for_backward(sigma, roots, vectors)
        image = roots if power > 0 else 1 / roots
        power_of: Tensor = (vectors * image.unsqueeze(-2)) @ vectors.mT
        return power_of

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        sigma, roots, vectors = ctx.saved_tensors
        one, two = roots.unsqueeze(-1), roots.unsqueeze(-2)
        # (r_i - r_j) / (r_i^2 - r_j^2), and the same of 1 / r
        slope = 1 / (one + two)
        if ctx.power < 0:
            slope = -slope / (one * two)
        inner = vectors.mT @ ((grad + grad.mT) / 2) @ vectors
        gradient = vectors @ (slope * inner) @ vectors.mT
        return once_differentiable(gradient, grad, sigma), None, None, None


class _PolarFactor(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Tensor:
        if a.is_cuda and not ctx.needs_input_grad[0]:
            u, inner, missed = polar_iteration(a.reshape(-1, *a.shape[-2:]), DOUBLE)
            if (missed <= 1e-10 * inner).all():
                return u.view_as(a)
            warnings.warn(
                "polar_factor: some singular values are below 1e-7 of the largest; the factor is "
                "taken from a singular value decomposition",
                stacklevel=3,
            )
        left, values, right = torch.linalg.svd(a, full_matrices=False)
        kept = values > max(a.shape[-2:]) * EPS * values[..., :1]
        ctx.save_for_backward(a, left, values, right)
        factor: Tensor = (left * kept.unsqueeze(-2)) @ right
        return factor

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """P (K - K^T) / (s_i + s_j) Q^T, for A = P S Q^T and K = P^T G Q, and the rest."""
        a, left, values, right = ctx.saved_tensors
        inner = left.mT @ grad @ right.mT
        skew = (inner - inner.mT) / (values.unsqueeze(-1) + values.unsqueeze(-2))
        outside_left = (grad @ right.mT - left @ inner) / values.unsqueeze(-2)
        outside_right = (left.mT @ grad - inner @ right) / values.unsqueeze(-1)
        gradient = left @ skew @ right + outside_left @ right + left @ outside_right
        return once_differentiable(gradient, grad, a)


class Root(NamedTuple):
    """R (D, r) of a covariance R R^T; lower triangular if it is a Cholesky factor."""

    matrix: Tensor
    triangular: bool


def psd_root(sigma: Tensor, slack: float, name: str) -> Root:
    """Return the root of a covariance by Cholesky, or by eigenvalues if it is nearly singular.

    Variances may differ by any factor: rounding is measured relative to them. An eigenvalue below
    ``-slack`` times the largest is refused.
    """
    factor, info = torch.linalg.cholesky_ex(sigma)
    if bool(info == 0) and bool(well_conditioned(factor, sigma)):
        return Root(factor, True)
    variances = sigma.diagonal()
    scale = torch.where(variances > 0, variances, 1).sqrt()
    values, vectors = torch.linalg.eigh(sigma / scale / scale.unsqueeze(-1))
    if values[0] < -slack:
        plain = torch.linalg.eigvalsh(sigma)
        if plain[0] < -slack * plain.abs().max():
            raise ValueError(indefinite(name, plain))
    kept = values > max(len(sigma), _LEAST_ROUNDINGS) * EPS * values[-1]
    return Root(scale.unsqueeze(-1) * vectors[:, kept] * values[kept].sqrt(), False)


def well_conditioned(factor: Tensor, sigma: Tensor) -> Tensor:
    """Say whether covariances (..., D, D) with these Cholesky factors are regular beyond rounding.

    The test is on the smallest and largest eigenvalue, after scaling to unit variances, both by
    power iteration in O(D^2). The pivots alone do not tell if the null vector has a small last
    entry.
    """
    scale = sigma.diagonal(dim1=-2, dim2=-1).sqrt().unsqueeze(-1)
    start = torch.arange(1, sigma.shape[-1] + 1, dtype=scale.dtype, device=scale.device).cos()
    top = bottom = start.unsqueeze(-1).expand_as(scale)
    for _ in range(_POWER_STEPS):
        top = torch.nn.functional.normalize(sigma @ (top / scale) / scale, dim=-2)
        bottom = torch.nn.functional.normalize(bottom, dim=-2)
        bottom = scale * torch.cholesky_solve(scale * bottom, factor)
    largest = torch.linalg.vector_norm(sigma @ (top / scale) / scale, dim=(-2, -1))
    smallest = 1 / torch.linalg.vector_norm(bottom, dim=(-2, -1))
    regular: Tensor = smallest > max(sigma.shape[-1], _LEAST_ROUNDINGS) * EPS * largest
    return regular


def indefinite(name: str, values: Tensor) -> str:
    """Return the error message for a matrix with these eigenvalues."""
    return (
        f"{name} must be a positive semi-definite matrix, got the eigenvalue "
        f"{float(values.min()):.6g} (largest {float(values.max()):.6g})"
    )


def trace_with_root(root: Root, sigma: Tensor, slack: float, name: str) -> Tensor:
    """tr (R R^T sigma)^(1/2), by the eigenvalues of R^T sigma R if they are accurate.

    If one of the two is ill-conditioned, the singular values of the product of both roots are.
    """
    total = sum_of_roots(torch.linalg.eigvalsh(congruence(root, sigma)))
    if total is None:
        total = nuclear_norm(product_of(root, psd_root(sigma, slack, name)))
    return total


def nuclear_norm(a: Tensor) -> Tensor:
    """Sum of the singular values: by the Gram matrix, 3 times faster, if that is accurate."""
    if a.shape[0] < a.shape[1]:
        a = a.T
    total = sum_of_roots(torch.linalg.eigvalsh(lower_gram(a)))
    if total is None:
        total = torch.linalg.svdvals(a).sum()
    return total


def sum_of_roots(squares: Tensor) -> Tensor | None:
    """Sum of the roots of computed eigenvalues, smallest first, or None if it may be inaccurate."""
    if not len(squares) or squares[0] <= 0:
        return None
    values = squares.sqrt()
    total: Tensor = values.sum()
    # A square is off by about eps times the largest, so its root s by eps * largest / (2 s), with
    # either sign.
    error = EPS * squares[-1] * torch.linalg.vector_norm(1 / values)
    return total if error <= _GRAM_ERROR * total else None


def singular_vectors(a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """P (m, r), s (r), Q^T (r, n) with a = P diag(s) Q^T, without what is 0 to rounding."""
    left, values, right = torch.linalg.svd(a, full_matrices=False)
    kept = values > max(a.shape) * EPS * values[:1]
    return left[:, kept], values[kept], right[kept]


def lower_gram(a: Tensor) -> Tensor:
    """The lower triangle of a^T a; the entries above it have no meaning."""
    return add_lower_gram(a.new_empty(a.shape[1], a.shape[1]), a, keep=False)


def add_lower_gram(gram: Tensor, a: Tensor, keep: bool = True) -> Tensor:
    """Add a^T a to the lower triangle of ``gram``, or write it there: half of the full product."""
    for i in range(0, a.shape[1], _BLOCK):
        gram[i:, i : i + _BLOCK].addmm_(a[:, i:].T, a[:, i : i + _BLOCK], beta=int(keep))
    return gram


def mirrored(lower: Tensor) -> Tensor:
    """The symmetric matrix (D, D) with this lower triangle, written over it."""
    for i in range(0, len(lower), _BLOCK):
        block = slice(i, i + _BLOCK)
        lower[block, i + _BLOCK :] = lower[i + _BLOCK :, block].T
        corner = lower[block, block]
        lower[block, block] = corner.tril() + corner.tril(-1).T
    return lower


def times_root(x: Tensor, root: Root) -> Tensor:
    """x R for x (N, D); half the work if R is triangular."""
    r = root.matrix
    if len(r) <= _BLOCK or not root.triangular:
        return x @ r
    product = x.new_empty(x.shape)
    for i in range(0, len(r), _BLOCK):
        columns = slice(i, i + _BLOCK)
        torch.mm(x[:, i:], r[i:, columns], out=product[:, columns])
    return product


def congruence(root: Root, sigma: Tensor) -> Tensor:
    """The lower triangle of R^T sigma R; half the work if R is triangular."""
    r, d = root.matrix, len(sigma)
    product = times_root(sigma, root)
    if d <= _BLOCK or not root.triangular:
        return r.T @ product
    result = torch.empty_like(sigma)
    for i in range(0, d, _BLOCK):
        columns, end = slice(i, i + _BLOCK), i + _BLOCK
        torch.mm(r[i:, columns].T, product[i:, :end], out=result[columns, :end])
    return result


def product_of(one: Root, two: Root) -> Tensor:
    """R1^T R2; a third of the work if both are triangular."""
    d = len(one.matrix)
    if d <= _BLOCK or not (one.triangular and two.triangular):
        return one.matrix.T @ two.matrix
    product = one.matrix.new_empty(d, d)
    for i in range(0, d, _BLOCK):
        for j in range(0, d, _BLOCK):
            k = max(i, j)
            rows, columns = one.matrix[k:, i : i + _BLOCK], two.matrix[k:, j : j + _BLOCK]
            torch.mm(rows.T, columns, out=product[i : i + _BLOCK, j : j + _BLOCK])
    return product
