"""A discriminator whose gradients are known, for the penalties of the drop-in modules."""

import torch
from compat.checks import draw
from torch import Tensor

PARAMETERS = draw(4, 3, 5, 6, seed=5)


def discriminator(x: Tensor) -> Tensor:
    """Two outputs per image."""
    return torch.tanh(x.flatten(1) @ PARAMETERS.flatten(1).T / 8).view(-1, 2, 2).sum(2)


def gradients(x: Tensor) -> Tensor:
    """The gradient of the sum of an image's outputs, by the derivative of tanh."""
    outputs = torch.tanh(x.flatten(1) @ PARAMETERS.flatten(1).T / 8)
    return ((1 - outputs**2) @ PARAMETERS.flatten(1) / 8).view(x.shape)


def images() -> tuple[Tensor, Tensor]:
    return draw(7, 3, 5, 6).detach(), draw(7, 3, 5, 6, seed=1).detach()


def mixed(real: Tensor, fake: Tensor, seed: int) -> Tensor:
    """The points of a penalty after torch.manual_seed(seed)."""
    torch.manual_seed(seed)
    alpha = torch.rand(len(real), 1, 1, 1, dtype=real.dtype)
    torch.manual_seed(seed)
    return alpha * real + (1 - alpha) * fake


def norms(x: Tensor) -> Tensor:
    return gradients(x).square().sum((1, 2, 3)).sqrt()
