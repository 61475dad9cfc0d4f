"""Maps of several dtypes in one list, complex features, and tensors made in inference mode."""

from typing import Any

import pytest
import torch
from losses.calls import CALLS
from losses.formulas import maps
from torch import Tensor

from ganfast.losses import (
    AdversarialLoss,
    LeCam,
    discriminator_loss,
    feature_matching,
    pixel_loss,
    relativistic_average_discriminator_loss,
    relativistic_generator_loss,
)

LABELS = torch.tensor([0, 3, 1, 3])
DTYPES = [torch.float16, torch.float32, torch.bfloat16]


def mixed(seed: int, dtypes: list[torch.dtype]) -> list[Tensor]:
    """A map of each dtype, leaves of a graph."""
    found = maps(len(dtypes), seed)
    return [x.detach().to(t).requires_grad_() for x, t in zip(found, dtypes, strict=True)]


@pytest.mark.parametrize("dtypes", [DTYPES, [*DTYPES, torch.float64]], ids=["float32", "float64"])
@pytest.mark.parametrize("name", sorted(CALLS.keys() - {"Gaussian codes"}))  # makes variances
def test_maps_of_several_dtypes(name: str, dtypes: list[torch.dtype], route: str) -> None:
    """Projects convert each map to float32 before its loss; the oracle is float64."""
    real, fake = mixed(0, dtypes), mixed(1, dtypes[1:] + dtypes[:1])
    wide = [[x.detach().double().requires_grad_() for x in side] for side in (real, fake)]
    loss, expected = CALLS[name](real, fake, LABELS), CALLS[name](*wide, LABELS)
    torch.testing.assert_close(loss.double(), expected, rtol=2e-6, atol=2e-6)
    got = torch.autograd.grad(loss, real + fake, allow_unused=True)
    want = torch.autograd.grad(expected, wide[0] + wide[1], allow_unused=True)
    for x, g, w in zip(real + fake, got, want, strict=True):
        assert (g is None) == (w is None)
        if g is not None:
            assert g.dtype == x.dtype
            eps = torch.finfo(x.dtype).eps
            torch.testing.assert_close(g.double(), w, rtol=4 * eps + 1e-5, atol=eps / 8 + 1e-6)


@pytest.mark.parametrize("options", [{}, {"reduction": "none"}, {"reduction": "sum"}], ids=str)
@pytest.mark.parametrize("weights", ["none", "samples", "masks", "a mask and samples"])
def test_weights_of_maps_of_several_dtypes(options: Any, weights: str, route: str) -> None:
    real, fake = (mixed(seed, [*DTYPES, torch.float64]) for seed in (0, 1))
    samples = torch.tensor([0.5, 2.0, 0.0, 1.0])
    masks = [(x.detach() > 0).float() for x in real]
    given = {
        "none": {},
        "samples": {"real_weight": samples, "fake_weight": samples.double()},
        "masks": {"real_weight": masks, "fake_weight": masks},
        "a mask and samples": {"real_weight": masks, "fake_weight": samples.half()},
    }[weights]
    loss = AdversarialLoss("bce", label_smoothing=0.25, **options)
    got = loss.discriminator(real, fake, **given)
    assert got.dtype == torch.float64
    wide = [[x.double() for x in side] for side in (real, fake)]
    torch.testing.assert_close(got, loss.discriminator(*wide, **given))
    got, stats = loss.discriminator_with_stats(real, fake, **given)
    expected, wide_stats = loss.discriminator_with_stats(*wide, **given)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(stats, wide_stats)


def complex_maps(seed: int, dtype: torch.dtype) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(2, 5, 3, dtype=dtype, generator=random).requires_grad_()


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128], ids=str)
def test_complex_features_are_matched_by_their_modulus(dtype: torch.dtype, route: str) -> None:
    r, f = complex_maps(0, dtype), complex_maps(1, dtype)
    of_reals = maps(1, 0)
    loss = feature_matching([[r], of_reals], [[f], [of_reals[0] + 0.5]])
    modulus = torch.hypot(f.real - r.real, f.imag - r.imag)
    torch.testing.assert_close(loss, modulus.mean() + 0.5)
    (got,) = torch.autograd.grad(loss, f)
    want = ((f - r) / modulus / modulus.numel()).detach()
    torch.testing.assert_close(got, want)
    relative = feature_matching(r, f, "relative_l1")
    torch.testing.assert_close(relative, modulus.mean() / r.abs().mean())
    torch.testing.assert_close(pixel_loss(r, f), modulus.mean())


def test_equal_complex_features_have_the_gradient_0() -> None:
    x = complex_maps(0, torch.complex64)
    (g,) = torch.autograd.grad(feature_matching(x.detach(), x), x)
    assert g.count_nonzero() == 0


def test_complex_features_have_no_squares_and_no_adversarial_loss(route: str) -> None:
    x = complex_maps(0, torch.complex64)
    for call in (lambda: feature_matching(x, x, "l2"), lambda: discriminator_loss(x, x)):
        with pytest.raises(TypeError, match=r"must have dtype float64.*, got torch.complex64"):
            call()


def test_outputs_made_in_inference_mode_count_as_constants(route: str) -> None:
    """In the generator's step, many trainers compute what is real in inference mode."""
    with torch.inference_mode():
        real = [x.detach().clone() for x in maps(2, 0)]
    plain = [x.detach().clone() for x in maps(2, 0)]
    for loss in (
        feature_matching,
        relativistic_generator_loss,
        relativistic_average_discriminator_loss,
        discriminator_loss,
        LeCam(maps=2),
        AdversarialLoss(reduction="none").discriminator,
    ):
        fake = maps(2, 1)
        got = torch.autograd.grad(loss(real, fake).sum(), fake, create_graph=True)
        (of_fake,) = torch.autograd.grad(sum(g.square().sum() for g in got), fake[:1])
        if isinstance(loss, LeCam):
            loss = LeCam(maps=2)
        want = torch.autograd.grad(loss(plain, fake).sum(), fake, create_graph=True)
        (want_of_fake,) = torch.autograd.grad(sum(g.square().sum() for g in want), fake[:1])
        torch.testing.assert_close(got, want)
        torch.testing.assert_close(of_fake, want_of_fake)
