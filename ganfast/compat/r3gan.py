"""Drop-in for brownvc/R3GAN's ``AdversarialTraining``.

In ``training/loss.py``, change ``from R3GAN.Trainer import AdversarialTraining`` to::

    from ganfast.compat.r3gan import AdversarialTraining

Names, argument order and the returned lists are the project's. In the generator's step the
discriminator's pass over the real samples records no gradients.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ganfast.losses import relativistic_discriminator_loss, relativistic_generator_loss
from ganfast.penalties import squared_norms

__all__ = ["AdversarialTraining"]

Network = Callable[[Any, Any], Tensor]


def _unchanged(x: Tensor) -> Tensor:
    return x


def _statistics(larger: Tensor, smaller: Tensor) -> list[Tensor]:
    """The loss of each pair, and its argument."""
    logits = larger.detach() - smaller.detach()
    return [F.softplus(-logits), logits]


class AdversarialTraining:
    r"""Relativistic pairing GAN with zero-centered gradient penalties on both sides.

    With r and f the discriminator's outputs for real and fake samples and m the mean:

    .. math:: L_D = m[\mathrm{softplus}(f - r)] + \frac{\gamma}{2} \, m[\|\nabla r\|^2 +
        \|\nabla f\|^2], \qquad L_G = m[\mathrm{softplus}(r - f)]

    Args:
        Generator: called with noise and conditions.
        Discriminator: called with samples and conditions.
    """

    def __init__(self, Generator: Network, Discriminator: Network) -> None:
        self.Generator = Generator
        self.Discriminator = Discriminator

    @staticmethod
    def ZeroCenteredGradientPenalty(Samples: Tensor, Critics: Tensor) -> Tensor:
        """Squared norm of each sample's gradient, (B,)."""
        return squared_norms(Critics, Samples)

    def AccumulateGeneratorGradients(
        self,
        Noise: Tensor,
        RealSamples: Tensor,
        Conditions: Any,
        Scale: float = 1,
        Preprocessor: Callable[[Tensor], Tensor] = _unchanged,
    ) -> list[Tensor]:
        """Accumulate the gradients of Scale * L_G.

        Returns:
            Detached: the loss of each pair, and f - r.
        """
        FakeSamples = self.Generator(Noise, Conditions)
        FakeLogits = self.Discriminator(Preprocessor(FakeSamples), Conditions)
        with torch.no_grad():
            RealLogits = self.Discriminator(Preprocessor(RealSamples.detach()), Conditions)
        loss = relativistic_generator_loss(RealLogits, FakeLogits, scale=Scale)
        torch.autograd.backward(loss)
        return _statistics(FakeLogits, RealLogits)

    def AccumulateDiscriminatorGradients(
        self,
        Noise: Tensor,
        RealSamples: Tensor,
        Conditions: Any,
        Gamma: float,
        Scale: float = 1,
        Preprocessor: Callable[[Tensor], Tensor] = _unchanged,
    ) -> list[Tensor]:
        """Accumulate the gradients of Scale * L_D.

        Returns:
            Detached: the loss of each pair, r - f, and both penalties of each sample, without
            gamma.
        """
        RealSamples = RealSamples.detach().requires_grad_()
        with torch.no_grad():
            FakeSamples = self.Generator(Noise, Conditions)
        FakeSamples = FakeSamples.detach().requires_grad_()
        RealLogits = self.Discriminator(Preprocessor(RealSamples), Conditions)
        FakeLogits = self.Discriminator(Preprocessor(FakeSamples), Conditions)
        R1Penalty = self.ZeroCenteredGradientPenalty(RealSamples, RealLogits)
        R2Penalty = self.ZeroCenteredGradientPenalty(FakeSamples, FakeLogits)
        loss = relativistic_discriminator_loss(RealLogits, FakeLogits, scale=Scale)
        torch.autograd.backward(loss + Scale * (Gamma / 2) * (R1Penalty + R2Penalty).mean())
        return [*_statistics(RealLogits, FakeLogits), R1Penalty.detach(), R2Penalty.detach()]
