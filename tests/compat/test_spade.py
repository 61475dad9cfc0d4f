"""The adversarial losses of SPADE and pix2pixHD."""

import pytest
import torch
import torch.nn.functional as F
from compat.checks import arguments, assert_same, draw

from ganfast.compat.spade import GANLoss, Pix2PixHDGANLoss

REAL, FAKE = 0.9, 0.2


def formula(mode, x, real, disc):
    label, sign = (REAL, 1) if real else (FAKE, -1)
    return {
        "ls": lambda: ((x - label) ** 2).mean(),
        "original": lambda: -(label * F.logsigmoid(x) + (1 - label) * F.logsigmoid(-x)).mean(),
        "w": lambda: -sign * x.mean(),
        "hinge": lambda: (1 - sign * x).clamp(min=0).mean() if disc else -x.mean(),
    }[mode]()


@pytest.mark.parametrize(("real", "disc"), [(True, True), (False, True), (True, False)])
@pytest.mark.parametrize("mode", ["ls", "original", "w", "hinge"])
def test_values(mode: str, real: bool, disc: bool) -> None:
    maps = [draw(2, 1, n, n, seed=n) for n in (5, 3)]
    loss = GANLoss(mode, REAL, FAKE)
    assert_same(loss(maps[0], real, disc), formula(mode, maps[0], real, disc), maps[:1])
    expected = sum(formula(mode, x, real, disc) for x in maps).reshape(1) / 2
    assert_same(loss(maps, real, disc), expected, maps)
    assert_same(loss([[draw(3), x] for x in maps], real, disc), expected, maps)


def test_generator_aims_for_real() -> None:
    with pytest.raises(ValueError, match="target_is_real must be True"):
        GANLoss("hinge")(draw(2, 3), False, for_discriminator=False)


def test_unknown_mode() -> None:
    with pytest.raises(ValueError, match=r"gan_mode must be one of ls, .*, got 'lsgan'"):
        GANLoss("lsgan")


@pytest.mark.parametrize("real", [True, False])
@pytest.mark.parametrize("use_lsgan", [True, False])
def test_pix2pixhd(use_lsgan: bool, real: bool) -> None:
    maps = [draw(2, 1, n, n, seed=n) for n in (5, 3)]
    y = maps if use_lsgan else [torch.sigmoid(x) for x in maps]
    label = REAL if real else FAKE

    def formula(p):
        if use_lsgan:
            return ((p - label) ** 2).mean()
        return -(label * p.log() + (1 - label) * (1 - p).log()).mean()

    loss = Pix2PixHDGANLoss(use_lsgan, REAL, FAKE)
    several = loss([[draw(3), x] for x in y], real)
    assert_same(several, sum(formula(x) for x in y), maps)
    assert_same(loss([y[1], y[0]], real), formula(y[0]), maps[:1])


def test_a_tensor_is_the_list_of_its_slices_to_pix2pixhd_alone() -> None:
    """pix2pixHD takes the last entry of what it gets, SPADE asks for lists."""
    x = draw(3, 2, 1, 4, 4)
    assert_same(Pix2PixHDGANLoss()(x, True), ((x[-1] - 1) ** 2).mean(), [x])
    assert_same(Pix2PixHDGANLoss()([x[0], x[1:]], True), ((x[1:] - 1) ** 2).mean(), [x])
    assert_same(GANLoss("ls")(x, True), ((x - 1) ** 2).mean(), [x])


def test_signatures() -> None:
    labels = f"target_real_label=1.0, target_fake_label=0.0, tensor={torch.FloatTensor!r}"
    assert arguments(GANLoss) == f"gan_mode, {labels}, opt=None"
    assert arguments(GANLoss.forward) == "self, input, target_is_real, for_discriminator=True"
    assert arguments(Pix2PixHDGANLoss) == f"use_lsgan=True, {labels}"
    assert arguments(Pix2PixHDGANLoss.forward) == "self, input, target_is_real"
