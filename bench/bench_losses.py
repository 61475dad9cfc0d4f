"""Every loss of ganfast.losses on maps of each size, against the formula that people write."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.kit import Case, Provider
from ganfast import losses
from ganfast.compat.pix2pix import GANLoss
from ganfast.losses.formulas import Distance, Kind
from ganfast.losses.relativistic import RelativisticKind

SIZES = {"1": 1, "64": 2**6, "1k": 2**10, "64k": 2**16, "1M": 2**20, "4M": 2**22, "16M": 2**24}
COLUMNS = 16  # of class scores and embeddings
NO_DECAY = 1 - 2.0**-53  # of moving averages
LARGEST_CONTRAST = 2**14  # elements: every sample is compared with every other one

Sides = Callable[[Tensor, Tensor], Tensor]


class Loss(NamedTuple):
    """The inputs for a number of elements, the formula, and the loss."""

    make: Callable[[int], list[Tensor]]
    eager: Provider
    ganfast: Provider
    constants: int = 0
    largest: int = SIZES["16M"]


def cases() -> list[Case]:
    """Three sizes: where calls count, where the caches hold the maps, and where memory counts."""
    return list(of_sizes("64", "64k", "4M"))


def of_sizes(*sizes: str) -> Iterator[Case]:
    """Each loss on maps of each of the sizes, where it has them."""
    for name, loss in LOSSES.items():
        for size in sizes:
            n = SIZES[size]
            if n <= loss.largest:
                providers = {"eager": loss.eager, "ganfast": loss.ganfast}
                yield Case(
                    "losses",
                    f"{name}, {size}",
                    partial(loss.make, n),
                    providers,
                    constants=loss.constants,
                )


def _randn(maps: int, n: int) -> list[Tensor]:
    random = torch.Generator().manual_seed(0)
    return [torch.randn((n, 1), generator=random) for _ in range(maps)]


def _both(eager: Sides, ganfast: Sides) -> Loss:
    """Of real and of fake outputs."""
    return Loss(partial(_randn, 2), lambda x: eager(*x), lambda x: ganfast(*x))


def _fake(eager: Callable[[Tensor], Tensor], ganfast: Callable[[Tensor], Tensor]) -> Loss:
    """Of fake outputs."""
    return Loss(partial(_randn, 1), lambda x: eager(x[0]), lambda x: ganfast(x[0]))


def _targets(eager: Sides, ganfast: Sides) -> Loss:
    """Of what is trained and its target, which takes no gradient."""
    return Loss(partial(_randn, 2), lambda x: eager(*x), lambda x: ganfast(*x), constants=1)


_BCE = F.binary_cross_entropy_with_logits
DISCRIMINATOR: dict[Kind, Sides] = {
    "non_saturating": lambda r, f: F.softplus(-r).mean() + F.softplus(f).mean(),
    "bce": lambda r, f: _BCE(r, torch.ones_like(r)) + _BCE(f, torch.zeros_like(f)),
    "least_squares": lambda r, f: ((r - 1) ** 2).mean() + (f**2).mean(),
    "wasserstein": lambda r, f: f.mean() - r.mean(),
    "hinge": lambda r, f: F.relu(1 - r).mean() + F.relu(1 + f).mean(),
}
GENERATOR: dict[Kind, Callable[[Tensor], Tensor]] = {
    "non_saturating": lambda f: F.softplus(-f).mean(),
    "minimax": lambda f: -F.softplus(f).mean(),
    "bce": lambda f: _BCE(f, torch.ones_like(f)),
    "least_squares": lambda f: ((f - 1) ** 2).mean(),
    "wasserstein": lambda f: -f.mean(),
    "hinge2": lambda f: F.relu(1 - f).mean(),
}
RELATIVISTIC: dict[RelativisticKind, Callable[[Tensor], Tensor]] = {
    "logistic": lambda d: F.softplus(-d).mean(),
    "least_squares": lambda d: ((d - 1) ** 2).mean(),
    "hinge": lambda d: F.relu(1 - d).mean(),
}


def _average(of: Callable[[Tensor], Tensor], r: Tensor, f: Tensor) -> Tensor:
    return of(r - f.mean()) + of(r.mean() - f)


def _relative(fake: Tensor, real: Tensor) -> Tensor:
    return F.l1_loss(fake, real) / real.abs().mean()


def _two(distance: Sides, weight: float) -> Provider:
    return lambda x: weight * distance(x[0], x[2]) + weight * distance(x[1], x[3])


class _LeCam:
    """As google/lecam-gan, with a decay so near to 1 that every call is as the first."""

    def __init__(self) -> None:
        self.real, self.fake = 0.0, 0.0

    def __call__(self, r: Tensor, f: Tensor) -> Tensor:
        self.real = self.real * NO_DECAY + r.mean().item() * (1 - NO_DECAY)
        self.fake = self.fake * NO_DECAY + f.mean().item() * (1 - NO_DECAY)
        return F.relu(r - self.fake).square().mean() + F.relu(self.real - f).square().mean()


class _LeCamOfMeans:
    """As 1d-tokenizer, with a decay so near to 1 that every call is as the first."""

    def __init__(self) -> None:
        self.real, self.fake = torch.zeros(()), torch.zeros(())

    def __call__(self, r: Tensor, f: Tensor) -> Tensor:
        real, fake = r.mean(), f.mean()
        loss = F.relu(real - self.fake).square() + F.relu(self.real - fake).square()
        self.real = self.real * NO_DECAY + real.detach() * (1 - NO_DECAY)
        self.fake = self.fake * NO_DECAY + fake.detach() * (1 - NO_DECAY)
        return loss


def _scores(tables: int, n: int) -> list[Tensor]:
    random = torch.Generator().manual_seed(0)
    samples = max(1, n // COLUMNS)
    scores = [torch.randn((samples, COLUMNS), generator=random) for _ in range(tables)]
    return [*scores, torch.randint(COLUMNS, (samples,), generator=random)]


def _labelled(tables: int, eager: Provider, ganfast: Provider, largest: int = SIZES["16M"]) -> Loss:
    return Loss(partial(_scores, tables), eager, ganfast, 1, largest)


def _crammer_singer(x: list[Tensor]) -> Tensor:
    scores, labels = x[0], x[1].long()
    own = scores.gather(1, labels[:, None]).squeeze(1)
    others = scores.masked_fill(F.one_hot(labels, COLUMNS).bool(), -math.inf)
    return F.relu(1 + others.max(1).values - own).mean()


def _codes(x: list[Tensor]) -> Tensor:
    code, mu, var = x[0], x[1], x[2].exp()
    nll = 0.5 * torch.log(2 * math.pi * var) + (code - mu) ** 2 / (2 * var)
    return nll.sum(1).mean()


def _similar(x: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    h, p, y = F.normalize(x[0]), F.normalize(x[1]), x[2].long()
    return F.cosine_similarity(h, p), h @ h.T, y[:, None] == y[None, :]


def _contrastive(x: list[Tensor]) -> Tensor:
    proxy, similar, same = _similar(x)
    off = ~torch.eye(len(same), dtype=torch.bool, device=same.device)
    near, far = proxy.exp(), similar.exp() * off
    return -torch.log((near + (far * same).sum(1)) / (near + far.sum(1))).mean()


def _data_to_data(x: list[Tensor]) -> Tensor:
    proxy, similar, same = _similar(x)
    near = torch.clamp(proxy - 0.98, max=0) / 0.5
    far = torch.exp(torch.clamp(similar - 0.02, min=0) / 0.5) * ~same
    return -(near - torch.log(near.exp() + far.sum(1))).mean()


class _GANLoss(nn.Module):
    """For real outputs, as the module of pytorch-CycleGAN-and-pix2pix computes it."""

    label: Tensor

    def __init__(self, mode: str) -> None:
        super().__init__()
        criteria: dict[str, nn.Module] = {"vanilla": nn.BCEWithLogitsLoss(), "lsgan": nn.MSELoss()}
        self.criterion = criteria.get(mode)
        self.register_buffer("label", torch.tensor(1.0))

    def forward(self, prediction: Tensor) -> Tensor:
        if self.criterion is None:
            return -prediction.mean()
        if self.label.device != prediction.device:
            self.to(prediction.device)
        loss: Tensor = self.criterion(prediction, self.label.expand_as(prediction))
        return loss


_DISTANCES: dict[Distance, Sides] = {"l1": F.l1_loss, "l2": F.mse_loss}

LOSSES: dict[str, Loss] = {
    **{
        f"{kind} D": _both(eager, losses.AdversarialLoss(kind).discriminator)
        for kind, eager in DISCRIMINATOR.items()
    },
    **{
        f"{kind} G": _fake(eager, losses.AdversarialLoss(kind).generator)
        for kind, eager in GENERATOR.items()
    },
    "discriminator_loss": _both(
        DISCRIMINATOR["hinge"], partial(losses.discriminator_loss, kind="hinge")
    ),
    "generator_loss": _fake(GENERATOR["wasserstein"], partial(losses.generator_loss, kind="hinge")),
    **{
        f"pix2pix GANLoss {mode}": _fake(
            _GANLoss(mode), partial(GANLoss(mode), target_is_real=True)
        )
        for mode in ("vanilla", "lsgan", "wgangp")
    },
    **{
        f"relativistic {kind}": _both(
            lambda r, f, of=of: of(r - f),  # type: ignore[misc]
            partial(losses.relativistic_discriminator_loss, kind=kind),
        )
        for kind, of in RELATIVISTIC.items()
    },
    **{
        f"relativistic average {kind}": _both(
            partial(_average, of),
            partial(losses.relativistic_average_discriminator_loss, kind=kind),
        )
        for kind, of in RELATIVISTIC.items()
    },
    "LeCam": _both(_LeCam(), losses.LeCam(decay=NO_DECAY)),
    "LeCam means": _both(_LeCamOfMeans(), losses.LeCam("means", decay=NO_DECAY)),
    **{
        f"pixel {kind}": _targets(
            lambda fake, real, of=of: 100 * of(fake, real),  # type: ignore[misc]
            lambda fake, real, kind=kind: losses.pixel_loss(real, fake, kind, 100.0),  # type: ignore[misc]
        )
        for kind, of in _DISTANCES.items()
    },
    "cycle": Loss(
        partial(_randn, 4),
        _two(F.l1_loss, 10.0),
        lambda x: losses.cycle_loss(x[2], x[0], x[3], x[1]),
        constants=2,
    ),
    "identity": Loss(
        partial(_randn, 4),
        _two(F.l1_loss, 5.0),
        lambda x: losses.identity_loss(x[2], x[0], x[3], x[1]),
        constants=2,
    ),
    "feature matching": _targets(F.l1_loss, lambda fake, real: losses.feature_matching(real, fake)),
    "relative feature matching": _targets(
        _relative, lambda fake, real: losses.feature_matching(real, fake, "relative_l1")
    ),
    "Crammer-Singer": _labelled(
        1, _crammer_singer, lambda x: losses.crammer_singer_loss(x[0], x[1])
    ),
    "auxiliary classifier": _labelled(
        1,
        lambda x: F.cross_entropy(x[0], x[1].long()),
        lambda x: losses.auxiliary_classifier_loss(x[0], x[1]),
    ),
    "Gaussian codes": Loss(
        partial(_randn, 3), _codes, lambda x: losses.gaussian_code_loss(x[0], x[1], x[2].exp())
    ),
    "2C": _labelled(
        2, _contrastive, lambda x: losses.conditional_contrastive_loss(*x), LARGEST_CONTRAST
    ),
    "D2D-CE": _labelled(
        2, _data_to_data, lambda x: losses.data_to_data_cross_entropy_loss(*x), LARGEST_CONTRAST
    ),
}
