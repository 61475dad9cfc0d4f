"""The rule of accuracy that every fused op keeps, and tensors drawn with all kinds of strides.

The rule: *beyond twice the error of plain torch at the same dtype, the error of a fused op is at
most one rounding of the result*.

An error is measured against values computed in extended precision. One rounding is half the
distance between neighbours of the result's dtype at the size of the exact value, or of what is
summed to it. On a single element plain torch may be right by luck, so what counts is the root mean
square over the elements of a whole list; ``ENOUGH`` elements make luck rare.
"""

from collections.abc import Sequence

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

ENOUGH = 256

Exact = np.ndarray  # of np.longdouble

SEEDS = st.integers(0, 2**31 - 1)


def exact(x: Tensor | Sequence[Tensor]) -> Exact:
    """The elements of a tensor, or of a list one after the other, in extended precision."""
    parts = [x] if isinstance(x, Tensor) else x
    return np.concatenate(
        [np.asarray(p.detach().double().cpu().numpy(), np.longdouble).ravel() for p in parts]
    )


def rounding(magnitude: Exact, dtype: torch.dtype) -> Exact:
    """Half the distance between neighbours of a dtype at a magnitude."""
    info = torch.finfo(dtype)
    return np.maximum(np.abs(magnitude), info.smallest_normal) * np.longdouble(info.eps) / 2


def assert_accurate(
    what: str,
    got: Tensor | Sequence[Tensor],
    plain: Tensor | Sequence[Tensor],
    expected: Exact,
    magnitude: Exact,
) -> None:
    """Hold a result to the rule. ``magnitude``: the sizes at which one rounding is allowed."""
    dtype = got.dtype if isinstance(got, Tensor) else got[0].dtype
    expected, magnitude = np.atleast_1d(expected), np.atleast_1d(magnitude)
    error = np.abs(exact(got) - expected)
    error_of_plain = np.abs(exact(plain) - expected)
    assert np.isfinite(error).all(), f"{what}: not finite"
    excess = np.maximum(error - 2 * error_of_plain, 0) / rounding(magnitude, dtype)
    rms = np.sqrt(np.mean(excess**2))
    worst = int(np.argmax(excess))
    assert rms <= 1, (
        f"{what}: beyond twice plain torch's, the error is {rms:.2f} roundings (root mean square); "
        f"worst {excess[worst]:.2f} at element {worst}, where {expected[worst]!r} is expected, "
        f"the op is off by {error[worst]:.3g} and plain torch by {error_of_plain[worst]:.3g}"
    )


def bits(x: Tensor) -> bytes:
    """The bytes of a tensor's elements, so that NaN and signed zeros compare too."""
    return x.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Tensors of a given shape, each laid out in memory in its own way.
LAYOUTS = {
    "contiguous": lambda x: x.contiguous(),
    "permuted": lambda x: x.movedim(0, -1).contiguous().movedim(-1, 0) if x.dim() else x,
    "channels_last": lambda x: (
        x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x
    ),
    "every_second": lambda x: torch.stack([x, -x], dim=-1)[..., 0],
    "sliced": lambda x: torch.nn.functional.pad(x, (1, 2))[..., 1:-2] if x.dim() else x,
    "unaligned": lambda x: torch.cat([x.new_zeros(1), x.reshape(-1)])[1:].view(x.shape),
    "expanded": lambda x: x[:1].clone().expand(x.shape) if x.dim() else x,
}

SHAPES = st.lists(st.integers(1, 6), max_size=4).map(tuple)


@st.composite
def structures(draw: st.DrawFn) -> list[tuple[tuple[int, ...], str]]:
    """Shapes and layouts of a list of 1 to 200 tensors, one of them of ENOUGH elements or more."""
    some = draw(st.lists(st.tuples(SHAPES, st.sampled_from(sorted(LAYOUTS))), max_size=5))
    repeats = draw(st.sampled_from([1, 1, 1, 2, 39]))
    large = (draw(st.integers(ENOUGH, 2 * ENOUGH)),)
    position = draw(st.integers(0, len(some) * repeats))
    tensors = some * repeats
    return [*tensors[:position], (large, "contiguous"), *tensors[position:]]
