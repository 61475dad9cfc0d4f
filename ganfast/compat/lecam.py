"""Drop-in for the losses of google/lecam-gan (``biggan_cifar/losses.py``).

In ``third_party/train_fns.py``, change ``import losses`` to::

    import ganfast.compat.lecam as losses

Names, argument order (fake first), the returned pairs (real, fake) and the mirrored targets of the
least squares are the project's. Nothing waits for the device: the project updates its averages
with Python floats, ``loss_hinge_dis`` with scalars on the device, which the project's own
``ema_losses`` accepts.
"""

from typing import Any

import torch
from torch import Tensor

from ganfast import ops
from ganfast._checks import loss_dtype
from ganfast.compat import biggan
from ganfast.losses.reduction import means_of_maps
from ganfast.reference import compute_dtype

__all__ = [
    "discriminator_loss",
    "generator_loss",
    "lecam_reg",
    "loss_dcgan_dis",
    "loss_dcgan_gen",
    "loss_hinge_dis",
    "loss_hinge_gen",
    "loss_ls_dis",
    "loss_ls_gen",
    "loss_rahinge_dis",
    "loss_rahinge_gen",
]


def _number(average: Any, outputs: Tensor) -> Tensor:
    """An average in the dtype and on the device that the op expects."""
    return torch.as_tensor(average, dtype=loss_dtype(outputs), device=outputs.device)


def lecam_reg(dis_real: Tensor, dis_fake: Tensor, ema: Any) -> Tensor:
    """LeCam: m[relu(real - F)^2] + m[relu(R - fake)^2] with the averages R and F of the outputs."""
    return pulled(dis_real, dis_fake, ema.D_real, ema.D_fake)


def pulled(real: Tensor, fake: Tensor, average_real: Any, average_fake: Any) -> Tensor:
    """:func:`lecam_reg` with averages that are numbers or scalars on any device."""
    averages = [_number(average_fake, real), _number(average_real, fake)]
    return ops.flat([real, fake], "squared_hinge", [1, 1], [1, -1], [0, 0], averages)


def loss_dcgan_dis(
    dis_fake: Tensor, dis_real: Tensor, ema: Any = None, it: int | None = None
) -> tuple[Tensor, Tensor]:
    """Non-saturating: m[softplus(-real)] and m[softplus(fake)]."""
    return biggan.loss_dcgan_dis(dis_fake, dis_real)


def loss_dcgan_gen(dis_fake: Tensor, dis_real: Tensor | None = None) -> Tensor:
    """Non-saturating: m[softplus(-fake)]."""
    return biggan.loss_dcgan_gen(dis_fake)


def loss_ls_dis(
    dis_fake: Tensor, dis_real: Tensor, ema: Any = None, it: int | None = None
) -> tuple[Tensor, Tensor]:
    """Least squares: m[(real + 1)^2] and m[(fake - 1)^2]."""
    return (
        ops.flat([dis_real], "square", [1], [-1], [0]),
        ops.flat([dis_fake], "square", [1], [1], [0]),
    )


def loss_ls_gen(dis_fake: Tensor, dis_real: Tensor | None = None) -> Tensor:
    """Least squares: m[fake^2]."""
    return ops.flat([dis_fake], "square", [1], [0], [0])


def loss_rahinge_dis(
    dis_fake: Tensor, dis_real: Tensor, ema: Any = None, it: int | None = None
) -> tuple[Tensor, Tensor]:
    """Relativistic average hinge: m[relu(1 - (real - m[fake]))] / 2 and
    m[relu(1 + (fake - m[real]))] / 2.
    """
    real, fake = means_of_maps([dis_real, dis_fake]).unbind()
    return (
        ops.flat([dis_real], "hinge", [0.5], [-1], [1], [fake]),
        ops.flat([dis_fake], "hinge", [0.5], [1], [1], [real]),
    )


def loss_rahinge_gen(dis_fake: Tensor, dis_real: Tensor | float) -> Tensor:
    """Relativistic average hinge: relu(1 + R - m[fake]) / 2 + m[relu(1 - (fake - R))] / 2.

    R is a number, or the mean of ``dis_real`` without gradient.
    """
    fake = compute_dtype(dis_fake)
    if isinstance(dis_real, Tensor):
        dis_real = compute_dtype(dis_real.detach()).mean()
    differences = [fake.mean() - dis_real, fake - dis_real]
    return ops.flat(differences, "hinge", [0.5, 0.5], [-1, -1], [1, 1])


def loss_hinge_dis(
    dis_fake: Tensor, dis_real: Tensor, ema: Any = None, it: int | None = None
) -> tuple[Tensor, Tensor]:
    """Hinge: m[relu(1 - real)] and m[relu(1 + fake)]; updates the averages of the outputs."""
    if ema is not None:
        ema.update(compute_dtype(dis_fake.detach()).mean(), "D_fake", it)
        ema.update(compute_dtype(dis_real.detach()).mean(), "D_real", it)
    return biggan.loss_hinge_dis(dis_fake, dis_real)


def loss_hinge_gen(dis_fake: Tensor, dis_real: Tensor | None = None) -> Tensor:
    """Hinge: -m[fake]."""
    return biggan.loss_hinge_gen(dis_fake)


generator_loss = loss_hinge_gen
discriminator_loss = loss_hinge_dis
