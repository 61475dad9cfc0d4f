"""Upsampling, filtering and downsampling of images."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ganfast import ops
from ganfast.reference import compute_dtype
from ganfast.stylegan._arguments import Factor, Padding, check_filter, check_images, pair, sides
from ganfast.stylegan.convolution import conv2d, conv_transpose2d, without_autocast
from ganfast.stylegan.filters import centred, filter_size

_VECTOR = 16  # channels that torch's depthwise convolution on a CPU takes at once


def upfirdn2d(
    x: Tensor,
    f: Tensor | None,
    up: Factor = 1,
    down: Factor = 1,
    padding: Padding = 0,
    flip_filter: bool = False,
    gain: float = 1,
) -> Tensor:
    r"""Insert zeros, pad or crop, filter, and keep every n-th pixel.

    With G the filter reversed on both axes, or the filter itself with ``flip_filter``:

    .. math:: y_{ij} = g \sum_{kl} G_{kl} \, u_{d_y i + k, \, d_x j + l}, \qquad
        u_{ij} = x_{(i - p_y) / u_y, \, (j - p_x) / u_x}

    and u is 0 where an index is no integer or outside of x. Height is
    :math:`\lfloor (H u_y + p_{y0} + p_{y1} - f_h) / d_y \rfloor + 1`, width likewise. The
    gradient is the same function with up and down exchanged, so all orders exist. float16 and
    bfloat16 are computed in float32 and rounded after each pass, also under autocast. A kernel
    serves float32 filters, where it is compiled; others are convolutions of PyTorch.

    Args:
        x: images, (N, C, H, W); float64, float32, float16 or bfloat16.
        f: filter, (height, width), or (taps) for one that is applied along x and along y; None
            for 1. It has no gradient.
        up: factor of the inserted zeros, one or (x, y).
        down: keep one of so many pixels, one or (x, y).
        padding: zeros around the upsampled image: one, (x, y), or (x before, x after, y before,
            y after). Negative numbers crop.
        flip_filter: correlate instead of convolve.
        gain: g.

    Returns:
        y, in the dtype and layout of x.

    Raises:
        TypeError: x or f is no floating-point tensor, or a number is no integer.
        ValueError: shapes do not fit, a factor is below 1, or the padded image is smaller than
            the filter.

    Source: Karras et al. 2020, arXiv:1912.04958.
    """
    check_images("x", x)
    check_filter("f", f, x)
    ux, uy = pair("up", up)
    dx, dy = pair("down", down)
    pads = sides("padding", padding)
    fw, fh = filter_size(f)
    width, height = x.shape[3] * ux + pads[0] + pads[1], x.shape[2] * uy + pads[2] + pads[3]
    if width < fw or height < fh:
        raise ValueError(
            f"x must be at least as large as the filter, {fh} x {fw}, when it is upsampled and "
            f"padded, got {height} x {width}"
        )
    taps = x.new_ones(1, 1, dtype=torch.float32) if f is None else f
    # On a CPU PyTorch's own convolution is faster, unless there are zeros to skip or fewer planes
    # of channels than its vectors hold.
    few = x.shape[1] < _VECTOR and x.is_contiguous()
    gains = x.device.type != "cpu" or (ux, uy) != (1, 1) or few
    if gains and ops.upfirdn2d_serves(x, taps):
        return ops.upfirdn2d(x, taps, (ux, uy), (dx, dy), pads, flip_filter, float(gain))
    y = compute_dtype(x)
    taps = taps.to(y.dtype)
    if flip_filter:
        taps = taps.flip(list(range(taps.dim())))
    with without_autocast(x):
        if taps.dim() == 2:
            y = _filter(y, taps * gain, (ux, uy), (dx, dy), pads)
        else:
            y = _filter(y, taps[None] * gain, (ux, 1), (dx, 1), (*pads[:2], 0, 0))
            y = _filter(y, taps[:, None], (1, uy), (1, dy), (0, 0, *pads[2:]))
    return y.to(x.dtype)


def _pad(x: Tensor, padding: list[int]) -> Tensor:
    if any(p > 0 for p in padding):  # first, since torch crops first and may have too little left
        x = F.pad(x, [max(p, 0) for p in padding])
    return F.pad(x, [min(p, 0) for p in padding]) if any(p < 0 for p in padding) else x


def _filter(
    x: Tensor,
    f: Tensor,
    up: tuple[int, int],
    down: tuple[int, int],
    padding: tuple[int, int, int, int],
) -> Tensor:
    """Convolve each channel of x with f (height, width)."""
    if x.numel() == 0:  # torch has no transposed convolution of no images
        sizes = [
            (n * u + sum(padding[i : i + 2]) - k) // d + 1
            for n, u, d, k, i in zip(x.shape[:1:-1], up, down, f.shape[::-1], (0, 2), strict=True)
        ]
        return x.sum() * x.new_ones(*x.shape[:2], *sizes[::-1])
    channels = x.shape[1]
    f = f.flip([0, 1]) if up == (1, 1) else f
    weight = f.expand(channels, 1, -1, -1)
    pads = list(padding)
    if up == (1, 1):
        # The part of the padding that is the same on both sides is the convolution's own.
        both = [max(0, min(pads[i : i + 2])) for i in (0, 2)]
        x = _pad(x, [p - both[i // 2] for i, p in enumerate(pads)])
        return conv2d(x, weight, stride=down[::-1], padding=both[::-1], groups=channels)
    y, pads = transposed(x, weight, up, pads, channels)
    y = _pad(y, pads)
    return y if down == (1, 1) else y[:, :, :: down[1], :: down[0]]


def transposed(
    x: Tensor, weight: Tensor, up: tuple[int, int], padding: Sequence[int], groups: int
) -> tuple[Tensor, list[int]]:
    """Upsample and convolve with the reversed weight; return what the padding has left, too.

    A transposed convolution reaches over the image's edges by the weight's taps. What is not within
    the padding is cropped; the part of it that is the same on both sides is the convolution's own.
    """
    pads = list(padding)
    for i, (taps, u) in enumerate(zip(weight.shape[:1:-1], up, strict=True)):
        pads[2 * i] -= taps - 1
        pads[2 * i + 1] -= taps - u
    both = [max(0, -max(pads[i : i + 2])) for i in (0, 2)]
    y = conv_transpose2d(x, weight, stride=up[::-1], padding=both[::-1], groups=groups)
    return y, [p + both[i // 2] for i, p in enumerate(pads)]


def filter2d(
    x: Tensor,
    f: Tensor | None,
    padding: Padding = 0,
    flip_filter: bool = False,
    gain: float = 1,
) -> Tensor:
    """Filter images, which keep their size.

    Args:
        x, f, flip_filter, gain: as in :func:`upfirdn2d`.
        padding: added to the size of the result; see :func:`upfirdn2d`.

    Returns:
        (N, C, H, W), plus padding.

    Raises:
        TypeError, ValueError: as :func:`upfirdn2d`.
    """
    check_filter("f", f, x)
    pads = centred(sides("padding", padding), f, (1, 1), up=True)
    return upfirdn2d(x, f, padding=pads, flip_filter=flip_filter, gain=gain)


def upsample2d(
    x: Tensor,
    f: Tensor | None,
    up: Factor = 2,
    padding: Padding = 0,
    flip_filter: bool = False,
    gain: float = 1,
) -> Tensor:
    """Upsample images with a filter; a constant image keeps its value if the filter's sum is 1.

    Args:
        x, f, padding, flip_filter, gain: as in :func:`filter2d`.
        up: factor, one or (x, y).

    Returns:
        (N, C, H up, W up), plus padding.

    Raises:
        TypeError, ValueError: as :func:`upfirdn2d`.
    """
    check_filter("f", f, x)
    ux, uy = pair("up", up)
    pads = centred(sides("padding", padding), f, (ux, uy), up=True)
    return upfirdn2d(x, f, up=up, padding=pads, flip_filter=flip_filter, gain=gain * ux * uy)


def downsample2d(
    x: Tensor,
    f: Tensor | None,
    down: Factor = 2,
    padding: Padding = 0,
    flip_filter: bool = False,
    gain: float = 1,
) -> Tensor:
    """Filter images and keep every n-th pixel.

    Args:
        x, f, flip_filter, gain: as in :func:`filter2d`.
        down: factor, one or (x, y).
        padding: added to the size of x; see :func:`upfirdn2d`.

    Returns:
        (N, C, H // down, W // down) without padding.

    Raises:
        TypeError, ValueError: as :func:`upfirdn2d`.
    """
    check_filter("f", f, x)
    pads = centred(sides("padding", padding), f, pair("down", down), up=False)
    return upfirdn2d(x, f, down=down, padding=pads, flip_filter=flip_filter, gain=gain)
