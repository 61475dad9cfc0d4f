"""Drop-in for the gradient penalty of caogang/wgan-gp.

In ``gan_cifar10.py``, ``gan_mnist.py`` and others, remove ``def calc_gradient_penalty``, and at the
top add ::

    from ganfast.compat.caogang import calc_gradient_penalty

The weight is the LAMBDA of the scripts for images; where a script has another one, call with
``LAMBDA=LAMBDA``. One number is drawn for each sample, on the samples' device. The norm is that of
a sample's gradient, as the paper's, also in ``gan_language.py``, where the project takes one over
the positions for each character.
"""

from collections.abc import Callable

from torch import Tensor

from ganfast.penalties import wgan_gp

__all__ = ["calc_gradient_penalty"]


def calc_gradient_penalty(
    netD: Callable[[Tensor], Tensor], real_data: Tensor, fake_data: Tensor, *, LAMBDA: float = 10.0
) -> Tensor:
    """LAMBDA m[(||grad|| - 1)^2] between real and fake samples; scalar.

    Args:
        netD: the discriminator.
        real_data: real samples (N, ...).
        fake_data: fakes of the same shape.
        LAMBDA: the weight.
    """
    return wgan_gp(netD, real_data, fake_data, weight=LAMBDA)
