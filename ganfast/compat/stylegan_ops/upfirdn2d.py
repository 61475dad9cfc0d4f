"""Drop-in for ``torch_utils.ops.upfirdn2d``."""

from torch import Tensor

from ganfast import stylegan
from ganfast._names import check_name
from ganfast.compat.stylegan_ops.bias_act import IMPLEMENTATIONS
from ganfast.stylegan import setup_filter
from ganfast.stylegan._arguments import Factor, Padding, pair, sides
from ganfast.stylegan.filters import filter_size as _get_filter_size

__all__ = [
    "_get_filter_size",
    "_parse_padding",
    "_parse_scaling",
    "downsample2d",
    "filter2d",
    "setup_filter",
    "upfirdn2d",
    "upsample2d",
]


def _parse_scaling(scaling: Factor) -> tuple[int, int]:
    return pair("scaling", scaling)


def _parse_padding(padding: Padding) -> tuple[int, int, int, int]:
    return sides("padding", padding)


def upfirdn2d(
    x: Tensor,
    f: Tensor | None,
    up: Factor = 1,
    down: Factor = 1,
    padding: Padding = 0,
    flip_filter: bool = False,
    gain: float = 1,
    impl: str = "cuda",
) -> Tensor:
    """:func:`ganfast.stylegan.upfirdn2d`; ``impl`` is "cuda" or "ref"."""
    check_name("impl", impl, IMPLEMENTATIONS)
    return stylegan.upfirdn2d(x, f, up, down, padding, flip_filter, gain)


def filter2d(
    x: Tensor,
    f: Tensor | None,
    padding: Padding = 0,
    flip_filter: bool = False,
    gain: float = 1,
    impl: str = "cuda",
) -> Tensor:
    """:func:`ganfast.stylegan.filter2d`; ``impl`` is "cuda" or "ref"."""
    check_name("impl", impl, IMPLEMENTATIONS)
    return stylegan.filter2d(x, f, padding, flip_filter, gain)


def upsample2d(
    x: Tensor,
    f: Tensor | None,
    up: Factor = 2,
    padding: Padding = 0,
    flip_filter: bool = False,
    gain: float = 1,
    impl: str = "cuda",
) -> Tensor:
    """:func:`ganfast.stylegan.upsample2d`; ``impl`` is "cuda" or "ref"."""
    check_name("impl", impl, IMPLEMENTATIONS)
    return stylegan.upsample2d(x, f, up, padding, flip_filter, gain)


def downsample2d(
    x: Tensor,
    f: Tensor | None,
    down: Factor = 2,
    padding: Padding = 0,
    flip_filter: bool = False,
    gain: float = 1,
    impl: str = "cuda",
) -> Tensor:
    """:func:`ganfast.stylegan.downsample2d`; ``impl`` is "cuda" or "ref"."""
    check_name("impl", impl, IMPLEMENTATIONS)
    return stylegan.downsample2d(x, f, down, padding, flip_filter, gain)
