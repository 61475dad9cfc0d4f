"""Adversarial losses: unary_reduce against the formulas of tutorials and trainers."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.kit import ALL_MODES, BACKWARD_MODES, Case, fused_case
from ganfast import ops
from ganfast.losses import AdversarialLoss, relativistic_average_discriminator_loss
from ganfast.losses.sides import Kind

# A HiFi-GAN discriminator of five periods and three scales, 16 segments of 8192 samples.
MAPS: list[tuple[int, ...]] = [(16, n) for n in (102, 102, 105, 105, 110, 128, 65, 33)]
SIZES = {"1": 1, "1k": 2**10, "64k": 2**16, "1M": 2**20, "8M": 2**23, "16M": 2**24}

STATS: dict[str, list[tuple[int, ...]]] = {
    "(64, 1)": [(64, 1)],
    "8 maps": MAPS,
    "1M": [(SIZES["1M"],)],
}

_case = partial(fused_case, "unary_reduce")


def cases() -> list[Case]:
    """Discriminator losses as trainers call them, then one tensor of every size."""
    return [
        _discriminator(
            "non-saturating D loss, 2 x (64, 1)", [(64, 1)], "non_saturating", _bce_with_logits
        ),
        _discriminator("hinge D loss, 2 x 8 maps", MAPS, "hinge", _hinge_maps, BACKWARD_MODES),
        _discriminator("least-squares D loss, 2 x 8 maps", MAPS, "least_squares", _square_maps),
        *(
            _discriminator(
                f"D loss on probabilities, 2 x {name}", [(n,)], "bce", _bce, from_probs=True
            )
            for name, n in (("64", 64), ("1M", SIZES["1M"]))
        ),
        *(_with_stats(f"2 x {name}", shapes) for name, shapes in STATS.items()),
        _case(
            "relativistic average D loss, 2 x 8 maps",
            partial(_randn, *MAPS, *MAPS),
            lambda x: _relativistic_average(x[:8], x[8:]),
            lambda x: relativistic_average_discriminator_loss(x[:8], x[8:]),
        ),
        *(_one_tensor(f, size) for f in ONE_TENSOR for size in SIZES),
        *(_one_tensor(f, "8M", torch.bfloat16) for f in ONE_TENSOR),
    ]


def _randn(*shapes: tuple[int, ...], dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]


def _rand(*shapes: tuple[int, ...]) -> list[Tensor]:
    return [x.sigmoid() for x in _randn(*shapes)]


def _discriminator(
    name: str,
    shapes: list[tuple[int, ...]],
    kind: Kind,
    eager: Callable[[list[Tensor], list[Tensor]], Tensor | float],
    modes: tuple[str, ...] = ALL_MODES,
    from_probs: bool = False,
) -> Case:
    """Inputs are the maps for real samples, then as many for fake ones."""
    loss = AdversarialLoss(kind, from_probs=from_probs)
    n = len(shapes)
    return _case(
        name,
        partial(_rand if from_probs else _randn, *shapes, *shapes),
        lambda x: eager(x[:n], x[n:]),
        lambda x: loss.discriminator(x[:n], x[n:]),
        modes,
    )


def _with_stats(name: str, shapes: list[tuple[int, ...]]) -> Case:
    """What is logged of a step: the mean and the share that is right, of each map."""
    loss = AdversarialLoss()
    n = len(shapes)

    def eager(x: list[Tensor]) -> Tensor | float:
        total: Tensor | float = 0
        for r, f in zip(x[:n], x[n:], strict=True):
            total = total + F.softplus(-r).mean() + F.softplus(f).mean()
            with torch.no_grad():
                _ = r.mean(), f.mean(), (r > 0).float().mean(), (f < 0).float().mean()
        return total

    return _case(
        f"D loss with statistics, {name}",
        partial(_randn, *shapes, *shapes),
        eager,
        lambda x: loss.discriminator(x[:n], x[n:], stats=True)[0],
    )


def _relativistic_average(real: list[Tensor], fake: list[Tensor]) -> Tensor | float:
    loss: Tensor | float = 0
    for r, f in zip(real, fake, strict=True):
        loss = loss + F.softplus(f.mean() - r).mean() + F.softplus(f - r.mean()).mean()
    return loss


def _bce_with_logits(real: list[Tensor], fake: list[Tensor]) -> Tensor:
    criterion = nn.BCEWithLogitsLoss()
    real_loss: Tensor = criterion(real[0], torch.ones_like(real[0]))
    fake_loss: Tensor = criterion(fake[0], torch.zeros_like(fake[0]))
    return real_loss + fake_loss


def _bce(real: list[Tensor], fake: list[Tensor]) -> Tensor:
    criterion = nn.BCELoss()
    real_loss: Tensor = criterion(real[0], torch.ones_like(real[0]))
    fake_loss: Tensor = criterion(fake[0], torch.zeros_like(fake[0]))
    return real_loss + fake_loss


def _hinge_maps(real: list[Tensor], fake: list[Tensor]) -> Tensor | float:
    loss: Tensor | float = 0
    for r, f in zip(real, fake, strict=True):
        loss = loss + F.relu(1 - r).mean() + F.relu(1 + f).mean()
    return loss


def _square_maps(real: list[Tensor], fake: list[Tensor]) -> Tensor | float:
    loss: Tensor | float = 0
    for r, f in zip(real, fake, strict=True):
        loss = loss + ((r - 1) ** 2).mean() + (f**2).mean()
    return loss


# name of f: the eager formula, its parameters a and b, and the modes; hinge bends nowhere twice
ONE_TENSOR: dict[str, tuple[Callable[[Tensor], Tensor], float, float, tuple[str, ...]]] = {
    "softplus": (lambda x: F.softplus(x).mean(), 1.0, 0.0, ALL_MODES),
    "square": (lambda x: ((x - 1) ** 2).mean(), 1.0, 0.0, ALL_MODES),
    "hinge": (lambda x: F.relu(1 - x).mean(), -1.0, 1.0, BACKWARD_MODES),
}


def _one_tensor(f: str, size: str, dtype: torch.dtype = torch.float32) -> Case:
    eager, a, b, modes = ONE_TENSOR[f]
    return _case(
        f"{f}, {size} {str(dtype).removeprefix('torch.')}",
        partial(_randn, (SIZES[size],), dtype=dtype),
        lambda x: eager(x[0]),
        lambda x: ops.unary_reduce(x, f, [1.0], [a], [b]),
        modes,
    )
