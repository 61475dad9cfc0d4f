"""HiFi-GAN's losses."""

import torch
from compat.checks import arguments, assert_same, draw
from torch import Tensor

from ganfast.compat import hifigan

SHAPES = [[(2, 3, 7, 2), (2, 1, 4)], [(2, 5, 9), (2, 4, 3), (2, 6)], [(2, 11)]]


def features(seed: int) -> list[list[Tensor]]:
    return [
        [draw(*s, seed=seed + 10 * i + j) for j, s in enumerate(d)] for i, d in enumerate(SHAPES)
    ]


def test_feature_loss() -> None:
    real, fake = features(0), features(100)
    assert arguments(hifigan.feature_loss) == "fmap_r, fmap_g"
    pairs = [(r, g) for d in zip(real, fake, strict=True) for r, g in zip(*d, strict=True)]
    expected = 2 * sum((r - g).abs().mean() for r, g in pairs)
    assert_same(hifigan.feature_loss(real, fake), expected, [g for _, g in pairs])


def test_real_features_are_detached() -> None:
    real, fake = features(0), features(100)
    hifigan.feature_loss(real, fake).backward()
    assert all(x.grad is None for d in real for x in d)


def test_discriminator_loss() -> None:
    real = [draw(2, n, seed=n) for n in (5, 3, 8)]
    fake = [draw(2, n, seed=100 + n) for n in (5, 3, 8)]
    assert arguments(hifigan.discriminator_loss) == "disc_real_outputs, disc_generated_outputs"
    of_real = [((1 - r) ** 2).mean() for r in real]
    of_fake = [(g**2).mean() for g in fake]
    loss, r_losses, g_losses = hifigan.discriminator_loss(real, fake)
    assert_same(loss, sum(of_real) + sum(of_fake), real + fake)
    check_terms(r_losses, of_real)
    check_terms(g_losses, of_fake)


def test_generator_loss() -> None:
    fake = [draw(2, n, seed=n) for n in (5, 3, 8)]
    assert arguments(hifigan.generator_loss) == "disc_outputs"
    terms = [((1 - g) ** 2).mean() for g in fake]
    loss, gen_losses = hifigan.generator_loss(fake)
    assert_same(loss, sum(terms), fake)
    check_terms(gen_losses, terms)


def test_a_stacked_tensor_is_the_list_of_its_slices() -> None:
    """The project iterates over what it gets."""
    outputs, real = torch.randn(3, 2, 5), torch.randn(3, 2, 5)
    maps, real_maps = torch.randn(3, 4, 2, 5), torch.randn(3, 4, 2, 5)
    loss, terms = hifigan.generator_loss(outputs)
    assert len(terms) == 3
    assert loss == hifigan.generator_loss(list(outputs))[0]
    torch.testing.assert_close(loss, sum((1 - x).square().mean() for x in outputs))
    assert (
        hifigan.discriminator_loss(real, outputs)[0]
        == (hifigan.discriminator_loss(list(real), list(outputs))[0])
    )
    want = 2 * sum(
        (r - g).abs().mean()
        for r, g in zip(real_maps.flatten(0, 1), maps.flatten(0, 1), strict=True)
    )
    torch.testing.assert_close(hifigan.feature_loss(real_maps, maps), want)


def test_maps_of_several_dtypes_count_as_float32() -> None:
    """VITS and RVC call .float() on each map."""
    dtypes = [torch.float16, torch.float32, torch.bfloat16]
    fake, real = (
        [draw(2, 5, seed=s + k).detach().to(t).requires_grad_() for k, t in enumerate(dtypes)]
        for s in (0, 9)
    )
    loss, _ = hifigan.generator_loss(fake)
    torch.testing.assert_close(loss, sum(((1 - x.float()) ** 2).mean() for x in fake))
    for x, g in zip(fake, torch.autograd.grad(loss, fake), strict=True):
        assert g.dtype == x.dtype
    loss, _, _ = hifigan.discriminator_loss(real, fake)
    pairs = list(zip(real, fake, strict=True))
    terms = [((1 - r.float()) ** 2).mean() + (x.float() ** 2).mean() for r, x in pairs]
    torch.testing.assert_close(loss, sum(terms))
    matched = sum((r.float() - x.float()).abs().mean() for r, x in pairs)
    torch.testing.assert_close(hifigan.feature_loss([real], [fake]), 2 * matched)


def check_terms(got: list[Tensor], expected: list[Tensor]) -> None:
    """The terms work wherever the project returns Python floats."""
    assert isinstance(got, list)
    for g, e in zip(got, expected, strict=True):
        assert not g.requires_grad
        assert g.dim() == 0
        assert abs(float(g) - e.item()) <= 1e-13
        assert f"{g:4.3f}" == f"{e.item():4.3f}"
    assert abs(float(sum(got)) - sum(e.item() for e in expected)) <= 1e-12
