"""Checks of the arguments that several operations share."""

import operator
from collections.abc import Sequence
from typing import SupportsIndex

import torch
from torch import Tensor

from ganfast._checks import FLOATING

#: One integer, or one for each axis: (x, y).
Factor = SupportsIndex | Sequence[SupportsIndex]
#: One integer, (x, y), or (x before, x after, y before, y after).
Padding = SupportsIndex | Sequence[SupportsIndex]


def check_floating(argument: str, x: Tensor) -> None:
    """Raise TypeError unless x is a tensor of float64, float32, float16 or bfloat16."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{argument} must be a tensor, got {type(x).__name__}")
    if x.dtype not in FLOATING:
        raise TypeError(
            f"{argument} must have dtype float64, float32, float16 or bfloat16, got {x.dtype}"
        )


def check_images(argument: str, x: Tensor) -> None:
    """Raise unless x is a floating-point tensor (N, C, H, W)."""
    check_floating(argument, x)
    if x.dim() != 4:
        raise ValueError(f"{argument} must have shape (N, C, H, W), got {list(x.shape)}")


def check_convolution(argument: str, x: Tensor, weight: Tensor, groups: int, axis: int) -> None:
    """Raise unless x (N, C, H, W) has the channels that the weight's axis says for one group.

    For a transposed convolution, axis is 0, and that axis has the channels of all groups.
    """
    check_images(argument, x)
    check_floating("weight", weight)
    if weight.dim() != 4:
        raise ValueError(f"weight must have 4 axes, got shape {list(weight.shape)}")
    if groups < 1 or weight.shape[0] % groups:
        raise ValueError(
            f"groups must be positive and divide the weight's first axis, {weight.shape[0]}, "
            f"got {groups}"
        )
    channels = weight.shape[axis] * (groups if axis else 1)
    if x.shape[1] != channels:
        raise ValueError(
            f"{argument} must have the {channels} channels of the weight, got {x.shape[1]}"
        )


def _integers(argument: str, value: Factor, counts: tuple[int, ...]) -> list[int]:
    """Return the integers of one of these counts."""
    try:
        if isinstance(value, SupportsIndex):
            return [operator.index(value)]
        numbers = [operator.index(v) for v in value]
    except TypeError:
        raise TypeError(f"{argument} must hold integers, got {value!r}") from None
    if len(numbers) not in counts:
        many = " or ".join(map(str, counts))
        raise ValueError(f"{argument} must be an integer or {many} integers, got {value!r}")
    return numbers


def pair(argument: str, value: Factor, least: int = 1) -> tuple[int, int]:
    """Return one integer of ``least`` or more for each of two axes, in the order given."""
    numbers = _integers(argument, value, (1, 2))
    if min(numbers) < least:
        raise ValueError(f"{argument} must be at least {least}, got {value!r}")
    return numbers[0], numbers[-1]


def sides(argument: str, value: Padding) -> tuple[int, int, int, int]:
    """Return the padding of (x before, x after, y before, y after)."""
    numbers = _integers(argument, value, (1, 2, 4))
    if len(numbers) == 4:
        return numbers[0], numbers[1], numbers[2], numbers[3]
    return numbers[0], numbers[0], numbers[-1], numbers[-1]


def check_filter(argument: str, f: Tensor | None, x: Tensor) -> None:
    """Raise unless f is None or a filter, dense or separable, on the device of x."""
    if f is None:
        return
    check_floating(argument, f)
    if f.dim() not in (1, 2) or f.numel() == 0:
        raise ValueError(
            f"{argument} must have shape (taps) or (height, width), got {list(f.shape)}"
        )
    if f.requires_grad:
        raise ValueError(f"{argument} must be constant, got requires_grad=True")
    if f.device != x.device:
        raise ValueError(f"{argument} must have the device of x, {x.device}, got {f.device}")


def check_bias(argument: str, b: Tensor | None, x: Tensor, dim: int) -> None:
    """Raise unless b is None or has one number for each index of an axis of x."""
    if b is None:
        return
    check_floating(argument, b)
    if b.shape != torch.Size([x.shape[dim]]):
        raise ValueError(
            f"{argument} must have one entry for each of the {x.shape[dim]} of axis {dim} of x, "
            f"got shape {list(b.shape)}"
        )
    if b.device != x.device:
        raise ValueError(f"{argument} must have the device of x, {x.device}, got {b.device}")
