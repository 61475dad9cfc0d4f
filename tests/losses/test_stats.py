"""Statistics of the adversarial losses, from the op and from its reference."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from losses.formulas import FORMULAS, maps
from numerics import LAYOUTS, bits
from torch.library import opcheck

from ganfast import ops, reference
from ganfast.losses import (
    AdversarialLoss,
)

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


@pytest.mark.usefixtures("route")
@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@settings(max_examples=4)
@given(data=st.data())
def test_statistics(name: str, dtype: torch.dtype, data: st.DataObject) -> None:
    kind, options, (of_real, of_fake, _) = FORMULAS[name]
    n = data.draw(st.integers(1, 6))
    layouts = data.draw(st.lists(st.sampled_from(sorted(LAYOUTS)), min_size=1, max_size=3))
    real, fake = (maps(n, data.draw(st.integers(0, 99)), dtype, layouts) for _ in range(2))
    weights = [0.5 + k for k in range(n)]
    loss = AdversarialLoss(kind, map_weights=weights, **options)
    value, stats = loss.discriminator_with_stats(real, fake)
    assert bits(value) == bits(loss.discriminator(real, fake))
    assert list(stats) == [f"{s}_{q}" for s in ("real", "fake") for q in QUANTITIES]
    targets = options.get("targets", (0.0, 1.0)) if kind == "least_squares" else (0.0, 0.0)
    middle = (targets[0] + targets[1]) / 2
    for side, x, of, sign in (("real", real, of_real, 1), ("fake", fake, of_fake, -1)):
        for k, xk in enumerate(xk.detach().double() for xk in x):
            right = sum(sign * v > sign * middle for v in xk.flatten().tolist()) / xk.numel()
            expected = {"loss": weights[k] * of(xk).mean(), "logits": xk.mean(), "accuracy": right}
            for quantity in QUANTITIES:
                got = stats[f"{side}_{quantity}"]
                assert got.shape == (n,)
                assert got.dtype == value.dtype
                assert not got.requires_grad
                want = torch.as_tensor(expected[quantity], dtype=got.dtype)
                torch.testing.assert_close(got[k], want, rtol=2e-6, atol=2e-6)
    value, stats = loss.generator_with_stats(fake)
    assert list(stats) == [f"fake_{q}" for q in QUANTITIES]
    torch.testing.assert_close(stats["fake_loss"].sum(), value.detach(), rtol=1e-5, atol=1e-6)


QUANTITIES = ("loss", "logits", "accuracy")


def test_a_logit_of_zero_is_right_for_neither_side() -> None:
    zero = torch.zeros(3)
    _, stats = AdversarialLoss().discriminator_with_stats(zero, zero)
    assert stats["real_accuracy"].item() == stats["fake_accuracy"].item() == 0


def test_probabilities_are_compared_with_a_half() -> None:
    real, fake = torch.tensor([0.4, 0.6, 0.9, 0.5]), torch.tensor([0.1, 0.6, 0.2, 0.3])
    _, stats = AdversarialLoss(from_probs=True).discriminator_with_stats(real, fake)
    assert (stats["real_accuracy"].item(), stats["fake_accuracy"].item()) == (0.5, 0.75)


def test_mirrored_targets() -> None:
    """Real samples below the fake ones, as in lecam-gan."""
    real, fake = torch.tensor([-1.0, -0.5, 0.5]), torch.tensor([1.0, 2.0, 3.0])
    loss = AdversarialLoss("least_squares", targets=(1.0, -1.0, -1.0))
    _, stats = loss.discriminator_with_stats(real, fake)
    assert stats["real_accuracy"].item() == pytest.approx(2 / 3)
    assert stats["fake_accuracy"].item() == 1


@pytest.mark.usefixtures("route")
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weights", ["no", "samples", "mask of one side", "masks"])
@pytest.mark.parametrize("label_flips", [0.0, 0.4])
def test_weights_and_flips_affect_only_the_terms(
    reduction: str, weights: str, label_flips: float
) -> None:
    real, fake = maps(2, 0, torch.float64), maps(2, 1, torch.float64)
    samples = torch.tensor([0.0, 1.0, 0.5, 3.0])[: len(real[0])]
    masks = [(x > 0).double() for x in real]
    of = {
        "samples": {"real_weight": samples, "fake_weight": 2 * samples},
        "mask of one side": {"real_weight": masks, "fake_weight": samples},
        "masks": {"real_weight": masks, "fake_weight": [1 - m for m in masks]},
    }.get(weights, {})
    loss = AdversarialLoss(reduction=reduction, label_flips=label_flips, map_weights=[1.0, 2.0])

    def rng() -> torch.Generator:
        return torch.Generator().manual_seed(7)

    value, stats = loss.discriminator_with_stats(real, fake, rng=rng(), **of)
    alone = loss.discriminator(real, fake, rng=rng(), **of)
    torch.testing.assert_close(value, alone)
    total = stats["real_loss"].sum() + stats["fake_loss"].sum()
    torch.testing.assert_close(total, alone.mean().detach())
    for k in range(2):  # each map has the terms of a loss on it alone
        weight = {
            name: w if isinstance(w, torch.Tensor) else w[k : k + 1] for name, w in of.items()
        }
        one = AdversarialLoss(reduction=reduction, label_flips=label_flips, scale=(1.0, 2.0)[k])
        of_map = one.discriminator(real[k : k + 1], fake[k : k + 1], rng=rng(), **weight)
        torch.testing.assert_close(
            (stats["real_loss"] + stats["fake_loss"])[k], of_map.mean().detach()
        )
    _, expected = AdversarialLoss().discriminator_with_stats(real, fake)
    for name in ("real_logits", "real_accuracy", "fake_logits", "fake_accuracy"):
        torch.testing.assert_close(stats[name], expected[name])
        assert not stats[name].requires_grad


def test_statistics_of_the_highest_fakes() -> None:
    fake = torch.arange(-5.0, 5.0)
    _, stats = AdversarialLoss("wasserstein").generator_with_stats(fake, top_k=3)
    assert [v.item() for v in stats.values()] == [-3, 3, 0]


@pytest.mark.usefixtures("route")
def test_nan_is_neither_above_nor_below() -> None:
    x = torch.tensor([1.0, torch.nan, -1.0, 2.0])
    loss, stats = ops.flat_with_stats([x], "identity", [1.0], [0.0], [0.0], 0.0)
    assert loss.isnan()
    assert stats[0, :2].isnan().all()
    assert stats[0, 2:].tolist() == [0.5, 0.25]


@pytest.mark.compiled
@settings(max_examples=20)
@given(
    sizes=st.lists(st.sampled_from([1, 3, 4095, 4096, 4097, 50_000]), min_size=1, max_size=9),
    f=st.sampled_from(sorted(reference.FUNCTORS)),
    threads=st.sampled_from([1, 2]),
)
def test_the_loss_has_the_bits_of_the_plain_op(sizes: list[int], f: str, threads: int) -> None:
    x = [torch.rand(n, generator=torch.Generator().manual_seed(n)) for n in sizes]
    parameters = (f, [1.5] * len(x), [0.5] * len(x), [1.0] * len(x))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        loss, stats = ops.flat_with_stats(x, *parameters, 0.5)
        assert bits(loss) == bits(ops.flat(x, *parameters))
    finally:
        torch.set_num_threads(before)
    _, expected = reference.flat_with_stats([xk.double() for xk in x], *parameters, 0.5)
    torch.testing.assert_close(stats.double(), expected, rtol=2e-7, atol=2e-7)


@pytest.mark.compiled
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_op_keeps_torchs_rules(dtype: torch.dtype) -> None:
    for requires_grad in (False, True):
        x = [torch.randn(n).to(dtype).requires_grad_(requires_grad) for n in (5, 6)]
        arguments = (x, [], "softplus", [1.0, 0.5], [1.0, -1.0], [0.0, 0.0], False, 0.0)
        opcheck(torch.ops.ganfast.flat.default, arguments)


def test_derivatives_with_statistics() -> None:
    x = [torch.randn(5, dtype=torch.float64, requires_grad=True) for _ in range(2)]

    def loss(*x: torch.Tensor) -> torch.Tensor:
        return AdversarialLoss().discriminator_with_stats(x[:1], x[1:])[0]

    assert torch.autograd.gradcheck(loss, x)
    assert torch.autograd.gradgradcheck(loss, x)


@pytest.mark.usefixtures("route")
def test_errors_name_the_argument() -> None:
    x = torch.ones(3)
    with pytest.raises(TypeError, match=r"^fake\[0\] must have dtype float64.* got torch.int64"):
        AdversarialLoss().discriminator_with_stats(x, x.long())
