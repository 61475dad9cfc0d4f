"""google/lecam-gan's losses."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from compat.checks import arguments, assert_same, draw
from torch import Tensor

from ganfast.compat import lecam


def relu(x: Tensor) -> Tensor:
    return x.clamp(min=0)


DISCRIMINATOR = {
    "loss_dcgan_dis": lambda f, r: (F.softplus(-r).mean(), F.softplus(f).mean()),
    "loss_ls_dis": lambda f, r: (((r + 1) ** 2).mean(), ((f - 1) ** 2).mean()),
    "loss_rahinge_dis": lambda f, r: (
        relu(1 - (r - f.mean())).mean() / 2,
        relu(1 + (f - r.mean())).mean() / 2,
    ),
    "loss_hinge_dis": lambda f, r: (relu(1 - r).mean(), relu(1 + f).mean()),
}
GENERATOR = {
    "loss_dcgan_gen": lambda f: F.softplus(-f).mean(),
    "loss_ls_gen": lambda f: (f**2).mean(),
    "loss_hinge_gen": lambda f: -f.mean(),
}


class Averages:
    """The project's moving averages."""

    def __init__(self, decay: float, start: int) -> None:
        self.decay, self.start = decay, start
        self.D_real: Any = 1000.0
        self.D_fake: Any = 1000.0

    def update(self, cur: Any, mode: str, itr: int) -> None:
        decay = self.decay if itr >= self.start else 0.0
        setattr(self, mode, getattr(self, mode) * decay + cur * (1 - decay))


@pytest.mark.parametrize("name", DISCRIMINATOR)
def test_discriminator(name: str) -> None:
    fake, real = draw(7, 1), draw(5, 1, seed=1)
    loss = getattr(lecam, name)
    assert arguments(loss) == "dis_fake, dis_real, ema=None, it=None"
    assert_same(loss(fake, real), DISCRIMINATOR[name](fake, real), (fake, real))


@pytest.mark.parametrize("name", GENERATOR)
def test_generator(name: str) -> None:
    fake = draw(7, 1)
    loss = getattr(lecam, name)
    assert arguments(loss) == "dis_fake, dis_real=None"
    assert_same(loss(fake), GENERATOR[name](fake), (fake,))


def test_relativistic_generator() -> None:
    fake, real = draw(7, 1), draw(5, 1, seed=1)
    r = real.mean().item()
    expected = relu(1 + r - fake.mean()) / 2 + relu(1 - (fake - r)).mean() / 2
    assert arguments(lecam.loss_rahinge_gen) == "dis_fake, dis_real"
    assert_same(lecam.loss_rahinge_gen(fake, real), expected, (fake, real))
    assert_same(lecam.loss_rahinge_gen(fake, r), expected, (fake,))


def test_regularization_with_averages_on_the_device() -> None:
    got, floats = Averages(0.9, 2), Averages(0.9, 2)
    for step in range(5):
        fake, real = draw(7, 1, seed=step), draw(5, 1, seed=100 + step)
        lecam.discriminator_loss(fake, real, got, step)
        floats.update(fake.mean().item(), "D_fake", step)
        floats.update(real.mean().item(), "D_real", step)
        assert isinstance(got.D_real, Tensor)
        assert not got.D_real.requires_grad
        expected = (relu(real - floats.D_fake) ** 2).mean() + (
            relu(floats.D_real - fake) ** 2
        ).mean()
        assert_same(lecam.lecam_reg(real, fake, got), expected, (real, fake))
        assert_same(lecam.lecam_reg(real, fake, floats), expected, (real, fake))
    assert arguments(lecam.lecam_reg) == "dis_real, dis_fake, ema"


def test_defaults() -> None:
    assert lecam.generator_loss is lecam.loss_hinge_gen
    assert lecam.discriminator_loss is lecam.loss_hinge_dis


def test_half_precision_is_reduced_in_float32() -> None:
    fake = draw(64, 1).detach().half()
    assert lecam.loss_rahinge_gen(fake, fake).dtype == torch.float32
