"""BasicSR's losses."""

import math
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from compat.checks import arguments, assert_same, draw
from compat.penalised import PARAMETERS, discriminator, gradients, images, mixed, norms

from ganfast.compat import basicsr

REAL, FAKE, WEIGHT = 0.9, 0.2, 0.3


def formula(kind, x, real, disc):
    label = REAL if real else FAKE
    sign = 1 if real else -1
    loss = {
        "vanilla": lambda: -(label * F.logsigmoid(x) + (1 - label) * F.logsigmoid(-x)).mean(),
        "lsgan": lambda: ((x - label) ** 2).mean(),
        "wgan": lambda: -sign * x.mean(),
        "wgan_softplus": lambda: F.softplus(-sign * x).mean(),
        "hinge": lambda: (1 - sign * x).clamp(min=0).mean() if disc else -x.mean(),
    }[kind]()
    return loss if disc else WEIGHT * loss


@pytest.mark.parametrize("disc", [True, False])
@pytest.mark.parametrize("real", [True, False])
@pytest.mark.parametrize("kind", ["vanilla", "lsgan", "wgan", "wgan_softplus", "hinge"])
def test_values(kind: str, real: bool, disc: bool) -> None:
    maps = [draw(2, 1, n, n, seed=n) for n in (5, 3)]
    x = maps[0]
    loss = basicsr.GANLoss(kind, REAL, FAKE, WEIGHT)
    assert_same(loss(x, real, is_disc=disc), formula(kind, x, real, disc), [x])
    scales = basicsr.MultiScaleGANLoss(kind, REAL, FAKE, WEIGHT)
    assert_same(scales(x, real, disc), formula(kind, x, real, disc), [x])
    expected = sum(formula(kind, x, real, disc) for x in maps) / 2
    assert_same(scales(maps, real, disc), expected, maps)
    assert_same(scales([[draw(3), x] for x in maps], real, disc), expected, maps)


def test_signature() -> None:
    expected = "gan_type, real_label_val=1.0, fake_label_val=0.0, loss_weight=1.0"
    for loss in (basicsr.GANLoss, basicsr.MultiScaleGANLoss):
        assert arguments(loss) == expected
        assert arguments(loss.forward) == "self, input, target_is_real, is_disc=False"
    assert not basicsr.GANLoss("hinge").state_dict()


def test_unknown_type() -> None:
    with pytest.raises(ValueError, match=r"gan_type must be one of vanilla, .*, got 'wgangp'"):
        basicsr.GANLoss("wgangp")


def test_registration(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"GANLoss": object, "MultiScaleGANLoss": object, "L1Loss": object}
    losses = ModuleType("basicsr.losses")
    losses.LOSS_REGISTRY = SimpleNamespace(_obj_map=names)
    monkeypatch.setitem(sys.modules, "basicsr", ModuleType("basicsr"))
    monkeypatch.setitem(sys.modules, "basicsr.losses", losses)
    monkeypatch.setattr(basicsr, "find_spec", lambda name: object())
    basicsr._register()
    assert names == {
        "GANLoss": basicsr.GANLoss,
        "MultiScaleGANLoss": basicsr.MultiScaleGANLoss,
        "L1Loss": object,
    }


def test_r1_penalty() -> None:
    assert arguments(basicsr.r1_penalty) == "real_pred, real_img"
    real = images()[0].requires_grad_()
    got = basicsr.r1_penalty(discriminator(real), real)
    assert_same(got, (norms(real) ** 2).mean(), [PARAMETERS])


@pytest.mark.parametrize("weighted", [False, True])
def test_gradient_penalty(weighted: bool) -> None:
    signature = "discriminator, real_data, fake_data, weight=None"
    assert arguments(basicsr.gradient_penalty_loss) == signature
    real, fake = images()
    mask = torch.rand(7, 1, 5, 6, dtype=torch.float64) if weighted else None
    x = mixed(real, fake, 3)
    of_pixels = (gradients(x) * (mask if weighted else 1)).square().sum(1).sqrt()
    expected = ((of_pixels - 1) ** 2).mean() / (mask.mean() if weighted else 1)
    got = basicsr.gradient_penalty_loss(discriminator, real, fake, mask)
    assert_same(got, expected, [PARAMETERS])


def test_path_lengths() -> None:
    """Two calls, the second with the first's average, through which gradients flow."""
    assert arguments(basicsr.g_path_regularize) == "fake_img, latents, mean_path_length, decay=0.01"
    latents, w = draw(4, 3, 5), draw(15, 2 * 8 * 6, seed=1)
    average: torch.Tensor | float = 0.0
    for seed in (4, 5):
        fake = torch.sin(latents.flatten(1) @ w).view(4, 2, 8, 6)
        torch.manual_seed(seed)
        noise = torch.randn_like(fake) / math.sqrt(8 * 6)
        (g,) = torch.autograd.grad((fake * noise).sum(), latents, create_graph=True)
        lengths = (g**2).sum(2).mean(1).sqrt()
        moved = 0.3 * lengths.mean() + 0.7 * average
        torch.manual_seed(seed)
        penalty, mean, following = basicsr.g_path_regularize(fake, latents, average, 0.3)
        assert_same(penalty, ((lengths - moved) ** 2).mean(), [latents, w])
        torch.testing.assert_close(mean, lengths.mean().detach())
        torch.testing.assert_close(following, moved.detach())
        assert not mean.requires_grad
        assert not following.requires_grad
        average = following


def test_a_path_length_of_zero_has_no_gradient() -> None:
    latents = torch.zeros(2, 3, 4, requires_grad=True)
    w = torch.zeros(12, 8, requires_grad=True)
    fake = (latents.flatten(1) @ w).view(2, 2, 2, 2)
    basicsr.g_path_regularize(fake, latents, 0.0)[0].backward()
    assert w.grad is not None
    assert w.grad.count_nonzero() == 0
