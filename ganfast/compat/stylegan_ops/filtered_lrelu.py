"""Drop-in for ``torch_utils.ops.filtered_lrelu``."""

import math
from typing import SupportsIndex

from torch import Tensor

from ganfast import stylegan
from ganfast._names import check_name
from ganfast.compat.stylegan_ops.bias_act import IMPLEMENTATIONS
from ganfast.stylegan._arguments import Padding

__all__ = ["filtered_lrelu"]


def filtered_lrelu(
    x: Tensor,
    fu: Tensor | None = None,
    fd: Tensor | None = None,
    b: Tensor | None = None,
    up: SupportsIndex = 1,
    down: SupportsIndex = 1,
    padding: Padding = 0,
    gain: float = math.sqrt(2),
    slope: float = 0.2,
    clamp: float | None = None,
    flip_filter: bool = False,
    impl: str = "cuda",
) -> Tensor:
    """:func:`ganfast.stylegan.filtered_lrelu`; ``impl`` is "cuda" or "ref"."""
    check_name("impl", impl, IMPLEMENTATIONS)
    return stylegan.filtered_lrelu(x, fu, fd, b, up, down, padding, gain, slope, clamp, flip_filter)
