"""Losses that weigh samples or keep them apart, and the tail of a gradient penalty.

The tail is from the gradient to the penalty, and back to the gradient.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.bench_flat import MAPS
from bench.kit import BACKWARD_MODES, Case, fused_case
from ganfast import ops
from ganfast.losses import AdversarialLoss

SHAPES: dict[str, list[tuple[int, ...]]] = {
    **{name: [(n, 1)] for name, n in (("1", 1), ("64", 64), ("1k", 2**10))},
    **{name: [(n, 1)] for name, n in (("64k", 2**16), ("1M", 2**20))},
    "8 maps": MAPS,
}
IMAGES = {"64x3x64x64": (64, 3, 64, 64), "16x3x256x256": (16, 3, 256, 256)}


def cases() -> list[Case]:
    """Discriminator losses at every size, then every tail at two."""
    return [*_losses(), *(_tail(name, size) for name in TAILS for size in IMAGES)]


def _losses() -> list[Case]:
    """The last two inputs are numbers of the real and of the fake samples."""
    return [
        replace(
            fused_case("rows", f"{name}, 2 x {size}", partial(_make, shapes), eager, ganfast),
            constants=2,
        )
        for name, eager, ganfast in (
            ("D loss with sample weights", _weighted, _fused_weighted),
            ("D loss of each sample", _rows, _fused_rows),
        )
        for size, shapes in SHAPES.items()
    ]


def _make(shapes: list[tuple[int, ...]]) -> list[Tensor]:
    random = torch.Generator().manual_seed(0)
    maps = [torch.randn(shape, generator=random) for shape in 2 * shapes]
    return maps + [torch.rand(shapes[0][0], generator=random) for _ in range(2)]


def _sides(x: list[Tensor]) -> tuple[list[Tensor], list[Tensor], Tensor, Tensor]:
    n = len(x) // 2 - 1
    return x[:n], x[n : 2 * n], x[-2], x[-1]


def _weighted(x: list[Tensor]) -> Tensor | float:
    real, fake, of_real, of_fake = _sides(x)
    loss: Tensor | float = 0
    for r, f in zip(real, fake, strict=True):
        loss = loss + (of_real * F.softplus(-r).mean(1)).sum() / of_real.sum()
        loss = loss + (of_fake * F.softplus(f).mean(1)).sum() / of_fake.sum()
    return loss


def _fused_weighted(x: list[Tensor]) -> Tensor:
    real, fake, of_real, of_fake = _sides(x)
    return _MEAN.discriminator(real, fake, real_weight=of_real, fake_weight=of_fake)


def _rows(x: list[Tensor]) -> Tensor:
    """What a trainer does with the numbers: here a sum with weights of its own."""
    real, fake, weight, _ = _sides(x)
    rows: Tensor | float = 0
    for r, f in zip(real, fake, strict=True):
        rows = rows + F.softplus(-r).mean(1) + F.softplus(f).mean(1)
    return (weight * rows).sum()


def _fused_rows(x: list[Tensor]) -> Tensor:
    real, fake, weight, _ = _sides(x)
    return (weight * _NONE.discriminator(real, fake)).sum()


_MEAN, _NONE = AdversarialLoss(), AdversarialLoss(reduction="none")


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


def _tail(name: str, size: str) -> Case:
    eager, *parameters = TAILS[name]
    return fused_case(
        "rows",
        f"{name}, {size}",
        partial(_gradient, IMAGES[size]),
        eager,
        lambda g: ops.norms(g, *parameters),  # type: ignore[arg-type]
        BACKWARD_MODES,
    )


def _gradient(shape: tuple[int, ...]) -> list[Tensor]:
    """Of norm about one in each sample."""
    g = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return [g / g[0].numel() ** 0.5]
