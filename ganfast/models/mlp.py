"""Multilayer perceptrons, the networks of the first GAN tutorials on digits."""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from ganfast.models.common import wrong_shape


class Generator(nn.Module):
    """Map latents (N, latent_dim) to images (N, *shape) in [-1, 1].

    Args:
        latent_dim: size of one latent.
        widths: widths of the hidden layers, each followed by ``LeakyReLU(slope)``.
        shape: shape of one image, (channels, height, width).
        slope: slope of the leaky rectifiers; 0 is ReLU.
    """

    def __init__(
        self,
        latent_dim: int = 100,
        widths: Sequence[int] = (256, 512, 1024),
        shape: tuple[int, int, int] = (1, 28, 28),
        slope: float = 0.2,
    ) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        sizes = [latent_dim, *widths]
        self.layers = nn.Sequential(
            *hidden(sizes, slope),
            nn.Linear(sizes[-1], math.prod(shape)),
            nn.Tanh(),
            nn.Unflatten(1, shape),
        )

    def forward(self, latents: Tensor) -> Tensor:
        if latents.shape[1:] != (self.latent_dim,):
            raise wrong_shape("latents", latents, self.latent_dim)
        images: Tensor = self.layers(latents)
        return images


class Discriminator(nn.Module):
    """Map images (N, *shape) to logits (N,).

    Args:
        widths, shape, slope: as for :class:`Generator`.
        dropout: probability of dropping a unit.
        sigmoid: return probabilities instead of logits.
    """

    def __init__(
        self,
        widths: Sequence[int] = (1024, 512, 256),
        shape: tuple[int, int, int] = (1, 28, 28),
        slope: float = 0.2,
        dropout: float = 0.3,
        sigmoid: bool = False,
    ) -> None:
        super().__init__()
        self.shape = tuple(shape)
        sizes = [math.prod(shape), *widths]
        self.layers = nn.Sequential(
            nn.Flatten(),
            *hidden(sizes, slope, dropout),
            nn.Linear(sizes[-1], 1),
            nn.Flatten(0),
            *([nn.Sigmoid()] if sigmoid else []),
        )

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[1:] != self.shape:
            raise wrong_shape("images", images, *self.shape)
        logits: Tensor = self.layers(images)
        return logits


def hidden(sizes: Sequence[int], slope: float, dropout: float = 0.0) -> list[nn.Module]:
    """Return linear layers between the sizes, each followed by ``LeakyReLU(slope)`` and dropout."""
    layers: list[nn.Module] = []
    for inner, outer in pairwise(sizes):
        layers += [nn.Linear(inner, outer), nn.LeakyReLU(slope, inplace=True)]
        if dropout:
            layers.append(nn.Dropout(dropout))
    return layers
