"""Convolutions with a ReLU on CPUs with AVX2, with weights laid out for the compiled kernel."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ganfast import ops

_PANEL = 16  # channels that the kernel computes in one pass

# Tiles of the result that Winograd's minimal filtering computes at once, by kernel, for stride 1
# and multiples of 8 channels (Lavin & Gray 2016).
_TILES = {
    (3, 3): (4, 4), (5, 5): (2, 2), (1, 3): (1, 4), (3, 1): (4, 1), (1, 7): (1, 3), (7, 1): (3, 1),
}  # fmt: skip
# Points of its polynomials, besides infinity, by the number of pixels that make a tile.
_POINTS = {1: (), 6: (0, 1, -1, 2, -2), 9: (0, 1, -1, 2, -2, 1 / 2, -1 / 2, 1 / 4)}


def _spread(taps: int, tile: int) -> Tensor:
    """G (n, taps), float64, n = taps + tile - 1: y = A^T [(G w) * (B^T d)] for pixels d.

    Row p is (1, p, p^2, ...) over the product of p - q for the other points q; for infinity it
    takes the last tap.
    """
    points = _POINTS[taps + tile - 1]
    rows = [
        [p**k / math.prod(p - q for q in points if q != p) for k in range(taps)] for p in points
    ]
    return torch.tensor([*rows, [0.0] * (taps - 1) + [1.0]], dtype=torch.float64)


class Packed:
    """Computes max(w * x + b, 0); the last ``linear`` channels stay w * x + b.

    The weights (O, C, kh, kw) and biases (O,) are float32 on the CPU. Kernels in `_TILES` use
    Winograd's filtering, whose rounding error is about ten times that of the plain sum, some 5e-6
    of the largest value.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor, stride: int, padding: tuple[int, int], linear: int
    ) -> None:
        out, channels, *kernel = weight.shape
        self.out, self.kernel = out, (kernel[0], kernel[1])
        self.stride, self.padding = stride, padding
        filtered = stride == 1 and channels % 8 == 0
        self.tile = _TILES.get(self.kernel, ()) if filtered else ()
        more = -out % _PANEL
        lower = torch.zeros(out)
        lower[out - linear :] = -torch.inf
        self.bias, self.lower = (F.pad(x, (0, more)) for x in (bias, lower))
        flat = weight.flatten(2)
        if self.tile:
            both = torch.kron(*map(_spread, self.kernel, self.tile))
            flat = (flat.double() @ both.T).float()
        flat = F.pad(flat, (0, 0, 0, 0, 0, more))
        panels = flat.view(-1, _PANEL, *flat.shape[1:])
        order = (3, 0, 2, 1) if self.tile else (0, 3, 2, 1)
        self.weight = panels.permute(order).contiguous()

    def __call__(self, x: Tensor, out: Tensor | None) -> Tensor:
        """Write into ``out``, or into new memory; both have their channels side by side."""
        if out is None:
            sides = zip(x.shape[2:], self.kernel, self.padding, strict=True)
            size = [(n + 2 * pad - k) // self.stride + 1 for n, k, pad in sides]
            out = torch.empty((len(x), self.out, *size), memory_format=torch.channels_last)
        ops.convolution_(
            out, x, self.weight, self.bias, self.lower,
            self.kernel, self.stride, self.padding, self.tile,
        )  # fmt: skip
        return out
