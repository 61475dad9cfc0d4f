"""pair_reduce: value, gradient and second gradient against exact values, as a part of autograd."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numerics import bits, generator
from ops.pair_functors import (
    FUNCTORS,
    REDUCTIONS,
    check_all_orders,
    derivatives,
    problems,
    reduce_plainly,
)
from ops.unary_functors import DTYPES
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from ganfast import ops, reference

compiled = pytest.mark.compiled
each_functor = pytest.mark.parametrize("h", FUNCTORS)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
each_reduction = pytest.mark.parametrize("per_pair", REDUCTIONS.values(), ids=REDUCTIONS)

WEIGHT, A, B = [1.0, -2.0], [1.0, 0.5], [0.25, 1.0]
INF, NAN = float("inf"), float("nan")


def two_pairs(
    dtype: torch.dtype = torch.float64, requires_grad: bool = True
) -> tuple[list[Tensor], list[Tensor]]:
    random = generator(0)
    x, y = (
        [torch.randn(s, dtype=torch.float64, generator=random) for s in ((5,), (2, 3))]
        for _ in "xy"
    )
    return tuple([t.to(dtype).requires_grad_(requires_grad) for t in z] for z in (x, y))


@pytest.mark.parametrize(
    "reduce", [ops.pair_reduce, reference.pair_reduce], ids=["op", "reference"]
)
@each_functor
@each_dtype
@settings(max_examples=8)
@given(data=st.data())
def test_all_orders(
    reduce: Callable[..., Tensor], h: str, dtype: torch.dtype, data: st.DataObject
) -> None:
    check_all_orders(reduce, data.draw(problems(h, dtype)))


@each_reduction
@each_functor
def test_gradcheck(h: str, per_pair: bool, road: str) -> None:
    def loss(*t: Tensor) -> Tensor:
        return ops.pair_reduce(t[:2], t[2:], h, WEIGHT, A, B, per_pair)

    x, y = two_pairs()
    assert gradcheck(loss, (*x, *y))
    assert gradgradcheck(loss, (*x, *y))


@compiled
@each_reduction
@pytest.mark.parametrize("requires_grad", [False, True])
@each_dtype
def test_the_ops_keep_torchs_rules(dtype: torch.dtype, requires_grad: bool, per_pair: bool) -> None:
    (x, y), (u, _) = two_pairs(dtype, requires_grad), two_pairs(dtype, requires_grad)
    grad = torch.ones(
        (2,) if per_pair else (), dtype=max(dtype, torch.float32, key=lambda d: d.itemsize)
    )
    grad.requires_grad_(requires_grad)
    rest, wanted = ("softplus", WEIGHT, A, B), [0, 2, 3]
    checks = ["test_schema", "test_autograd_registration", "test_faketensor"]
    if dtype in (torch.float64, torch.bfloat16):  # tracing costs the most
        checks.append("test_aot_dispatch_dynamic")
    check, namespace = torch.library.opcheck, torch.ops.ganfast
    check(namespace.pair_reduce.default, (x, y, *rest, per_pair), test_utils=checks)
    check(namespace.pair_reduce_backward.default, (grad, x, y, *rest, wanted), test_utils=checks)
    # There is no third order to trace.
    check(
        namespace.pair_reduce_double_backward.default,
        (grad, x, y, u, *rest, [0, 1], wanted),
        test_utils=checks[:3] if requires_grad else checks,
    )


@compiled
def test_the_third_order_is_refused_with_a_sentence() -> None:
    x, y = two_pairs()
    loss = ops.pair_reduce(x, y, "softplus", WEIGHT, A, B)
    (dx,) = torch.autograd.grad(loss, x[0], create_graph=True)
    (ddx,) = torch.autograd.grad(dx.square().sum(), x[0], create_graph=True)
    with pytest.raises(NotImplementedError, match=r"pair_reduce: .*third order.*ganfast\.ref"):
        torch.autograd.grad(ddx.sum(), x[0])


@pytest.mark.parametrize("wanted", [(0,), (3,), (1, 2), (0, 1), (0, 1, 2, 3)], ids=str)
def test_only_wanted_gradients_are_taken(wanted: tuple[int, ...], road: str) -> None:
    """As where the features of real samples are detached."""
    x, y = two_pairs(requires_grad=False)
    inputs = (*x, *y)
    for k in wanted:
        inputs[k].requires_grad_()
    ops.pair_reduce(x, y, "softplus", WEIGHT, A, B).backward()
    for j, t in enumerate(inputs):
        k, sign = j % 2, 1 if j < 2 else -1
        slope = WEIGHT[k] * A[k] * torch.sigmoid(A[k] * (x[k] - y[k]).detach()) / t.numel()
        if j in wanted:
            torch.testing.assert_close(t.grad, sign * slope)
        else:
            assert t.grad is None


@each_reduction
@pytest.mark.parametrize("left_out", range(4))
def test_the_second_order_of_some_gradients(left_out: int, per_pair: bool, road: str) -> None:
    """Gradients that are left out have no cotangent."""
    numbers = ([1.0, -2.0], [1.0, 0.5], [0.25, 1.0])
    orders = []
    for pair_reduce in (ops.pair_reduce, reference.pair_reduce):
        t = [
            torch.randn(5 + k % 2, dtype=torch.float64, generator=generator(k), requires_grad=True)
            for k in range(4)
        ]
        loss = pair_reduce([t[0], t[1]], [t[2], t[3]], "softplus", *numbers, per_pair).sum()
        dt = list(torch.autograd.grad(loss, t, create_graph=True))
        dt.pop(left_out)
        used = torch.stack([d.pow(k + 2).sum() for k, d in enumerate(dt)]).sum()
        orders.append(torch.autograd.grad(used, t, allow_unused=True, materialize_grads=True))
    torch.testing.assert_close(*orders)


def test_a_tensor_on_both_sides_gets_the_sum(road: str) -> None:
    x = torch.randn(7, dtype=torch.float64, generator=generator(0), requires_grad=True)
    loss = ops.pair_reduce([x, 2 * x], [3 * x, x], "square", [1.0, 1.0], [0, 0], [0, 0])
    (dx,) = torch.autograd.grad(loss, x)
    torch.testing.assert_close(dx, (8 * x + 2 * x).detach() / 7)


@each_functor
def test_equal_pairs(h: str, road: str) -> None:
    """The derivative of l1 at 0 is 0."""
    x = torch.randn(9, generator=generator(0), requires_grad=True)
    loss, dx, _ = derivatives(ops.pair_reduce, x, x.detach(), h, -1.0)
    plain, dx_plain, _ = derivatives(reduce_plainly, x, x.detach(), h, -1.0)
    torch.testing.assert_close((loss, dx), (plain, dx_plain))


@each_dtype
@pytest.mark.parametrize("value", [INF, -INF, NAN, 1e4, -1e4])
@each_functor
def test_extreme_values_go_through_as_in_plain_torch(
    h: str, value: float, dtype: torch.dtype
) -> None:
    x, y = torch.tensor(value, dtype=dtype), torch.tensor(0.5, dtype=dtype)
    for pair in ((x, y), (y, x), (x, x)):
        for a in (1.0, -1.0):
            got = derivatives(ops.pair_reduce, *pair, h, a)
            plain = derivatives(reduce_plainly, *pair, h, a)
            for order, of_plain in zip(got, plain, strict=True):
                torch.testing.assert_close(order, of_plain, rtol=1e-6, atol=0, equal_nan=True)


@compiled
@each_reduction
@pytest.mark.parametrize("sizes", [(64, 64), (1_000_000, 1, 70_001), (4097,) * 60], ids=len)
@each_functor
def test_the_same_bits_every_time(
    h: str, sizes: tuple[int, ...], per_pair: bool, restored_threads: None
) -> None:
    random = generator(0)
    x, y = ([torch.randn(n, generator=random).requires_grad_() for n in sizes] for _ in "xy")
    ones = [1.0] * len(x)
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        loss = ops.pair_reduce(x, y, h, ones, ones, ones, per_pair)
        grad = torch.ones_like(loss, requires_grad=True)
        dx = torch.autograd.grad(loss, [*x, *y], grad, create_graph=True)
        second = torch.autograd.grad(dx, [grad, *x, *y], [t.detach() for t in (*y, *x)])
        results.append([bits(t) for t in (loss, *dx, *second)])
    assert results[1:] == results[:1] * 2
