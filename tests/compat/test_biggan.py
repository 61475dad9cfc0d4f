"""BigGAN-PyTorch's losses."""

import pytest
import torch.nn.functional as F
from compat.checks import arguments, assert_same, draw

from ganfast.compat import biggan

DISCRIMINATOR = {
    "loss_dcgan_dis": lambda f, r: (F.softplus(-r).mean(), F.softplus(f).mean()),
    "loss_hinge_dis": lambda f, r: ((1 - r).clamp(min=0).mean(), (1 + f).clamp(min=0).mean()),
}
GENERATOR = {
    "loss_dcgan_gen": lambda f: F.softplus(-f).mean(),
    "loss_hinge_gen": lambda f: -f.mean(),
}


@pytest.mark.parametrize("name", DISCRIMINATOR)
def test_discriminator(name: str) -> None:
    fake, real = draw(7, 1), draw(5, 1, seed=1)
    loss = getattr(biggan, name)
    assert arguments(loss) == "dis_fake, dis_real"
    assert_same(loss(fake, real), DISCRIMINATOR[name](fake, real), (fake, real))


@pytest.mark.parametrize("name", GENERATOR)
def test_generator(name: str) -> None:
    fake = draw(7, 1)
    loss = getattr(biggan, name)
    assert arguments(loss) == "dis_fake"
    assert_same(loss(fake), GENERATOR[name](fake), (fake,))


def test_defaults() -> None:
    assert biggan.generator_loss is biggan.loss_hinge_gen
    assert biggan.discriminator_loss is biggan.loss_hinge_dis
