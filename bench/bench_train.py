"""One round of training a DCGAN-64 against the loops of the usual tutorials.

Their discriminators end in a sigmoid, they take BCELoss against label tensors made anew, and go
back through the discriminator's weights in the generator's step. "tutorial" feeds fakes with their
graph to the discriminator's step, which goes back through the generator for nothing, and draws new
ones for the generator's, as `pytorch-tutorial` does. "tutorial, detached" draws once and detaches,
as PyTorch's own DCGAN tutorial does; the trainer's `reuse_fakes` is the same arithmetic, and "new
fakes" are its usual two draws in a round. All start with the same weights and draw the same
latents, and the learning rate is next to nothing, so that a round's loss of the discriminator can
be compared; it is what a provider returns.
"""

import tempfile
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from bench.kit import SUBJECT, Case
from ganfast._precision import is_fast
from ganfast.losses import AdversarialLoss
from ganfast.models import dcgan
from ganfast.train import Trainer, TrainOptions

_BATCH, _LATENT, _CHANNELS, _SIZE = 64, 100, 3, 64
_RATE = 1e-30
_BETAS = (0.5, 0.999)
_FAST: dict[str, Any] = {"channels_last": True, "reuse_fakes": True}

Step = Callable[[Tensor], float]


def cases() -> list[Case]:
    """The round of the DCGAN tutorial's own networks, at half its batch."""
    return [
        Case(
            "train",
            f"DCGAN-{_SIZE}, batch {_BATCH}",
            _real,
            {
                "tutorial": partial(_tutorial, detached=False),
                "tutorial, detached": _tutorial,
                SUBJECT: partial(_ganfast, **_FAST),
                "ganfast, new fakes": partial(_ganfast, channels_last=True),
                "ganfast compile": partial(_ganfast, compile=True, **_FAST),
                "ganfast bf16": partial(_ganfast, precision="bf16", **_FAST),
                "ganfast graphs": partial(_ganfast, cuda_graphs=True, **_FAST),
                "ganfast graphs, bf16": partial(
                    _ganfast, cuda_graphs=True, precision="bf16", **_FAST
                ),
            },
            modes=("forward",),
            reference=_tutorial,
        )
    ]


def _real() -> list[Tensor]:
    shape = (_BATCH, _CHANNELS, _SIZE, _SIZE)
    return [torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1]


def _networks() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    generator = dcgan.Generator(_LATENT, 64, _CHANNELS, _SIZE)
    return generator, dcgan.Discriminator(64, _CHANNELS, _SIZE)


def _tutorial_networks() -> tuple[nn.Module, nn.Module]:
    """The same, with the same weights, as the tutorial writes them."""
    up: list[nn.Module] = [nn.ConvTranspose2d(_LATENT, 512, 4, 1, 0, bias=False)]
    for inner, outer in ((512, 256), (256, 128), (128, 64)):
        up += [nn.BatchNorm2d(inner), nn.ReLU(True)]
        up += [nn.ConvTranspose2d(inner, outer, 4, 2, 1, bias=False)]
    up += [nn.BatchNorm2d(64), nn.ReLU(True), nn.ConvTranspose2d(64, _CHANNELS, 4, 2, 1), nn.Tanh()]
    down: list[nn.Module] = [nn.Conv2d(_CHANNELS, 64, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
    for inner, outer in ((64, 128), (128, 256), (256, 512)):
        down += [nn.Conv2d(inner, outer, 4, 2, 1, bias=False), nn.BatchNorm2d(outer)]
        down += [nn.LeakyReLU(0.2, inplace=True)]
    down += [nn.Conv2d(512, 1, 4, 1, 0), nn.Sigmoid()]
    networks = nn.Sequential(*up), nn.Sequential(*down)
    for network, ours in zip(networks, _networks(), strict=True):
        network.load_state_dict(ours.layers.state_dict())  # type: ignore[union-attr]
    return networks


def _tutorial(x: list[Tensor], detached: bool = True) -> float:
    return _tutorial_step(x[0].dtype, x[0].device, detached)(x[0])


@lru_cache
def _tutorial_step(dtype: torch.dtype, device: torch.device, detached: bool) -> Step:
    generator, discriminator = (net.to(device, dtype) for net in _tutorial_networks())
    criterion = nn.BCELoss()
    optimizer_g, optimizer_d = (
        torch.optim.Adam(net.parameters(), _RATE, _BETAS) for net in (generator, discriminator)
    )
    random = torch.Generator(device)

    def make() -> Tensor:
        noise = torch.randn(_BATCH, _LATENT, device=device, generator=random)
        fake: Tensor = generator(noise.to(dtype)[:, :, None, None])
        return fake

    def step(real: Tensor) -> float:
        random.manual_seed(0)
        discriminator.zero_grad()
        labels = torch.full((_BATCH,), 1.0, dtype=dtype, device=device)
        of_real = criterion(discriminator(real).view(-1), labels)
        torch.autograd.backward(of_real)
        fake = make()
        labels = torch.full((_BATCH,), 0.0, dtype=dtype, device=device)
        of_fake = criterion(discriminator(fake.detach() if detached else fake).view(-1), labels)
        torch.autograd.backward(of_fake)
        optimizer_d.step()
        generator.zero_grad()
        labels = torch.full((_BATCH,), 1.0, dtype=dtype, device=device)
        fake = fake if detached else make()
        torch.autograd.backward(criterion(discriminator(fake).view(-1), labels))
        optimizer_g.step()
        return float((of_real + of_fake).detach())

    return step


def _ganfast(x: list[Tensor], **changes: Any) -> float:
    if not is_fast(changes.get("precision", "fp32"), x[0].device):
        raise RuntimeError("this CPU has no instructions for it")
    if changes.get("cuda_graphs") and x[0].device.type != "cuda":
        raise RuntimeError("graphs need a GPU")
    return _ganfast_step(x[0].device, tuple(changes.items()))(x[0])


@lru_cache
def _ganfast_step(device: torch.device, changes: tuple[tuple[str, Any], ...]) -> Step:
    generator, discriminator = (net.to(device) for net in _networks())
    options = TrainOptions(
        steps=10**9, latent_dim=_LATENT, lr_g=_RATE, lr_d=_RATE, log_every=1, **dict(changes)
    )
    data: list[Tensor] = []  # the next batch
    trainer = Trainer(
        generator, discriminator, data, AdversarialLoss("bce"), options, tempfile.mkdtemp()
    )

    def step(real: Tensor) -> float:
        data[:] = [real]
        trainer._random.manual_seed(0)
        trainer._round()
        return trainer._metrics.means(trainer.step)["loss_d"]

    if options.cuda_graphs:  # from here on, each round is a replay
        for _ in range(4):
            step(_real()[0])
    return step
