"""Small generators and discriminators to train out of the box, and other nets of the workflows."""

from ganfast.models import autoencoder, classifier, conditional, cyclegan, dcgan, mlp, sngan
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
    "sngan",
]
