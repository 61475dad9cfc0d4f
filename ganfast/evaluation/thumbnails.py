"""Small pictures of images for the report."""

import torch
from torch import Tensor

from ganfast.data.squares import centre
from ganfast.features.resize import resize

SIDE = 96  # pixels


def thumbnail(image: Tensor) -> Tensor:
    """Return the centre square of a uint8 image (C, H, W) at (C, SIDE, SIDE).

    Small images are repeated pixel by pixel first, so that they stay sharp.
    """
    square = centre(image)[None]
    side = square.shape[2]
    if side <= SIDE // 2:
        times = SIDE // side
        square = square.repeat_interleave(times, 2).repeat_interleave(times, 3)
    return resize(square, SIDE, "clean").round().to(torch.uint8)[0]
