"""Gradient penalties of discriminators: exact, and by finite difference."""

from ganfast.penalties.approximate import (
    approximate_r1,
    approximate_r2,
    approximate_weight,
    exact_gamma,
)
from ganfast.penalties.exact import (
    dragan,
    dragan_points,
    max_gp,
    mixed_points,
    r1,
    r1_from_logits,
    r2,
    r2_from_logits,
    squared_norms,
    wgan_div,
    wgan_gp,
    wgan_gp_from_logits,
    wgan_lp,
    zero_centered,
)
from ganfast.penalties.schedule import AdaptiveGamma, lazy_adam, lazy_gain, stylegan_gamma

__all__ = [
    "AdaptiveGamma",
    "approximate_r1",
    "approximate_r2",
    "approximate_weight",
    "dragan",
    "dragan_points",
    "exact_gamma",
    "lazy_adam",
    "lazy_gain",
    "max_gp",
    "mixed_points",
    "r1",
    "r1_from_logits",
    "r2",
    "r2_from_logits",
    "squared_norms",
    "stylegan_gamma",
    "wgan_div",
    "wgan_gp",
    "wgan_gp_from_logits",
    "wgan_lp",
    "zero_centered",
]
