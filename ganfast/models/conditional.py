"""Conditional DCGAN: labels embedded beside the latents, and a projection discriminator.

Mirza and Osindero 2014, arXiv:1411.1784; Miyato and Koyama 2018, arXiv:1802.05637.
"""

import torch
from torch import Tensor, nn

from ganfast.models import dcgan
from ganfast.models.common import check_labels, start_dcgan, wrong_shape


class Generator(nn.Module):
    """Map latents (N, latent_dim) and labels (N,) to images (N, channels, size, size) in [-1, 1].

    A DCGAN generator gets the latent and the label's embedding, concatenated.

    Args:
        latent_dim, width, channels, size: as for :class:`ganfast.models.dcgan.Generator`.
        classes: number of labels.
        embedding: size of a label's embedding.
    """

    def __init__(
        self,
        latent_dim: int = 64,
        classes: int = 10,
        width: int = 64,
        channels: int = 1,
        size: int = 28,
        embedding: int = 32,
    ) -> None:
        super().__init__()
        self.latent_dim, self.classes = latent_dim, classes
        self.embedding = nn.Embedding(classes, embedding)
        self.body = dcgan.Generator(latent_dim + embedding, width, channels, size)
        nn.init.normal_(self.embedding.weight)  # the scale of the latents

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        if latents.shape[1:] != (self.latent_dim,):
            raise wrong_shape("latents", latents, self.latent_dim)
        embedded = self.embedding(check_labels(labels, len(latents)))
        images: Tensor = self.body(torch.cat([latents, embedded], dim=1))
        return images


class Discriminator(nn.Module):
    r"""Map images (N, channels, size, size) and labels (N,) to logits (N,).

    With features :math:`\phi` of the image x and an embedding v of the label y, the logit is

    .. math:: w^T \phi(x) + b + v_y^T \phi(x)

    Args:
        classes: number of labels.
        width, channels, size, norm: as for :class:`ganfast.models.dcgan.Discriminator`.
        features: size of :math:`\phi`.
        sigmoid: return probabilities instead of logits.
    """

    def __init__(
        self,
        classes: int = 10,
        width: int = 32,
        channels: int = 1,
        size: int = 28,
        features: int = 128,
        norm: dcgan.Norm = "batch",
        sigmoid: bool = False,
    ) -> None:
        super().__init__()
        self.shape, self.classes = (channels, size, size), classes
        self.body = dcgan.Discriminator(width, channels, size, features, norm)
        self.activation = nn.LeakyReLU(0.2)
        self.linear = nn.Linear(features, 1)
        self.projection = nn.Embedding(classes, features)
        self.ending = nn.Sigmoid() if sigmoid else nn.Identity()
        self.linear.apply(start_dcgan)
        self.projection.apply(start_dcgan)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        if images.shape[1:] != self.shape:
            raise wrong_shape("images", images, *self.shape)
        features = self.activation(self.body(images))
        projected = (self.projection(check_labels(labels, len(images))) * features).sum(1)
        logits: Tensor = self.ending(self.linear(features).squeeze(1) + projected)
        return logits
