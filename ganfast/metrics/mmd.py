"""Squared maximum mean discrepancies of subsets, in tiles of bounded memory.

MMD^2 = mean k(x, x') + mean k(y, y') - 2 mean k(x, y)   (Gretton et al. 2012)

The unbiased one leaves out the pairs x = x'. Kernels are computed in the dtype of the features and
summed in float64.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from ganfast.metrics.validation import Array, as_features, on_one_device

# Turns inner products (N, M) in place into the kernel, given |x|^2 (N, 1) and |y|^2 (1, M).
Kernel = Callable[[Tensor, Tensor, Tensor], Tensor]

_WORTH = 64  # rows from which the repacking for oneDNN pays
_TILE = 2048
_SUBSET_TILE = 256  # small ones leave out nearly half of the pairs of two samples


def polynomial(degree: int, gamma: float, coef0: float) -> Kernel:
    """(gamma <x, y> + coef0)^degree."""

    def kernel(products: Tensor, xx: Tensor, yy: Tensor) -> Tensor:
        return products.mul_(gamma).add_(coef0).pow_(degree)

    return kernel


def gaussian(sigma: float) -> Kernel:
    """exp(-|x - y|^2 / (2 sigma^2))."""
    if not sigma > 0:
        raise ValueError(f"sigma must be above 0, got {sigma}")

    def kernel(products: Tensor, xx: Tensor, yy: Tensor) -> Tensor:
        squares = products.mul_(-2).add_(xx).add_(yy).clamp_(min=0)
        return squares.mul_(-0.5 / sigma**2).exp_()

    return kernel


def as_pair(x: Array, y: Array) -> tuple[Tensor, Tensor]:
    """Check two feature sets; return them in one dtype, at least float32, on one device."""
    one = as_features(x, "x").detach()
    two = as_features(y, "y", one.shape[1]).detach()
    dtype = torch.promote_types(torch.promote_types(one.dtype, two.dtype), torch.float32)
    one, two = on_one_device(one.to(dtype), two.to(dtype))
    return one, two


def inner_products(a: Tensor, b: Tensor) -> Tensor:
    """Return all inner products (N, M) of rows (N, D) and (M, D), as ``a @ b.T``.

    In float32 on a CPU oneDNN computes them, which is twice as fast as MKL on a CPU that is not
    Intel's. The D terms are then added in another order.
    """
    if (
        a.dtype == torch.float32
        and a.device.type == "cpu"
        and min(len(a), len(b)) >= _WORTH
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    ):
        return torch.nn.functional.linear(a.to_mkldnn(), b.to_mkldnn()).to_dense()
    return a @ b.T


def mmd2(
    x: Tensor, y: Tensor, chosen: list[tuple[Tensor, Tensor]], kernel: Kernel, unbiased: bool
) -> Tensor:
    """Return MMD^2 (S,), float64, of subsets: pairs of indices into x (N, D) and into y (M, D).

    If the subsets together have more pairs than the sets, each pair of the sets is computed once
    and summed into every subset that holds it.
    """
    # With what says who is in which subset, or None if all are in one.
    sets: Iterable[tuple[Tensor, Tensor, Tensor | None, Tensor | None]]
    pairs = sum((len(i) + len(j)) ** 2 for i, j in chosen)
    if (len(x) + len(y)) ** 2 <= pairs:
        tile = _TILE
        sets = [(x, y, _members([i for i, _ in chosen], x), _members([j for _, j in chosen], y))]
    else:
        tile = _SUBSET_TILE
        sets = ((x[i], y[j], None, None) for i, j in chosen)
    sums = [
        (_within(a, p, kernel, tile), _within(b, q, kernel, tile), _sums(a, b, p, q, kernel))
        for a, b, p, q in sets
    ]
    xx, yy, xy = (torch.cat(part, -1) for part in zip(*sums, strict=True))
    n = torch.tensor([len(i) for i, _ in chosen], dtype=torch.float64)
    m = torch.tensor([len(j) for _, j in chosen], dtype=torch.float64)
    if unbiased:
        return xx[0] / (n * (n - 1)) + yy[0] / (m * (m - 1)) - 2 * xy / (n * m)
    return xx.sum(0) / n**2 + yy.sum(0) / m**2 - 2 * xy / (n * m)


def _members(chosen: list[Tensor], x: Tensor) -> Tensor:
    """(N, S), float64: 1 where a sample is in a subset."""
    members = torch.zeros(len(x), len(chosen), dtype=torch.float64, device=x.device)
    for s, index in enumerate(chosen):
        members[index.to(x.device), s] = 1
    return members


def _within(x: Tensor, members: Tensor | None, kernel: Kernel, tile: int) -> Tensor:
    """Sums (2, S) over the pairs of two samples of a subset, and over samples with themselves."""
    squares = x.square().sum(1)
    own = kernel(squares.clone(), squares, squares).double()
    diagonal = (own.sum().view(1) if members is None else own @ members).cpu()
    total = torch.zeros_like(diagonal)
    for i in range(0, len(x), tile):
        rows, before = slice(i, i + tile), slice(0, i)
        of_rows, of_before = (None if members is None else members[k] for k in (rows, before))
        total += _sums(x[rows], x[rows], of_rows, of_rows, kernel, same=True)
        if i:
            total += 2 * _sums(x[rows], x[before], of_rows, of_before, kernel)
    return torch.stack([total, diagonal])


def _sums(
    x: Tensor,
    y: Tensor,
    of_x: Tensor | None,
    of_y: Tensor | None,
    kernel: Kernel,
    same: bool = False,
) -> Tensor:
    """Sums (S,) of the kernel over the pairs of each subset, without i = j if ``same``."""
    subsets = 1 if of_x is None else of_x.shape[1]
    total = torch.zeros(subsets, dtype=torch.float64, device=x.device)
    for i in range(0, len(x), _TILE):
        for j in range(0, len(y), _TILE):
            rows, columns = slice(i, i + _TILE), slice(j, j + _TILE)
            a, b = x[rows], y[columns]
            xx, yy = a.square().sum(1, keepdim=True), b.square().sum(1).unsqueeze(0)
            values = kernel(inner_products(a, b), xx, yy)
            if same:
                values.fill_diagonal_(0)
            if of_x is None or of_y is None:
                total += values.sum(dtype=torch.float64)
            else:
                total += ((values.double() @ of_y[columns]) * of_x[rows]).sum(0)
    return total.cpu()
