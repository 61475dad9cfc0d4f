"""Small networks to train out of the box: GANs, autoencoders and a classifier."""

from ganfast.models import autoencoder, classifier, conditional, cyclegan, dcgan, mlp, r3gan, sngan
from ganfast.models.registry import GANS, LATENTS, Gan, create

__all__ = [
    "GANS",
    "LATENTS",
    "Gan",
    "autoencoder",
    "classifier",
    "conditional",
    "create",
    "cyclegan",
    "dcgan",
    "mlp",
    "r3gan",
    "sngan",
]
