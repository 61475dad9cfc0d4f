"""DCGAN (Radford, Metz, Chintala 2015, arXiv:1511.06434) for 28, 32, 64, 128 and 256 pixels."""

from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from ganfast.models.common import stages, start_dcgan, wrong_shape

Norm = Literal["batch", "instance", "none"]


class Generator(nn.Module):
    """Map latents (N, latent_dim) ~ N(0, 1) to images (N, channels, size, size) in [-1, 1].

    With ``channels=3``, ``size=64`` and ``latent_dim=100`` it is the paper's generator, except for
    a bias in the last layer.

    Args:
        latent_dim: size of one latent.
        width: channels of the largest hidden maps; each halving of the maps doubles them.
        channels: channels of the images.
        size: side of the images: 28, 32, 64, 128 or 256.

    Raises:
        ValueError: ``size`` is another one.
    """

    def __init__(
        self, latent_dim: int = 64, width: int = 64, channels: int = 1, size: int = 28
    ) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        side, doublings = stages(size)
        widths = [width * 2**k for k in reversed(range(doublings))]
        shapes = [(side, 1, 0), *[(4, 2, 1)] * (doublings - 1)]  # kernel, stride and padding
        layers: list[nn.Module] = []
        for shape, (inner, outer) in zip(shapes, pairwise([latent_dim, *widths]), strict=True):
            layers += [
                nn.ConvTranspose2d(inner, outer, *shape, bias=False),
                nn.BatchNorm2d(outer),
                nn.ReLU(inplace=True),
            ]
        layers += [nn.ConvTranspose2d(width, channels, 4, 2, 1), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        self.apply(start_dcgan)

    def forward(self, latents: Tensor) -> Tensor:
        if latents.shape[1:] != (self.latent_dim,):
            raise wrong_shape("latents", latents, self.latent_dim)
        images: Tensor = self.layers(latents[:, :, None, None])
        return images


class Discriminator(nn.Module):
    """Map images (N, channels, size, size) to logits (N,), large for images that look real.

    With several ``outputs`` it returns (N, outputs) and serves as an encoder or a classifier. A
    WGAN-GP critic needs ``norm="none"``, because its penalty is defined for single samples.

    Args:
        width, channels, size: as for :class:`Generator`.
        outputs: numbers for each image.
        norm: normalization between the layers.
        sigmoid: return probabilities instead of logits.

    Raises:
        ValueError: ``size`` is another one.
    """

    def __init__(
        self,
        width: int = 32,
        channels: int = 1,
        size: int = 28,
        outputs: int = 1,
        norm: Norm = "batch",
        sigmoid: bool = False,
    ) -> None:
        super().__init__()
        self.shape = (channels, size, size)
        side, halvings = stages(size)
        layers: list[nn.Module] = [
            nn.Conv2d(channels, width, 4, 2, 1),
            nn.LeakyReLU(0.2, inplace=True),
        ]
        for k in range(1, halvings):
            outer = width * 2**k
            layers += [
                nn.Conv2d(outer // 2, outer, 4, 2, 1, bias=norm == "none"),
                *_norm(norm, outer),
                nn.LeakyReLU(0.2, inplace=True),
            ]
        layers.append(nn.Conv2d(width * 2 ** (halvings - 1), outputs, side))
        layers.append(nn.Flatten(0 if outputs == 1 else 1))
        if sigmoid:
            layers.append(nn.Sigmoid())
        self.layers = nn.Sequential(*layers)
        self.apply(start_dcgan)

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[1:] != self.shape:
            raise wrong_shape("images", images, *self.shape)
        logits: Tensor = self.layers(images)
        return logits


def _norm(norm: Norm, channels: int) -> list[nn.Module]:
    if norm == "batch":
        return [nn.BatchNorm2d(channels)]
    return [nn.InstanceNorm2d(channels, affine=True)] if norm == "instance" else []
