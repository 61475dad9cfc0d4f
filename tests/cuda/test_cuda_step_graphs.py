"""Three loops, written as their projects write them, train the same with and without graphs."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganfast.compat import hifigan
from ganfast.losses import frozen
from ganfast.penalties import wgan_gp
from ganfast.train import graphed

Step = Callable[..., Any]


def adam(net: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(net.parameters(), 2e-4, (0.5, 0.999), capturable=True)


def dcgan() -> tuple[nn.ModuleList, Step, tuple[int, ...]]:
    """PyTorch's tutorial: probabilities, and gradients of real and fake that add up."""
    g = nn.Sequential(nn.Linear(16, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 36))
    d = nn.Sequential(nn.Linear(36, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1), nn.Sigmoid())
    nets = nn.ModuleList([g, d]).cuda()
    optimizer_g, optimizer_d = adam(g), adam(d)

    def step(real: Tensor) -> tuple[Tensor, Tensor]:
        z = torch.randn(len(real), 16, device="cuda")
        one = torch.ones(len(real), 1, device="cuda")
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


def wgan() -> tuple[nn.ModuleList, Step, tuple[int, ...]]:
    """A critic with a gradient penalty."""
    g = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 36))
    d = nn.Sequential(nn.Linear(36, 64), nn.Softplus(), nn.Linear(64, 1))
    nets = nn.ModuleList([g, d]).cuda()
    optimizer_g, optimizer_d = adam(g), adam(d)

    def step(real: Tensor, train_g: bool) -> dict[str, Tensor | None]:
        fake = g(torch.randn(len(real), 16, device="cuda"))
        optimizer_d.zero_grad()
        loss_d = d(fake.detach()).mean() - d(real).mean() + wgan_gp(d, real, fake.detach())
        loss_d.backward()
        optimizer_d.step()
        loss_g = None
        if train_g:
            optimizer_g.zero_grad()
            with frozen(d):
                loss_g = -d(g(torch.randn(len(real), 16, device="cuda"))).mean()
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


def vocoder() -> tuple[nn.ModuleList, Step, tuple[int, ...]]:
    """HiFi-GAN's step with its functions."""
    g = nn.Sequential(nn.Conv1d(1, 8, 5, padding=2), nn.Tanh(), nn.Conv1d(8, 1, 5, padding=2))
    d = Discriminator()
    nets = nn.ModuleList([g, d]).cuda()
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


@pytest.mark.parametrize("make", [dcgan, wgan, vocoder])
def test_the_losses_are_those_without_graphs(make: Any) -> None:
    found = []
    for record in (False, True):
        torch.manual_seed(0)
        nets, step, shape = make()
        play = graphed(step) if record else step
        losses = []
        for k in range(12):
            real = torch.randn(shape, generator=torch.Generator().manual_seed(k)).cuda()
            flags = (k % 3 == 0,) if make is wgan else ()
            torch.cuda.manual_seed(k)  # a graph draws what the step would
            result = play(real, *flags)
            values = result.values() if isinstance(result, dict) else result
            losses.append([0.0 if x is None else x.item() for x in values])
        weights = torch.cat([p.detach().flatten() for p in nets.parameters()])
        found.append((torch.tensor(losses), copy.deepcopy(weights)))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-3, atol=1e-4)


def test_a_step_that_waits_is_refused_and_the_device_goes_on() -> None:
    net = nn.Linear(3, 1).cuda()

    def step(x: Tensor) -> Tensor:
        loss = net(x).mean()
        return loss * (2 if loss.item() > 0 else 1)

    recorded, x = graphed(step), torch.randn(4, 3, device="cuda")
    here = torch.cuda.current_stream()
    for _ in range(3):
        recorded(x)
    with pytest.raises(RuntimeError, match="step must not wait for the device"):
        recorded(x)
    assert torch.cuda.current_stream() == here
    assert net(x).sum().isfinite()


def test_a_learning_rate_on_the_device_follows_its_schedule() -> None:
    net = nn.Linear(3, 1).cuda()
    rate = torch.tensor(0.1, device="cuda")
    optimizer = torch.optim.Adam(net.parameters(), rate, capturable=True)

    def step(x: Tensor) -> Tensor:
        optimizer.zero_grad()
        loss = net(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    recorded, x = graphed(step), torch.randn(4, 3, device="cuda")
    for _ in range(5):
        recorded(x)
    before = net.weight.detach().clone()
    rate.zero_()
    recorded(x)
    assert torch.equal(net.weight, before)
