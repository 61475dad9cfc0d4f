"""Adversarial losses that weigh samples or keep them apart, against the formulas of trainers."""

from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.bench_unary_reduce import MAPS
from bench.kit import Case, fused_case
from ganfast.losses import AdversarialLoss

SHAPES: dict[str, list[tuple[int, ...]]] = {
    **{name: [(n, 1)] for name, n in (("1", 1), ("64", 64), ("1k", 2**10))},
    **{name: [(n, 1)] for name, n in (("64k", 2**16), ("1M", 2**20))},
    "8 maps": MAPS,
}


def cases() -> list[Case]:
    """Discriminator losses, the last two inputs numbers of the real and of the fake samples."""
    return [
        replace(
            fused_case("unary_rows", f"{name}, 2 x {size}", partial(_make, shapes), eager, ganfast),
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
