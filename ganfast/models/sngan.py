"""SNGAN's residual networks (Miyato et al. 2018, arXiv:1802.05957), for 28 to 256 pixels.

The discriminator has no spectral normalization yet; ``ganfast.regularizers.spectral_normalise``
adds it.
"""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from ganfast.models.common import stages, wrong_shape


class Generator(nn.Module):
    """Map latents (N, latent_dim) to images (N, channels, size, size) in [-1, 1].

    Args:
        latent_dim: size of one latent.
        width: channels of all hidden maps; 256 in the paper, at 32 pixels.
        channels: channels of the images.
        size: side of the images: 28, 32, 64, 128 or 256.
    """

    def __init__(
        self, latent_dim: int = 128, width: int = 256, channels: int = 3, size: int = 32
    ) -> None:
        super().__init__()
        self.latent_dim, self.width = latent_dim, width
        self.side, doublings = stages(size)
        self.linear = nn.Linear(latent_dim, width * self.side**2)
        self.blocks = nn.Sequential(*(_Up(width, width) for _ in range(doublings)))
        self.ending = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, channels, 3, padding=1),
            nn.Tanh(),
        )
        self.apply(_start)

    def forward(self, latents: Tensor) -> Tensor:
        if latents.shape[1:] != (self.latent_dim,):
            raise wrong_shape("latents", latents, self.latent_dim)
        maps = self.linear(latents).unflatten(1, (self.width, self.side, self.side))
        images: Tensor = self.ending(self.blocks(maps))
        return images


class Discriminator(nn.Module):
    """Map images (N, channels, size, size) to logits (N,).

    Args:
        width: channels of all hidden maps; 128 in the paper.
        channels, size: as for :class:`Generator`.
        sigmoid: return probabilities instead of logits.
    """

    def __init__(
        self, width: int = 128, channels: int = 3, size: int = 32, sigmoid: bool = False
    ) -> None:
        super().__init__()
        stages(size)
        self.shape = (channels, size, size)
        self.blocks = nn.Sequential(
            _Down(channels, width, halve=True, first=True),
            _Down(width, width, halve=True),
            _Down(width, width),
            _Down(width, width),
        )
        self.linear = nn.Linear(width, 1)
        self.ending = nn.Sigmoid() if sigmoid else nn.Identity()
        self.apply(_start)

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[1:] != self.shape:
            raise wrong_shape("images", images, *self.shape)
        features = F.relu(self.blocks(images)).sum((2, 3))
        logits: Tensor = self.ending(self.linear(features).squeeze(1))
        return logits


class _Up(nn.Module):
    """A residual block that doubles the size, with batch norm before each convolution."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(inner), nn.BatchNorm2d(outer)
        self.conv1 = nn.Conv2d(inner, outer, 3, padding=1)
        self.conv2 = nn.Conv2d(outer, outer, 3, padding=1)
        self.shortcut = nn.Conv2d(inner, outer, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(_doubled(F.relu(self.norm1(x))))
        h = self.conv2(F.relu(self.norm2(h)))
        # A 1 x 1 convolution commutes with nearest-neighbour upsampling and is cheaper before it.
        out: Tensor = h + _doubled(self.shortcut(x))
        return out


class _Down(nn.Module):
    """A residual block that halves the size or keeps it; a halving block learns its shortcut.

    The first block does not rectify the image.
    """

    def __init__(self, inner: int, width: int, halve: bool = False, first: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inner, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.shortcut = nn.Conv2d(inner, width, 1) if halve else nn.Identity()
        self.halve, self.first = halve, first

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv2(F.relu(self.conv1(x if self.first else F.relu(x))))
        if self.halve:  # a 1 x 1 convolution commutes with the mean, too
            h, x = F.avg_pool2d(h, 2), F.avg_pool2d(x, 2)
        out: Tensor = h + self.shortcut(x)
        return out


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def _start(module: nn.Module) -> None:
    """Initialize as in the paper: Xavier uniform, with a gain of sqrt(2) in 3 x 3 convolutions."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        blockwise = isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3)
        nn.init.xavier_uniform_(module.weight, math.sqrt(2) if blockwise else 1.0)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
