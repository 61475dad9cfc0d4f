"""Drop-in for the losses of mimicry, ``torch_mimicry.modules.losses``.

In ``torch_mimicry/nets/gan/gan.py``, change ``from torch_mimicry.modules import losses`` to::

    from ganfast.compat import mimicry as losses

Arguments keep the project's order: fake first, but real first in ``wasserstein_loss_dis``. Outputs
may have any shape, not only (N, 1). ``ns_loss_gen`` is the formula that the project intends: there,
1e-8 added to the sigmoid stops the gradient of outputs below about -18.

The gradient penalty is a method of the project's discriminators; before training, add ::

    WGANGPBaseDiscriminator.compute_gradient_penalty_loss = losses.compute_gradient_penalty_loss
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ganfast.compat._criterion import formula_of, reduce_sides
from ganfast.penalties import wgan_gp

__all__ = [
    "compute_gradient_penalty_loss",
    "hinge_loss_dis",
    "hinge_loss_gen",
    "minimax_loss_dis",
    "minimax_loss_gen",
    "ns_loss_gen",
    "wasserstein_loss_dis",
    "wasserstein_loss_gen",
]


def minimax_loss_gen(output_fake: Tensor, real_label_val: float = 1.0, **kwargs: Any) -> Tensor:
    """Cross-entropy of logits with the real label; scalar.

    Further options are passed to :func:`torch.nn.functional.binary_cross_entropy_with_logits`,
    which then computes the loss.
    """
    if kwargs:
        return _cross_entropy(output_fake, real_label_val, **kwargs)
    formula = formula_of("bce_with_logits", True, (0.0, real_label_val))
    return reduce_sides(("output_fake", output_fake, formula))


def minimax_loss_dis(
    output_fake: Tensor,
    output_real: Tensor,
    real_label_val: float = 1.0,
    fake_label_val: float = 0.0,
    **kwargs: Any,
) -> Tensor:
    """The sum of the cross-entropies of real and of fake logits with their labels; scalar.

    For further options see :func:`minimax_loss_gen`.
    """
    if kwargs:
        return _cross_entropy(output_real, real_label_val, **kwargs) + _cross_entropy(
            output_fake, fake_label_val, **kwargs
        )
    labels = (fake_label_val, real_label_val)
    return _both("bce_with_logits", output_fake, output_real, labels)


def ns_loss_gen(output_fake: Tensor) -> Tensor:
    """m[softplus(-f)]; scalar."""
    return reduce_sides(("output_fake", output_fake, formula_of("softplus", True)))


def wasserstein_loss_dis(output_real: Tensor, output_fake: Tensor) -> Tensor:
    """m[f] - m[r]; scalar."""
    return _both("identity", output_fake, output_real)


def wasserstein_loss_gen(output_fake: Tensor) -> Tensor:
    """-m[f]; scalar."""
    return reduce_sides(("output_fake", output_fake, formula_of("identity", True)))


def hinge_loss_dis(output_fake: Tensor, output_real: Tensor) -> Tensor:
    """m[relu(1 - r)] + m[relu(1 + f)]; scalar."""
    return _both("hinge", output_fake, output_real)


hinge_loss_gen = wasserstein_loss_gen


def compute_gradient_penalty_loss(
    self: Callable[[Tensor], Tensor],
    real_images: Tensor,
    fake_images: Tensor,
    gp_scale: float = 10.0,
) -> Tensor:
    """gp_scale m[(||grad|| - 1)^2] between real and fake images (N, C, H, W); scalar."""
    return wgan_gp(self, real_images, fake_images, weight=gp_scale)


def _both(f: str, fake: Tensor, real: Tensor, labels: tuple[float, float] = (0.0, 1.0)) -> Tensor:
    return reduce_sides(
        ("output_real", real, formula_of(f, True, labels)),
        ("output_fake", fake, formula_of(f, False, labels)),
    )


def _cross_entropy(output: Tensor, label: float, **kwargs: Any) -> Tensor:
    return F.binary_cross_entropy_with_logits(output, torch.full_like(output, label), **kwargs)
