"""The adversarial loss of CUT, which is pix2pix's with one mode more."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from compat.checks import arguments, assert_same, draw
from compat.peer_numbers import NUMBERS, noise, numbers_of
from torch import nn

from ganfast.compat import cut, pix2pix


@pytest.mark.parametrize("real", [True, False])
def test_nonsaturating_is_one_number_per_sample(real: bool) -> None:
    x = draw(3, 1, 5, 4)
    losses = cut.GANLoss("nonsaturating")(x, real)
    assert losses.shape == (3,)
    expected = torch.log(1 + torch.exp(-x if real else x)).flatten(1).mean(1)
    for got, want in zip(losses, expected, strict=True):
        assert_same(got, want, [x])
    assert_same(losses.mean(), expected.mean(), [x])  # as the project's models call it


@pytest.mark.parametrize("mode", ["lsgan", "vanilla", "wgangp"])
def test_the_other_modes_are_those_of_pix2pix(mode: str) -> None:
    x = draw(2, 1, 5, 5)
    for real in (True, False):
        expected = pix2pix.GANLoss(mode, 0.75, 0.25)(x, real)
        assert_same(cut.GANLoss(mode, 0.75, 0.25)(x, real), expected, [x])
        assert_same(cut.GANLoss(mode)(x, real).mean(), pix2pix.GANLoss(mode)(x, real), [x])


def test_signatures_and_refusals() -> None:
    assert arguments(cut.GANLoss) == "gan_mode, target_real_label=1.0, target_fake_label=0.0"
    assert arguments(cut.GANLoss.forward) == "self, prediction, target_is_real"
    assert cut.cal_gradient_penalty is pix2pix.cal_gradient_penalty
    assert isinstance(cut.GANLoss("lsgan"), nn.Module)
    with pytest.raises(ValueError, match="one of lsgan, vanilla, wgangp, nonsaturating, got 'w'"):
        cut.GANLoss("w")
    with pytest.raises(ValueError, match=r"gan_mode must be one of lsgan, vanilla, wgangp, got"):
        pix2pix.GANLoss("nonsaturating")
    with pytest.raises(ValueError, match=r"^prediction must have an axis of samples"):
        cut.GANLoss("nonsaturating")(torch.ones(()), True)


@pytest.mark.parametrize("whole", [False, True])
def test_patch_nce_has_the_numbers_of_the_project(whole: bool) -> None:
    """Its models/patchnce.py, at the commit in drop-in.md, gave the numbers."""
    opt = SimpleNamespace(nce_T=0.07, batch_size=2, nce_includes_all_negatives_from_minibatch=whole)
    loss = cut.PatchNCELoss(opt)
    q, k = (F.normalize(noise(10, 16, seed=s)) for s in (1, 2))
    q = F.normalize(q + k)
    found = numbers_of(loss, q, k)
    assert found == pytest.approx(NUMBERS[f"cut patches {whole}"], rel=1e-5, abs=1e-6)
