"""The gradient penalty of caogang/wgan-gp."""

import pytest
import torch
from compat.checks import arguments, assert_same
from compat.penalised import PARAMETERS, discriminator, images, mixed, norms

from ganfast.compat.caogang import calc_gradient_penalty


def test_gradient_penalty() -> None:
    assert arguments(calc_gradient_penalty) == "netD, real_data, fake_data"
    real, fake = images()
    x = mixed(real, fake, 3)
    got = calc_gradient_penalty(discriminator, real, fake)
    assert_same(got, 10 * ((norms(x) - 1) ** 2).mean(), [PARAMETERS])


@pytest.mark.parametrize("shape", [(90,), (5, 18)])
def test_vectors_sequences_and_another_weight(shape: tuple[int, ...]) -> None:
    real, fake = (x.reshape(7, *shape) for x in images())
    torch.manual_seed(3)
    alpha = torch.rand(7, *(1 for _ in shape), dtype=real.dtype)
    x = (alpha * real + (1 - alpha) * fake).view(7, 3, 5, 6)
    torch.manual_seed(3)
    got = calc_gradient_penalty(discriminator, real, fake, LAMBDA=0.1)
    assert_same(got, 0.1 * ((norms(x) - 1) ** 2).mean(), [PARAMETERS])
