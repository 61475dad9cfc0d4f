"""Contact sheets of images, and PNG files."""

import math
import os
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ganfast._files import atomic_write
from ganfast.data import to_uint8

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["grid", "write_png"]


def grid(images: Tensor, columns: int | None = None, padding: int = 2, scale: int = 1) -> "Image":
    """Lay out images row by row on a white sheet.

    Args:
        images: (N, C, H, W) with C = 1 or 3; uint8, or floating-point in [-1, 1] (clamped).
        columns: images per row; by default the sheet is as square as N allows.
        padding: white pixels around each image.
        scale: integer factor by which each pixel is enlarged.

    Raises:
        TypeError: ``images`` is neither uint8 nor floating-point.
        ValueError: the shape is wrong, there are no images, one has NaN, or a number is too small.
    """
    from PIL import Image

    if images.dim() != 4 or images.shape[1] not in (1, 3) or 0 in images.shape:
        raise ValueError(
            f"images must have shape (N, 1 or 3, H, W) with N >= 1, got {tuple(images.shape)}"
        )
    if padding < 0 or scale < 1 or (columns is not None and columns < 1):
        raise ValueError(
            "columns and scale must be >= 1 and padding >= 0, "
            f"got columns={columns}, scale={scale}, padding={padding}"
        )
    pixels = images.detach().cpu()
    if pixels.dtype != torch.uint8:
        pixels = to_uint8(pixels)
    pixels = pixels.repeat_interleave(scale, dim=2).repeat_interleave(scale, dim=3)
    count, channels, height, width = pixels.shape
    columns = min(count, columns or math.ceil(math.sqrt(count)))
    rows = math.ceil(count / columns)
    step_y, step_x = height + padding, width + padding
    sheet = torch.full(
        (channels, rows * step_y + padding, columns * step_x + padding), 255, dtype=torch.uint8
    )
    for i, image in enumerate(pixels):
        y, x = padding + i // columns * step_y, padding + i % columns * step_x
        sheet[:, y : y + height, x : x + width] = image
    array = sheet.permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(array[:, :, 0] if channels == 1 else array)


def write_png(image: "Image", path: str | os.PathLike[str]) -> None:
    """Write a picture as PNG, atomically."""
    with atomic_write(path) as file:
        image.save(file, format="PNG")
