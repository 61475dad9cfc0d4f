"""The GANs that settings can name."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import nn

from ganfast._names import check_name
from ganfast.models import conditional, dcgan, mlp, r3gan, sngan
from ganfast.regularizers import spectral_normalise


@dataclass(frozen=True)
class Gan:
    """A generator and a discriminator that fit each other.

    Attributes:
        generator, discriminator: the networks.
        latent_dim: size of one latent.
        classes: number of labels that both networks take as a second argument, or 0.
    """

    generator: nn.Module
    discriminator: nn.Module
    latent_dim: int
    classes: int = 0


Factory = Callable[[int, int, int, bool], Gan]  # of channels, size, classes, sigmoid


def create(
    name: str,
    *,
    channels: int = 1,
    size: int = 28,
    classes: int = 10,
    sigmoid: bool = False,
    spectral_norm: bool = False,
) -> Gan:
    """Make a GAN by its name in ``GANS``, with new weights.

    Args:
        name: ``mlp-1024``, ``mlp-256``, ``mlp-128``, ``dcgan``, ``wgan`` (a DCGAN whose critic has
            no batch norm), ``cdcgan`` (class-conditional), ``sngan``, or ``r3gan-W`` and its
            class-conditional ``cr3gan-W`` with a width W of 64, 128, 256, 384, 768 or 1536.
        channels, size: channels and side of the images.
        classes: number of labels of a class-conditional GAN; other GANs ignore it.
        sigmoid: the discriminator returns probabilities instead of logits.
        spectral_norm: normalize all layers of the discriminator spectrally.

    Raises:
        ValueError: the name is unknown (the error names the nearest one), or the model does not
            have the size, or no spectral normalization.
    """
    check_model(name)
    if spectral_norm and name in R3GANS:  # their blocks start with weights of 0, which have no norm
        raise ValueError(f"spectral_norm must be False for {name!r}, got True")
    if name in CONDITIONAL and classes < 1:
        raise ValueError(f"classes must be at least 1 for {name!r}, got {classes}")
    gan = GANS[name](channels, size, classes, sigmoid)
    if spectral_norm:
        spectral_normalise(gan.discriminator)
    return gan


#: Models of ``ganfast train`` that are not in ``GANS``.
OTHER_MODELS = ("cyclegan", "autoencoder", "conv-autoencoder", "denoising-autoencoder")


def check_model(name: str) -> None:
    """Raise ValueError, naming the nearest GAN, unless ``GANS`` has the name."""
    if name not in GANS:
        check_name("model", name, (*GANS, *OTHER_MODELS))
        raise ValueError(f"model must be one of {', '.join(GANS)}, got {name!r}")


def _mlp(
    widths: tuple[int, ...], slope: float, dropout: float,
    channels: int, size: int, classes: int, sigmoid: bool,
) -> Gan:  # fmt: skip
    shape = (channels, size, size)
    generator = mlp.Generator(100, widths, shape, slope)
    return Gan(generator, mlp.Discriminator(widths[::-1], shape, slope, dropout, sigmoid), 100)


def _dcgan(norm: dcgan.Norm, channels: int, size: int, classes: int, sigmoid: bool) -> Gan:
    discriminator = dcgan.Discriminator(32, channels, size, norm=norm, sigmoid=sigmoid)
    return Gan(dcgan.Generator(64, 64, channels, size), discriminator, 64)


def _cdcgan(channels: int, size: int, classes: int, sigmoid: bool) -> Gan:
    generator = conditional.Generator(64, classes, channels=channels, size=size)
    discriminator = conditional.Discriminator(
        classes, channels=channels, size=size, sigmoid=sigmoid
    )
    return Gan(generator, discriminator, 64, classes)


def _sngan(channels: int, size: int, classes: int, sigmoid: bool) -> Gan:
    # A quarter of the paper's channels, so that a CPU trains it in minutes.
    generator = sngan.Generator(128, 64, channels, size)
    return Gan(generator, sngan.Discriminator(32, channels, size, sigmoid), 128)


def _r3gan(
    width: int, conditional: bool, channels: int, size: int, classes: int, sigmoid: bool
) -> Gan:
    # The widest is the paper's for ImageNet: wider groups, and the full width up to 64 pixels.
    group, wide = (32, 64) if width == 1536 else (16, 32)
    count = classes if conditional else 0
    widths = r3gan.widths_of(width, size, wide)
    generator = r3gan.Generator(widths, channels, size, 64, count, group=group)
    discriminator = r3gan.Discriminator(widths, channels, size, count, group=group, sigmoid=sigmoid)
    return Gan(generator, discriminator, 64, count)


R3GANS: dict[str, Factory] = {
    f"{prefix}r3gan-{width}": partial(_r3gan, width, bool(prefix))
    for prefix in ("", "c")
    for width in (64, 128, 256, 384, 768, 1536)
}
GANS: dict[str, Factory] = {
    "mlp-1024": partial(_mlp, (256, 512, 1024), 0.2, 0.3),
    "mlp-256": partial(_mlp, (128, 256), 0.2, 0.0),
    "mlp-128": partial(_mlp, (128,), 0.0, 0.0),
    "dcgan": partial(_dcgan, "batch"),
    "wgan": partial(_dcgan, "none"),
    "cdcgan": _cdcgan,
    "sngan": _sngan,
    **R3GANS,
}
CONDITIONAL = frozenset(("cdcgan", *(name for name in R3GANS if name.startswith("c"))))
LATENTS = {
    **dict.fromkeys(GANS, 64),
    **dict.fromkeys(("mlp-1024", "mlp-256", "mlp-128"), 100),
    "sngan": 128,
}
