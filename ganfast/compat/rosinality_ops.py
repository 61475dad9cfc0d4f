"""Drop-in for ``op`` of rosinality/stylegan2-pytorch, and for its copies in other projects.

At the top of the script, before the model is imported, add ::

    import ganfast.compat.rosinality_ops; ganfast.compat.rosinality_ops.install()

In pixel2style2pixel, encoder4editing and their descendants, the package has another name, and the
argument of ``install`` is ``"models.stylegan2.op"``.

The projects compile their kernels when they are imported, even for the CPU; this compiles nothing.
The signatures serve the older copies too, in pSp, e4e, StyleSwin, GPEN and score_sde_pytorch. The
slope is used on the CPU as well, where the project has a fixed 0.2.
"""

import math
import sys
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ganfast import stylegan
from ganfast.compat._modules import serve
from ganfast.stylegan import convolution as conv2d_gradfix
from ganfast.stylegan._arguments import Factor, pair

__all__ = ["FusedLeakyReLU", "conv2d_gradfix", "fused_leaky_relu", "install", "upfirdn2d"]


def install(package: str = "op") -> None:
    """Make the project's package of operations this module.

    Args:
        package: its dotted name.

    Raises:
        RuntimeError: the project's own is already imported.
    """
    this = sys.modules[__name__]
    serve(
        package,
        {"": this, "fused_act": this, "upfirdn2d": this, "conv2d_gradfix": conv2d_gradfix},
    )


def fused_leaky_relu(
    input: Tensor,
    bias: Tensor | None = None,
    negative_slope: float = 0.2,
    scale: float = math.sqrt(2),
    device: str | None = None,
) -> Tensor:
    """Leaky ReLU of input plus a bias for each channel (axis 1), times a scale; like the input.

    ``device`` is ignored; GPEN's copy chooses its implementation by it.
    """
    return stylegan.bias_act(input, bias, 1, "lrelu", negative_slope, scale)


class FusedLeakyReLU(nn.Module):
    """:func:`fused_leaky_relu` with a bias for each channel, zero at first.

    Older copies have the slope in the place of ``bias``: a float is taken as that.
    """

    def __init__(
        self,
        channel: int,
        bias: bool | float = True,
        negative_slope: float = 0.2,
        scale: float = math.sqrt(2),
        device: str | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(bias, bool):
            bias, negative_slope = True, bias
        self.bias = nn.Parameter(torch.zeros(channel)) if bias else None
        self.negative_slope = negative_slope
        self.scale = scale

    def forward(self, input: Tensor) -> Tensor:
        return fused_leaky_relu(input, self.bias, self.negative_slope, self.scale)


def upfirdn2d(
    input: Tensor,
    kernel: Tensor,
    up: Factor = 1,
    down: Factor = 1,
    pad: Sequence[int] = (0, 0),
    device: str | None = None,
) -> Tensor:
    """:func:`ganfast.stylegan.upfirdn2d` with the padding of this line of projects.

    Args:
        input: images, (N, C, H, W).
        kernel: filter, (height, width).
        up, down: factors, one or (x, y).
        pad: zeros (before, after) on both axes, or (x before, x after, y before, y after).
        device: ignored, as by :func:`fused_leaky_relu`.

    Raises:
        TypeError, ValueError: as :func:`ganfast.stylegan.upfirdn2d`.
    """
    if len(pad) == 2:
        pad = [*pad, *pad]
    return stylegan.upfirdn2d(input, kernel, pair("up", up), pair("down", down), pad)
