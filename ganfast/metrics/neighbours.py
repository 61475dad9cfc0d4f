"""Nearest neighbours and membership in balls, exact in float64 at the speed of float32.

Squared distances |a|^2 + |b|^2 - 2 <a, b> are computed in float32, tile by tile, and each is within

    e = u (D + 16) (|a|^2 + |b|^2)      (u: the unit roundoff; Higham 2002, section 3.1)

of the exact one. What lies within e of a decision is computed again in float64 from the difference
of the two vectors, so that the results are those of a float64 search.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

TILE = 1024
_SPARE = 3  # candidates beyond the k nearest
_PAIRS = 128  # differences in float64 at a time: they stay in the cache


class Neighbours(NamedTuple):
    """Squared distances (N, k) in float64, smallest first, and the indices (N, k) they are to."""

    squares: Tensor
    indices: Tensor


class Points:
    """Features (N, D) as given, and centred, scaled and in float32."""

    def __init__(self, features: Tensor, centre: Tensor, scale: float) -> None:
        self.given = features
        self.centre, self.scale = centre, scale
        self.scaled = ((features.double() - centre) / scale).float()
        self.squares = self.scaled.double().square().sum(1).float()

    def __len__(self) -> int:
        return len(self.given)

    def part(self, kept: Tensor) -> "Points":
        """Those that a mask (N,) keeps."""
        return Points(self.given[kept], self.centre, self.scale)

    def in_my_units(self, squares: Tensor) -> Tensor:
        """Squared distances of the given features as float32 ones of the scaled features."""
        return (squares / self.scale**2).float()


def points(*sets: Tensor) -> list[Points]:
    """Sets of features that are compared with each other: one centre and one scale for all."""
    centre = sets[0].double().mean(0)
    scale = max(_largest_norm(features, centre) for features in sets) or 1.0
    return [Points(features, centre, scale) for features in sets]


def nearest(a: Points, k: int, b: Points | None = None) -> Neighbours:
    """The k nearest in ``b`` of each in ``a``; without ``b`` the k nearest others in ``a``."""
    of = a if b is None else b
    available = len(of) - (b is None)
    if not 1 <= k <= available:
        raise ValueError(f"k: expected 1 to {available}, the number of neighbours, got {k}")
    wanted = min(k + _SPARE, available)
    found = Best(len(a), wanted, a.scaled.device)
    for rows in tiles(len(a)):
        for columns in tiles(len(of)):
            if b is None and columns.start < rows.start:
                continue  # done with its mirror image
            squares = squares_of(a, rows, of, columns)
            if b is None and rows == columns:
                squares.fill_diagonal_(torch.inf)
            found.add(rows, squares, columns)
            if b is None and rows != columns:
                found.add(columns, squares.T, rows)
    return _settle(a, of, k, found, b is None)


def inside(
    a: Points, b: Points, radii_a: Tensor, radii_b: Tensor, strict: bool
) -> Iterator[tuple[slice, slice, Tensor, Tensor]]:
    """Tiles (rows of a, columns of b, b_j is in the ball of a_i, a_i is in the ball of b_j).

    The radii, (N,) and (M,) in float64, are squared. On the sphere counts unless ``strict``.
    """
    low_a, high_a = (bound.unsqueeze(1) for bound in _bounds(a, b, radii_a))
    low_b, high_b = _bounds(b, a, radii_b)
    for rows in tiles(len(a)):
        for columns in tiles(len(b)):
            squares = squares_of(a, rows, b, columns)
            masks = []
            for low, high, radii, of_a in (
                (low_a[rows], high_a[rows], radii_a, True),
                (low_b[columns], high_b[columns], radii_b, False),
            ):
                within = squares < low
                i, j = ((squares <= high) ^ within).nonzero(as_tuple=True)
                p, q = i + rows.start, j + columns.start
                exact, radius = exact_squares(a, p, b, q), radii[p if of_a else q]
                within[i, j] = exact < radius if strict else exact <= radius
                masks.append(within)
            yield rows, columns, masks[0], masks[1]


def exact_squares(a: Points, i: Tensor, b: Points, j: Tensor) -> Tensor:
    """|a_i - b_j|^2 in float64 for index lists of one length."""
    parts = [
        (a.given[p].double() - b.given[q].double()).square().sum(1)
        for p, q in zip(torch.split(i, _PAIRS), torch.split(j, _PAIRS), strict=True)
    ]
    return torch.cat(parts) if parts else i.new_zeros(0, dtype=torch.float64)


class Best:
    """The smallest squares seen so far in each row, with their columns."""

    def __init__(self, rows: int, k: int, device: torch.device) -> None:
        self.squares = torch.full((rows, k), torch.inf, device=device)
        self.indices = torch.zeros(rows, k, dtype=torch.int64, device=device)

    def add(self, rows: slice, squares: Tensor, columns: slice) -> None:
        k = self.squares.shape[1]
        values, index = squares.topk(min(k, squares.shape[1]), dim=1, largest=False)
        values = torch.cat([self.squares[rows], values], 1)
        index = torch.cat([self.indices[rows], index + columns.start], 1)
        self.squares[rows], chosen = values.topk(k, dim=1, largest=False)
        self.indices[rows] = index.gather(1, chosen)


def _settle(a: Points, b: Points, k: int, found: Best, same: bool) -> Neighbours:
    """Exact distances of the candidates, and a full search where these may not hold all."""
    wanted = found.squares.shape[1]
    rows = torch.arange(len(a), device=found.indices.device).repeat_interleave(wanted)
    exact = exact_squares(a, rows, b, found.indices.flatten()).view(-1, wanted)
    squares, order = exact.sort(dim=1, stable=True)
    indices = found.indices.gather(1, order)
    if wanted < len(b) - same:
        last = found.squares.max(1).values.double()
        bound = last - _error(a, b).double()
        for row in (bound <= squares[:, k - 1] / a.scale**2).nonzero().flatten().tolist():
            everything = torch.arange(len(b), device=indices.device)
            if same:
                everything = everything[everything != row]
            these = exact_squares(a, torch.full_like(everything, row), b, everything)
            squares[row, :k], chosen = these.topk(k, largest=False)
            indices[row, :k] = everything[chosen]
    return Neighbours(squares[:, :k], indices[:, :k])


def squares_of(a: Points, rows: slice, b: Points, columns: slice) -> Tensor:
    """Squared distances of scaled features (rows, columns) in float32."""
    x, y = a.scaled[rows], b.scaled[columns]
    return torch.addmm(b.squares[columns], x, y.T, alpha=-2).add_(a.squares[rows].unsqueeze(1))


def _bounds(a: Points, b: Points, radii: Tensor) -> tuple[Tensor, Tensor]:
    """What a computed square has to be below, and above, to be surely inside, and outside."""
    radii = a.in_my_units(radii)
    error = _error(a, b) + radii * 2**-22
    return radii - error, radii + error


def _error(a: Points, b: Points) -> Tensor:
    """(N,): how far a computed square of each in a to any in b may be off.

    The unit roundoff is that of the products that torch is set to; what is beyond D is for the
    roundings of the norms, the sums and the scaled features.
    """
    exact = torch.get_float32_matmul_precision() == "highest"
    roundings = a.scaled.shape[1] + 16
    return roundings * (2**-24 if exact else 2**-8) * (a.squares + b.squares.max())


def _largest_norm(features: Tensor, centre: Tensor) -> float:
    parts = [
        float((part.double() - centre).square().sum(1).max())
        for part in torch.split(features, TILE)
    ]
    return float(max(parts) ** 0.5)


def tiles(n: int) -> Iterator[slice]:
    for start in range(0, n, TILE):
        yield slice(start, min(start + TILE, n))
