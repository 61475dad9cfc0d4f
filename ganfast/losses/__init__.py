"""Losses of adversarial training."""

from ganfast.losses.adversarial import AdversarialLoss, frozen
from ganfast.losses.conditional import (
    auxiliary_classifier_loss,
    conditional_contrastive_loss,
    crammer_singer_loss,
    data_to_data_cross_entropy_loss,
    gaussian_code_loss,
)
from ganfast.losses.features import feature_matching, length_masks
from ganfast.losses.functional import (
    discriminator_loss,
    generator_loss,
    top_k_schedule,
)
from ganfast.losses.gradient_balance import Balancer, adaptive_weight_loss
from ganfast.losses.lecam import LeCam
from ganfast.losses.mel import mel_filters
from ganfast.losses.one_pass import one_pass
from ganfast.losses.patches import patch_nce
from ganfast.losses.relativistic import (
    RelativisticAverageLoss,
    RelativisticLoss,
    relativistic_average_discriminator_loss,
    relativistic_average_generator_loss,
    relativistic_discriminator_loss,
    relativistic_generator_loss,
)
from ganfast.losses.spectral import SpectralLoss, Spectrogram
from ganfast.losses.translation import ImagePool, cycle_loss, identity_loss, pixel_loss

__all__ = [
    "AdversarialLoss",
    "Balancer",
    "ImagePool",
    "LeCam",
    "RelativisticAverageLoss",
    "RelativisticLoss",
    "SpectralLoss",
    "Spectrogram",
    "adaptive_weight_loss",
    "auxiliary_classifier_loss",
    "conditional_contrastive_loss",
    "crammer_singer_loss",
    "cycle_loss",
    "data_to_data_cross_entropy_loss",
    "discriminator_loss",
    "feature_matching",
    "frozen",
    "gaussian_code_loss",
    "generator_loss",
    "identity_loss",
    "length_masks",
    "mel_filters",
    "one_pass",
    "patch_nce",
    "pixel_loss",
    "relativistic_average_discriminator_loss",
    "relativistic_average_generator_loss",
    "relativistic_discriminator_loss",
    "relativistic_generator_loss",
    "top_k_schedule",
]
