"""The leaky ReLU of StyleGAN3, at a higher resolution."""

import math
import operator
from typing import SupportsIndex

from torch import Tensor

from ganfast import ops
from ganfast.stylegan._arguments import Padding, check_bias, check_images, pair
from ganfast.stylegan.activation import bias_act
from ganfast.stylegan.resampling import upfirdn2d


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
) -> Tensor:
    r"""Upsample, apply a leaky ReLU, and downsample.

    .. math:: y = \mathrm{upfirdn}_{\downarrow d}(f_d, \; \mathrm{clip}(g \cdot \mathrm{lrelu}(
        u^2 \, \mathrm{upfirdn}_{\uparrow u}(f_u, x + b)), -c, c))

    Of the upsampled image the derivatives keep two bits for each pixel, where the kernels are
    compiled. All orders exist.

    Args:
        x: images, (N, C, H, W); float64, float32, float16 or bfloat16.
        fu, fd: filters of up- and downsampling, as in :func:`ganfast.stylegan.upfirdn2d`.
        b: bias, (C).
        up, down: factors u and d.
        padding: of the upsampled image, as in :func:`ganfast.stylegan.upfirdn2d`.
        gain: g > 0.
        slope: of the leaky ReLU, at least 0.
        clamp: c >= 0, or None for no clamp.
        flip_filter: correlate with both filters.

    Returns:
        y, in the dtype of x; width
        :math:`\lfloor (W u + p_0 + p_1 - f_u - f_d + 1 + d) / d \rfloor`.

    Raises:
        TypeError, ValueError: as :func:`ganfast.stylegan.upfirdn2d` and ``bias_act``; or the gain
            is not positive or the slope negative.

    Source: Karras et al. 2021, arXiv:2106.12423.
    """
    check_images("x", x)
    check_bias("b", b, x, 1)
    if not gain > 0:
        raise ValueError(f"gain must be positive, got {gain}")
    if not slope >= 0:
        raise ValueError(f"slope must be at least 0, got {slope}")
    if clamp is not None and not clamp >= 0:
        raise ValueError(f"clamp must be None or at least 0, got {clamp}")
    up, down = pair("up", operator.index(up))[0], pair("down", operator.index(down))[0]
    v = bias_act(x, b)
    v = upfirdn2d(v, fu, up=up, padding=padding, flip_filter=flip_filter, gain=up**2)
    v = ops.lrelu(v, float(slope), float(gain), None if clamp is None else float(clamp))
    return upfirdn2d(v, fd, down=down, flip_filter=flip_filter)
