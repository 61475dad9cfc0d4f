"""Drop-in for the gradient penalty of caogang/wgan-gp.

In ``gan_cifar10.py``, ``gan_mnist.py`` and the other scripts, remove
``def calc_gradient_penalty``, and at the top add ::

    from ganfast.compat.caogang import calc_gradient_penalty

The default weight is the LAMBDA of the image scripts; if your script has another, pass
``LAMBDA=LAMBDA``. One number is drawn per sample, on the samples' device. The norm is that of a
sample's gradient, as in the paper; ``gan_language.py`` takes one norm per character instead, over
the positions.
"""

from collections.abc import Callable

from torch import Tensor

from ganfast.penalties import wgan_gp

__all__ = ["calc_gradient_penalty"]


def calc_gradient_penalty(
    netD: Callable[[Tensor], Tensor], real_data: Tensor, fake_data: Tensor, *, LAMBDA: float = 10.0
) -> Tensor:
    """LAMBDA m[(||grad|| - 1)^2] between real and fake samples (N, ...); scalar."""
    return wgan_gp(netD, real_data, fake_data, weight=LAMBDA)
