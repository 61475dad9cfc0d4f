"""Relativistic pairing losses against their formulas."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from losses.formulas import maps, nested, softplus, wide
from numerics import LAYOUTS
from torch import Tensor

from ganfast.losses import relativistic_discriminator_loss, relativistic_generator_loss

# by kind, a function of the difference that should be large
FORMULAS: dict[str, Callable[[Tensor], Tensor]] = {
    "logistic": lambda d: softplus(-d),
    "least_squares": lambda d: (d - 1) ** 2,
    "hinge": lambda d: F.relu(1 - d),
}
each_kind = pytest.mark.parametrize("kind", FORMULAS)


@each_kind
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@settings(max_examples=6)
@given(data=st.data())
def test_value_and_gradient(kind: Any, dtype: torch.dtype, data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 5))
    layouts = data.draw(st.lists(st.sampled_from(sorted(LAYOUTS)), min_size=1, max_size=3))
    seed = data.draw(st.integers(0, 1000))
    real, fake = maps(n, seed, dtype, layouts), maps(n, seed + 1, dtype, layouts)
    weights = [0.5 + k for k in range(n)]
    mean = data.draw(st.booleans())
    form: Callable[[list[Tensor]], Any] = data.draw(st.sampled_from([list, nested]))
    options: Any = {"map_weights": weights, "map_reduction": "mean" if mean else "sum"}

    exact = [wide(x, torch.float64) for x in real + fake]
    for call, sign in ((relativistic_discriminator_loss, 1), (relativistic_generator_loss, -1)):
        loss = call(form(real), form(fake), kind, scale=0.5, **options)
        got = torch.autograd.grad(loss, real + fake)
        terms = [
            w * FORMULAS[kind](sign * (r - f)).mean()
            for w, r, f in zip(weights, exact[:n], exact[n:], strict=True)
        ]
        expected = 0.5 * torch.stack(terms).sum() / (n if mean else 1)
        assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        torch.testing.assert_close(loss, expected.to(loss.dtype))
        for g, e in zip(got, torch.autograd.grad(expected, exact), strict=True):
            torch.testing.assert_close(g, e.to(dtype))


@each_kind
def test_two_orders(kind: Any) -> None:
    x = [torch.randn(3, 2, dtype=torch.float64, requires_grad=True) for _ in range(2)]

    def loss(*x: Tensor) -> Tensor:
        return relativistic_generator_loss(x[0], x[1], kind)

    assert torch.autograd.gradcheck(loss, x)
    assert torch.autograd.gradgradcheck(loss, x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "wgan"}, "kind must be one of logistic, least_squares, hinge, got 'wgan'"),
        ({"map_reduction": "max"}, "map_reduction must be one of sum, mean"),
        ({"map_weights": [1.0, 2.0]}, "map_weights must have one weight for each of the 1 maps"),
    ],
)
def test_invalid_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        relativistic_discriminator_loss(torch.ones(2), torch.ones(2), **options)


def test_errors_use_the_callers_names(route: str) -> None:
    real, fake = torch.ones(2, 3), torch.ones(4, 3)
    with pytest.raises(
        ValueError, match=r"^fake\[0\] must have the shape of real\[0\], \[2, 3\], got \[4, 3\]"
    ):
        relativistic_discriminator_loss(real, fake)
    for one in (fake[:1], fake[0], fake[0, 0]):  # the op would broadcast these
        with pytest.raises(ValueError, match=r"^fake\[0\] must have the shape of real\[0\]"):
            relativistic_discriminator_loss(real, one)
    with pytest.raises(TypeError, match=r"^real\[1\] must have dtype float64.* got torch.int64"):
        relativistic_generator_loss([real, real.long()], [real, real])
    with pytest.raises(ValueError, match="same number of maps, got 1 and 2"):
        relativistic_discriminator_loss([real], [real, real])
