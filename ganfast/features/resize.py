"""Resizing as two small matrix products: Y = A X B^T, with A (out, H) and B (out, W).

One pair of matrices for each size of image, on any device. The modes, each within 1e-4 grey levels
of its definition:

    clean      Pillow's BICUBIC on float images, with antialiasing, clamped to 0..255 (clean-fid)
    antialias  torch.nn.functional.interpolate, bilinear, antialias=True (torchmetrics)
    torch      torch.nn.functional.interpolate, bilinear (pytorch-fid)
    tf1        TensorFlow 1's resize_bilinear: source = target * in / out (torch-fidelity, StyleGAN)
    none       as it is
"""

from functools import lru_cache
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Mode = Literal["clean", "antialias", "torch", "tf1", "none"]
_Floats = npt.NDArray[np.float64]


def resize(images: Tensor, size: int, mode: Mode) -> Tensor:
    """Images (N, C, H, W), uint8 or floating, to float32 (N, C, size, size) in the same units.

    With ``"none"`` they keep their height and width. Raises ValueError for another mode, shape or
    a size below 1.
    """
    if mode not in get_args(Mode):
        raise ValueError(f"mode: expected one of {get_args(Mode)}, got {mode!r}")
    if images.ndim != 4 or 0 in images.shape or size < 1:
        raise ValueError(
            f"expected images (N, C, H, W) and a size of 1 or more, "
            f"got {tuple(images.shape)} and {size}"
        )
    x = images.float()
    if mode == "none" or images.shape[2:] == (size, size):
        return x
    rows, columns = (_matrix(mode, n, size).to(x.device) for n in images.shape[2:])
    y = rows @ (x @ columns.T)
    return y.clamp_(0, 255) if mode == "clean" else y


@lru_cache(maxsize=64)
def _matrix(mode: Mode, n: int, size: int) -> Tensor:
    """(size, n), float32."""
    if mode == "tf1":
        return torch.from_numpy(_tensorflow_1(n, size).astype(np.float32))
    if mode == "clean":
        return torch.from_numpy(_bicubic(n, size).astype(np.float32))
    # What torch makes of the columns of the identity are its own weights, to the bit.
    identity = torch.eye(n).view(1, 1, n, n)
    columns = torch.nn.functional.interpolate(
        identity, (n, size), mode="bilinear", antialias=mode == "antialias"
    )
    return columns.view(n, size).T.contiguous()


def _bicubic(n: int, size: int) -> _Floats:
    """Keys' cubic convolution, stretched by the factor of reduction and cut off as Pillow does."""
    scale = n / size
    stretch = max(scale, 1.0)
    centres = (np.arange(size) + 0.5)[:, None] * scale
    first = np.maximum(np.trunc(centres - 2 * stretch + 0.5), 0)
    last = np.minimum(np.trunc(centres + 2 * stretch + 0.5), n)
    places = np.arange(n)[None]
    weights = _cubic((places - centres + 0.5) / stretch) * ((places >= first) & (places < last))
    normal: _Floats = weights / weights.sum(1, keepdims=True)
    return normal


def _cubic(x: _Floats) -> _Floats:
    """Keys' kernel with a = -1/2."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _tensorflow_1(n: int, size: int) -> _Floats:
    """Weights of the two nearest pixels; places in float32, as TensorFlow has them."""
    source = np.arange(size, dtype=np.float32) * (np.float32(n) / np.float32(size))
    low = np.minimum(source.astype(np.int64), n - 1)
    part = (source - low.astype(np.float32)).astype(np.float64)
    weights = np.zeros((size, n))
    np.add.at(weights, (np.arange(size), low), 1 - part)
    np.add.at(weights, (np.arange(size), np.minimum(low + 1, n - 1)), part)
    return weights
