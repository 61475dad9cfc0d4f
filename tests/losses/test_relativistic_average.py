"""Relativistic average losses against their formulas."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from losses.formulas import BAD_OUTPUTS, maps, nested, softplus, wide
from numerics import LAYOUTS, assert_accurate, exact
from torch import Tensor

from ganfast.losses import (
    relativistic_average_discriminator_loss,
    relativistic_average_generator_loss,
)

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)

# by kind, functions of the difference that should be large, and of the one that should be small
FORMULAS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "logistic": (lambda t: softplus(-t), softplus),
    "least_squares": (lambda t: (t - 1) ** 2, lambda t: (t + 1) ** 2),
    "hinge": (lambda t: F.relu(1 - t), lambda t: F.relu(1 + t)),
}
each_kind = pytest.mark.parametrize("kind", FORMULAS)


def mean(x: Tensor, over: str, detach: bool) -> Tensor:
    m = x.mean() if over == "all" else x.mean(0, keepdim=True)
    return m.detach() if detach else m


def formula(
    kind: str, high: list[Tensor], low: list[Tensor], over: str = "all", detach: bool = False
) -> Tensor:
    of_high, of_low = FORMULAS[kind]
    return torch.stack(
        [
            of_high(h - mean(x, over, detach)).mean() + of_low(x - mean(h, over, detach)).mean()
            for h, x in zip(high, low, strict=True)
        ]
    ).sum()


@each_kind
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@settings(max_examples=6)
@given(data=st.data())
def test_value_and_gradient(kind: Any, dtype: torch.dtype, data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 5))
    layouts = data.draw(st.lists(st.sampled_from(sorted(LAYOUTS)), min_size=1, max_size=3))
    seed = data.draw(st.integers(0, 1000))
    real, fake = maps(n, seed, dtype, layouts), maps(n, seed + 1, dtype, layouts)
    over: Any = data.draw(st.sampled_from(["all", "batch"]))
    detach = data.draw(st.booleans())
    side = data.draw(st.sampled_from(["discriminator", "generator"]))
    form: Callable[[list[Tensor]], Any] = data.draw(st.sampled_from([list, nested]))
    if side == "discriminator":
        call = relativistic_average_discriminator_loss
    else:
        call = relativistic_average_generator_loss
    loss = call(form(real), form(fake), kind, mean_over=over, detach_mean=detach, scale=0.5)
    got = torch.autograd.grad(loss, real + fake)

    def plainly(x: list[Tensor]) -> Tensor:
        high, low = (x[:n], x[n:]) if side == "discriminator" else (x[n:], x[:n])
        return 0.5 * formula(kind, high, low, over, detach)

    exact_x = [wide(x, torch.float64) for x in real + fake]
    expected = plainly(exact_x)
    expected_grads = torch.autograd.grad(expected, exact_x)
    if dtype == torch.float64:
        torch.testing.assert_close(loss, expected, rtol=1e-13, atol=1e-13)
        for g, e in zip(got, expected_grads, strict=True):
            torch.testing.assert_close(g, e, rtol=1e-12, atol=1e-14)
        return
    plain_x = [x.detach().requires_grad_() for x in real + fake]
    plain = plainly([x.float() for x in plain_x])
    size = sum((1 + 2 * x.abs().max()) ** 2 for x in exact_x)
    assert_accurate("loss", loss, plain, exact(expected), exact(torch.as_tensor(size)))
    e = exact(expected_grads)
    plain_grads = torch.autograd.grad(plain, plain_x)
    assert_accurate("gradient", got, plain_grads, e, np.maximum(np.abs(e), 1e-2))


@each_kind
def test_two_orders_and_no_third(kind: Any) -> None:
    x = [torch.randn(3, 2, dtype=torch.float64, requires_grad=True) for _ in range(2)]

    def loss(*x: Tensor) -> Tensor:
        return relativistic_average_discriminator_loss(x[0], x[1], kind)

    assert torch.autograd.gradcheck(loss, x)
    assert torch.autograd.gradgradcheck(loss, x)


@pytest.mark.compiled
def test_a_third_order_raises() -> None:
    x = torch.randn(3, dtype=torch.float64, requires_grad=True)
    (dx,) = torch.autograd.grad(
        relativistic_average_discriminator_loss(x, -x), x, create_graph=True
    )
    (ddx,) = torch.autograd.grad(dx.square().sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="third order"):
        ddx.sum().backward()


def test_maps_of_different_batches() -> None:
    real, fake = torch.randn(5, 3, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)
    for over in ("all", "batch"):
        loss = relativistic_average_discriminator_loss(real, fake, mean_over=over)
        torch.testing.assert_close(loss, formula("logistic", [real], [fake], over))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "wgan"}, "kind must be one of logistic, least_squares, hinge, got 'wgan'"),
        ({"mean_over": "rows"}, "mean_over must be one of all, batch, got 'rows'"),
        ({"map_reduction": "max"}, "map_reduction must be one of sum, mean"),
        ({"map_weights": [1.0, 2.0]}, "map_weights must have one weight for each of the 1 maps"),
    ],
)
def test_invalid_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        relativistic_average_discriminator_loss(torch.ones(2), torch.ones(2), **options)


@pytest.mark.parametrize("over", ["all", "batch"])
@pytest.mark.parametrize(
    "shapes", [((2, 3), (2, 4)), ((4, 1), (4,)), ((4,), (4, 1)), ((4,), ()), ((1, 4, 1), (4, 1))]
)
def test_shapes_that_differ_in_more_than_the_batch(over: Any, shapes: Any) -> None:
    real, fake = (torch.ones(shape) for shape in shapes)
    for loss in (relativistic_average_discriminator_loss, relativistic_average_generator_loss):
        message = r"^real\[0\] and fake\[0\] must have one shape except for the batch, got \["
        with pytest.raises(ValueError, match=message):
            loss(real, fake, mean_over=over)


@pytest.mark.parametrize("bad", BAD_OUTPUTS.values(), ids=BAD_OUTPUTS)
@pytest.mark.parametrize("options", [{}, {"mean_over": "batch"}, {"detach_mean": True}], ids=str)
@pytest.mark.parametrize("maps", [1, 3])
def test_invalid_outputs(maps: int, options: Any, bad: tuple[Any, ...]) -> None:
    real, fake, error, message = bad
    more = [torch.ones(3, 1, dtype=real.dtype)] * (maps - 1)
    with pytest.raises(error, match=message):
        relativistic_average_discriminator_loss(
            [real.unsqueeze(1), *more], [fake.unsqueeze(1), *more], **options
        )


def test_scalars_of_two_dtypes() -> None:
    real = torch.tensor(1.0)
    loss = relativistic_average_discriminator_loss(real, 2 * real.double())
    want = 2 * torch.nn.functional.softplus(torch.tensor(1.0, dtype=torch.float64))
    torch.testing.assert_close(loss, want)
