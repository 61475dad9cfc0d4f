"""Resizing on any device. The modes, each within 1e-4 grey levels of its definition:

clean      Pillow's BICUBIC on float images, with antialiasing, clamped to 0..255 (clean-fid)
antialias  torch.nn.functional.interpolate, bilinear, antialias=True (torchmetrics)
torch      torch.nn.functional.interpolate, bilinear (pytorch-fid)
tf1        TensorFlow 1's resize_bilinear: source = target * in / out (torch-fidelity, StyleGAN)
none       unchanged
"""

from functools import lru_cache
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

Mode = Literal["clean", "antialias", "torch", "tf1", "none"]
_Floats = npt.NDArray[np.float64]


def resize(images: Tensor, size: int, mode: Mode) -> Tensor:
    """Resize images (N, C, H, W), uint8 or floating, to float32 (N, C, size, size).

    The units stay the same, and with ``"none"`` height and width, too.
    """
    if mode not in get_args(Mode):
        raise ValueError(f"mode must be one of {get_args(Mode)}, got {mode!r}")
    if images.ndim != 4 or 0 in images.shape or size < 1:
        raise ValueError(
            f"images must have shape (N, C, H, W), all at least 1, and size must be at least 1, "
            f"got {tuple(images.shape)} and {size}"
        )
    if mode == "none" or images.shape[2:] == (size, size):
        return images.float()
    if mode == "clean" and images.is_cpu:
        # Around 0 float32 is twice as exact; the weights of a pixel add up to 1.
        bands = [_in_bands(image.float().sub_(128), size) for image in images]
        return torch.stack(bands).add_(128).clamp_(0, 255)
    x = images.float()
    # torch's bicubic is off by 4e-3, and its antialiasing on a GPU refuses strong reductions; two
    # small matrix products do both.
    if mode == "clean" or (mode == "antialias" and not x.is_cpu):
        weights = _bicubic if mode == "clean" else _antialias
        rows, columns = (weights(n, size).to(x.device) for n in images.shape[2:])
        y = rows @ (x @ columns.T)
        return y.clamp_(0, 255) if mode == "clean" else y
    if mode == "tf1":
        # With one more pixel on both sides, torch's aligned corners do what TensorFlow 1 does.
        x = F.pad(x, (0, 1, 0, 1), mode="replicate")
        y = F.interpolate(x, (size + 1, size + 1), mode="bilinear", align_corners=True)
        return y[..., :size, :size]
    return F.interpolate(x, (size, size), mode="bilinear", antialias=mode == "antialias")


def _in_bands(image: Tensor, size: int) -> Tensor:
    """Resize an image (C, H, W) by `_bicubic`, whose weights are mostly 0 outside of bands."""
    height, width = image.shape[1:]
    columns = [image[..., a:b] @ weights.T for a, b, weights in _bands(width, size)]
    wide = torch.cat(columns, 2)
    return torch.cat([weights @ wide[:, a:b] for a, b, weights in _bands(height, size)], 1)


@lru_cache(maxsize=512)
def _bands(n: int, size: int) -> list[tuple[int, int, Tensor]]:
    """Return for each 16 outputs of `_bicubic` the range of inputs that they see, and weights."""
    found = []
    for rows in torch.split(_bicubic(n, size), 16):
        seen = rows.any(0).nonzero()
        first, last = int(seen[0]), int(seen[-1]) + 1
        found.append((first, last, rows[:, first:last].contiguous()))
    return found


@lru_cache(maxsize=64)
def _bicubic(n: int, size: int) -> Tensor:
    """Weights (size, n), float32, of Keys' cubic, stretched and truncated as in Pillow."""
    scale = n / size
    stretch = max(scale, 1.0)
    centres = (np.arange(size) + 0.5)[:, None] * scale
    first = np.maximum(np.trunc(centres - 2 * stretch + 0.5), 0)
    last = np.minimum(np.trunc(centres + 2 * stretch + 0.5), n)
    places = np.arange(n)[None]
    weights = _cubic((places - centres + 0.5) / stretch) * ((places >= first) & (places < last))
    return torch.from_numpy((weights / weights.sum(1, keepdims=True)).astype(np.float32))


@lru_cache(maxsize=64)
def _antialias(n: int, size: int) -> Tensor:
    """Weights (size, n), float32: torch's, from the rows of the identity."""
    rows = torch.eye(n).view(1, 1, n, n)
    columns = F.interpolate(rows, (n, size), mode="bilinear", antialias=True)
    return columns.view(n, size).T.contiguous()


def _cubic(x: _Floats) -> _Floats:
    """Keys' kernel with a = -1/2."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))
