"""Drop-in for the adversarial loss of Descript Audio Codec, ``dac.nn.loss.GANLoss``.

In ``scripts/train.py``, change ``losses.GANLoss(discriminator)`` to ``GANLoss(discriminator)``, and
at the top add ::

    from ganfast.compat.dac import GANLoss

In the generator's step the pass over real samples keeps no graph, and the discriminator's
parameters get no gradients; the project computes both and discards them. A stacked tensor of
features counts as the list of its slices.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ganfast.losses import AdversarialLoss, feature_matching, frozen

_LEAST_SQUARES = AdversarialLoss("least_squares")

Features = list[list[Tensor]]


def _lists(features: Any) -> Features:
    return [list(maps) for maps in features]


class GANLoss(nn.Module):
    """Least squares and feature matching of a discriminator that the loss owns.

    Args:
        discriminator: maps (B, 1, T) to a list of features per sub-discriminator, whose last
            entry is the logits.
    """

    def __init__(self, discriminator: nn.Module) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(self, fake: Any, real: Any) -> tuple[Features, Features]:
        """Return the features of fake and of real signals with ``audio_data`` (B, 1, T)."""
        return self.discriminator(fake.audio_data), self.discriminator(real.audio_data)

    def discriminator_loss(self, fake: Any, real: Any) -> Tensor:
        """The sum over all discriminators of m[f^2] + m[(1 - r)^2]; scalar.

        Args:
            fake: signal whose ``audio_data`` is detached.
            real: signal with ``audio_data``.
        """
        d_fake = _lists(self.discriminator(fake.audio_data.detach()))
        return _LEAST_SQUARES.discriminator(_lists(self.discriminator(real.audio_data)), d_fake)

    def generator_loss(self, fake: Any, real: Any) -> tuple[Tensor, Tensor]:
        r"""The sum of m[(1 - f)^2] over the logits, and that of m\|G - R\| over all other features.

        Args:
            fake: signal with ``audio_data``.
            real: signal with ``audio_data``.

        Returns:
            The adversarial and the feature matching loss, unweighted scalars.
        """
        network = self.discriminator
        # With a static graph, the wrapper would wait forever for gradients of frozen parameters.
        if isinstance(network, DistributedDataParallel):
            network = network.module
        with frozen(network):
            d_fake = _lists(network(fake.audio_data))
            with torch.no_grad():
                d_real = _lists(network(real.audio_data))
        return _LEAST_SQUARES.generator(d_fake), feature_matching(d_real, d_fake, skip_last=True)
