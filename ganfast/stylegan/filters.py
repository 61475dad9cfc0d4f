"""Filters for resampling."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def setup_filter(
    f: Tensor | np.ndarray | Sequence[float] | Sequence[Sequence[float]] | float | None,
    device: torch.device | str = "cpu",
    normalize: bool = True,
    flip_filter: bool = False,
    gain: float = 1,
    separable: bool | None = None,
) -> Tensor:
    """Make a filter for :func:`ganfast.stylegan.upfirdn2d`; the argument is not changed.

    Args:
        f: numbers of shape (height, width) or (taps); one number for one tap, None for 1.
        device: where the filter goes.
        normalize: divide by the sum.
        flip_filter: reverse all axes.
        gain: factor on the filtered images; a separable filter has its root.
        separable: keep (taps) as a separable filter, instead of its outer product. By default,
            filters with at least 8 taps stay separable.

    Returns:
        float32, (taps) if separable, else (height, width).

    Raises:
        ValueError: the shape is another, a dense filter is to be separable, or the sum is 0.
    """
    taps = torch.tensor(1.0) if f is None else torch.as_tensor(f).detach().to(torch.float32)
    if taps.dim() > 2 or taps.numel() == 0:
        raise ValueError(f"f must have shape (taps) or (height, width), got {list(taps.shape)}")
    taps = taps.reshape(1) if taps.dim() == 0 else taps
    if separable is None:
        separable = taps.dim() == 1 and len(taps) >= 8
    if separable and taps.dim() == 2:
        raise ValueError(f"f must have shape (taps) to be separable, got {list(taps.shape)}")
    if taps.dim() == 1 and not separable:
        taps = torch.outer(taps, taps)
    if normalize:
        total = taps.sum()
        if total == 0:
            raise ValueError("f must have a sum other than 0 to be normalized, got 0")
        taps = taps / total
    if flip_filter:
        taps = taps.flip(list(range(taps.dim())))
    return (taps * math.pow(gain, taps.dim() / 2)).to(device)


def filter_size(f: Tensor | None) -> tuple[int, int]:
    """Return a filter's width and height; a separable one has its taps on both axes."""
    return (1, 1) if f is None else (f.shape[-1], f.shape[0])


def centred(
    padding: Sequence[int], f: Tensor | None, factor: tuple[int, int], up: bool
) -> list[int]:
    """Add the padding that keeps a filter centred on images resampled by (x, y), up or down."""
    more = [
        side
        for n, k in zip(filter_size(f), factor, strict=True)
        for side in ((n + (k - 1 if up else 1 - k)) // 2, (n - k) // 2)
    ]
    return [p + m for p, m in zip(padding, more, strict=True)]
