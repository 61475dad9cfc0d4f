"""Drop-in for the losses of HiFi-GAN, BigVGAN and vocoders that follow them.

In ``train.py``, after HiFi-GAN's ``from models import ...`` or BigVGAN's ``from loss import ...``,
which still provides the loss of the mel spectrogram, add ::

    from ganfast.compat.hifigan import discriminator_loss, feature_loss, generator_loss

Each call takes one launch forward and one backward for all maps. Features of real samples are
detached, so the generator's step does not back-propagate through the discriminators' pass over
real samples; its gradients are those of the project. The terms for logging are detached 0-dim
tensors, some of which are Python floats in the project: they format, add and plot like floats, and
only reading one waits for the device. Lists of different lengths raise an error. A stacked tensor
counts as the list of its slices.
"""

from collections.abc import Sequence

from torch import Tensor

from ganfast.losses import AdversarialLoss, feature_matching

_LEAST_SQUARES = AdversarialLoss("least_squares")


def feature_loss(fmap_r: Sequence[Sequence[Tensor]], fmap_g: Sequence[Sequence[Tensor]]) -> Tensor:
    r"""Feature matching, twice the sum over all maps of m\|R - G\|; scalar.

    Args:
        fmap_r: features of real samples, a list for each discriminator.
        fmap_g: features of generated samples, of the same structure and shapes.

    Raises:
        TypeError, ValueError: as :func:`ganfast.losses.feature_matching`.
    """
    maps_r, maps_g = ([list(maps) for maps in fmaps] for fmaps in (fmap_r, fmap_g))
    return feature_matching(maps_r, maps_g, weight=2.0)


def discriminator_loss(
    disc_real_outputs: Sequence[Tensor], disc_generated_outputs: Sequence[Tensor]
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Least squares, the sum over all discriminators of m[(1 - r)^2] + m[g^2].

    Args:
        disc_real_outputs: r of each discriminator, any shapes.
        disc_generated_outputs: g of each discriminator.

    Returns:
        The loss, scalar, and its terms for real and for generated samples, detached.

    Raises:
        TypeError, ValueError: as :meth:`ganfast.losses.AdversarialLoss.discriminator`.
    """
    loss, stats = _LEAST_SQUARES.discriminator_with_stats(
        list(disc_real_outputs), list(disc_generated_outputs)
    )
    return loss, list(stats["real_loss"].unbind()), list(stats["fake_loss"].unbind())


def generator_loss(disc_outputs: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Least squares, the sum over all discriminators of m[(1 - g)^2].

    Args:
        disc_outputs: g of each discriminator, any shapes.

    Returns:
        The loss, scalar, and its terms, detached.

    Raises:
        TypeError, ValueError: as :meth:`ganfast.losses.AdversarialLoss.generator`.
    """
    loss, stats = _LEAST_SQUARES.generator_with_stats(list(disc_outputs))
    return loss, list(stats["fake_loss"].unbind())
