"""Feature matching, image and relativistic losses: pair_reduce against the formulas of trainers."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.kit import ALL_MODES, BACKWARD_MODES, Case, Provider, fused_case
from ganfast import ops
from ganfast.losses import (
    feature_matching,
    pixel_loss,
    relativistic_discriminator_loss,
)

SIZES = {"1": 1, "1k": 2**10, "64k": 2**16, "1M": 2**20, "4M": 2**22, "16M": 2**24}

Shape = tuple[int, ...]


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
    """Feature matching as in vocoders, losses of images and logits, then one pair of every size."""
    return [
        _features("HiFi-GAN, 54 maps of 2 x 8192 samples", hifi_gan(2), _l1_features, weight=2.0),
        _features("relative L1, the same", hifi_gan(2), _relative_l1_features, kind="relative_l1"),
        replace(
            _features(
                "HiFi-GAN, 54 maps of 16 x 8192 samples", hifi_gan(16), _l1_features, weight=2.0
            ),
            devices=("cuda",),
        ),
        _case(
            "pixel L1, 16 x 3 x 256 x 256",
            _randn([(16, 3, 256, 256)] * 2),
            lambda x: 100 * F.l1_loss(x[0], x[1]),
            lambda x: pixel_loss(x[1], x[0], weight=100.0),
            constants=1,
        ),
        _case(
            "relativistic D loss, 2 x (64, 1)",
            _randn([(64, 1)] * 2),
            lambda x: F.softplus(-(x[0] - x[1])).mean(),
            lambda x: relativistic_discriminator_loss(x[0], x[1]),
            ALL_MODES,
        ),
        *(_one_pair(h, size) for h in ONE_PAIR for size in SIZES),
        *(_one_pair(h, "4M", torch.bfloat16) for h in ONE_PAIR),
    ]


def _randn(shapes: list[Shape], dtype: torch.dtype = torch.float32) -> Callable[[], list[Tensor]]:
    def make() -> list[Tensor]:
        generator = torch.Generator().manual_seed(0)
        return [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]

    return make


def _case(
    name: str,
    make: Callable[[], list[Tensor]],
    eager: Provider,
    ganfast: Provider,
    modes: tuple[str, ...] = BACKWARD_MODES,
    constants: int = 0,
) -> Case:
    return replace(
        fused_case("pair_reduce", name, make, eager, ganfast, modes), constants=constants
    )


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

    return _case(
        name,
        _randn(flat * 2),
        lambda x: eager(x[n:], x[:n]),
        lambda x: feature_matching(nested(x[n:]), nested(x[:n]), **options),  # type: ignore[arg-type]
        constants=n,
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


# name of h: the eager formula, its parameters a and b
ONE_PAIR: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], float, float]] = {
    "l1": (lambda x, y: F.l1_loss(x, y), 0.0, 0.0),
    "square": (lambda x, y: F.mse_loss(x, y), 0.0, 0.0),
    "softplus": (lambda x, y: F.softplus(y - x).mean(), -1.0, 0.0),
    "hinge": (lambda x, y: F.relu(1 - (x - y)).mean(), -1.0, 1.0),
}


def _one_pair(h: str, size: str, dtype: torch.dtype = torch.float32) -> Case:
    eager, a, b = ONE_PAIR[h]
    return _case(
        f"{h}, {size} {str(dtype).removeprefix('torch.')}",
        _randn([(SIZES[size],)] * 2, dtype),
        lambda x: eager(x[0], x[1]),
        lambda x: ops.pair_reduce(x[:1], x[1:], h, [1.0], [a], [b]),
        constants=1,
    )
