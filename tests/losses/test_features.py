"""Feature matching against its formula, on the structures that discriminators return."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from losses.formulas import wide
from numerics import LAYOUTS, generator
from torch import Tensor

from ganfast.losses import feature_matching

KINDS = ("l1", "l2", "relative_l1")
each_kind = pytest.mark.parametrize("kind", KINDS)


def distance(kind: str, real: Tensor, fake: Tensor) -> Tensor:
    if kind == "l2":
        return (real - fake).square().mean()
    difference = (real - fake).abs().mean()
    return difference / real.abs().mean() if kind == "relative_l1" else difference


def plainly(
    kind: str, real: Any, fake: Any, skip_last: bool = False, normalize: bool = False
) -> Tensor:
    """The loss, by recursion over the structure."""
    if isinstance(real, Tensor):
        return distance(kind, real, fake)
    parts = list(zip(real, fake, strict=True))
    if skip_last and isinstance(real[-1], Tensor):
        parts = parts[:-1]
    losses = torch.stack([plainly(kind, r, f, skip_last, normalize) for r, f in parts])
    return losses.mean() if normalize else losses.sum()


def leaves(features: Any) -> list[Tensor]:
    if isinstance(features, Tensor):
        return [features]
    return [leaf for part in features for leaf in leaves(part)]


def mapped(function: Any, features: Any) -> Any:
    if isinstance(features, Tensor):
        return function(features)
    return type(features)(mapped(function, part) for part in features)


@st.composite
def structures(draw: st.DrawFn, dtype: torch.dtype) -> tuple[Any, Any]:
    """Features of real and of fake samples: discriminators of layers, to any depth."""
    shape = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)
    layers = st.lists(shape, min_size=2, max_size=4)
    nesting = st.recursive(layers, lambda s: st.lists(s, min_size=1, max_size=3), max_leaves=5)
    shapes = draw(st.one_of(shape, nesting))
    random = generator(draw(st.integers(0, 1000)))
    layout = draw(st.sampled_from(sorted(LAYOUTS)))

    def tensors(shapes: Any) -> Any:
        if isinstance(shapes, tuple):
            x = 2 * torch.randn(shapes, dtype=torch.float64, generator=random)
            return LAYOUTS[layout](x.to(dtype)).requires_grad_()
        return [tensors(s) for s in shapes]

    return tensors(shapes), tensors(shapes)


@each_kind
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@settings(max_examples=15)
@given(data=st.data())
def test_value_and_gradient(kind: Any, dtype: torch.dtype, data: st.DataObject) -> None:
    real, fake = data.draw(structures(dtype))
    skip_last = not isinstance(real, Tensor) and data.draw(st.booleans())
    normalize, detach = data.draw(st.booleans()), data.draw(st.booleans())
    loss = feature_matching(
        real, fake, kind, 3.0, skip_last=skip_last, normalize=normalize, detach_real=detach
    )
    exact_real, exact_fake = (mapped(lambda x: wide(x, torch.float64), x) for x in (real, fake))
    expected = 3 * plainly(kind, exact_real, exact_fake, skip_last, normalize)
    assert loss.shape == ()
    torch.testing.assert_close(loss, expected.to(loss.dtype))

    got = torch.autograd.grad(loss, leaves(real) + leaves(fake), allow_unused=True)
    wanted = torch.autograd.grad(
        expected, leaves(exact_real) + leaves(exact_fake), allow_unused=True
    )
    for k, (g, e) in enumerate(zip(got, wanted, strict=True)):
        if e is None or (detach and k < len(leaves(real))):
            assert g is None
        else:
            # The gradients of numerator and denominator at a real feature are each rounded.
            pair = k % len(leaves(real))
            r, f = (leaves(x)[pair].detach() for x in (exact_real, exact_fake))
            parts = 3 * (1 + distance(kind, r, f)) / (r.abs().mean() * r.numel())
            eps = 4 * torch.finfo(dtype).eps if dtype == torch.bfloat16 else 1e-6
            torch.testing.assert_close(g, e.to(dtype), rtol=eps, atol=eps * float(parts))


@each_kind
def test_two_orders(kind: Any) -> None:
    random = generator(0)
    x = [torch.randn(3, 2, dtype=torch.float64, generator=random).requires_grad_() for _ in "abcd"]

    def loss(*x: Tensor) -> Tensor:
        return feature_matching(x[:2], x[2:], kind, detach_real=False)

    assert torch.autograd.gradcheck(loss, x)
    assert torch.autograd.gradgradcheck(loss, x)


def features(*lengths: int) -> list[list[Tensor]]:
    random = generator(0)
    return [[torch.randn(2, 5, generator=random) for _ in range(n)] for n in lengths]


def test_hifi_gan() -> None:
    real = features(6, 6, 8)
    fake = [[x + 1 for x in maps] for maps in real]
    torch.testing.assert_close(feature_matching(real, fake, weight=2.0), torch.tensor(40.0))


def test_pix2pix_hd() -> None:
    """Ten times the mean over discriminators of 4 / (layers + 1) times the sum over layers."""
    layers, discriminators = 3, 2
    real = features(*[layers + 2] * discriminators)
    fake = [[x + 1 for x in maps] for maps in real]
    weight = 40 / ((layers + 1) * discriminators)
    loss = feature_matching(real, fake, weight=weight, skip_last=True)
    torch.testing.assert_close(loss, torch.tensor(40.0))


def test_a_map_of_zeros_on_both_sides_gives_zero() -> None:
    zero, fake = torch.zeros(3), torch.zeros(3, requires_grad=True)
    loss = feature_matching([zero, torch.ones(3)], [fake, 2 * torch.ones(3)], "relative_l1")
    assert loss == 1
    assert torch.equal(torch.autograd.grad(loss, fake)[0], zero)


def test_large_float16_maps_do_not_overflow() -> None:
    real = torch.full((2**17,), 3.0, dtype=torch.float16)
    fake = (2 * real).requires_grad_()
    assert feature_matching([real], [fake], "relative_l1") == 1
    assert feature_matching([real], [fake], "l2") == 9


X = torch.ones(2, 3)


@pytest.mark.parametrize(
    ("real", "fake", "options", "error", "message"),
    [
        (X, X, {"kind": "l3"}, ValueError, "kind must be one of l1, l2, relative_l1, got 'l3'"),
        ([], [], {}, ValueError, "real must hold at least one map, got 0"),
        ([[X], [X]], [[X]], {}, ValueError, "real and fake must have the same length, got 2 and 1"),
        (
            [[X], [X, X]],
            [[X], [X]],
            {},
            ValueError,
            r"real\[1\] and fake\[1\] must have the same length, got 2 and 1",
        ),
        (
            [[X], [X]],
            [[X], X],
            {},
            TypeError,
            r"real\[1\] and fake\[1\] must both be tensors or both lists, got list and Tensor",
        ),
        ([3], [X], {}, TypeError, r"real\[0\] and fake\[0\] must both be .*, got int and Tensor"),
        (
            [[X, X], [X]],
            [[X, X], [X]],
            {"skip_last": True},
            ValueError,
            r"real\[1\] must hold at least one map besides the last, got 1",
        ),
        (
            [[X], [X, X]],
            [[X], [X, X[:1]]],
            {},
            ValueError,
            r"real\[1\]\[1\] must have the shape of fake\[1\]\[1\], \[1, 3\], got \[2, 3\]",
        ),
        (X[:1], X, {}, ValueError, r"real must have the shape of fake, \[2, 3\], got \[1, 3\]"),
        (
            [[X], [X, X.int()]],
            [[X], [X, X.int()]],
            {},
            TypeError,
            r"fake\[1\]\[1\] must have dtype float64",
        ),
    ],
)
def test_refusals(
    real: Any, fake: Any, options: Any, error: type[Exception], message: str, route: str
) -> None:
    with pytest.raises(error, match=f"^{message}"):
        feature_matching(real, fake, **options)
