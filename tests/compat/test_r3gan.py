"""R3GAN's training steps."""

import copy

import pytest
import torch
import torch.nn.functional as F
from compat.checks import arguments, assert_same_networks
from torch import Tensor, nn

from ganfast.compat.r3gan import AdversarialTraining


class Net(nn.Module):
    """A network that takes images or noise, and a condition."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        return self.layers(x + c)


def networks() -> tuple[Net, Net]:
    torch.manual_seed(0)
    generator = Net(nn.Linear(4, 32), nn.Tanh(), nn.Unflatten(1, (2, 4, 4)))
    discriminator = Net(nn.Conv2d(2, 3, 3), nn.Softplus(), nn.Flatten(), nn.Linear(12, 1))
    discriminator.layers.append(nn.Flatten(0))
    return generator.double(), discriminator.double()


NOISE = torch.linspace(-1, 1, 20, dtype=torch.float64).view(5, 4)
REAL = torch.linspace(-2, 1, 160, dtype=torch.float64).sin().view(5, 2, 4, 4)
CONDITION = torch.tensor(0.25, dtype=torch.float64)


def scaled(x: Tensor) -> Tensor:
    return 1.5 * x


@pytest.mark.parametrize("scale", [1, 0.5])
def test_generator(scale: float) -> None:
    G, D = networks()
    expected = copy.deepcopy(G)
    d = D(scaled(expected(NOISE, CONDITION)), CONDITION) - D(scaled(REAL), CONDITION)
    losses = torch.log(1 + torch.exp(-d))
    (scale * losses.mean()).backward()

    D.requires_grad_(False)
    got = AdversarialTraining(G, D).AccumulateGeneratorGradients(
        NOISE, REAL, CONDITION, scale, scaled
    )
    assert_same_networks(G, expected)
    torch.testing.assert_close(got, [losses.detach(), d.detach()])


@pytest.mark.parametrize("scale", [1, 0.5])
def test_discriminator(scale: float) -> None:
    G, D = networks()
    expected = copy.deepcopy(D)
    real = REAL.clone().requires_grad_()
    fake = G(NOISE, CONDITION).detach().requires_grad_()
    r, f = (expected(scaled(x), CONDITION) for x in (real, fake))
    of_real, of_fake = torch.autograd.grad((r.sum() + f.sum()), (real, fake), create_graph=True)
    r1, r2 = ((g**2).sum([1, 2, 3]) for g in (of_real, of_fake))
    losses = F.softplus(f - r)
    (scale * (losses + 3.0 / 2 * (r1 + r2)).mean()).backward()

    got = AdversarialTraining(G, D).AccumulateDiscriminatorGradients(
        NOISE, REAL, CONDITION, 3.0, scale, scaled
    )
    assert_same_networks(D, expected)
    assert all(p.grad is None for p in G.parameters())
    torch.testing.assert_close(got, [x.detach() for x in (losses, r - f, r1, r2)])


def test_signatures() -> None:
    step = "self, Noise, RealSamples, Conditions, "
    of_generator = arguments(AdversarialTraining.AccumulateGeneratorGradients)
    of_discriminator = arguments(AdversarialTraining.AccumulateDiscriminatorGradients)
    assert arguments(AdversarialTraining) == "Generator, Discriminator"
    assert arguments(AdversarialTraining.ZeroCenteredGradientPenalty) == "Samples, Critics"
    assert of_generator.startswith(f"{step}Scale=1, Preprocessor=")
    assert of_discriminator.startswith(f"{step}Gamma, Scale=1, Preprocessor=")
