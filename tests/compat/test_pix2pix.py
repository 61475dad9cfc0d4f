"""The adversarial loss of pytorch-CycleGAN-and-pix2pix."""

import pytest
import torch
import torch.nn.functional as F
from compat.checks import arguments, assert_same, draw

from ganfast.compat.pix2pix import GANLoss

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


def test_unknown_mode() -> None:
    with pytest.raises(ValueError, match="gan_mode must be one of lsgan, vanilla, wgangp, got 'w'"):
        GANLoss("w")
