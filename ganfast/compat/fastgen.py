"""Drop-in for the adversarial losses of NVlabs/FastGen's distribution matching.

At the end of ``fastgen/methods/common_loss.py``, add ::

    from ganfast.compat.fastgen import gan_loss_discriminator, gan_loss_generator

The approximate R1 is a method of ``DMD2Model`` and of ``LADDModel``; after the class, add ::

    from ganfast.compat import fastgen
    DMD2Model._compute_r1_regularization = fastgen.compute_r1_regularization

The difference of the logits is taken in float32.
"""

from typing import Any

import torch
from torch import Tensor

from ganfast.losses import discriminator_loss, generator_loss
from ganfast.penalties import approximate_r1

__all__ = ["compute_r1_regularization", "gan_loss_discriminator", "gan_loss_generator"]


def gan_loss_generator(fake_logits: Tensor) -> Tensor:
    """m[softplus(-fake)] of logits (N, heads); scalar."""
    _check("fake_logits", fake_logits)
    return generator_loss(fake_logits)


def gan_loss_discriminator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """m[softplus(-real)] + m[softplus(fake)] of logits (N, heads); scalar."""
    _check("real_logits", real_logits)
    _check("fake_logits", fake_logits)
    return discriminator_loss(real_logits, fake_logits)


def compute_r1_regularization(
    self: Any, real_feat_logit: Tensor, real_data: Tensor, t_real: Tensor, condition: Any = None
) -> Tensor:
    """m[(D(x) - D(x + a e))^2] with e ~ N(0, 1), not divided by a^2; scalar.

    Args:
        self: the model, with its ``teacher``, whose features its ``discriminator`` takes, and
            ``config.gan_r1_reg_alpha``, which is a.
        real_feat_logit, real_data: D(x), (N, heads), and x.
        t_real, condition: time steps of the real samples, and the teacher's condition.
    """

    def logits(x: Tensor) -> Any:
        with torch.no_grad():
            features = self.teacher(
                x,
                t_real,
                condition=condition,
                return_features_early=True,
                feature_indices=self.discriminator.feature_indices,
            )
        return self.discriminator(features)

    sigma = self.config.gan_r1_reg_alpha
    return approximate_r1(logits, real_data, weight=1.0, sigma=sigma, logits=real_feat_logit)


def _check(name: str, logits: Tensor) -> None:
    if logits.dim() != 2:
        raise ValueError(f"{name} must have shape (N, heads), got {tuple(logits.shape)}")
