"""Penalties by finite differences: formulas, limits, and cases where only they work."""

from collections.abc import Callable

import pytest
import torch
from numerics import generator
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ganfast import penalties

X = torch.randn(6, 3, generator=generator(0), dtype=torch.float64)
NOISE = torch.randn(6, 3, generator=generator(1), dtype=torch.float64)


@pytest.fixture
def discriminator() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1), nn.Flatten(0)).double()


# Each convention: one call, and its formula written out.
CONVENTIONS: dict[str, tuple[Callable[[nn.Module], Tensor], Callable[[nn.Module], Tensor]]] = {
    "Self-Forcing": (
        lambda d: penalties.approximate_r1(d, X, weight=3.0, sigma=0.01, divide=True, noise=NOISE),
        lambda d: 3 * (((d(X + 0.01 * NOISE) - d(X)) / 0.01) ** 2).mean(),
    ),
    "FastGen": (
        lambda d: penalties.approximate_r1(d, X, weight=200.0, sigma=0.1, noise=NOISE),
        lambda d: 200 * nn.functional.mse_loss(d(X), d(X + 0.1 * NOISE)),
    ),
    "SwayStar123, the paper": (
        lambda d: penalties.approximate_r2(d, X, weight=100.0, sigma=0.01, noise=NOISE),
        lambda d: 100 * ((d(X) - d(X + 0.01 * NOISE)) ** 2).mean(),
    ),
}


@pytest.mark.parametrize("name", CONVENTIONS)
def test_every_convention_is_one_call(name: str, discriminator: nn.Module) -> None:
    call, formula = CONVENTIONS[name]
    parameters = list(discriminator.parameters())
    for x, y in zip(
        torch.autograd.grad(call(discriminator), parameters),
        torch.autograd.grad(formula(discriminator), parameters),
        strict=True,
    ):
        torch.testing.assert_close(x, y, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("divide", [False, True])
def test_the_mean_over_noise_is_exact_r1_of_its_gamma(
    divide: bool, discriminator: nn.Module
) -> None:
    """Within 4 standard errors of a mean over 20,000 draws; the standard error is about 1 %."""
    x = X[:1].expand(20_000, 3)
    weight, sigma = penalties.approximate_weight(3.0, 1e-3, divide), 1e-3
    assert penalties.exact_gamma(weight, sigma, divide) == pytest.approx(3.0)
    got = penalties.approximate_r1(
        discriminator, x, weight=weight, sigma=sigma, divide=divide, generator=generator(2)
    )
    expected = penalties.r1(discriminator, X[:1], gamma=3.0)
    assert got.item() == pytest.approx(expected.item(), rel=0.04)


def test_the_worked_conversion() -> None:
    assert penalties.exact_gamma(100.0, 0.01) == pytest.approx(0.02)
    assert penalties.approximate_weight(0.02, 0.01) == pytest.approx(100.0)


def test_existing_logits_save_a_call(discriminator: nn.Module) -> None:
    calls = []
    discriminator.register_forward_hook(lambda *_: calls.append(1))
    logits = discriminator(X)
    got = penalties.approximate_r1(discriminator, X, logits=logits, noise=NOISE)
    assert len(calls) == 2
    assert torch.equal(got, penalties.approximate_r1(discriminator, X, noise=NOISE))


def test_maps_add_up_and_options_reach_the_discriminator() -> None:
    def discriminator(x: Tensor, label: float, *, scale: float) -> dict[str, list[Tensor]]:
        return {"maps": [label * x, scale * x]}

    got = penalties.approximate_r2(
        discriminator,
        X,
        weight=1.0,
        sigma=1.0,
        noise=NOISE,
        args=(2.0,),
        kwargs={"scale": 3.0},
        output="maps",
    )
    torch.testing.assert_close(got, (4 + 9) * NOISE.square().mean())


def test_the_head_and_the_difference_are_in_float32() -> None:
    """Logits of bfloat16 features keep the precision of float32."""
    torch.manual_seed(0)
    head = nn.Linear(16, 1)
    seen = []

    def backbone(x: Tensor) -> Tensor:
        return x.repeat(1, 4).bfloat16()

    def float_head(features: Tensor) -> Tensor:
        logits = head(features)
        seen.append((features.dtype, logits.dtype))
        return logits

    x = torch.randn(6, 4, generator=generator(0))
    noise = torch.randn(6, 4, generator=generator(1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = penalties.approximate_r1(
            backbone, x, weight=1.0, sigma=0.1, noise=noise, head=float_head
        )
    assert seen == [(torch.float32, torch.float32)] * 2
    moved = head(backbone(x + 0.1 * noise).float()) - head(backbone(x).float())
    torch.testing.assert_close(got, moved.square().mean())


def test_logits_in_half_precision_are_subtracted_in_float32() -> None:
    got = penalties.approximate_r1(
        lambda x: x.half(), torch.full((2, 1), 300.0), weight=1.0, sigma=1.0,
        noise=torch.full((2, 1), 300.0),
    )  # fmt: skip
    assert got.dtype == torch.float32
    assert got == 90_000  # overflows in float16


def test_under_compile(discriminator: nn.Module) -> None:
    torch.compiler.reset()
    compiled = torch.compile(discriminator, backend="aot_eager")
    parameters = list(discriminator.parameters())
    for x, y in zip(
        torch.autograd.grad(penalties.approximate_r1(compiled, X, noise=NOISE), parameters),
        torch.autograd.grad(penalties.approximate_r1(discriminator, X, noise=NOISE), parameters),
        strict=True,
    ):
        torch.testing.assert_close(x, y)


def test_under_reentrant_checkpoints(discriminator: nn.Module) -> None:
    """Reentrant checkpoints have no double backward."""

    def checkpointed(x: Tensor) -> Tensor:
        return checkpoint(discriminator, x.requires_grad_(), use_reentrant=True)

    penalties.approximate_r1(checkpointed, X, noise=NOISE).backward()
    assert all(p.grad.count_nonzero() for p in discriminator[:3].parameters() if p.dim() > 1)
    with pytest.raises(RuntimeError, match="checkpoint"):
        penalties.r1(checkpointed, X)
