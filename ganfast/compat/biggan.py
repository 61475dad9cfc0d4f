"""Drop-in for the losses of ajbrock/BigGAN-PyTorch.

In ``train_fns.py``, change ``import losses`` to::

    import ganfast.compat.biggan as losses

Names, argument order (fake first) and the returned pairs (real, fake) are the project's. float16
and bfloat16 outputs are reduced in float32.
"""

from torch import Tensor

from ganfast import ops

__all__ = [
    "discriminator_loss",
    "generator_loss",
    "loss_dcgan_dis",
    "loss_dcgan_gen",
    "loss_hinge_dis",
    "loss_hinge_gen",
]


def loss_dcgan_dis(dis_fake: Tensor, dis_real: Tensor) -> tuple[Tensor, Tensor]:
    """Non-saturating: m[softplus(-real)] and m[softplus(fake)]."""
    return loss_dcgan_gen(dis_real), ops.flat([dis_fake], "softplus", [1], [1], [0])


def loss_dcgan_gen(dis_fake: Tensor) -> Tensor:
    """Non-saturating: m[softplus(-fake)]."""
    return ops.flat([dis_fake], "softplus", [1], [-1], [0])


def loss_hinge_dis(dis_fake: Tensor, dis_real: Tensor) -> tuple[Tensor, Tensor]:
    """Hinge: m[relu(1 - real)] and m[relu(1 + fake)]."""
    return (
        ops.flat([dis_real], "hinge", [1], [-1], [1]),
        ops.flat([dis_fake], "hinge", [1], [1], [1]),
    )


def loss_hinge_gen(dis_fake: Tensor) -> Tensor:
    """Hinge: -m[fake]."""
    return ops.flat([dis_fake], "identity", [-1], [0], [0])


generator_loss = loss_hinge_gen
discriminator_loss = loss_hinge_dis
