"""mimicry's losses."""

import pytest
import torch
import torch.nn.functional as F
from compat.checks import arguments, assert_same, draw
from compat.penalised import PARAMETERS, discriminator, images, mixed, norms

from ganfast.compat import mimicry


def cross_entropy(x, label):
    return -(label * F.logsigmoid(x) + (1 - label) * F.logsigmoid(-x)).mean()


def outputs():
    return draw(7, 1), draw(5, 1, seed=1)


def test_minimax() -> None:
    fake, real = outputs()
    assert arguments(mimicry.minimax_loss_gen) == "output_fake, real_label_val=1.0, **kwargs"
    assert_same(mimicry.minimax_loss_gen(fake), cross_entropy(fake, 1), [fake])
    assert_same(mimicry.minimax_loss_gen(fake, 0.9), cross_entropy(fake, 0.9), [fake])
    assert arguments(mimicry.minimax_loss_dis) == (
        "output_fake, output_real, real_label_val=1.0, fake_label_val=0.0, **kwargs"
    )
    got = mimicry.minimax_loss_dis(fake, real)
    assert_same(got, cross_entropy(real, 1) + cross_entropy(fake, 0), [fake, real])
    got = mimicry.minimax_loss_dis(fake, real, 0.9, 0.2)
    assert_same(got, cross_entropy(real, 0.9) + cross_entropy(fake, 0.2), [fake, real])


def test_options_of_torch() -> None:
    fake, real = outputs()
    expected = 7 * cross_entropy(fake, 0.2) + 5 * cross_entropy(real, 0.9)
    got = mimicry.minimax_loss_dis(fake, real, 0.9, 0.2, reduction="sum")
    assert_same(got, expected, [fake, real])
    got = mimicry.minimax_loss_gen(fake, 0.9, reduction="sum")
    assert_same(got, 7 * cross_entropy(fake, 0.9), [fake])


def test_non_saturating() -> None:
    fake, _ = outputs()
    assert arguments(mimicry.ns_loss_gen) == "output_fake"
    assert_same(mimicry.ns_loss_gen(fake), -F.logsigmoid(fake).mean(), [fake])
    original = -(torch.sigmoid(fake) + 1e-8).log().mean()
    assert abs(mimicry.ns_loss_gen(fake) - original) < 1e-6
    far = torch.tensor([[-40.0]], requires_grad=True)
    mimicry.ns_loss_gen(far).backward()
    assert far.grad.item() == pytest.approx(-1)


def test_wasserstein() -> None:
    fake, real = outputs()
    assert arguments(mimicry.wasserstein_loss_dis) == "output_real, output_fake"
    got = mimicry.wasserstein_loss_dis(real, fake)
    assert_same(got, fake.mean() - real.mean(), [fake, real])
    assert arguments(mimicry.wasserstein_loss_gen) == "output_fake"
    assert_same(mimicry.wasserstein_loss_gen(fake), -fake.mean(), [fake])


def test_hinge() -> None:
    fake, real = outputs()
    assert arguments(mimicry.hinge_loss_dis) == "output_fake, output_real"
    expected = (1 - real).clamp(min=0).mean() + (1 + fake).clamp(min=0).mean()
    assert_same(mimicry.hinge_loss_dis(fake, real), expected, [fake, real])
    assert arguments(mimicry.hinge_loss_gen) == "output_fake"
    assert_same(mimicry.hinge_loss_gen(fake), -fake.mean(), [fake])


def test_gradient_penalty() -> None:
    signature = "self, real_images, fake_images, gp_scale=10.0"
    assert arguments(mimicry.compute_gradient_penalty_loss) == signature
    real, fake = images()
    for options, scale in (((), 10), ((2.5,), 2.5)):
        x = mixed(real, fake, 3)
        got = mimicry.compute_gradient_penalty_loss(discriminator, real, fake, *options)
        assert_same(got, scale * ((norms(x) - 1) ** 2).mean(), [PARAMETERS])
