"""The tail of a gradient penalty: from the gradient to the penalty, and back to the gradient."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from bench.kit import BACKWARD_MODES, Case, fused_case
from ganfast import ops

SHAPES = {"64x3x64x64": (64, 3, 64, 64), "16x3x256x256": (16, 3, 256, 256)}


def _wgan_gp(g: list[Tensor]) -> Tensor:
    norms: Tensor = g[0].reshape(g[0].shape[0], -1).norm(2, dim=1)
    return ((norms - 1) ** 2).mean() * 10


def _wgan_gp_of_pixels(g: list[Tensor]) -> Tensor:
    norms: Tensor = g[0].norm(2, dim=1)
    return ((norms - 1) ** 2).mean() * 10


def _r1(g: list[Tensor]) -> Tensor:
    return g[0].square().sum([1, 2, 3]).mean() * 5


def _wgan_div(g: list[Tensor]) -> Tensor:
    return ((g[0].reshape(g[0].shape[0], -1) ** 2).sum(1) ** 3).mean()


# name: the usual formula, and phi, weight, a, b and pixel of the op
TAILS: dict[str, tuple[Callable[[list[Tensor]], Tensor], str, float, float, float, bool]] = {
    "WGAN-GP": (_wgan_gp, "centred", 10.0, 1.0, 0.0, False),
    "WGAN-GP of pixels": (_wgan_gp_of_pixels, "centred", 10.0, 1.0, 0.0, True),
    "R1": (_r1, "square", 5.0, 0.0, 0.0, False),
    "WGAN-div": (_wgan_div, "power", 1.0, 3.0, 0.0, False),
}


def cases() -> list[Case]:
    """Every tail at two sizes."""
    return [_case(name, size) for name in TAILS for size in SHAPES]


def _case(name: str, size: str) -> Case:
    eager, *parameters = TAILS[name]
    return fused_case(
        "norm_reduce",
        f"{name}, {size}",
        partial(_gradient, SHAPES[size]),
        eager,
        lambda g: ops.norm_reduce(g, *parameters),  # type: ignore[arg-type]
        BACKWARD_MODES,
    )


def _gradient(shape: tuple[int, ...]) -> list[Tensor]:
    """Of norm about one in each sample."""
    g = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return [g / g[0].numel() ** 0.5]
