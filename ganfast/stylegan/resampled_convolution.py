"""Convolution with resampling before or after it."""

import operator
from typing import SupportsIndex

from torch import Tensor

from ganfast.stylegan._arguments import Padding, check_convolution, check_filter, pair, sides
from ganfast.stylegan.convolution import conv2d
from ganfast.stylegan.filters import centred
from ganfast.stylegan.resampling import transposed, upfirdn2d


def conv2d_resample(
    x: Tensor,
    w: Tensor,
    f: Tensor | None = None,
    up: SupportsIndex = 1,
    down: SupportsIndex = 1,
    padding: Padding = 0,
    groups: int = 1,
    flip_weight: bool = True,
    flip_filter: bool = False,
) -> Tensor:
    r"""Upsample with a filter, convolve, and downsample with the same filter.

    .. math:: y = \mathrm{upfirdn}_{\downarrow d}(f, \; w \ast \mathrm{upfirdn}_{\uparrow u}(f, x))

    The fastest order of equal computations is chosen: 1x1 convolutions run at the lower
    resolution, and others as a transposed convolution or one with a stride.

    Args:
        x: images, (N, C, H, W).
        w: weight, (O, C / groups, height, width), in the dtype of x.
        f: filter as in :func:`ganfast.stylegan.upfirdn2d`.
        up, down: factors u and d.
        padding: of the upsampled image, once, in addition to what keeps the filter centred.
        flip_weight: correlate with w, as torch's convolutions do.
        flip_filter: correlate with f.

    Returns:
        y, (N, O, ., .).

    Raises:
        TypeError, ValueError: as :func:`ganfast.stylegan.upfirdn2d` and ``conv2d``.
    """
    check_convolution("x", x, w, groups, 1)
    check_filter("f", f, x)
    up, down = pair("up", operator.index(up))[0], pair("down", operator.index(down))[0]
    pointwise = w.shape[2:] == (1, 1)
    pads = list(sides("padding", padding))
    if up > 1:
        pads = centred(pads, f, (up, up), up=True)
    if down > 1:
        pads = centred(pads, f, (down, down), up=False)
    if not flip_weight:
        w = w.flip([2, 3])

    if up == 1 and down == 1:
        if pads[0] == pads[1] >= 0 and pads[2] == pads[3] >= 0:
            return conv2d(x, w, padding=(pads[2], pads[0]), groups=groups)
        return conv2d(upfirdn2d(x, None, padding=pads), w, groups=groups)
    if up == 1:
        x = upfirdn2d(x, f, down=down if pointwise else 1, padding=pads, flip_filter=flip_filter)
        return conv2d(x, w, stride=1 if pointwise else down, groups=groups)
    if down == 1 and pointwise:
        x = conv2d(x, w, groups=groups)
        return upfirdn2d(x, f, up=up, padding=pads, flip_filter=flip_filter, gain=up**2)

    # The zeros between the pixels are never multiplied: the weight's transposed convolution comes
    # before the filter, which takes over what the padding has left.
    by_group = w.reshape(groups, -1, *w.shape[1:]).transpose(1, 2)
    reversed_ = by_group.flatten(0, 1).flip([2, 3])
    x, pads = transposed(x, reversed_, (up, up), pads, groups)
    x = upfirdn2d(x, f, padding=pads, flip_filter=flip_filter, gain=up**2)
    return x if down == 1 else upfirdn2d(x, f, down=down, flip_filter=flip_filter)
