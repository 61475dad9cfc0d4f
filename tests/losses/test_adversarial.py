"""The adversarial losses against the formulas that users of plain torch write."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from numerics import SEEDS, generator
from torch import Tensor, nn

from ganfast.losses import AdversarialLoss, discriminator_loss, generator_loss

MapLoss = Callable[[Tensor], Tensor]


def towards(criterion: nn.Module, target: float) -> MapLoss:
    return lambda x: criterion(x, torch.full_like(x, target))


def squared(target: float) -> MapLoss:
    return lambda x: ((x - target) ** 2).mean()


def minus(loss: MapLoss) -> MapLoss:
    return lambda x: -loss(x)


BCE, LOGITS = nn.BCELoss(), nn.BCEWithLogitsLoss()

# kind, options, and the losses of a real map, of a fake map for D, and of a fake map for G
CASES: list[tuple[str, dict[str, Any], MapLoss, MapLoss, MapLoss]] = [
    (
        "non_saturating",
        {},
        lambda r: F.softplus(-r).mean(),
        lambda f: F.softplus(f).mean(),
        lambda f: F.softplus(-f).mean(),
    ),
    (
        "minimax",
        {},
        lambda r: -F.logsigmoid(r).mean(),
        lambda f: -torch.log1p(-torch.sigmoid(f)).mean(),
        lambda f: torch.log1p(-torch.sigmoid(f)).mean(),
    ),
    ("bce", {}, towards(LOGITS, 1), towards(LOGITS, 0), towards(LOGITS, 1)),
    ("wasserstein", {}, lambda r: -r.mean(), torch.mean, lambda f: -f.mean()),
    (
        "hinge",
        {},
        lambda r: F.relu(1 - r).mean(),
        lambda f: F.relu(1 + f).mean(),
        lambda f: -f.mean(),
    ),
    # least squares as in HiFi-GAN and pix2pix: no half
    ("least_squares", {}, squared(1), squared(0), squared(1)),
    # as in StudioGAN and torchgan: halves
    (
        "least_squares",
        {"scale": 0.5},
        lambda r: 0.5 * squared(1)(r),
        lambda f: 0.5 * squared(0)(f),
        lambda f: 0.5 * squared(1)(f),
    ),
    # as in lecam-gan: real -1, fake 1, generator 0
    ("least_squares", {"targets": (1.0, -1.0, 0.0)}, squared(-1), squared(1), squared(0)),
    # hinge as in taming-transformers: halves
    (
        "hinge",
        {"scale": 0.5},
        lambda r: 0.5 * F.relu(1 - r).mean(),
        lambda f: 0.5 * F.relu(1 + f).mean(),
        lambda f: -0.5 * f.mean(),
    ),
    # one-sided label smoothing leaves the targets of the fakes and of the generator
    *(
        (kind, {"label_smoothing": 0.1}, towards(LOGITS, 0.9), towards(LOGITS, 0), generator_side)
        for kind, generator_side in (
            ("non_saturating", towards(LOGITS, 1)),
            ("minimax", minus(towards(LOGITS, 0))),
            ("bce", towards(LOGITS, 1)),
        )
    ),
    ("least_squares", {"label_smoothing": 0.25}, squared(0.75), squared(0), squared(1)),
    (
        "least_squares",
        {"label_smoothing": 0.25, "targets": (1.0, -1.0, 0.0)},
        squared(-0.5),
        squared(1),
        squared(0),
    ),
    *(
        (kind, {"from_probs": True}, towards(BCE, 1), towards(BCE, 0), generator_side)
        for kind, generator_side in (
            ("non_saturating", towards(BCE, 1)),
            ("minimax", minus(towards(BCE, 0))),
            ("bce", towards(BCE, 1)),
        )
    ),
    (
        "bce",
        {"from_probs": True, "label_smoothing": 0.2},
        towards(BCE, 0.8),
        towards(BCE, 0),
        towards(BCE, 1),
    ),
]

each_case = pytest.mark.parametrize(
    ("kind", "options", "real_loss", "fake_loss", "g_loss"),
    CASES,
    ids=[
        " ".join([case[0], *(f"{name}={value}" for name, value in case[1].items())])
        for case in CASES
    ],
)

# One map, as from a PatchGAN, or several, as from multi-scale discriminators.
SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=6)


def maps(sizes: list[int], seed: int, options: dict[str, Any]) -> list[Tensor]:
    random = generator(seed)
    x = [3 * torch.randn(n, 1, dtype=torch.float64, generator=random) for n in sizes]
    return [(t.sigmoid() if options.get("from_probs") else t).requires_grad_() for t in x]


def assert_equal_with_gradients(loss: Tensor, expected: Tensor, inputs: list[Tensor]) -> None:
    torch.testing.assert_close(loss, expected)
    got = torch.autograd.grad(loss, inputs)
    torch.testing.assert_close(got, torch.autograd.grad(expected, inputs))


@each_case
@settings(max_examples=10)
@given(real_sizes=SIZES, seed=SEEDS, data=st.data())
def test_losses_of_a_list_of_maps(
    kind: str,
    options: dict[str, Any],
    real_loss: MapLoss,
    fake_loss: MapLoss,
    g_loss: MapLoss,
    real_sizes: list[int],
    seed: int,
    data: st.DataObject,
) -> None:
    count = len(real_sizes)
    fake_sizes = data.draw(st.lists(st.integers(1, 40), min_size=count, max_size=count))
    weights = data.draw(
        st.none() | st.lists(st.floats(0.1, 4), min_size=count, max_size=count), "map_weights"
    )
    reduction = data.draw(st.sampled_from(["sum", "mean"]), "map_reduction")
    real, fake = maps(real_sizes, seed, options), maps(fake_sizes, seed + 1, options)
    loss = AdversarialLoss(kind, map_reduction=reduction, map_weights=weights, **options)

    def over_maps(loss: MapLoss, x: list[Tensor]) -> Tensor:
        total = sum(w * loss(t) for w, t in zip(weights or [1.0] * count, x, strict=True))
        return total / count if reduction == "mean" else total

    expected = over_maps(real_loss, real) + over_maps(fake_loss, fake)
    assert_equal_with_gradients(loss.discriminator(real, fake), expected, real + fake)
    assert_equal_with_gradients(loss.generator(tuple(fake)), over_maps(g_loss, fake), fake)


@each_case
def test_a_tensor_is_a_list_of_one_map(
    kind: str,
    options: dict[str, Any],
    real_loss: MapLoss,
    fake_loss: MapLoss,
    g_loss: MapLoss,
) -> None:
    (real,), (fake,) = maps([64], 0, options), maps([8], 1, options)
    loss = AdversarialLoss(kind, **options)
    d_loss = loss.discriminator(real, fake)
    assert torch.equal(d_loss, loss.discriminator([real], (fake,)))
    assert torch.equal(d_loss, discriminator_loss(real, fake, kind, **options))
    assert torch.equal(loss.generator(fake), generator_loss(fake, kind, **options))
    torch.testing.assert_close(d_loss, real_loss(real) + fake_loss(fake))
    torch.testing.assert_close(loss.generator(fake), g_loss(fake))


def test_the_functions_take_all_options() -> None:
    real, fake = maps([3, 5], 0, {}), maps([3, 5], 1, {})
    options = {
        "label_smoothing": 0.125,
        "targets": (0.0, 2.0, 3.0),
        "scale": 0.5,
        "map_reduction": "mean",
        "map_weights": [1.0, 3.0],
    }
    loss = AdversarialLoss("least_squares", **options)
    assert torch.equal(
        discriminator_loss(real, fake, "least_squares", **options), loss.discriminator(real, fake)
    )
    assert torch.equal(generator_loss(fake, "least_squares", **options), loss.generator(fake))


def test_the_default_is_the_non_saturating_loss() -> None:
    (real,), (fake,) = maps([7], 0, {}), maps([7], 1, {})
    d_loss = F.softplus(-real).mean() + F.softplus(fake).mean()
    torch.testing.assert_close(discriminator_loss(real, fake), d_loss)
    torch.testing.assert_close(generator_loss(fake), F.softplus(-fake).mean())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_half_types_give_a_float32_loss_and_gradients_of_their_own(dtype: torch.dtype) -> None:
    x = torch.tensor([-1.0, 0.5, 2.0], dtype=dtype, requires_grad=True)
    loss = generator_loss(x)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, F.softplus(-x.detach().float()).mean())
    loss.backward()
    assert x.grad.dtype == dtype


@pytest.mark.parametrize("kind", ["non_saturating", "minimax", "bce"])
def test_probabilities_under_autocast(kind: str) -> None:
    """torch.nn.BCELoss raises there."""
    real, fake = maps([8], 0, {"from_probs": True}), maps([8], 1, {"from_probs": True})
    loss = AdversarialLoss(kind, from_probs=True)
    outside = loss.discriminator(real, fake)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = loss.discriminator(real, fake)
    assert torch.equal(inside, outside)


def test_a_discriminator_that_ends_in_a_sigmoid_learns_the_same() -> None:
    logits = maps([16], 0, {}) + maps([16], 1, {})
    real, fake = (x.sigmoid() for x in logits)
    loss = AdversarialLoss("non_saturating", from_probs=True).discriminator(real, fake)
    assert_equal_with_gradients(loss, discriminator_loss(*logits), logits)


def test_a_gradient_penalty_on_top() -> None:
    """A penalty on the losses' gradients differentiates them twice."""
    (real,), (fake,) = maps([6], 0, {}), maps([6], 1, {})

    def penalised(loss: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        value = loss(real, fake)
        gradients = torch.autograd.grad(value, (real, fake), create_graph=True)
        return value + sum(g.square().sum() for g in gradients)

    def plain(real: Tensor, fake: Tensor) -> Tensor:
        return F.softplus(-real).mean() + F.softplus(fake).mean()

    assert_equal_with_gradients(penalised(discriminator_loss), penalised(plain), [real, fake])
