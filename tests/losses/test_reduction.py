"""Reductions, sample weights and statistics of the losses other than AdversarialLoss."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from losses.formulas import maps
from losses.test_relativistic import FORMULAS as PAIRS
from losses.test_relativistic_average import FORMULAS as AVERAGES
from torch import Tensor

from ganfast.losses import (
    RelativisticAverageLoss,
    RelativisticLoss,
    auxiliary_classifier_loss,
    conditional_contrastive_loss,
    crammer_singer_loss,
    data_to_data_cross_entropy_loss,
    gaussian_code_loss,
    relativistic_average_discriminator_loss,
    relativistic_average_generator_loss,
    relativistic_discriminator_loss,
    relativistic_generator_loss,
)

REDUCTIONS = ("mean", "sum", "none")
WEIGHTS = ("no", "samples", "mask")
KINDS = st.sampled_from(sorted(PAIRS))


def along(weight: Tensor, x: Tensor) -> Tensor:
    """(B,) for each element of x."""
    return weight.view(-1, *[1] * (x.dim() - 1)).expand_as(x)


def reduced(values: Tensor, weight: Tensor | None, reduction: str) -> Tensor:
    """The loss of one map from the weighted losses of its elements."""
    w = torch.ones_like(values) if weight is None else weight.expand_as(values)
    if reduction == "sum":
        return (w * values).sum()
    total = w.sum()
    total = total if total != 0 else torch.ones_like(total)
    if reduction == "mean":
        return (w * values).sum() / total
    return (
        len(values) * (w * values).flatten(1).sum(1) / total
        if values.dim() > 1
        else (len(values) * w * values / total)
    )


def weights_of(x: list[Tensor], which: str, random: torch.Generator) -> tuple[Any, list[Any]]:
    """The argument of a loss, and the weights of each map's elements."""
    if which == "no":
        return None, [None] * len(x)
    if which == "samples":
        weight = torch.rand(len(x[0]), generator=random).round(decimals=2)
        return weight, [along(weight.double(), xk) for xk in x]
    masks = [torch.rand(xk.shape, generator=random).gt(0.4).double() for xk in x]
    return masks, masks


def assert_loss(got: Tensor, terms: list[Tensor], x: list[Tensor]) -> None:
    """Assert equal values and gradients."""
    expected = torch.stack(terms).sum(0)
    torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-12)
    back = torch.linspace(-1, 2, expected.numel(), dtype=torch.float64).view(expected.shape)
    for g, e in zip(
        torch.autograd.grad(got, x, back), torch.autograd.grad(expected, x, back), strict=True
    ):
        torch.testing.assert_close(g, e, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("which", WEIGHTS)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@settings(max_examples=8)
@given(n=st.integers(1, 4), kind=KINDS, seed=st.integers(0, 999))
def test_relativistic_pairs(reduction: Any, which: str, n: int, kind: Any, seed: int) -> None:
    real, fake = maps(n, seed, torch.float64), maps(n, seed + 1, torch.float64)
    given_weight, of_maps = weights_of(real, which, torch.Generator().manual_seed(seed))
    for call, sign in ((relativistic_discriminator_loss, 1), (relativistic_generator_loss, -1)):
        got = call(real, fake, kind, pair_weight=given_weight, reduction=reduction, scale=0.5)
        terms = [
            0.5 * reduced(PAIRS[kind](sign * (r - f)), w, reduction)
            for r, f, w in zip(real, fake, of_maps, strict=True)
        ]
        assert_loss(got, terms, real + fake)


@pytest.mark.parametrize("which", WEIGHTS)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@settings(max_examples=8)
@given(n=st.integers(1, 4), kind=KINDS, seed=st.integers(0, 999))
def test_relativistic_averages(reduction: Any, which: str, n: int, kind: Any, seed: int) -> None:
    real, fake = maps(n, seed, torch.float64), maps(n, seed + 1, torch.float64)
    random = torch.Generator().manual_seed(seed)
    real_weight, of_real = weights_of(real, which, random)
    fake_weight, of_fake = weights_of(fake, which, random)
    high, low = AVERAGES[kind]
    for call, of_r, of_f in (
        (relativistic_average_discriminator_loss, high, low),
        (relativistic_average_generator_loss, low, high),
    ):
        got = call(
            real,
            fake,
            kind,
            real_weight=real_weight,
            fake_weight=fake_weight,
            reduction=reduction,
            map_reduction="mean",
        )
        terms = [
            reduced(of_r(r - f.mean()), w, reduction) / n
            + reduced(of_f(f - r.mean()), v, reduction) / n
            for r, f, w, v in zip(real, fake, of_real, of_fake, strict=True)
        ]
        assert_loss(got, terms, real + fake)


@pytest.mark.parametrize("weighted", [False, True])
def test_statistics_of_pairs(weighted: bool) -> None:
    real, fake = maps(3, 0, torch.float64), maps(3, 1, torch.float64)
    weight = torch.tensor([0.0, 1.0, 2.0, 0.5]) if weighted else None
    pairs = RelativisticLoss("hinge", map_weights=[1.0, 2.0, 0.5])
    loss, stats = pairs.discriminator_with_stats(real, fake, pair_weight=weight)
    alone = relativistic_discriminator_loss(
        real, fake, "hinge", pair_weight=weight, map_weights=[1.0, 2.0, 0.5]
    )
    torch.testing.assert_close(loss, alone)
    differences = [r - f for r, f in zip(real, fake, strict=True)]
    expected = {
        "pair_logits": [d.mean() for d in differences],
        "pair_accuracy": [(d > 0).double().mean() for d in differences],
        "pair_loss": [
            w * reduced(F.relu(1 - d), None if weight is None else along(weight, d), "mean")
            for w, d in zip((1.0, 2.0, 0.5), differences, strict=True)
        ],
    }
    assert stats.keys() == expected.keys()
    for name, values in expected.items():
        torch.testing.assert_close(stats[name], torch.stack(values).detach())
        assert not stats[name].requires_grad
    assert loss.requires_grad


@pytest.mark.parametrize("side", ["discriminator", "generator"])
def test_statistics_of_averages(side: str) -> None:
    real, fake = maps(2, 0, torch.float64), maps(2, 1, torch.float64)
    averages = RelativisticAverageLoss()
    loss, stats = getattr(averages, f"{side}_with_stats")(real, fake)
    torch.testing.assert_close(loss, getattr(averages, side)(real, fake))
    expected = {
        "real_logits": [r.mean() - f.mean() for r, f in zip(real, fake, strict=True)],
        "fake_logits": [f.mean() - r.mean() for r, f in zip(real, fake, strict=True)],
        "real_accuracy": [(r > f.mean()).double().mean() for r, f in zip(real, fake, strict=True)],
        "fake_accuracy": [(f < r.mean()).double().mean() for r, f in zip(real, fake, strict=True)],
    }
    for name, values in expected.items():
        torch.testing.assert_close(stats[name], torch.stack(values).detach())
    torch.testing.assert_close(stats["real_loss"].sum() + stats["fake_loss"].sum(), loss.detach())


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("kind", sorted(PAIRS))
def test_two_orders(kind: Any, reduction: Any) -> None:
    x = [torch.randn(3, 2, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    weight = torch.tensor([0.5, 0.0, 2.0])

    def pairs(*x: Tensor) -> Tensor:
        return relativistic_discriminator_loss(
            x[0], x[1], kind, pair_weight=weight, reduction=reduction
        )

    def averages(*x: Tensor) -> Tensor:
        return relativistic_average_discriminator_loss(
            x[0], x[1], kind, real_weight=weight, reduction=reduction
        )

    for loss in (pairs, averages):
        assert torch.autograd.gradcheck(loss, x)
        assert torch.autograd.gradgradcheck(loss, x)


Samples = Callable[..., Tensor]


def contrastive(h: Tensor, p: Tensor, y: Tensor) -> list[Tensor]:
    """2C of each sample, at the temperature 1."""
    h, p = F.normalize(h), F.normalize(p)
    losses = []
    for i in range(len(y)):
        near = far = (h[i] @ p[i]).exp()
        for j in range(len(y)):
            if j != i:
                e = (h[i] @ h[j]).exp()
                far, near = far + e, near + e * (y[i] == y[j])
        losses.append(torch.log(far / near))
    return losses


def data_to_data(h: Tensor, p: Tensor, y: Tensor) -> list[Tensor]:
    """D2D-CE of each sample, with the default margins and temperature."""
    h, p = F.normalize(h), F.normalize(p)
    losses = []
    for i in range(len(y)):
        near = ((h[i] @ p[i] - 0.98).clamp(max=0) / 0.5).exp()
        far = near
        for j in range(len(y)):
            far = far + ((h[i] @ h[j] - 0.02).clamp(min=0) / 0.5).exp() * (y[i] != y[j])
        losses.append(torch.log(far / near))
    return losses


def multi_hinge(s: Tensor, _: Tensor, y: Tensor) -> list[Tensor]:
    own = F.one_hot(y, s.shape[1]).bool()
    return list(F.relu(1 + s.masked_fill(own, -math.inf).max(1).values - s[own]).unbind())


def cross_entropy(s: Tensor, _: Tensor, y: Tensor) -> list[Tensor]:
    return [torch.logsumexp(s[i], 0) - s[i, y[i]] for i in range(len(y))]


def codes(c: Tensor, mu: Tensor, _: Tensor) -> list[Tensor]:
    var = 1 + c.square()
    normal = torch.distributions.Normal(mu, var.sqrt())
    return [-p for p in normal.log_prob(c).sum(1).unbind()]


CONDITIONAL: dict[str, tuple[Samples, Callable[..., list[Tensor]]]] = {
    "Crammer-Singer": (lambda s, _, y, **o: crammer_singer_loss(s, y, **o), multi_hinge),
    "auxiliary": (lambda s, _, y, **o: auxiliary_classifier_loss(s, y, **o), cross_entropy),
    "codes": (lambda c, mu, _, **o: gaussian_code_loss(c, mu, 1 + c.square(), **o), codes),
    "2C": (conditional_contrastive_loss, contrastive),
    "D2D-CE": (data_to_data_cross_entropy_loss, data_to_data),
}
each_head = pytest.mark.parametrize("name", CONDITIONAL)


@each_head
@settings(max_examples=8)
@given(b=st.integers(1, 6), seed=st.integers(0, 999), weighted=st.booleans())
def test_conditional_heads(name: str, b: int, seed: int, weighted: bool) -> None:
    loss, formula = CONDITIONAL[name]
    random = torch.Generator().manual_seed(seed)
    x = [torch.randn(b, 3, dtype=torch.float64, generator=random).requires_grad_() for _ in "hp"]
    y = torch.randint(3, (b,), generator=random)
    weight = torch.rand(b, dtype=torch.float64, generator=random) if weighted else None
    for reduction in REDUCTIONS:
        got = loss(*x, y, reduction=reduction, weight=weight)
        expected = reduced(torch.stack(formula(*x, y)), weight, reduction)
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)
        back = torch.rand(got.shape, dtype=torch.float64, generator=random)
        for g, e in zip(
            torch.autograd.grad(got, x, back, allow_unused=True),
            torch.autograd.grad(expected, x, back, allow_unused=True),
            strict=True,
        ):
            if e is not None:
                torch.testing.assert_close(g, e, rtol=1e-9, atol=1e-11)


@each_head
def test_weights_of_zero_count_nothing(name: str) -> None:
    loss, _ = CONDITIONAL[name]
    x, y = torch.randn(3, 4), torch.tensor([0, 1, 1])
    assert loss(x, x + 1, y, weight=torch.zeros(3)) == 0


@each_head
def test_refusals_of_a_head(name: str) -> None:
    loss, _ = CONDITIONAL[name]
    x, y = torch.randn(3, 4), torch.tensor([0, 1, 1])
    with pytest.raises(ValueError, match="reduction must be one of mean, sum, none, got 'max'"):
        loss(x, x, y, reduction="max")
    with pytest.raises(ValueError, match=r"one entry for each of the 3 samples, got shape \[2\]"):
        loss(x, x, y, weight=torch.ones(2))
    with pytest.raises(ValueError, match=r"^weight must be on cpu with .*, got shape \[3\] on"):
        loss(x, x, y, weight=torch.ones(3, device="meta"))
    with pytest.raises(TypeError, match="weight must be a tensor, got list"):
        loss(x, x, y, weight=[1.0, 1.0, 1.0])
    with pytest.raises(TypeError, match="stats"):
        loss(x, x, y, stats=True)


def test_refusals_of_relativistic_losses() -> None:
    x, y = torch.randn(3, 4), torch.randn(3, 4)
    for loss in (relativistic_discriminator_loss, relativistic_average_discriminator_loss):
        with pytest.raises(ValueError, match="reduction must be one of mean, sum, none, got 'max'"):
            loss(x, y, reduction="max")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"pair_weight must have one entry for each of the 3"):
        relativistic_generator_loss(x, y, pair_weight=torch.ones(2))
    with pytest.raises(ValueError, match=r"^real\[0\] must have an axis of samples"):
        relativistic_average_discriminator_loss(x[0, 0], y[0, 0], reduction="none")
    with pytest.raises(ValueError, match=r"^fake\[0\] must have the shape of real\[0\]"):
        relativistic_discriminator_loss(x, y[:2], reduction="none")
