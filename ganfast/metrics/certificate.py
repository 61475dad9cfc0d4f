r"""Bounds of tr (Sigma1 Sigma2)^(1/2) that are proven, with every rounding counted.

Write F(S1, S2) = tr (S1 S2)^(1/2) = |R1^T R2|_* for any roots S_i = R_i R_i^T, u for the unit
roundoff 2^-53 and g(n) = n u / (1 - n u): a computed product with inner length n is off by at most
g(n) |X| |Y| entry by entry, and so by g(n) |X|_F |Y|_F in the Frobenius norm (Higham 2002, 3.5).
S1 and S2 are taken as given, exact and positive semi-definite.

**From the nuclear norm to two sums.** Let V be any square matrix with |V^T V - I| <= v < 1. Its own
polar factor is orthogonal and V = V' (V^T V)^(1/2), so |A|_* = |A V (V^T V)^(-1/2)|_* <=
|A V|_* (1 - v)^(-1/2), and a nuclear norm is at most the sum of the norms of the columns:

    |A|_* <= (1 - v)^(-1/2) sum_j |A v_j|.                                                   (upper)

|A|_* is the largest <U, A> over |U|_2 <= 1. With any Q, and q = |Q^T Q - I|, the matrix Q V^T has
|Q V^T|_2^2 <= (1 + q)(1 + v), so

    |A|_* >= <Q, A V> / ((1 + q)(1 + v))^(1/2).                                              (lower)

V are the right singular vectors as computed and Q R the QR factorisation of A V, sorted: where V is
exact both sums are |A|_*, and its error enters squared.

**From the matrices to A.** For the Cholesky factor L of a float64 matrix M that was computed
without a failure |L L^T - M|_ij <= g(D + 1) / (1 - g(D + 1)) (m_ii m_jj)^(1/2) (Demmel 1989;
Higham 10.3), and as (sum_i |x_i| m_ii^(1/2))^2 <= D sum_i x_i^2 m_ii,

    -e M_d <= L L^T - M <= e M_d,  e = D g(D + 1) / (1 - g(D + 1)),  M_d = diag M,

between symmetric matrices. So the factor of S + t S_d, t >= 2 e + 4 u, is a root of a matrix S^
with S <= S^ <= S + 2 t S_d, and the factor of S - t S_d, where there is one, of a matrix below S.
F is monotone, so factors from above give an upper, and factors from below a lower bound. F is also
subadditive in each argument and F(E, S) <= (tr E tr S)^(1/2), so that

    F(S1, S2) >= F(S1^, S2^) - (2 t tr S1 tr S2^)^(1/2) - (tr S1 2 t tr S2)^(1/2),

which holds at any rank: where a matrix is singular to rounding there is no factor from below, and
the trace itself is known no better than to the root of a rounding. The larger of the lower bounds
is returned.
"""

import math

import torch
from torch import Tensor

_U = 2.0**-53
_MORE = 1.001  # covers the roundings of terms that bound roundings
_UP = 1 + 16 * _U  # covers the last few operations of a result


def nuclear_bounds(sigma1: Tensor, sigma2: Tensor) -> Tensor:
    """Return the bounds (2,) of tr (sigma1 sigma2)^(1/2) for one pair (D, D) in float64."""
    d = len(sigma1)
    shift = (2 * d * _gamma(d + 1) / (1 - _gamma(d + 1)) + 4 * _U) * _MORE
    # Variables without variance have no covariance either: they add nothing to the trace.
    kept = (sigma1.diagonal() > 0) & (sigma2.diagonal() > 0)
    sigma1, sigma2 = sigma1[kept][:, kept], sigma2[kept][:, kept]
    if not len(sigma1):
        return sigma1.new_zeros(2)
    above = [_shifted_root(sigma, shift) for sigma in (sigma1, sigma2)]
    if above[0] is None or above[1] is None:
        raise ValueError("sigma1 and sigma2 must be positive semi-definite, got others")
    low, upper = _bounds_of_product(above[0], above[1])
    trace1, trace2 = float(sigma1.trace()), float(sigma2.trace())
    gap = math.sqrt(2 * shift * trace1 * trace2) * (math.sqrt(1 + 2 * shift) + 1)
    lower = max(0.0, low - gap * _MORE)
    below = [_shifted_root(sigma, -shift) for sigma in (sigma1, sigma2)]
    if below[0] is not None and below[1] is not None:
        lower = max(lower, _bounds_of_product(below[0], below[1])[0])
    return sigma1.new_tensor([lower, upper])


def _gamma(n: int) -> float:
    return n * _U / (1 - n * _U)


def _shifted_root(sigma: Tensor, shift: float) -> Tensor | None:
    """The Cholesky factor of sigma + shift diag(sigma), or None."""
    factor, info = torch.linalg.cholesky_ex(sigma + (shift * sigma.diagonal()).diag())
    return factor if info == 0 else None


def _bounds_of_product(root1: Tensor, root2: Tensor) -> tuple[float, float]:
    """The bounds of |root1^T root2|_* for the exact product."""
    d = len(root1)
    a = root1.T @ root2
    v = torch.linalg.eigh(a.T @ a).eigenvectors.flip(-1)  # sorted from large to small
    av = a @ v
    q = torch.linalg.qr(av).Q
    v_error, q_error = _departure(v), _departure(q)
    # |A - root1^T root2|_* and |AV - A V|_* are at most sqrt(d) times their Frobenius norms.
    norms = float(torch.linalg.matrix_norm(root1) * torch.linalg.matrix_norm(root2))
    size = float(torch.linalg.matrix_norm(a))
    product = math.sqrt(d) * _gamma(d) * norms * _MORE
    turned = d * _gamma(d) * size * (1 + v_error) * _MORE  # |V|_F <= (d (1 + v))^(1/2)
    columns = float(torch.linalg.vector_norm(av, dim=0).sum()) * (1 + _gamma(3 * d))
    upper = (columns + turned) / math.sqrt(1 - v_error) + product
    # The columns of Q may have either sign.
    inner = float((q * av).sum(0).abs().sum()) - _gamma(3 * d) * float((q * av).abs().sum()) * _MORE
    lower = (inner - turned * (1 + q_error)) / math.sqrt((1 + q_error) * (1 + v_error)) - product
    return max(lower, 0.0) / _UP, upper * _UP


def _departure(v: Tensor) -> float:
    """A bound of |V^T V - I|_2."""
    d = len(v)
    gram = v.T @ v
    norm = float(torch.linalg.matrix_norm(v))
    distance = float(torch.linalg.matrix_norm(gram - torch.eye(d, dtype=v.dtype, device=v.device)))
    return (distance + _gamma(d) * norm * norm) * _MORE
