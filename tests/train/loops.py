"""Three training loops, written as their projects write them, and what they train."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganfast.compat import hifigan
from ganfast.losses import frozen
from ganfast.penalties import wgan_gp

Step = Callable[..., Any]


def adam(net: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(net.parameters(), 2e-4, (0.5, 0.999), capturable=True, fused=True)


def dcgan(device: str) -> tuple[nn.ModuleList, Step, tuple[int, ...]]:
    """PyTorch's tutorial: probabilities, and gradients of real and fake that add up."""
    g = nn.Sequential(nn.Linear(16, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 36))
    d = nn.Sequential(nn.Linear(36, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1), nn.Sigmoid())
    nets = nn.ModuleList([g, d]).to(device)
    optimizer_g, optimizer_d = adam(g), adam(d)

    def step(real: Tensor) -> tuple[Tensor, Tensor]:
        z = torch.randn(len(real), 16, device=device)
        one = torch.ones(len(real), 1, device=device)
        d.zero_grad()
        loss_real = F.binary_cross_entropy(d(real), one)
        loss_real.backward()
        fake = g(z).tanh()
        loss_fake = F.binary_cross_entropy(d(fake.detach()), 1 - one)
        loss_fake.backward()
        optimizer_d.step()
        g.zero_grad()
        loss = F.binary_cross_entropy(d(fake), one)
        loss.backward()
        optimizer_g.step()
        return loss_real + loss_fake, loss

    return nets, step, (8, 36)


def wgan(device: str) -> tuple[nn.ModuleList, Step, tuple[int, ...]]:
    """A critic with a gradient penalty."""
    g = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 36))
    d = nn.Sequential(nn.Linear(36, 64), nn.Softplus(), nn.Linear(64, 1))
    nets = nn.ModuleList([g, d]).to(device)
    optimizer_g, optimizer_d = adam(g), adam(d)

    def step(real: Tensor, train_g: bool) -> dict[str, Tensor | None]:
        fake = g(torch.randn(len(real), 16, device=device))
        optimizer_d.zero_grad()
        loss_d = d(fake.detach()).mean() - d(real).mean() + wgan_gp(d, real, fake.detach())
        loss_d.backward()
        optimizer_d.step()
        loss_g = None
        if train_g:
            optimizer_g.zero_grad()
            with frozen(d):
                loss_g = -d(g(torch.randn(len(real), 16, device=device))).mean()
            loss_g.backward()
            optimizer_g.step()
        return {"d": loss_d, "g": loss_g}

    return nets, step, (8, 36)


class Discriminator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv1d(1, 8, 5, 2), nn.Conv1d(8, 8, 5, 2)])
        self.out = nn.Conv1d(8, 1, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        maps = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.1)
            maps.append(x)
        return self.out(x).flatten(1), maps


def vocoder(device: str) -> tuple[nn.ModuleList, Step, tuple[int, ...]]:
    """HiFi-GAN's step with its functions."""
    g = nn.Sequential(nn.Conv1d(1, 8, 5, padding=2), nn.Tanh(), nn.Conv1d(8, 1, 5, padding=2))
    d = Discriminator()
    nets = nn.ModuleList([g, d]).to(device)
    optimizer_g, optimizer_d = adam(g), adam(d)

    def step(y: Tensor) -> tuple[Tensor, Tensor]:
        y_hat = g(y + torch.randn_like(y))
        optimizer_d.zero_grad()
        loss_d, _, _ = hifigan.discriminator_loss([d(y)[0]], [d(y_hat.detach())[0]])
        loss_d.backward()
        optimizer_d.step()
        optimizer_g.zero_grad()
        with frozen(d):
            (_, maps), (out, maps_hat) = d(y), d(y_hat)
            loss_g = hifigan.generator_loss([out])[0] + hifigan.feature_loss([maps], [maps_hat])
        mels = [hifigan.mel_spectrogram(x[:, 0], 64, 10, 8000, 16, 64, 0, 4000) for x in (y, y_hat)]
        loss_g = loss_g + 45 * F.l1_loss(*mels)
        loss_g.backward()
        optimizer_g.step()
        return loss_d, loss_g

    return nets, step, (4, 1, 256)


LOOPS = (dcgan, wgan, vocoder)


def trained(make: Any, device: str, wrap: Callable[[Step], Step]) -> tuple[Tensor, Tensor]:
    """The losses of twelve steps, and all weights after them."""
    torch.manual_seed(0)
    nets, step, shape = make(device)
    play = wrap(step)
    losses = []
    for k in range(12):
        real = torch.randn(shape, generator=torch.Generator().manual_seed(k)).to(device)
        flags = (k % 3 == 0,) if make is wgan else ()
        torch.manual_seed(k)  # a graph draws what the step would
        result = play(real, *flags)
        values = result.values() if isinstance(result, dict) else result
        losses.append([0.0 if x is None else x.item() for x in values])
    return torch.tensor(losses), torch.cat([p.detach().flatten() for p in nets.parameters()])
