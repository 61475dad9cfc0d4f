"""Differentiable augmentation: DiffAugment and ADA of a batch, and their way back."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.kit import SUBJECT, Case
from ganfast import augment, ops
from ganfast.augment.ada import SYM6, colors, draw, places, turns
from ganfast.reference import drawn_cut, drawn_shift

SHAPES = {"64x3x64x64": (64, 3, 64, 64), "16x3x256x256": (16, 3, 256, 256)}
POLICIES = ("color,translation,cutout", "color", "translation,cutout")
P = 0.3  # of each item of ADA


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


def _filtered(x: Tensor, taps: Tensor, stride: int = 1) -> Tensor:
    """Each channel's rows and columns, convolved one after the other."""
    kernel = taps.expand(x.shape[1], 1, 1, -1)
    x = F.conv2d(x, kernel, stride=(1, stride), groups=x.shape[1])
    return F.conv2d(x, kernel.transpose(2, 3), stride=(stride, 1), groups=x.shape[1])


def _eager_ada(inputs: list[Tensor]) -> Tensor:
    """ADA's moves and colours by torch's own padding, convolutions and sampling."""
    x = inputs[0]
    samples, channels, height, width = x.shape
    generator = torch.Generator(x.device).manual_seed(0)
    u, n = draw(samples, x.device, generator, x.dtype)
    on = turns(u, u.new_full((), P), 1, 1, 1, 0)
    matrices, shifts = places(on, u, n, height, width)
    taps = torch.tensor(SYM6, device=x.device, dtype=x.dtype)
    taps = taps / taps.sum()
    padded = F.pad(x, [6] * 4, mode="reflect")
    spread = padded.new_zeros(samples, channels, 2 * height + 24, 2 * width + 24)
    spread[:, :, ::2, ::2] = padded
    up = _filtered(F.pad(spread, [6, 5, 6, 5]), 2 * taps.flip(0))
    sides = torch.tensor([width, height], device=x.device, dtype=x.dtype)
    xs, ys = (
        torch.arange(2 * side + 10, device=x.device, dtype=x.dtype) / 2 - side / 2 - 2
        for side in (width, height)
    )
    at = torch.stack(torch.meshgrid(xs, ys, indexing="xy"), 2)
    at = torch.einsum("nij,hwj->nhwi", matrices, at) + shifts[:, None, None] + (sides - 1) / 2
    period = 2 * (sides - 1)
    mirrored = (torch.remainder(at + sides - 1, period) - (sides - 1)).abs()
    at = torch.where((at >= -3) & (at <= sides + 2), at, mirrored)
    grid = (2 * (at + 6) + 0.5) / (sides + 12) - 1
    sampled = F.grid_sample(up, grid, align_corners=False)
    y = _filtered(sampled, taps, stride=2)
    matrices, shifts = colors(on, u, n, channels)
    return torch.baddbmm(shifts, matrices, y.flatten(2)).view_as(y)


def _fused_ada(inputs: list[Tensor]) -> Tensor:
    x = inputs[0]
    return augment.ada(x, P, generator=torch.Generator(x.device).manual_seed(0))


def cases() -> list[Case]:
    """Every policy and ADA at two sizes. What is drawn is the same for all."""
    return [_case(policy, size) for policy in POLICIES for size in SHAPES] + [
        Case(
            "augment",
            f"ADA, p {P}, {size}",
            partial(_images, SHAPES[size]),
            {
                "eager": _eager_ada,
                "compile": torch.compile(_eager_ada, dynamic=False),
                SUBJECT: _fused_ada,
            },
            constants=1,
        )
        for size in SHAPES
    ]


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


def _images(shape: tuple[int, ...]) -> list[Tensor]:
    """Images, and the gradient that comes back."""
    return list(torch.randn(2, *shape, generator=torch.Generator().manual_seed(0)))
