"""DCGAN (Radford, Metz, Chintala 2015, arXiv:1511.06434) for 28 x 28 images."""

import torch
from torch import Tensor, nn


class Generator(nn.Module):
    """Map latents (N, latent_dim) ~ N(0, 1) to images (N, channels, 28, 28) in [-1, 1]."""

    def __init__(self, latent_dim: int = 64, width: int = 32, channels: int = 1) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.layers = nn.Sequential(
            nn.ConvTranspose2d(latent_dim, 4 * width, 7, bias=False),
            nn.BatchNorm2d(4 * width),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(4 * width, 2 * width, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(2 * width, channels, 4, stride=2, padding=1),
            nn.Tanh(),
        )
        self.apply(_initialise)

    def forward(self, latents: Tensor) -> Tensor:
        if latents.dim() != 2 or latents.shape[1] != self.latent_dim:
            raise ValueError(
                f"latents must have shape (N, {self.latent_dim}), got {tuple(latents.shape)}"
            )
        images: Tensor = self.layers(latents[:, :, None, None])
        return images


class Discriminator(nn.Module):
    """Map images (N, channels, 28, 28) to logits (N,): large where an image looks real."""

    def __init__(self, width: int = 32, channels: int = 1) -> None:
        super().__init__()
        self.channels = channels
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(2 * width, 1, 7),
            nn.Flatten(0),
        )
        self.apply(_initialise)

    def forward(self, images: Tensor) -> Tensor:
        if images.dim() != 4 or images.shape[1:] != (self.channels, 28, 28):
            raise ValueError(
                f"images must have shape (N, {self.channels}, 28, 28), got {tuple(images.shape)}"
            )
        logits: Tensor = self.layers(images)
        return logits


@torch.no_grad()
def _initialise(module: nn.Module) -> None:
    """The paper's start: weights N(0, 0.02), batch-norm scales N(1, 0.02), biases 0."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
