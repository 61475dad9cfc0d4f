"""GANs by name: what a configuration file can ask for."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from ganfast._names import check_name
from ganfast.models import conditional, dcgan, mlp, sngan


@dataclass(frozen=True)
class Gan:
    """A generator and a discriminator that fit each other.

    ``classes`` is 0, or the number of labels that both take as a second argument.
    """

    generator: nn.Module
    discriminator: nn.Module
    latent_dim: int
    classes: int = 0


def create(
    name: str, *, channels: int = 1, size: int = 28, classes: int = 10, sigmoid: bool = False
) -> Gan:
    """A GAN by its name in ``GANS``, with weights drawn anew.

    Args:
        name: ``mlp-1024``, ``mlp-256``, ``mlp-128``, ``dcgan``, ``wgan`` (a DCGAN whose critic has
            no batch norm), ``cdcgan`` (class-conditional) or ``sngan``.
        channels, size: of the images.
        classes: labels of a class-conditional GAN; the others leave it.
        sigmoid: the discriminator gives probabilities in place of logits.

    Raises:
        ValueError: no such name, and which is near; a size that the model has not.
    """
    check_model(name)
    if name in CONDITIONAL and classes < 1:
        raise ValueError(f"classes must be at least 1 for {name!r}, got {classes}")
    return GANS[name](channels, size, classes, sigmoid)


#: What ``ganfast train`` has besides the GANs of this module.
OTHER_MODELS = ("cyclegan", "autoencoder", "conv-autoencoder", "denoising-autoencoder")


def check_model(name: str) -> None:
    """Raise ValueError, with the nearest name, unless there is such a GAN."""
    if name not in GANS:
        check_name("model", name, (*GANS, *OTHER_MODELS))
        raise ValueError(f"model must be one of {', '.join(GANS)}, got {name!r}")


def _mlp_1024(channels: int, size: int, classes: int, sigmoid: bool) -> Gan:
    shape = (channels, size, size)
    return Gan(
        mlp.Generator(100, shape=shape), mlp.Discriminator(shape=shape, sigmoid=sigmoid), 100
    )


def _mlp_256(channels: int, size: int, classes: int, sigmoid: bool) -> Gan:
    shape = (channels, size, size)
    generator = mlp.Generator(100, (128, 256), shape)
    return Gan(generator, mlp.Discriminator((256, 128), shape, dropout=0, sigmoid=sigmoid), 100)


def _mlp_128(channels: int, size: int, classes: int, sigmoid: bool) -> Gan:
    shape = (channels, size, size)
    generator = mlp.Generator(100, (128,), shape, slope=0)
    discriminator = mlp.Discriminator((128,), shape, slope=0, dropout=0, sigmoid=sigmoid)
    return Gan(generator, discriminator, 100)


def _dcgan(channels: int, size: int, classes: int, sigmoid: bool) -> Gan:
    discriminator = dcgan.Discriminator(32, channels, size, sigmoid=sigmoid)
    return Gan(dcgan.Generator(64, 64, channels, size), discriminator, 64)


def _wgan(channels: int, size: int, classes: int, sigmoid: bool) -> Gan:
    discriminator = dcgan.Discriminator(32, channels, size, norm="none", sigmoid=sigmoid)
    return Gan(dcgan.Generator(64, 64, channels, size), discriminator, 64)


def _cdcgan(channels: int, size: int, classes: int, sigmoid: bool) -> Gan:
    generator = conditional.Generator(64, classes, channels=channels, size=size)
    discriminator = conditional.Discriminator(
        classes, channels=channels, size=size, sigmoid=sigmoid
    )
    return Gan(generator, discriminator, 64, classes)


def _sngan(channels: int, size: int, classes: int, sigmoid: bool) -> Gan:
    # A quarter of the paper's channels, which a CPU trains in minutes.
    generator = sngan.Generator(128, 64, channels, size)
    return Gan(generator, sngan.Discriminator(32, channels, size, sigmoid), 128)


GANS: dict[str, Callable[[int, int, int, bool], Gan]] = {
    "mlp-1024": _mlp_1024,
    "mlp-256": _mlp_256,
    "mlp-128": _mlp_128,
    "dcgan": _dcgan,
    "wgan": _wgan,
    "cdcgan": _cdcgan,
    "sngan": _sngan,
}
CONDITIONAL = frozenset(("cdcgan",))
LATENTS = {
    "mlp-1024": 100,
    "mlp-256": 100,
    "mlp-128": 100,
    "dcgan": 64,
    "wgan": 64,
    "cdcgan": 64,
    "sngan": 128,
}
