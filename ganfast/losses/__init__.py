"""Adversarial losses."""

from ganfast.losses.adversarial import AdversarialLoss, discriminator_loss, generator_loss

__all__ = ["AdversarialLoss", "discriminator_loss", "generator_loss"]
