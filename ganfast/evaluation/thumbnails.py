"""Small pictures of images for the report."""

import torch
from torch import Tensor

from ganfast.features.resize import resize

SIDE = 96  # pixels


def thumbnail(image: Tensor) -> Tensor:
    """Return the centre square of a uint8 image (C, H, W) at (C, SIDE, SIDE).

    Small images are repeated pixel by pixel first, so that they stay sharp.
    """
    side = min(image.shape[1:])
    top, left = ((length - side) // 2 for length in image.shape[1:])
    square = image[:, top : top + side, left : left + side][None]
    if side <= SIDE // 2:
        times = SIDE // side
        square = square.repeat_interleave(times, 2).repeat_interleave(times, 3)
    return resize(square, SIDE, "clean").round().to(torch.uint8)[0]
