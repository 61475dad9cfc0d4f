"""Differentiable augmentation of a discriminator's images, with a strength that adapts.

The discriminator trains on augmented real and augmented fake images; the generator's gradient
flows through the augmentation.
"""

from ganfast.augment.ada import ada
from ganfast.augment.adaptive import AdaptiveAugment, Augment
from ganfast.augment.diff_augment import PIECES, DiffAugment, draw
from ganfast.augment.dimensions import augment_signals, augment_videos, augment_volumes

__all__ = [
    "PIECES",
    "AdaptiveAugment",
    "Augment",
    "DiffAugment",
    "ada",
    "augment_signals",
    "augment_videos",
    "augment_volumes",
    "draw",
]
