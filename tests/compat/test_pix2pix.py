"""The adversarial loss of pytorch-CycleGAN-and-pix2pix."""

import pytest
import torch
import torch.nn.functional as F
from compat.checks import arguments, assert_same, draw
from compat.penalised import PARAMETERS, discriminator, gradients, images, mixed, norms

from ganfast.compat.pix2pix import GANLoss, cal_gradient_penalty

REAL, FAKE = 0.75, 0.25


@pytest.mark.parametrize("real", [True, False])
@pytest.mark.parametrize("mode", ["lsgan", "vanilla", "wgangp"])
def test_values(mode: str, real: bool) -> None:
    x = draw(2, 1, 5, 5)
    label = REAL if real else FAKE
    expected = {
        "lsgan": ((x - label) ** 2).mean(),
        "vanilla": -(label * F.logsigmoid(x) + (1 - label) * F.logsigmoid(-x)).mean(),
        "wgangp": -x.mean() if real else x.mean(),
    }[mode]
    assert_same(GANLoss(mode, REAL, FAKE)(x, real), expected, [x])


def test_signature() -> None:
    assert arguments(GANLoss) == "gan_mode, target_real_label=1.0, target_fake_label=0.0"
    assert arguments(GANLoss.forward) == "self, prediction, target_is_real"
    assert arguments(GANLoss.get_target_tensor) == "self, prediction, target_is_real"


def test_labels_are_state() -> None:
    saved = {"real_label": torch.tensor(0.5), "fake_label": torch.tensor(0.25)}
    loss = GANLoss("lsgan")
    assert loss.state_dict() == {"real_label": torch.tensor(1.0), "fake_label": torch.tensor(0.0)}
    loss.load_state_dict(saved)
    x = draw(2, 3)
    assert_same(loss(x, True), ((x - 0.5) ** 2).mean(), [x])
    assert_same(loss(x, False), ((x - 0.25) ** 2).mean(), [x])
    assert loss.get_target_tensor(x, True).equal(torch.full((2, 3), 0.5))


@pytest.mark.parametrize("mode", ["lsgan", "vanilla"])
def test_labels_that_are_changed_count(mode: str) -> None:
    """In place, by a new tensor, through .data, and after a change of dtype."""
    loss, x = GANLoss(mode), draw(2, 1, 3, 3)
    formula = {
        "lsgan": lambda a: ((x - a) ** 2).mean(),
        "vanilla": lambda a: -(a * F.logsigmoid(x) + (1 - a) * F.logsigmoid(-x)).mean(),
    }[mode]
    loss.real_label.fill_(0.875)
    assert_same(loss(x, True), formula(0.875), [x])
    loss.real_label.data.mul_(0.5)
    assert_same(loss(x, True), formula(0.4375), [x])
    loss.fake_label = torch.tensor(0.125)
    assert_same(loss.half()(x, False), formula(0.125), [x])
    # 0.9 as the buffer holds it, in float32
    assert_same(GANLoss(mode, 0.9)(x, True), formula(float(torch.tensor(0.9))), [x])


def test_outputs_of_any_kind() -> None:
    x = torch.tensor(0.5, dtype=torch.bfloat16)
    for mode in ("lsgan", "vanilla", "wgangp"):
        loss = GANLoss(mode)(x, True)
        assert loss.shape == ()
        torch.testing.assert_close(loss, GANLoss(mode)(x.float().view(1, 1), True))
    with pytest.raises(TypeError, match="prediction must be a tensor, got list"):
        GANLoss("lsgan")([x], True)
    with pytest.raises(TypeError, match=r"prediction must have dtype .*, got torch.int64"):
        GANLoss("vanilla")(torch.ones(2, dtype=torch.int64), True)


def test_unknown_mode() -> None:
    with pytest.raises(ValueError, match="gan_mode must be one of lsgan, vanilla, wgangp, got 'w'"):
        GANLoss("w")


@pytest.mark.parametrize("where", ["mixed", "real", "fake"])
def test_gradient_penalty(where: str) -> None:
    real, fake = images()
    x = {"mixed": mixed(real, fake, 3), "real": real, "fake": fake}[where]
    got, of_images = cal_gradient_penalty(discriminator, real, fake, "cpu", where, 0.5, 2.5)
    assert_same(got, 2.5 * ((norms(x) - 0.5) ** 2).mean(), [PARAMETERS])
    torch.testing.assert_close(of_images, gradients(x).flatten(1))


def test_gradient_penalty_by_default() -> None:
    assert arguments(cal_gradient_penalty) == (
        "netD, real_data, fake_data, device, type='mixed', constant=1.0, lambda_gp=10.0"
    )
    real, fake = images()
    x = mixed(real, fake, 3)
    got, _ = cal_gradient_penalty(discriminator, real, fake, "cpu")
    assert_same(got, 10 * ((norms(x) - 1) ** 2).mean(), [PARAMETERS])
    assert cal_gradient_penalty(discriminator, real, fake, "cpu", lambda_gp=0.0) == (0.0, None)
    with pytest.raises(ValueError, match="type must be one of mixed, real, fake, got 'all'"):
        cal_gradient_penalty(discriminator, real, fake, "cpu", "all")


def test_gradients_of_zero_give_no_nan() -> None:
    weight = torch.zeros(75, requires_grad=True)
    real = torch.ones(2, 3, 5, 5)
    penalty, _ = cal_gradient_penalty(lambda x: x.flatten(1) @ weight, real, real, "cpu")
    assert penalty == 10
    assert torch.autograd.grad(penalty, weight)[0].count_nonzero() == 0
