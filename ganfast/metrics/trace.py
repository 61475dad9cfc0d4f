"""tr (Sigma1 Sigma2)^(1/2), its gradient, and its two algorithms.

With Sigma_i = R_i R_i^T and A = R1^T R2 the trace is the nuclear norm |A|_*, the sum of the
singular values: no root of a non-symmetric matrix, so nothing complex, is ever formed. With the
polar factor U of A

    d tr (Sigma1 Sigma2)^(1/2) = <T1, dSigma1> / 2 + <T2, dSigma2> / 2
    T1 = R2 (A^T A)^(-1/2) R2^T = R1^-T U R2^T,   T2 = R1 (A A^T)^(-1/2) R1^T = R2^-T U^T R1^T

and T1 is the optimal transport map from N(0, Sigma1) to N(0, Sigma2).
"""

import warnings
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from ganfast.metrics.certificate import nuclear_bounds
from ganfast.metrics.matrix import (
    once_differentiable,
    product_of,
    psd_root,
    singular_vectors,
    trace_with_root,
    well_conditioned,
)
from ganfast.metrics.polar import iteration_for, polar_iteration
from ganfast.metrics.validation import Array, as_symmetric, on_one_device

#: ``eigenvalues`` of the product of the roots, ``polar`` iteration; ``auto``: polar on CUDA.
Method = Literal["auto", "eigenvalues", "polar"]

_POLAR_ERROR = 1e-7  # relative, that the polar iteration may have missed


def trace_sqrt_product(sigma1: Array, sigma2: Array, *, method: Method = "auto") -> Tensor:
    """Return tr (sigma1 sigma2)^(1/2), the sum of the roots of the eigenvalues of the product.

    Differentiable once. Swapped arguments give the same bits.

    Args:
        sigma1, sigma2: (..., D, D) as for `frechet_distance`; leading dimensions broadcast.
        method: ``"eigenvalues"`` is accurate to about 1e-10, and the default on the CPU.
            ``"polar"`` takes matrix products alone, is accurate to 1e-7, and is the default on
            CUDA; where its own error bound is larger, it takes the eigenvalues and warns.

    Returns:
        Float64, of the leading shape.

    Raises:
        TypeError, ValueError: as `frechet_distance`.
    """
    matrix1, matrix2, slacks = _pair(sigma1, sigma2)
    return traces(matrix1, matrix2, slacks, method)


class BoundedTrace(NamedTuple):
    """A trace and its bounds, float64, of the leading shape; the bounds carry no gradient."""

    trace: Tensor
    lower: Tensor
    upper: Tensor


def trace_sqrt_product_with_bounds(
    sigma1: Array, sigma2: Array, *, method: Method = "auto"
) -> BoundedTrace:
    """Return `trace_sqrt_product` between bounds that are proven, with every rounding counted.

    The exact trace of the matrices as given lies between the bounds: the proof is in
    `ganfast.metrics.certificate`. They cost five to fifteen times as much as the trace.

    Args:
        sigma1, sigma2, method: as for `trace_sqrt_product`.

    Raises:
        TypeError, ValueError: as `frechet_distance`.
    """
    matrix1, matrix2, slacks = _pair(sigma1, sigma2)
    trace = traces(matrix1, matrix2, slacks, method)
    one, two, scale = scaled(*broadcast(matrix1.detach(), matrix2.detach()))
    pairs = zip(_flat(one), _flat(two), strict=True)
    bounds = torch.stack([nuclear_bounds(a, b) for a, b in pairs]).view(*trace.shape, 2)
    lower, upper = (bounds * scale.unsqueeze(-1)).unbind(-1)
    return BoundedTrace(clamped(trace, lower, upper), lower, upper)


def _pair(sigma1: Array, sigma2: Array) -> tuple[Tensor, Tensor, tuple[float, float]]:
    """Check two matrices; return them on one device, and the rounding to allow for in each."""
    matrix1, slack1 = as_symmetric(sigma1, "sigma1")
    matrix2, slack2 = as_symmetric(sigma2, "sigma2", matrix1.shape[-1])
    matrix1, matrix2 = on_one_device(matrix1, matrix2)
    return matrix1, matrix2, (slack1, slack2)


def traces(sigma1: Tensor, sigma2: Tensor, slacks: tuple[float, float], method: Method) -> Tensor:
    """`trace_sqrt_product` of checked matrices on one device."""
    if method not in ("auto", "eigenvalues", "polar"):
        raise ValueError(f"method must be auto, eigenvalues or polar, got {method!r}")
    sigma1, sigma2, scale = scaled(*broadcast(sigma1, sigma2))
    polar = method == "polar" or (method == "auto" and sigma1.is_cuda)
    trace: Tensor = _TraceSqrt.apply(sigma1, sigma2, slacks, polar)  # type: ignore[no-untyped-call]
    return trace * scale


def clamped(value: Tensor, low: Tensor | float, high: Tensor | float | None = None) -> Tensor:
    """Clamp a value that leaves the range only by rounding, and keep its gradient."""
    exact = value.detach()
    return value + (torch.clamp(exact, low, high) - exact)  # type: ignore[arg-type]


def broadcast(sigma1: Tensor, sigma2: Tensor) -> tuple[Tensor, Tensor]:
    """Return both with the same leading dimensions."""
    # Not torch.broadcast_shapes, which imports sympy.
    one, two = torch.broadcast_tensors(sigma1, sigma2)  # type: ignore[no-untyped-call]
    return one, two


def scaled(sigma1: Tensor, sigma2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scale both to variances of a usual size; return the factor of their trace, too.

    Powers of two lose no bit. Far from 1 the squares would leave the range of float64.
    """
    powers = [_power_of_four(sigma.detach()) for sigma in (sigma1, sigma2)]
    one, two = (s / p[..., None, None] for s, p in zip((sigma1, sigma2), powers, strict=True))
    return one, two, powers[0].sqrt() * powers[1].sqrt()


def _power_of_four(sigma: Tensor) -> Tensor:
    """The power of 4 next to the largest variance of matrices (..., D, D), or 1 if it is usual."""
    largest = sigma.diagonal(dim1=-2, dim2=-1).abs().amax(-1)
    mantissa, exponent = torch.frexp(largest)
    power = largest / mantissa
    usual = ((largest > 1e-60) & (largest < 1e60)) | (largest == 0)
    return torch.where(usual, 1, torch.where(exponent % 2 == 0, power, power / 2))


def trace_of(sigma: Tensor) -> Tensor:
    """Traces of matrices (..., D, D)."""
    return sigma.diagonal(dim1=-2, dim2=-1).sum(-1)


class _Maps(NamedTuple):
    """The trace of one pair, and T1 and T2 (D, D) where the gradient is wanted."""

    trace: Tensor
    maps: tuple[Tensor, ...]
    equal: bool  # the trace is that of either matrix


class _TraceSqrt(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, sigma1: Tensor, sigma2: Tensor, slacks: tuple[float, float], polar: bool
    ) -> Tensor:
        one, two = _flat(sigma1), _flat(sigma2)
        gradient = any(ctx.needs_input_grad[:2])
        if polar:
            pairs = _by_polar_iteration(one, two, slacks, gradient)
        else:
            each = zip(one, two, strict=True)
            pairs = [_by_eigenvalues(a, b, slacks, gradient) for a, b in each]
        if gradient:
            t1, t2 = (torch.stack([pair.maps[i] for pair in pairs]) for i in (0, 1))
            ctx.save_for_backward(sigma1, sigma2, t1.view(sigma1.shape), t2.view(sigma2.shape))
        trace = torch.stack([pair.trace for pair in pairs]).view(sigma1.shape[:-2])
        equal = torch.tensor([pair.equal for pair in pairs], device=trace.device)
        # From the same sum as in `frechet_distance`, so that it is exactly 0 there.
        return torch.where(equal.view(trace.shape), trace_of(sigma1), trace)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        sigma1, sigma2, t1, t2 = ctx.saved_tensors
        half = grad[..., None, None] / 2
        first, second = (once_differentiable(half * t, grad, sigma1, sigma2) for t in (t1, t2))
        return first, second, None, None


def _flat(matrices: Tensor) -> Tensor:
    """Matrices (..., D, D) as (B, D, D)."""
    return matrices.reshape(-1, *matrices.shape[-2:])


def _by_eigenvalues(
    sigma1: Tensor, sigma2: Tensor, slacks: tuple[float, float], gradient: bool
) -> _Maps:
    """One pair (D, D), accurate at any rank."""
    order = _order(sigma1, sigma2)
    if order == 0 and not gradient:
        psd_root(sigma1, max(slacks), "sigma1")  # for its check
        return _Maps(trace_of(sigma1), (), True)
    # Swapped arguments give the same bits.
    names = ("sigma1", "sigma2")
    if order > 0:
        sigma1, sigma2, slacks, names = sigma2, sigma1, slacks[::-1], names[::-1]
    root1 = psd_root(sigma1, slacks[0], names[0])
    if not gradient:
        return _Maps(trace_with_root(root1, sigma2, slacks[1], names[1]), (), False)
    root2 = psd_root(sigma2, slacks[1], names[1])
    left, values, right = singular_vectors(product_of(root1, root2))
    half_t2 = root1.matrix @ (left / values.sqrt())
    half_t1 = root2.matrix @ (right / values.sqrt().unsqueeze(-1)).T
    maps = (half_t1 @ half_t1.T, half_t2 @ half_t2.T)
    return _Maps(values.sum(), maps if order <= 0 else maps[::-1], order == 0)


def _order(sigma1: Tensor, sigma2: Tensor) -> int:
    """0 where two matrices are equal, else the sign of the first entry that differs."""
    for one, two in zip(sigma1, sigma2, strict=True):  # the first rows differ, as a rule
        if not torch.equal(one, two):
            return 1 if comes_second(one, two) else -1
    return 0


def comes_second(one: Tensor, two: Tensor) -> Tensor:
    """Whether the first entry of rows (..., n) that differs is the larger one."""
    first = (one != two).to(torch.uint8).argmax(-1, keepdim=True)
    return (one.gather(-1, first) > two.gather(-1, first)).squeeze(-1)


def _by_polar_iteration(
    one: Tensor, two: Tensor, slacks: tuple[float, float], gradient: bool
) -> list[_Maps]:
    """All pairs (B, D, D) at once, with one host sync at the end for the residuals."""
    swap = comes_second(one.flatten(1), two.flatten(1)).view(-1, 1, 1)
    first, second = torch.where(swap, two, one), torch.where(swap, one, two)
    l1, info1 = torch.linalg.cholesky_ex(first)
    l2, info2 = torch.linalg.cholesky_ex(second)
    definite = (info1 == 0) & (info2 == 0)
    definite &= well_conditioned(l1, first) & well_conditioned(l2, second)
    u, inner, missed = polar_iteration(l1.mT @ l2, iteration_for(one.device))
    maps: tuple[Tensor, ...] = ()
    if gradient:
        t1 = torch.linalg.solve_triangular(l1.mT, u @ l2.mT, upper=True)
        t2 = torch.linalg.solve_triangular(l2.mT, u.mT @ l1.mT, upper=True)
        t1, t2 = torch.where(swap, t2, t1), torch.where(swap, t1, t2)
        maps = ((t1 + t1.mT) / 2, (t2 + t2.mT) / 2)

    # NaN where a Cholesky factor does not exist.
    relative = (missed / inner).nan_to_num(torch.inf)
    equal = (one == two).flatten(1).all(1)
    report = torch.stack([x.to(relative) for x in (definite, relative, equal)]).tolist()
    pairs = []
    for k, (usable, error, same) in enumerate(zip(*report, strict=True)):
        if usable and error <= _POLAR_ERROR:
            pairs.append(_Maps(inner[k], tuple(t[k] for t in maps), bool(same)))
            continue
        if usable:
            warnings.warn(
                f"the polar iteration may have missed {error:.1e} of the trace (more than "
                f"{_POLAR_ERROR:.0e}): it was taken from eigenvalues, which is slower",
                RuntimeWarning,
                stacklevel=6,
            )
        pairs.append(_by_eigenvalues(one[k], two[k], slacks, gradient))
    return pairs
