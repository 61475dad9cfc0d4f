"""Nearest neighbours and membership in balls, exact in float64 at the speed of float32.

Squared distances |a|^2 + |b|^2 - 2 <a, b> are computed in float32, tile by tile. Each is within

    e = u (D + 16) (|a|^2 + |b|^2)      (u: the unit roundoff; Higham 2002, section 3.1)

of the exact one. What lies within e of a decision is computed again in float64, from the difference
of the two vectors, so that the results are those of a float64 search.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from ganfast._precision import has_exact_products
from ganfast.metrics.mmd import inner_products

TILE = 1024
_SPARE = 3  # candidates beyond the k nearest
_PAIRS = 128  # differences in float64 at a time: they stay in the cache


class Points:
    """Features (N, D), and the same ones centred, scaled and in float32."""

    def __init__(self, features: Tensor, centre: Tensor, scale: float) -> None:
        self.features = features
        self.centre, self.scale = centre, scale
        self.scaled = ((features.double() - centre) / scale).float()
        self.squares = self.scaled.double().square().sum(1).float()

    def __len__(self) -> int:
        return len(self.features)

    def part(self, kept: Tensor) -> "Points":
        """Return those that a mask (N,) keeps."""
        return Points(self.features[kept], self.centre, self.scale)

    def in_my_units(self, squares: Tensor) -> Tensor:
        """Convert squared distances of the features to float32 ones of the scaled features."""
        return (squares / self.scale**2).float()


def points(*sets: Tensor) -> list[Points]:
    """Prepare sets of features for comparison, with one centre and one scale for all.

    Tiny features, whose squares float64 does not hold, are scaled by a power of two, so that
    distances are in other units than theirs.
    """
    largest = max(float(features.abs().max()) for features in sets)
    if 0 < largest < 2.0**-300:
        sets = tuple(features.double() * 2.0**700 for features in sets)
    centre = sets[0].double().mean(0)
    parts = [part for features in sets for part in torch.split(features, TILE)]
    largest = max(float((part.double() - centre).square().sum(1).max()) for part in parts)
    scale = largest**0.5 or 1.0
    return [Points(features, centre, scale) for features in sets]


def radii(a: Points, k: int) -> Tensor:
    """Squared distances (N,), float64, from each in ``a`` to its k-th nearest other.

    With s the k-th smallest computed square and e its error, the exact one is within e of s. A
    square below s - 2e is nearer, and one above s + 2e farther; among the few between, the exact
    squares decide.
    """
    if not 1 <= k < len(a):
        raise ValueError(f"k must be from 1 to {len(a) - 1}, the number of others, got {k}")
    best = Best(len(a), min(k + _SPARE, len(a) - 1), a.scaled.device)
    for rows in tiles(len(a)):
        for columns in tiles(len(a)):
            if columns.start < rows.start:
                continue  # done with its mirror image
            squares = squares_of(a, rows, a, columns)
            if rows == columns:
                squares.fill_diagonal_(torch.inf)
            best.add(rows, squares, columns)
            if rows != columns:
                best.add(columns, squares.T, rows)
    error = 2 * _error(a, a)
    low, high = best.squares[:, k - 1] - error, best.squares[:, k - 1] + error
    near = (best.squares >= low.unsqueeze(1)) & (best.squares <= high.unsqueeze(1))
    nearer = (best.squares < low.unsqueeze(1)).sum(1, keepdim=True)
    exact = torch.full_like(best.squares, torch.inf, dtype=torch.float64)
    exact[near] = exact_squares(a, near.nonzero()[:, 0], a, best.indices[near])
    found = exact.sort(dim=1).values.gather(1, k - 1 - nearer).squeeze(1)
    if best.squares.shape[1] < len(a) - 1:
        everything = torch.arange(len(a), device=a.scaled.device)
        for row in (best.squares[:, -1] <= high).nonzero().flatten().tolist():
            these = exact_squares(a, torch.full_like(everything, row), a, everything)
            these[row] = torch.inf
            found[row] = these.kthvalue(k).values
    return found


def inside(
    a: Points, b: Points, squares_a: Tensor, squares_b: Tensor, inclusive: bool
) -> Iterator[tuple[slice, slice, Tensor, Tensor]]:
    """Yield tiles: rows, columns, b_j is in the ball of a_i, a_i is in the ball of b_j.

    ``squares_a`` (N,) and ``squares_b`` (M,) are the squared radii in float64. A point on the
    surface of a ball is inside if ``inclusive``.
    """
    low_a, high_a = (bound.unsqueeze(1) for bound in _bounds(a, b, squares_a))
    low_b, high_b = _bounds(b, a, squares_b)
    for rows in tiles(len(a)):
        for columns in tiles(len(b)):
            squares = squares_of(a, rows, b, columns)
            masks = []
            for low, high, limits, of_a in (
                (low_a[rows], high_a[rows], squares_a, True),
                (low_b[columns], high_b[columns], squares_b, False),
            ):
                within = squares < low
                i, j = ((squares <= high) ^ within).nonzero(as_tuple=True)
                p, q = i + rows.start, j + columns.start
                exact, limit = exact_squares(a, p, b, q), limits[p if of_a else q]
                within[i, j] = exact <= limit if inclusive else exact < limit
                masks.append(within)
            yield rows, columns, masks[0], masks[1]


def exact_squares(a: Points, i: Tensor, b: Points, j: Tensor) -> Tensor:
    """|a_i - b_j|^2 in float64 for index lists of one length."""
    parts = [
        (a.features[p].double() - b.features[q].double()).square().sum(1)
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


def squares_of(a: Points, rows: slice, b: Points, columns: slice) -> Tensor:
    """Squared distances of scaled features (rows, columns) in float32."""
    squares = inner_products(a.scaled[rows], b.scaled[columns]).mul_(-2)
    return squares.add_(a.squares[rows].unsqueeze(1)).add_(b.squares[columns])


def _bounds(a: Points, b: Points, squares: Tensor) -> tuple[Tensor, Tensor]:
    """A computed square below the first is surely inside, one above the second surely outside."""
    limits = a.in_my_units(squares)
    error = _error(a, b) + limits * 2**-22
    return limits - error, limits + error


def _error(a: Points, b: Points) -> Tensor:
    """How far (N,) a computed square of each in a to any in b may be off.

    The unit roundoff is that of torch's float32 products; the terms beyond D cover the roundings of
    the norms, the sums and the scaled features.
    """
    exact = has_exact_products(a.scaled.device)
    roundings = a.scaled.shape[1] + 16
    return roundings * (2**-24 if exact else 2**-8) * (a.squares + b.squares.max())


def tiles(n: int) -> Iterator[slice]:
    for start in range(0, n, TILE):
        yield slice(start, min(start + TILE, n))
