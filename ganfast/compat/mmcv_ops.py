"""Drop-in for the StyleGAN operations of ``mmcv.ops``, as mmagic and mmgeneration import them.

Change ``from mmcv.ops import ...`` to ::

    from ganfast.compat.mmcv_ops import FusedBiasLeakyReLU, bias_act, conv2d, conv_transpose2d
    from ganfast.compat.mmcv_ops import filtered_lrelu, fused_bias_leakyrelu, upfirdn2d

mmcv's need its compiled library, even on the CPU.
"""

import math
from typing import SupportsIndex

from torch import Tensor

from ganfast import stylegan
from ganfast.compat.rosinality_ops import FusedLeakyReLU
from ganfast.stylegan import conv2d, conv_transpose2d
from ganfast.stylegan._arguments import Factor, Padding

__all__ = [
    "FusedBiasLeakyReLU",
    "bias_act",
    "conv2d",
    "conv_transpose2d",
    "filtered_lrelu",
    "fused_bias_leakyrelu",
    "upfirdn2d",
]


def upfirdn2d(
    input: Tensor,
    filter: Tensor | None,
    up: Factor = 1,
    down: Factor = 1,
    padding: Padding = 0,
    flip_filter: bool = False,
    gain: float = 1,
    use_custom_op: bool = True,
) -> Tensor:
    """:func:`ganfast.stylegan.upfirdn2d`; ``use_custom_op`` is ignored."""
    return stylegan.upfirdn2d(input, filter, up, down, padding, flip_filter, gain)


def bias_act(
    input: Tensor,
    bias: Tensor | None = None,
    dim: int = 1,
    act: str = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
    use_custom_op: bool = True,
) -> Tensor:
    """:func:`ganfast.stylegan.bias_act`; ``use_custom_op`` is ignored."""
    return stylegan.bias_act(input, bias, dim, act, alpha, gain, clamp)


def filtered_lrelu(
    input: Tensor,
    filter_up: Tensor | None = None,
    filter_down: Tensor | None = None,
    bias: Tensor | None = None,
    up: SupportsIndex = 1,
    down: SupportsIndex = 1,
    padding: Padding = 0,
    gain: float = math.sqrt(2),
    slope: float = 0.2,
    clamp: float | None = None,
    flip_filter: bool = False,
    use_custom_op: bool = True,
) -> Tensor:
    """:func:`ganfast.stylegan.filtered_lrelu`; ``use_custom_op`` is ignored."""
    return stylegan.filtered_lrelu(
        input, filter_up, filter_down, bias, up, down, padding, gain, slope, clamp, flip_filter
    )


def fused_bias_leakyrelu(
    input: Tensor, bias: Tensor, negative_slope: float = 0.2, scale: float = math.sqrt(2)
) -> Tensor:
    """Leaky ReLU of input plus a bias for each channel, times a scale."""
    return stylegan.bias_act(input, bias, 1, "lrelu", negative_slope, scale)


class FusedBiasLeakyReLU(FusedLeakyReLU):
    """:func:`fused_bias_leakyrelu` with a bias for each channel, zero at first."""

    def __init__(
        self, num_channels: int, negative_slope: float = 0.2, scale: float = math.sqrt(2)
    ) -> None:
        super().__init__(num_channels, True, negative_slope, scale)
