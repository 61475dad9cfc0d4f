"""Differentiable augmentation: DiffAugment of a batch, and its way back."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.kit import SUBJECT, Case
from ganfast import augment, ops
from ganfast.reference import drawn_cut, drawn_shift

SHAPES = {"64x3x64x64": (64, 3, 64, 64), "16x3x256x256": (16, 3, 256, 256)}
POLICIES = ("color,translation,cutout", "color", "translation,cutout")


def _color(x: Tensor, u: Tensor) -> Tensor:
    """Each change of the colors after the other, as the paper's formulas say."""
    brightness, saturation, contrast = u[:, :3].to(x.dtype).view(-1, 3, 1, 1, 1).unbind(1)
    x = x + (brightness - 0.5)
    mean = x.mean(dim=1, keepdim=True)
    x = (x - mean) * (saturation * 2) + mean
    mean = x.mean(dim=[1, 2, 3], keepdim=True)
    return (x - mean) * (contrast + 0.5) + mean


def _grid(x: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    sides = (torch.arange(n, device=x.device) for n in (x.shape[0], height, width))
    return torch.meshgrid(*sides, indexing="ij")  # type: ignore[return-value]


def _translation(x: Tensor, u: Tensor) -> Tensor:
    """Pixels of the padded images, picked by their places."""
    height, width = x.shape[2:]
    sample, row, column = _grid(x, height, width)
    row = (row + drawn_shift(u[:, 3], height).view(-1, 1, 1) + 1).clamp(0, height + 1)
    column = (column + drawn_shift(u[:, 4], width).view(-1, 1, 1) + 1).clamp(0, width + 1)
    pixels = F.pad(x, [1, 1, 1, 1]).permute(0, 2, 3, 1).contiguous()
    return pixels[sample, row, column].permute(0, 3, 1, 2).contiguous()


def _cutout(x: Tensor, u: Tensor) -> Tensor:
    """A mask of ones, with zeros written at the places of the box."""
    height, width = x.shape[2:]
    sample, row, column = _grid(x, (height + 1) // 2, (width + 1) // 2)
    row = (row + drawn_cut(u[:, 5], height)[0].view(-1, 1, 1)).clamp(0, height - 1)
    column = (column + drawn_cut(u[:, 6], width)[0].view(-1, 1, 1)).clamp(0, width - 1)
    mask = torch.ones(x.shape[0], height, width, dtype=x.dtype, device=x.device)
    mask[sample, row, column] = 0
    return x * mask.unsqueeze(1)


EAGER = {"color": _color, "translation": _translation, "cutout": _cutout}


def _eager(policy: str, inputs: list[Tensor]) -> Tensor:
    x, u, _ = inputs
    for piece in policy.split(","):
        x = EAGER[piece](x, u)
    return x


def _fused(policy: str, inputs: list[Tensor]) -> Tensor:
    x, u, _ = inputs
    return ops.augment(x, u, *(piece in policy for piece in augment.PIECES))


def cases() -> list[Case]:
    """Every policy at two sizes. What is drawn is an input, the same for all."""
    return [_case(policy, size) for policy in POLICIES for size in SHAPES]


def _case(policy: str, size: str) -> Case:
    eager = partial(_eager, policy)
    return Case(
        "augment",
        f"{policy}, {size}",
        partial(_batch, SHAPES[size]),
        {
            "eager": eager,
            "compile": torch.compile(eager, dynamic=False),
            SUBJECT: partial(_fused, policy),
        },
        constants=2,
    )


def _batch(shape: tuple[int, ...]) -> list[Tensor]:
    """Images, what is drawn for them, and the gradient that comes back."""
    generator = torch.Generator().manual_seed(0)
    x, v = torch.randn(2, *shape, generator=generator)
    return [x, augment.draw(shape[0], generator=generator), v]
