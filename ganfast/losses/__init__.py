"""Adversarial losses."""

from ganfast.losses.adversarial import AdversarialLoss
from ganfast.losses.conditional import (
    auxiliary_classifier_loss,
    conditional_contrastive_loss,
    crammer_singer_loss,
    data_to_data_cross_entropy_loss,
    gaussian_code_loss,
)
from ganfast.losses.functional import discriminator_loss, generator_loss, top_k_schedule
from ganfast.losses.lecam import LeCam
from ganfast.losses.relativistic_average import (
    relativistic_average_discriminator_loss,
    relativistic_average_generator_loss,
)

__all__ = [
    "AdversarialLoss",
    "LeCam",
    "auxiliary_classifier_loss",
    "conditional_contrastive_loss",
    "crammer_singer_loss",
    "data_to_data_cross_entropy_loss",
    "discriminator_loss",
    "gaussian_code_loss",
    "generator_loss",
    "relativistic_average_discriminator_loss",
    "relativistic_average_generator_loss",
    "top_k_schedule",
]
