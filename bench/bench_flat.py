"""Losses of logits, features and images: flat against the formulas of tutorials and trainers."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.kit import ALL_MODES, BACKWARD_MODES, Case, Provider, fused_case
from ganfast import ops
from ganfast.losses import (
    AdversarialLoss,
    feature_matching,
    pixel_loss,
    relativistic_average_discriminator_loss,
    relativistic_discriminator_loss,
)
from ganfast.losses.formulas import Kind

Shape = tuple[int, ...]

# A HiFi-GAN discriminator of five periods and three scales, 16 segments of 8192 samples.
MAPS: list[Shape] = [(16, n) for n in (102, 102, 105, 105, 110, 128, 65, 33)]
SIZES = {
    "1": 1,
    "1k": 2**10,
    "64k": 2**16,
    "1M": 2**20,
    "4M": 2**22,
    "8M": 2**23,
    "16M": 2**24,
}
OF_X, OF_DIFFERENCES = ("1", "1k", "64k", "1M", "8M", "16M"), ("1", "1k", "64k", "1M", "4M", "16M")

STATS: dict[str, list[Shape]] = {
    "(64, 1)": [(64, 1)],
    "8 maps": MAPS,
    "1M": [(SIZES["1M"],)],
}

_case = partial(fused_case, "flat")


def period_maps(batch: int, samples: int, period: int) -> list[Shape]:
    """Maps of a HiFi-GAN period discriminator: five convolutions (5, 1), then that to logits."""
    length = -(-samples // period)  # padded to full periods
    maps = []
    for channels, stride in ((32, 3), (128, 3), (512, 3), (1024, 3), (1024, 1)):
        length = (length - 1) // stride + 1
        maps.append((batch, channels, length, period))
    return [*maps, (batch, 1, length, period)]


def scale_maps(batch: int, samples: int, pools: int) -> list[Shape]:
    """Maps of a HiFi-GAN scale discriminator: pools, seven convolutions, then that to logits."""
    length = samples
    for _ in range(pools):
        length = length // 2 + 1  # 4 wide, stride 2, padding 2
    maps = []
    for channels, stride in (
        (128, 1),
        (128, 2),
        (256, 2),
        (512, 4),
        (1024, 4),
        (1024, 1),
        (1024, 1),
    ):
        length = (length - 1) // stride + 1
        maps.append((batch, channels, length))
    return [*maps, (batch, 1, length)]


def hifi_gan(batch: int, samples: int = 8192) -> list[list[Shape]]:
    """Maps of all HiFi-GAN discriminators: 5 of 6 and 3 of 8."""
    return [
        *(period_maps(batch, samples, period) for period in (2, 3, 5, 7, 11)),
        *(scale_maps(batch, samples, pools) for pools in range(3)),
    ]


def cases() -> list[Case]:
    """Losses as trainers call them, of x and of differences, each with one tensor of every size."""
    return [*_of_x(), *_of_differences()]


def _of_x() -> list[Case]:
    """Discriminator losses."""
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
        *(_one_tensor(f, size) for f in ONE_TENSOR for size in OF_X),
        *(_one_tensor(f, "8M", torch.bfloat16) for f in ONE_TENSOR),
    ]


def _of_differences() -> list[Case]:
    """Feature matching as in vocoders, losses of images and logits."""
    return [
        _features("HiFi-GAN, 54 maps of 2 x 8192 samples", hifi_gan(2), _l1_features, weight=2.0),
        _features("relative L1, the same", hifi_gan(2), _relative_l1_features, kind="relative_l1"),
        replace(
            _features(
                "HiFi-GAN, 54 maps of 16 x 8192 samples", hifi_gan(16), _l1_features, weight=2.0
            ),
            devices=("cuda",),
        ),
        _pair(
            "pixel L1, 16 x 3 x 256 x 256",
            partial(_randn, *[(16, 3, 256, 256)] * 2),
            lambda x: 100 * F.l1_loss(x[0], x[1]),
            lambda x: pixel_loss(x[1], x[0], weight=100.0),
        ),
        _case(
            "relativistic D loss, 2 x (64, 1)",
            partial(_randn, *[(64, 1)] * 2),
            lambda x: F.softplus(-(x[0] - x[1])).mean(),
            lambda x: relativistic_discriminator_loss(x[0], x[1]),
            ALL_MODES,
        ),
        *(_one_pair(f, size) for f in ONE_PAIR for size in OF_DIFFERENCES),
        *(_one_pair(f, "4M", torch.bfloat16) for f in ONE_PAIR),
    ]


def _randn(*shapes: Shape, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]


def _rand(*shapes: Shape) -> list[Tensor]:
    return [x.sigmoid() for x in _randn(*shapes)]


def _discriminator(
    name: str,
    shapes: list[Shape],
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


def _with_stats(name: str, shapes: list[Shape]) -> Case:
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
        lambda x: loss.discriminator_with_stats(x[:n], x[n:])[0],
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
        lambda x: ops.flat(x, f, [1.0], [a], [b]),
        modes,
    )


def _pair(
    name: str,
    make: Callable[[], list[Tensor]],
    eager: Provider,
    ganfast: Provider,
    constants: int = 1,
) -> Case:
    """Of fake samples, and then of real ones, which take no gradient."""
    return replace(_case(name, make, eager, ganfast, BACKWARD_MODES), constants=constants)


def _features(
    name: str,
    shapes: list[list[Shape]],
    eager: Callable[[list[Tensor], list[Tensor]], Tensor | float],
    **options: object,
) -> Case:
    """Inputs are the maps for fake samples, then as many for real ones, without gradients."""
    flat = [shape for maps in shapes for shape in maps]
    n = len(flat)
    lengths = [len(maps) for maps in shapes]

    def nested(x: list[Tensor]) -> list[list[Tensor]]:
        left: Iterator[Tensor] = iter(x)
        return [[next(left) for _ in range(length)] for length in lengths]

    return _pair(
        name,
        partial(_randn, *flat, *flat),
        lambda x: eager(x[n:], x[:n]),
        lambda x: feature_matching(nested(x[n:]), nested(x[:n]), **options),  # type: ignore[arg-type]
        n,
    )


def _l1_features(real: list[Tensor], fake: list[Tensor]) -> Tensor | float:
    loss: Tensor | float = 0
    for r, f in zip(real, fake, strict=True):
        loss = loss + torch.mean(torch.abs(r - f))
    return 2 * loss


def _relative_l1_features(real: list[Tensor], fake: list[Tensor]) -> Tensor | float:
    loss: Tensor | float = 0
    for r, f in zip(real, fake, strict=True):
        loss = loss + F.l1_loss(f, r) / r.abs().mean()
    return loss


# name of f: the eager formula, its parameters a and b
ONE_PAIR: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], float, float]] = {
    "l1": (lambda x, y: F.l1_loss(x, y), 0.0, 0.0),
    "square": (lambda x, y: F.mse_loss(x, y), 0.0, 0.0),
    "softplus": (lambda x, y: F.softplus(y - x).mean(), -1.0, 0.0),
    "hinge": (lambda x, y: F.relu(1 - (x - y)).mean(), -1.0, 1.0),
}


def _one_pair(f: str, size: str, dtype: torch.dtype = torch.float32) -> Case:
    eager, a, b = ONE_PAIR[f]
    return _pair(
        f"{f} of differences, {size} {str(dtype).removeprefix('torch.')}",
        partial(_randn, *[(SIZES[size],)] * 2, dtype=dtype),
        lambda x: eager(x[0], x[1]),
        lambda x: ops.flat(x[:1], f, [1.0], [a], [b], x[1:]),
    )
