"""Autoencoders: a multilayer one, one with the DCGAN's networks, and denoising for both."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ganfast.models import dcgan, mlp
from ganfast.models.common import wrong_shape


class _Coder(nn.Module):
    encoder: nn.Module
    decoder: nn.Module
    latent_dim: int
    shape: tuple[int, int, int]

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[1:] != self.shape:
            raise wrong_shape("images", images, *self.shape)
        decoded: Tensor = self.decoder(self.encoder(images))
        return decoded


class Autoencoder(_Coder):
    """Encode images (N, *shape) to codes (N, latent_dim) and decode them to images in [-1, 1].

    Args:
        latent_dim: size of a code.
        widths: widths of the encoder's hidden layers; the decoder reverses them.
        shape: shape of one image, (channels, height, width).
    """

    def __init__(
        self,
        latent_dim: int = 32,
        widths: Sequence[int] = (512, 256, 128),
        shape: tuple[int, int, int] = (1, 28, 28),
    ) -> None:
        super().__init__()
        channels, height, width = shape
        self.latent_dim, self.shape = latent_dim, (channels, height, width)
        sizes = [math.prod(shape), *widths]
        self.encoder = nn.Sequential(
            nn.Flatten(), *mlp.hidden(sizes, 0.2), nn.Linear(sizes[-1], latent_dim)
        )
        self.decoder = mlp.Generator(latent_dim, list(reversed(widths)), shape)


class ConvAutoencoder(_Coder):
    """A DCGAN discriminator as encoder and a DCGAN generator as decoder.

    The weights of both fit into a DCGAN.

    Args:
        latent_dim: size of a code.
        encoder_width, decoder_width: ``width`` of the DCGAN's discriminator and generator.
        channels, size: channels and side of the images.
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


class Denoising(_Coder):
    r"""An autoencoder that gets :math:`x + \sigma \epsilon` in training mode (Vincent et al. 2008).

    The target of the reconstruction is x itself.

    Args:
        autoencoder: the autoencoder whose networks this module trains.
        sigma: standard deviation of the noise, for images in [-1, 1].

    Raises:
        ValueError: ``sigma`` is not positive.
    """

    def __init__(self, autoencoder: Autoencoder | ConvAutoencoder, sigma: float = 0.5) -> None:
        super().__init__()
        if not sigma > 0:
            raise ValueError(f"sigma must be positive, got {sigma}")
        self.encoder, self.decoder = autoencoder.encoder, autoencoder.decoder
        self.latent_dim, self.shape, self.sigma = autoencoder.latent_dim, autoencoder.shape, sigma

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(
            images + self.sigma * torch.randn_like(images) if self.training else images
        )
