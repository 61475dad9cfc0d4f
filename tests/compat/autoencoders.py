"""A small autoencoder with stand-ins for LPIPS and the discriminator, all float64."""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Perceptual(nn.Module):
    """A distance (B, 1, 1, 1), as LPIPS returns it."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 4, 3).requires_grad_(False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        d = torch.tanh(self.features(x)) - torch.tanh(self.features(y))
        return (d**2).mean([1, 2, 3], keepdim=True)


class Setting:
    """Networks and images, with copies of the decoder and the discriminator for the reference."""

    def __init__(self, cond: bool = False) -> None:
        torch.manual_seed(0)
        self.perceptual = Perceptual().double()
        self.decoder = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Tanh(), nn.Conv2d(4, 3, 3)).double()
        self.discriminator = nn.Conv2d(4 if cond else 3, 1, 3, stride=2).double()
        self.decoder_copy = copy.deepcopy(self.decoder)
        self.discriminator_copy = copy.deepcopy(self.discriminator)
        self.codes = torch.randn(2, 2, 12, 12, dtype=torch.float64)
        self.inputs = torch.randn(2, 3, 8, 8, dtype=torch.float64)
        self.cond = torch.randn(2, 1, 8, 8, dtype=torch.float64) if cond else None

    def reference_logits(self, x: Tensor) -> Tensor:
        return self.discriminator_copy(x if self.cond is None else torch.cat([x, self.cond], 1))

    def reference_weight(self, nll: Tensor, g: Tensor) -> Tensor:
        """The adaptive weight, from the gradients of both losses at the decoder's last layer."""
        last = self.decoder_copy[-1].weight
        of_nll, of_g = (torch.autograd.grad(x, last, retain_graph=True)[0] for x in (nll, g))
        return torch.clamp(of_nll.norm() / (of_g.norm() + 1e-4), 0, 1e4).detach()

    def reference_distance(self, reconstructions: Tensor, weight: float) -> Tensor:
        """|x - y| + w LPIPS, element by element."""
        x = self.inputs
        return (x - reconstructions).abs() + weight * self.perceptual(x, reconstructions)

    def reference_discriminator(self, kind: str, factor: float) -> Tensor:
        real = self.reference_logits(self.inputs)
        fake = self.reference_logits(self.decoder_copy(self.codes).detach())
        if kind == "hinge":
            sides = F.relu(1 - real).mean() + F.relu(1 + fake).mean()
        else:
            sides = F.softplus(-real).mean() + F.softplus(fake).mean()
        return factor * 0.5 * sides


class Untouched(nn.Module):
    """A discriminator that must not be run."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, dtype=torch.float64))

    def forward(self, x: Any) -> Tensor:
        raise AssertionError("the discriminator was run")
