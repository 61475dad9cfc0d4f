"""StyleGAN2-ADA's augmentations: pixel moves, geometry, colour and cutout, each drawn by itself.

Every item applies to an image with probability ``p`` times the strength of its group, whatever the
other items do. All moves of pixels are one affine map of places, all changes of colour one of
colours, so that an image is sampled once.
"""

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ganfast._checks import FLOATING
from ganfast.reference import compute_dtype
from ganfast.stylegan import downsample2d, grid_sample, upsample2d
from ganfast.stylegan.convolution import without_autocast

# Columns of the uniform numbers: the items' turns, then the values of those that are uniform.
ITEMS = (
    *("flip", "quarter_turn", "shift"),
    *("scale", "rotation_before", "aspect", "rotation_after", "fraction"),
    *("brightness", "contrast", "inversion", "hue", "saturation"),
    "cutout",
)
_BLIT, _GEOMETRY, _COLOR = 3, 5, 5

# The low-pass filter of the wavelet sym6 (Daubechies 1992). Shifted by 2, 4, ... taps it is
# orthogonal to itself, so that downsampling undoes upsampling.
SYM6 = (
    *(0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633),
    *(0.4910559419267466, 0.787641141030194, 0.3379294217276218, -0.07263752278646252),
    *(-0.021060292512300564, 0.04472490177066578, 0.0017677118642428036, -0.007800708325034148),
)
_CENTRE = 5  # tap at the place of a pixel
_PAD = 6  # pixels that the filter needs around an image


@cache
def _filter(device: torch.device, dtype: torch.dtype) -> Tensor:
    taps = torch.tensor(SYM6, device=device, dtype=dtype)
    return taps / taps.sum()


def draw(
    samples: int,
    device: torch.device | str | None = None,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:
    """Draw the numbers of :func:`ada` on the device.

    Returns:
        Numbers (N, 24), uniform in [0, 1), and numbers (N, 7) of the standard normal distribution.
    """
    uniform = torch.rand(samples, len(ITEMS) + 10, device=device, generator=generator, dtype=dtype)
    normal = torch.randn(samples, 7, device=device, generator=generator, dtype=dtype)
    return uniform, normal


def turns(
    u: Tensor, p: Tensor, blit: float, geometry: float, color: float, cutout: float
) -> Tensor:
    """Return which of ``ITEMS`` apply to each image, bool (N, 14).

    Of the two rotations at least one applies with probability p.
    """
    strengths = [blit] * _BLIT + [geometry] * _GEOMETRY + [color] * _COLOR + [cutout]
    shares = [p * strength for strength in strengths]
    for k, name in enumerate(ITEMS):
        if name.startswith("rotation"):
            shares[k] = 1 - (1 - shares[k]).clamp_min(0).sqrt()
    return u[:, : len(ITEMS)] < torch.stack(shares)


def places(on: Tensor, u: Tensor, n: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return the maps from places in the results to places in the images.

    Places (x, y) are in pixels from the centre. ``on`` is of :func:`turns`, u and n of
    :func:`draw`. The maps are matrices (N, 2, 2) and shifts (N, 2).
    """
    value = u[:, len(ITEMS) :]
    flip = torch.where(on[:, 0] & (value[:, 0] < 0.5), -1.0, 1.0).to(u.dtype)
    quarters = torch.floor(4 * value[:, 1]) * on[:, 1]
    odd = quarters % 2
    cos, sin = (1 - quarters) * (1 - odd), (2 - quarters) * odd
    blit = _matrices(flip * cos, -flip * sin, sin, cos)
    size = torch.stack([u.new_full((), width), u.new_full((), height)])
    shift = torch.round((2 * value[:, 2:4] - 1) * 0.125 * size) * on[:, 2:3]
    scale = torch.exp2(-0.2 * n[:, 0] * on[:, 3])
    aspect = torch.exp2(-0.2 * n[:, 1] * on[:, 5])
    before, after = (
        _rotations((2 * value[:, 4 + k] - 1) * math.pi * on[:, item])
        for k, item in enumerate((4, 6))
    )
    stretched = before * torch.stack([scale * aspect, scale / aspect], 1)[:, None]
    fraction = 0.125 * n[:, 2:4] * size * on[:, 7:8]
    matrix = stretched @ after
    moved = shift + (matrix @ fraction[:, :, None]).squeeze(2)
    return blit @ matrix, -(blit @ moved[:, :, None]).squeeze(2)


def colors(on: Tensor, u: Tensor, n: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    r"""Return the affine maps of colours.

    With the contrast c, the sign :math:`\sigma` of an inversion, the saturation s, the angle
    :math:`\theta` of the hue, the projection P on grey, and the rotation R about it, a colour x
    becomes :math:`c (\sigma P + s R_\theta (1 - P)) (x + b)`. Grey images have P = 1. The maps are
    matrices (N, C, C) and shifts (N, C, 1).
    """
    value = u[:, len(ITEMS) :]
    brightness = 0.2 * n[:, 4] * on[:, 8]
    contrast = torch.exp2(0.5 * n[:, 5] * on[:, 9])
    grey = contrast * torch.where(on[:, 10] & (value[:, 6] < 0.5), -1.0, 1.0)
    shifts = (grey * brightness)[:, None, None].expand(-1, channels, 1)
    if channels == 1:
        return grey[:, None, None], shifts
    angle = (2 * value[:, 7] - 1) * math.pi * on[:, 11]
    chroma = contrast * torch.exp2(n[:, 6] * on[:, 12])
    along, across = chroma * angle.cos(), chroma * angle.sin() / math.sqrt(3)
    # The matrix is circulant, as P and R are.
    rest = (grey - along) / 3
    same, next_, last = rest + along, rest - across, rest + across
    rows = [same, next_, last, last, same, next_, next_, last, same]
    return torch.stack(rows, 1).view(-1, 3, 3), shifts


def ada(
    x: Tensor,
    p: Tensor | float = 1.0,
    *,
    blit: float = 1.0,
    geometry: float = 1.0,
    color: float = 1.0,
    cutout: float = 0.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Augment each image at random, differentiably (Karras et al. 2020, arXiv:2006.06676).

    ============== ================= ==================================================
    group          item              what it does
    ============== ================= ==================================================
    ``blit``       flip              left to right, with probability 1/2
    \\              quarter turn      by 0, 90, 180 or 270 degrees
    \\              shift             whole pixels, U(-1/8, 1/8) of width and height
    ``geometry``   scale             2^N(0, 0.2²)
    \\              rotation          U(-180, 180) degrees, before or after the aspect
    \\              aspect            x by s and y by 1/s, s = 2^N(0, 0.2²)
    \\              fraction          shift by N(0, 1/8²) of width and height
    ``color``      brightness        + N(0, 0.2²)
    \\              contrast          times 2^N(0, 0.5²)
    \\              inversion         of the luma, with probability 1/2
    \\              hue               rotated by U(-180, 180) degrees; colour images only
    \\              saturation        times 2^N(0, 1); colour images only
    ``cutout``     cutout            zeros in half the height and width, centred anywhere
    ============== ================= ==================================================

    Each item applies to each image with probability p times the strength of its group. Images are
    mirrored at their edges as often as it takes. For the resampling they are upsampled with a
    wavelet's filter, interpolated and downsampled with it, which leaves images that no item moves
    as they are, up to rounding. float16 and bfloat16 are computed in float32. The host never waits
    for the device. Gradients of any order exist; on CUDA their sums may differ in the last bits.

    Args:
        x: images (N, C, H, W) in [-1, 1] with C 1 or 3, at least 7 x 7; float64, float32, float16
            or bfloat16.
        p: probability, a number or a scalar on x's device.
        blit, geometry, color, cutout: strength of each group, from 0 to 1. R3GAN has 1, 1, 0.5, 1.
        generator: a generator of x's device; torch's default if None.

    Returns:
        Images like x, also in their memory format.

    Raises:
        TypeError: x is no floating-point tensor.
        ValueError: x has another shape, or p or a strength is not in [0, 1].
    """
    if not isinstance(x, Tensor) or x.dtype not in FLOATING:
        kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"x must be a tensor of floating-point images, got {kind}")
    if x.dim() != 4 or x.shape[1] not in (1, 3) or min(x.shape[2:]) <= _PAD:
        raise ValueError(
            f"x must have shape (N, 1 or 3, H, W) with sides of at least {_PAD + 1}, "
            f"got {list(x.shape)}"
        )
    strengths = {"blit": blit, "geometry": geometry, "color": color, "cutout": cutout}
    numbers = strengths if isinstance(p, Tensor) else {"p": p, **strengths}
    for name, value in numbers.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must be in [0, 1], got {value}")
    y = compute_dtype(x)
    dtype = y.dtype
    with without_autocast(x):
        u, n = draw(len(x), x.device, generator, dtype)
        share = p if isinstance(p, Tensor) else u.new_full((), p)
        on = turns(u, share.to(dtype), blit, geometry, color, cutout)
        if blit or geometry:
            y = resampled(y, *places(on, u, n, *x.shape[2:]))
        if color:
            matrices, shifts = colors(on, u, n, x.shape[1])
            y = torch.baddbmm(shifts, matrices, y.flatten(2)).view_as(y)
        if cutout:
            y = y * _kept(on, u, *x.shape[2:])
    layout = torch.contiguous_format
    if x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous():
        layout = torch.channels_last
    return y.to(x.dtype).contiguous(memory_format=layout)


def resampled(x: Tensor, matrices: Tensor, shifts: Tensor) -> Tensor:
    """Sample images where :func:`places` says, in their own size."""
    height, width = x.shape[2:]
    taps = _filter(x.device, x.dtype)
    padded = upsample2d(F.pad(x, [_PAD] * 4, mode="reflect"), taps)
    # A pixel of the result is a sum of 12 samples, at half pixels from 2.5 before it on.
    at_x, at_y = (
        (torch.arange(2 * side + 10, device=x.device, dtype=x.dtype) - _CENTRE - side + 1) / 2
        for side in (width, height)
    )
    xs, ys = at_x[None, None, :], at_y[None, :, None]
    m, t = matrices[:, :, :, None, None], shifts[:, :, None, None]
    places_ = [
        _mirrored(m[:, k, 0] * xs + m[:, k, 1] * ys + t[:, k] + (side - 1) / 2, side)
        for k, side in enumerate((width, height))
    ]
    # A pixel is on each second sample, from the first on.
    grid = [
        (2 * (c + _PAD) + 0.5) / (side + 2 * _PAD) - 1
        for c, side in zip(places_, (width, height), strict=True)
    ]
    sampled = grid_sample(padded, torch.stack(grid, 3))
    # The samples reach as far as the filter, which needs no padding of its own.
    return downsample2d(sampled, taps, padding=-_CENTRE, flip_filter=True)


def _mirrored(c: Tensor, side: int) -> Tensor:
    """Mirror places at the first and the last pixel, but for the margin that was padded."""
    period = 2 * (side - 1)
    mirrored = (torch.remainder(c + (side - 1), period) - (side - 1)).abs()
    return torch.where((c >= -3) & (c <= side + 2), c, mirrored)


def _kept(on: Tensor, u: Tensor, height: int, width: int) -> Tensor:
    """Return 0 within the boxes of cutout and 1 outside, (N, 1, H, W)."""
    centre = u[:, -2:]
    across, down = (
        ((torch.arange(side, device=u.device, dtype=u.dtype) + 0.5) / side - centre[:, k, None])
        .abs()
        .lt(0.25)
        for k, side in enumerate((width, height))
    )
    box = across[:, None, None, :] & down[:, None, :, None] & on[:, -1, None, None, None]
    return (~box).to(u.dtype)


def _matrices(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    return torch.stack([a, b, c, d], 1).view(-1, 2, 2)


def _rotations(angle: Tensor) -> Tensor:
    cos, sin = angle.cos(), angle.sin()
    return _matrices(cos, -sin, sin, cos)
