"""The polar iteration: minimax polynomials, and polar factors by matrix products alone.

An odd polynomial p of a matrix X = P diag(s) Q^T is P diag(p(s)) Q^T. So a composition of a few odd
quintics that maps [least, 1] close to 1 takes A / |A|_2 to its polar factor P Q^T, except for
singular values below ``least``. Each quintic is the best one for the interval that the earlier ones
have left (Amsel et al. 2025, The Polar Express).
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ganfast._precision import exact_products


class Iteration(NamedTuple):
    """The number of steps, and the least singular value (relative) that they resolve."""

    least: float
    steps: int
    single_steps: int


#: Where float64 products are about as fast as float32 ones, and on the CPU.
DOUBLE = Iteration(1e-7, 14, 0)
#: Elsewhere. An error of U enters <U, A> squared, so float32 does not show.
MIXED = Iteration(1e-6, 13, 11)

# The best quintics on [least, 1] take some large singular values down to the smallest ones, where
# they lose digits. On [_FLOOR, 1] they keep all above 0.2, at the cost of half a step.
_FLOOR = 0.05
# The upper end maps to the upper end at every step, where p is steep: room for rounding.
_MARGIN = 1.01
# Data-centre GPUs, by compute capability, have float64 at half the rate of float32 or better.
_FAST_DOUBLE = {(6, 0), (7, 0), (8, 0), (9, 0), (10, 0)}


def iteration_for(device: torch.device) -> Iteration:
    """Return the iteration that is fast on a device and accurate to 1e-7."""
    if device.type == "cuda" and torch.cuda.get_device_capability(device) not in _FAST_DOUBLE:
        return MIXED
    return DOUBLE


def polar_iteration(a: Tensor, iteration: Iteration) -> tuple[Tensor, Tensor, Tensor]:
    """Polar factors u, <u, a>, and a bound of what <u, a> misses, of matrices (B, m, n) in float64.

    A singular value s of a becomes t in u, so that <u, a> misses sum s (1 - t), which is at most
    sum s |1 - t^2| <= sqrt(n) |a (I - u^T u)|_F: the bound. Rounding also turns u by an angle,
    which enters squared and is not in the bound. There is no host sync, and no gradient.
    """
    if a.shape[1] < a.shape[2]:
        u, inner, missed = polar_iteration(a.mT, iteration)
        return u.mT, inner, missed
    a = a.detach().contiguous()
    coefficients = minimax_quintics(iteration.least, iteration.steps)
    u = _iterate(a, coefficients, iteration.single_steps)
    inner = (u * a).sum((1, 2))
    missed = (a - a @ (u.mT @ u)).square().sum((1, 2)).mul(a.shape[2]).sqrt()
    return u, inner, missed


def _norms(x: Tensor) -> Tensor:
    """Frobenius norms (B, 1, 1), with 1 for 0, which stays 0."""
    norms: Tensor = torch.linalg.vector_norm(x, 2, (1, 2), keepdim=True)
    return norms.masked_fill(norms == 0, 1)


@torch.no_grad()
def _iterate(a: Tensor, coefficients: Sequence[float], single_steps: int) -> Tensor:
    """Take a / |a|_2 through the quintics, the first of them in float32."""
    x = a / _norms(a)
    with exact_products():
        for k in range(0, len(coefficients), 3):
            x = x.float() if k < 3 * single_steps else x.double()
            gram = x.mT @ x
            if k == 0:  # |x|_2^2 = |gram|_2 <= |gram|_F: singular values up to 1
                square = _norms(gram)
                x, gram = x / square.sqrt(), gram / square
            first, third, fifth = coefficients[k : k + 3]
            p = torch.baddbmm(gram, gram, gram, beta=third, alpha=fifth)
            p.diagonal(0, 1, 2).add_(first)
            x = x @ p
    return x


@lru_cache(maxsize=8)
def minimax_quintics(least: float, steps: int) -> tuple[float, ...]:
    """Return a, b, c of each quintic a x + b x^3 + c x^5 for [least, 1], step after step."""
    low, high = least, 1.0
    coefficients: list[float] = []
    for _ in range(steps):
        if low < 0.5 * high:
            high *= _MARGIN
        raised = max(low, _FLOOR * high)
        a, b, c = _quintic(raised, high)
        coefficients += (a, b, c)
        low, raised = (x * (a + x**2 * (b + x**2 * c)) for x in (low, raised))
        low, high = min(low, raised), 2 - raised  # the errors at raised and at high are equal
    return tuple(coefficients)


def _quintic(low: float, high: float) -> tuple[float, float, float]:
    """The odd quintic nearest to 1 on [low, high], by the exchange algorithm of Remez.

    Its error is extreme, with alternating signs, at low, at two inner points and at high.
    """
    if low / high > 1 - 1e-4:  # Newton-Schulz of the fifth order: the limit for a point
        return 15 / (8 * high), -10 / (8 * high**3), 3 / (8 * high**5)
    inner = np.array([0.75 * low + 0.25 * high, 0.25 * low + 0.75 * high])
    a = b = c = 0.0
    for _ in range(100):
        points = np.array([low, *inner, high])
        system = np.stack([points, points**3, points**5, [1, -1, 1, -1]], axis=1)
        a, b, c, _ = map(float, np.linalg.solve(system, np.ones(4)))
        root = math.sqrt(9 * b * b - 20 * a * c)  # p' = a + 3 b x^2 + 5 c x^4
        moved = np.sqrt(np.array([-3 * b - root, -3 * b + root]) / (10 * c))
        if np.abs(moved - inner).max() <= 1e-15 * high:
            break
        inner = moved
    return a, b, c
