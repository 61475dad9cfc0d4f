"""Kinds, reductions, weights, flips and top-k of the adversarial losses, against the formulas."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from losses.formulas import FORMULAS, maps, nested, wide
from numerics import LAYOUTS, assert_accurate, exact
from torch import Tensor

from ganfast.losses import AdversarialLoss, discriminator_loss, generator_loss, top_k_schedule

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
each_formula = pytest.mark.parametrize("name", FORMULAS)


def grads(loss: Tensor, x: list[Tensor]) -> list[Tensor]:
    return list(torch.autograd.grad(loss, x))


def plain(name: str, real: list[Tensor], fake: list[Tensor], weights: list[float]) -> Tensor:
    of_real, of_fake, _ = FORMULAS[name][2]
    terms = [
        w * (of_real(r).mean() + of_fake(f).mean())
        for r, f, w in zip(real, fake, weights, strict=True)
    ]
    return torch.stack(terms).sum()


@each_formula
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@settings(max_examples=4)
@given(data=st.data())
def test_a_discriminator_loss(name: str, dtype: torch.dtype, data: st.DataObject) -> None:
    kind, options, _ = FORMULAS[name]
    n = data.draw(st.integers(1, 7))
    layouts = data.draw(st.lists(st.sampled_from(sorted(LAYOUTS)), min_size=1, max_size=3))
    seed = data.draw(st.integers(0, 1000))
    real, fake = maps(n, seed, dtype, layouts), maps(n, seed + 1, dtype, layouts)
    weights = [0.5 * (k + 1) for k in range(n)]
    form: Callable[[list[Tensor]], Any] = data.draw(st.sampled_from([list, nested]))
    loss = discriminator_loss(form(real), form(fake), kind, map_weights=weights, **options)
    got = grads(loss, real + fake)

    compute = torch.float64 if dtype == torch.float64 else torch.float32
    x = [xk.detach().requires_grad_() for xk in real + fake]
    of_plain = plain(name, [r.to(compute) for r in x[:n]], [f.to(compute) for f in x[n:]], weights)
    y = [wide(xk, torch.float64) for xk in real + fake]
    expected = plain(name, y[:n], y[n:], weights)
    size = sum(
        w * (1 + y[k].abs().max() + y[n + k].abs().max()) ** 2 for k, w in enumerate(weights)
    )
    if dtype == torch.float64:  # the formula is as inexact as the loss
        torch.testing.assert_close(loss, expected, rtol=1e-13, atol=1e-13)
        for g, e in zip(got, grads(expected, y), strict=True):
            torch.testing.assert_close(g, e, rtol=1e-13, atol=1e-15)
        return
    assert_accurate("loss", loss, of_plain, exact(expected), exact(torch.as_tensor(size)))
    e = exact(grads(expected, y))
    assert_accurate("gradient", got, grads(of_plain, x), e, np.maximum(np.abs(e), 1e-3))


@each_formula
def test_a_generator_loss(name: str) -> None:
    kind, options, (_, _, of_fake) = FORMULAS[name]
    fake = maps(4, 0, torch.float64)
    expected = sum(of_fake(f).mean() for f in fake) / 4
    for outputs in (fake, nested(fake)):
        loss = generator_loss(outputs, kind, map_reduction="mean", **options)
        torch.testing.assert_close(loss, torch.as_tensor(expected))


@each_formula
def test_the_sum_over_elements(name: str) -> None:
    kind, options, (of_real, of_fake, of_generator) = FORMULAS[name]
    real, fake = maps(3, 0, torch.float64), maps(3, 1, torch.float64)
    loss = AdversarialLoss(kind, reduction="sum", **options)
    expected = sum(of_real(r).sum() + of_fake(f).sum() for r, f in zip(real, fake, strict=True))
    torch.testing.assert_close(loss.discriminator(real, fake), torch.as_tensor(expected))
    expected = sum(of_generator(f).sum() for f in fake)
    torch.testing.assert_close(loss.generator(fake), torch.as_tensor(expected))


@each_formula
def test_one_number_for_each_sample(name: str) -> None:
    kind, options, (of_real, of_fake, of_generator) = FORMULAS[name]
    real, fake = maps(4, 0, torch.float64), maps(4, 1, torch.float64)
    loss = AdversarialLoss(kind, reduction="none", scale=0.5, **options)
    got = loss.discriminator(real, fake)
    assert got.shape == (4,)
    for b in range(4):
        expected = sum(
            of_real(r[b]).mean() + of_fake(f[b]).mean() for r, f in zip(real, fake, strict=True)
        )
        torch.testing.assert_close(got[b], 0.5 * torch.as_tensor(expected))
        expected = sum(of_generator(f[b]).mean() for f in fake)
        torch.testing.assert_close(loss.generator(fake)[b], 0.5 * torch.as_tensor(expected))
    mean = AdversarialLoss(kind, scale=0.5, **options)
    torch.testing.assert_close(got.mean(), mean.discriminator(real, fake))


@each_formula
@given(seed=st.integers(0, 1000), zeros=st.integers(0, 3))
@settings(max_examples=5)
def test_weights_of_samples(name: str, seed: int, zeros: int) -> None:
    kind, options, (of_real, of_fake, _) = FORMULAS[name]
    real, fake = maps(3, seed, torch.float64), maps(3, seed + 1, torch.float64)
    weight = torch.rand(4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    weight[:zeros] = 0
    mask = (torch.randn(4, 1, 1, 7, generator=torch.Generator().manual_seed(seed)) > 0).double()
    mask[-1] = 1
    masks = [mask, mask[:, 0, 0, :1], mask[:, 0, 0, 0]]

    def weighted(reduction: str) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for r, f, m in zip(real, fake, masks, strict=True):
            w = weight.view(4, *[1] * (r.dim() - 1)).expand_as(r)
            m = m.expand_as(f)
            of_r, of_f = (w * of_real(r)).sum(), (m * of_fake(f)).sum()
            total = total + (of_r + of_f if reduction == "sum" else of_r / w.sum() + of_f / m.sum())
        return total

    for reduction in ("mean", "sum"):
        loss = discriminator_loss(
            real, fake, kind, real_weight=weight, fake_weight=masks, reduction=reduction, **options
        )
        torch.testing.assert_close(loss, weighted(reduction))
    shares = discriminator_loss(
        real, fake, kind, real_weight=weight, fake_weight=masks, reduction="none", **options
    )
    torch.testing.assert_close(shares.mean(), weighted("mean"))
    assert shares.shape == (4,)


def test_zero_weights_give_no_gradient_and_no_loss() -> None:
    fake = maps(2, 0)
    weight = torch.tensor([0.0, 1.0, 2.0, 0.0])
    for g in grads(generator_loss(fake, fake_weight=weight), fake):
        assert torch.equal(g[0], torch.zeros_like(g[0]))
        assert g[1].abs().min() > 0
    assert generator_loss(fake, fake_weight=torch.zeros(4)).item() == 0


@each_formula
@pytest.mark.parametrize("from_seed", range(3))
def test_flipped_labels(name: str, from_seed: int) -> None:
    """Each sample takes one of the two formulas, the same in all maps."""
    kind, options, (of_real, of_fake, _) = FORMULAS[name]
    real, fake = maps(3, 0, torch.float64), maps(3, 1, torch.float64)
    rng = torch.Generator().manual_seed(from_seed)
    got = discriminator_loss(
        real, fake, kind, label_flips=0.5, reduction="none", rng=rng, **options
    )
    for b in range(4):
        sides = [
            [sum(of(x[b]).mean() for x in xs) for of in (of_real, of_fake)] for xs in (real, fake)
        ]
        possible = torch.stack([torch.as_tensor(r + f) for r in sides[0] for f in sides[1]])
        assert (possible - got[b]).abs().min() < 1e-12
    again = torch.Generator().manual_seed(from_seed)
    same = discriminator_loss(real, fake, kind, label_flips=0.5, rng=again, **options)
    torch.testing.assert_close(same, got.mean())


@each_formula
@pytest.mark.parametrize("as_masks", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_flipped_labels_of_weighted_samples(name: str, as_masks: bool, reduction: str) -> None:
    kind, options, (of_real, of_fake, _) = FORMULAS[name]
    real, fake = maps(3, 0, torch.float64), maps(3, 1, torch.float64)
    weight = torch.tensor([0.5, 0.0, 2.0, 1.0], dtype=torch.float64)
    rng = torch.Generator().manual_seed(3)
    flips = [torch.rand(4, generator=rng) < 0.5 for _ in range(2)]
    assert len({tuple(f.tolist()) for f in flips}) == 2
    shares = torch.zeros(4, dtype=torch.float64)
    for xs, of_side, of_other, flipped in (
        (real, of_real, of_fake, flips[0]),
        (fake, of_fake, of_real, flips[1]),
    ):
        for x in xs:
            of = [of_other if flip else of_side for flip in flipped.tolist()]
            scale = x[0].numel() if reduction == "sum" else 1 / weight.sum()
            shares = shares + scale * weight * torch.stack([of[b](x[b]).mean() for b in range(4)])
    weights = [weight.view(4, *[1] * (x.dim() - 1)).expand_as(x) for x in real]
    of_samples = weights if as_masks else weight
    got = discriminator_loss(
        real,
        fake,
        kind,
        label_flips=0.5,
        real_weight=of_samples,
        fake_weight=of_samples,
        reduction=reduction,
        rng=torch.Generator().manual_seed(3),
        **options,
    )
    torch.testing.assert_close(got, 4 * shares if reduction == "none" else shares.sum())


def test_weights_of_samples_that_require_a_gradient_get_one() -> None:
    fake, weight = maps(2, 0, torch.float64), torch.ones(4, dtype=torch.float64).requires_grad_()
    generator_loss(fake, "wasserstein", fake_weight=weight, reduction="sum").backward()
    expected = -sum(x.detach().reshape(4, -1).sum(1) for x in fake)
    torch.testing.assert_close(weight.grad, expected)


def test_the_share_of_flipped_labels() -> None:
    real, fake = torch.full((100_000, 1), 3.0), torch.full((100_000, 1), -3.0)
    rng = torch.Generator().manual_seed(0)
    got = discriminator_loss(real, fake, "wasserstein", label_flips=0.2, reduction="none", rng=rng)
    # -6 if neither is flipped, 0 if one is, 6 if both are
    shares = [(got == v).double().mean().item() for v in (-6, 0, 6)]
    for share, expected in zip(shares, (0.64, 0.32, 0.04), strict=True):
        assert abs(share - expected) < 5 * (expected * (1 - expected) / 100_000) ** 0.5


def test_labels_of_the_generator_are_not_flipped() -> None:
    fake = maps(2, 0)
    assert torch.equal(generator_loss(fake, "bce", label_flips=0.9), generator_loss(fake, "bce"))


@each_formula
@pytest.mark.parametrize("k", [1, 5, 10_000])
def test_the_highest_fakes(name: str, k: int) -> None:
    kind, options, (_, _, of_fake) = FORMULAS[name]
    fake = maps(3, 0, torch.float64)
    expected = sum(
        torch.stack([of_fake(x) for x in f.flatten().sort().values[-k:]]).mean() for f in fake
    )
    loss = generator_loss(fake, kind, top_k=k, **options)
    torch.testing.assert_close(loss, torch.as_tensor(expected))
    assert sum(int((g != 0).sum()) for g in grads(loss, fake)) <= k * 3


def test_the_schedule_of_top_k() -> None:
    assert [top_k_schedule(64, step) for step in (0, 1, 10, 1000)] == [64, 63, 57, 32]
    assert top_k_schedule(64, 100, gamma=0.9, k_min=5) == 5
    assert top_k_schedule(1, 9) == 1
    for arguments in ({"k": 4, "step": -1}, {"k": 4, "step": 0, "gamma": 1.1}, {"k": 0, "step": 0}):
        with pytest.raises(ValueError, match="must be"):
            top_k_schedule(**arguments)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: generator_loss(x, "bce", margin=0.5), "margin must be 1 for 'bce', got 0.5"),
        (lambda x: generator_loss(x, label_flips=1.0), r"label_flips must be in \[0, 1\), got 1.0"),
        (lambda x: generator_loss(x, "hinge", fake_label_smoothing=0.1), "must be 0 for 'hinge'"),
        (lambda x: generator_loss(x, reduction="all"), "reduction must be one of mean, sum, none"),
        (lambda x: generator_loss(x, top_k=0), "top_k must be at least 1, got 0"),
        (lambda x: generator_loss(x, top_k=1, reduction="none"), "top_k must be None"),
        (lambda x: generator_loss(x, top_k=1, fake_weight=torch.ones(4)), "top_k must be None"),
        (
            lambda x: generator_loss(x, fake_weight=torch.ones(3)),
            "one entry for each of the 4 samp",
        ),
        (lambda x: generator_loss(x, fake_weight=[torch.ones(4)]), "one for each of the 2 maps"),
        (
            lambda x: generator_loss(x, fake_weight=torch.ones(4, device="meta")),
            "^fake_weight must be on cpu with one entry for each of the 4 samples, got shape",
        ),
        (lambda x: generator_loss(x[0].sum(), reduction="none"), "must have an axis of samples"),
        (lambda x: discriminator_loss(x, [x[0], x[1][:3]], reduction="none"), "as many samples as"),
        (lambda x: generator_loss([[], x]), r"fake\[0\] must hold at least one tensor"),
    ],
)
def test_invalid_calls(call: Callable[[list[Tensor]], Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(maps(2, 0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: generator_loss([[x[0], 1.0]]), r"fake\[0\]\[-1\] must be a tensor, got float"),
        (lambda x: generator_loss([x[0], 1.0]), r"fake\[1\] must be a tensor, got float"),
        (lambda x: generator_loss(x[0].int(), reduction="none"), r"fake\[0\] must have dtype"),
        (lambda x: generator_loss(x, fake_weight=[x[0], 2]), r"fake_weight\[1\] must be a tensor"),
    ],
)
def test_what_is_not_a_tensor(call: Callable[[list[Tensor]], Tensor], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        call(maps(2, 0))
