"""Autoencoders: a multilayer one, a convolutional one that fits the DCGAN, and noise for both."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from ganfast.models import dcgan, mlp
from ganfast.models.parts import check_images


class Autoencoder(nn.Module):
    """Encode images (N, *shape) to codes (N, latent_dim) and decode them to images in [-1, 1].

    Args:
        latent_dim: size of a code.
        widths: of the encoder's hidden layers; the decoder has them in reverse.
        shape: of one image, (channels, height, width).
    """

    def __init__(
        self,
        latent_dim: int = 32,
        widths: Sequence[int] = (512, 256, 128),
        shape: tuple[int, int, int] = (1, 28, 28),
    ) -> None:
        super().__init__()
        self.latent_dim, self.shape = latent_dim, shape
        sizes = [math.prod(shape), *widths]
        layers: list[nn.Module] = [nn.Flatten()]
        for inner, outer in pairwise(sizes):
            layers += [nn.Linear(inner, outer), nn.LeakyReLU(0.2, inplace=True)]
        self.encoder = nn.Sequential(*layers, nn.Linear(sizes[-1], latent_dim))
        self.decoder = mlp.Generator(latent_dim, list(reversed(widths)), shape)

    def forward(self, images: Tensor) -> Tensor:
        check_images(images, *self.shape)
        decoded: Tensor = self.decoder(self.encoder(images))
        return decoded


class ConvAutoencoder(nn.Module):
    """A DCGAN discriminator as encoder, a DCGAN generator as decoder: they fit a GAN's weights.

    Args:
        latent_dim: size of a code.
        encoder_width, decoder_width: as ``width`` of the DCGAN's two networks.
        channels, size: of the images.
    """

    def __init__(
        self,
        latent_dim: int = 64,
        encoder_width: int = 32,
        decoder_width: int = 64,
        channels: int = 1,
        size: int = 28,
    ) -> None:
        super().__init__()
        self.latent_dim, self.shape = latent_dim, (channels, size, size)
        self.encoder = dcgan.Discriminator(encoder_width, channels, size, outputs=latent_dim)
        self.decoder = dcgan.Generator(latent_dim, decoder_width, channels, size)

    def forward(self, images: Tensor) -> Tensor:
        decoded: Tensor = self.decoder(self.encoder(images))
        return decoded


class Denoising(nn.Module):
    r"""An autoencoder that sees :math:`x + \sigma \epsilon`, in training mode alone.

    Vincent et al. 2008. The target of the reconstruction is x itself.

    Args:
        autoencoder: has ``encoder``, ``decoder`` and ``latent_dim``.
        sigma: standard deviation of the noise, images being in [-1, 1].
    """

    def __init__(self, autoencoder: Autoencoder | ConvAutoencoder, sigma: float = 0.5) -> None:
        super().__init__()
        if not sigma > 0:
            raise ValueError(f"sigma must be positive, got {sigma}")
        self.encoder, self.decoder = autoencoder.encoder, autoencoder.decoder
        self.latent_dim, self.shape, self.sigma = autoencoder.latent_dim, autoencoder.shape, sigma

    def forward(self, images: Tensor) -> Tensor:
        check_images(images, *self.shape)
        if self.training:
            images = images + self.sigma * torch.randn_like(images)
        decoded: Tensor = self.decoder(self.encoder(images))
        return decoded
