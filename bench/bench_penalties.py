"""A discriminator's penalties end to end: exact and approximate R1, with D's forward shared or not.

Inputs are D's parameters, so that forward + backward is what one step of D on real images pays.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from bench.kit import Case
from ganfast import penalties

BATCH, SIDE = 16, 64
SIGMA = 0.01


def dcgan(width: int = 32) -> nn.Module:
    """The discriminator of DCGAN for 64 x 64 images, without batch normalization, as R1 wants."""
    widths = (3, width, 2 * width, 4 * width, 8 * width)
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Conv2d(before, after, 4, 2, 1), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(8 * width, 1, 4), nn.Flatten(0))


class _Block(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, padding=1)
        self.second = nn.Conv2d(after, after, 3, padding=1)
        self.skip = nn.Conv2d(before, after, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.second(F.leaky_relu(self.first(F.leaky_relu(x, 0.2)), 0.2))
        return F.avg_pool2d(h + self.skip(x), 2)


def resnet(width: int = 16) -> nn.Module:
    """A small residual discriminator for 64 x 64 images."""
    widths = (width, width, 2 * width, 4 * width, 8 * width)
    blocks = [_Block(a, b) for a, b in pairwise(widths)]
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1), *blocks, nn.Flatten(), nn.Linear(128 * 16, 1)
    )


Step = Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]


def _loss(d: Callable[[Tensor], Tensor], real: Tensor) -> Tensor:
    return F.softplus(-d(real)).mean()


def _separate(d: Callable[[Tensor], Tensor], real: Tensor) -> Tensor:
    return _loss(d, real) + penalties.r1(d, real, gamma=1.0)


def _shared(d: Callable[[Tensor], Tensor], real: Tensor) -> Tensor:
    real = real.detach().requires_grad_()
    logits = d(real)
    return F.softplus(-logits).mean() + penalties.r1_from_logits(logits, real, gamma=1.0)


def _eager(d: Callable[[Tensor], Tensor], real: Tensor) -> Tensor:
    real = real.detach().requires_grad_()
    logits = d(real)
    (g,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
    return F.softplus(-logits).mean() + 0.5 * g.square().sum([1, 2, 3]).mean()


def _approximate(d: Callable[[Tensor], Tensor], real: Tensor) -> Tensor:
    logits = d(real)
    weight = penalties.approximate_weight(1.0, SIGMA)
    noise = _noise(real.device, real.dtype)
    return F.softplus(-logits).mean() + penalties.approximate_r1(
        d, real, weight=weight, sigma=SIGMA, logits=logits, noise=noise
    )


# Of equal functions: one forward for the loss and R1 is the subject.
EXACT: Mapping[str, Step] = {"eager": _eager, "separate forward": _separate, "ganfast": _shared}
# Of other functions, so that errors do not compare: approximate R1 is the subject.
APPROXIMATE: Mapping[str, Step] = {
    "exact R1": _shared,
    "no penalty": _loss,
    "ganfast": _approximate,
}


def cases() -> list[Case]:
    """The loss of D on real images with R1, for two discriminators."""
    return [
        _case(f"D loss with {what}, {name} on {BATCH}x3x{SIDE}x{SIDE}", make, steps)
        for name, make in (("DCGAN-64", dcgan), ("ResNet-64", resnet))
        for what, steps in (("exact R1", EXACT), ("approximate R1", APPROXIMATE))
    ]


@lru_cache
def _images(device: torch.device, dtype: torch.dtype) -> Tensor:
    return _drawn(0).to(device, dtype)


@lru_cache
def _noise(device: torch.device, dtype: torch.dtype) -> Tensor:
    return _drawn(1).to(device, dtype)


def _drawn(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(BATCH, 3, SIDE, SIDE, generator=generator)


def _case(name: str, make: Callable[[], nn.Module], steps: Mapping[str, Step]) -> Case:
    module = make()
    names = [key for key, _ in module.named_parameters()]

    def provider(step: Step) -> Callable[[list[Tensor]], Tensor]:
        def run(x: list[Tensor]) -> Tensor:
            parameters = dict(zip(names, x, strict=True))
            images = _images(x[0].device, x[0].dtype)
            return step(lambda images: functional_call(module, parameters, images), images)

        return run

    return Case(
        "penalties",
        name,
        partial(_parameters, make),
        {key: provider(step) for key, step in steps.items()},
        ("forward_backward",),
        provider(steps["ganfast"]),
    )


def _parameters(make: Callable[[], nn.Module]) -> list[Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return [p.detach() for p in make().parameters()]
