"""upfirdn2d by its equation in numpy, one tap after the other, and problems drawn for it."""

from typing import NamedTuple

import numpy as np
import torch
from hypothesis import assume
from hypothesis import strategies as st
from numerics import LAYOUTS, SEEDS, Exact, exact, generator
from torch import Tensor

Options = tuple[tuple[int, int], tuple[int, int], tuple[int, int, int, int], bool, float]


def resample(x: Exact, f: Exact, up, down, padding, flip: bool, gain: float) -> Exact:
    """The equation, of arrays (N, C, H, W) and (height, width) or (taps,)."""
    if f.ndim == 1:
        f = f[:, None] * f[None]
    samples, channels, height, width = x.shape
    left, right, top, bottom = padding
    u = np.zeros((samples, channels, height * up[1], width * up[0]), x.dtype)
    u[:, :, :: up[1], :: up[0]] = x
    grow = [(0, 0), (0, 0), (max(top, 0), max(bottom, 0)), (max(left, 0), max(right, 0))]
    u = np.pad(u, grow)
    u = u[:, :, max(-top, 0) : u.shape[2] - max(-bottom, 0)]
    u = u[:, :, :, max(-left, 0) : u.shape[3] - max(-right, 0)]
    g = f if flip else f[::-1, ::-1]
    rows, columns = u.shape[2] - f.shape[0] + 1, u.shape[3] - f.shape[1] + 1
    y = np.zeros((samples, channels, rows, columns), x.dtype)
    for (k, m), tap in np.ndenumerate(g):
        y += tap * u[:, :, k : k + rows, m : m + columns]
    return gain * y[:, :, :: down[1], :: down[0]]


class Problem(NamedTuple):
    x: Tensor
    f: Tensor
    options: Options


@st.composite
def problems(draw: st.DrawFn, dtype: torch.dtype, device: str = "cpu") -> Problem:
    """Images of any size and layout, filters and options that fit them."""
    random = generator(draw(SEEDS))
    side = st.sampled_from([1, 2, 3, 7, 16, 33])
    shape = (draw(st.integers(1, 3)), draw(st.sampled_from([1, 3, 8])), draw(side), draw(side))
    taps, pad, factor = st.integers(1, 6), st.integers(-2, 5), st.integers(1, 4)
    f = torch.randn(draw(st.one_of(st.tuples(taps), st.tuples(taps, taps))), generator=random)
    up, down = (draw(factor), draw(factor)), (draw(factor), draw(factor))
    padding = draw(pad), draw(pad), draw(pad), draw(pad)
    height, width = shape[2] * up[1] + sum(padding[2:]), shape[3] * up[0] + sum(padding[:2])
    assume(height >= f.shape[0] and width >= f.shape[-1])
    # Nothing is cropped before it is padded.
    assume(min(padding[:2]) > -shape[3] * up[0] and min(padding[2:]) > -shape[2] * up[1])
    layout = LAYOUTS[draw(st.sampled_from(sorted(LAYOUTS.keys() - {"expanded"})))]
    x = layout(torch.randn(shape, generator=random, dtype=torch.float64).to(device, dtype))
    options = (up, down, padding, draw(st.booleans()), draw(st.sampled_from([1.0, 4.0, -0.3])))
    return Problem(x.detach().requires_grad_(), f.to(device), options)


def check(problem: Problem, y: Tensor) -> None:
    """The value, and <gradient, z> = <v, value of z> for any z, as the map is linear."""
    x, f, options = problem
    shape, filter_ = tuple(x.shape), exact(f).reshape(f.shape)
    wanted = resample(exact(x).reshape(shape), filter_, *options)
    size = resample(abs(exact(x)).reshape(shape), abs(filter_), *options[:-1], abs(options[-1]))
    narrow = torch.finfo(x.dtype).eps
    eps = narrow if x.dtype == torch.float64 else torch.finfo(torch.float32).eps
    passes = 3 - f.ndim  # each rounds to the dtype
    assert y.dtype == x.dtype
    assert y.shape == wanted.shape
    error = abs(exact(y).reshape(wanted.shape) - wanted)
    assert (error <= (8 * eps + passes * narrow) * size + 1e-30).all()
    random = generator(1)
    v = torch.randn(y.shape, generator=random, dtype=torch.float64).to(y)
    z = torch.randn(shape, generator=random, dtype=torch.float64).to(x)
    (dx,) = torch.autograd.grad(y, x, v)
    assert dx.dtype == x.dtype
    ways = abs(exact(v)), resample(abs(exact(z)).reshape(shape), abs(filter_), *options).ravel()
    right = exact(v) @ resample(exact(z).reshape(shape), filter_, *options).ravel()
    assert (
        abs(exact(dx) @ exact(z) - right)
        <= (8 * eps + passes * narrow) * (ways[0] @ abs(ways[1])) + 1e-30
    )
