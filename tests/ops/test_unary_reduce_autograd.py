"""unary_reduce as a part of autograd: its ops, both orders, partial gradients."""

import pytest
import torch
from numerics import generator
from ops.unary_functors import DTYPES, FUNCTORS, reduce_plainly
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from ganfast import ops, reference

compiled = pytest.mark.compiled
each_functor = pytest.mark.parametrize("f", FUNCTORS)

WEIGHT, A, B = [1.0, -2.0], [1.0, 0.5], [0.25, 1.0]


def two_tensors(f: str, dtype: torch.dtype = torch.float64, requires_grad=True) -> list[Tensor]:
    random = generator(0)
    shapes = ((5,), (2, 3))
    x = [FUNCTORS[f].domain(torch.randn(s, dtype=torch.float64, generator=random)) for s in shapes]
    return [xk.to(dtype).requires_grad_(requires_grad) for xk in x]


@each_functor
def test_gradcheck(f: str, road: str) -> None:
    def loss(*x: Tensor) -> Tensor:
        return ops.unary_reduce(x, f, WEIGHT, A, B)

    x = two_tensors(f)
    assert gradcheck(loss, x)
    assert gradgradcheck(loss, x)


@compiled
@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@each_functor
def test_the_ops_keep_torchs_rules(f: str, dtype: torch.dtype, requires_grad: bool) -> None:
    x, v = two_tensors(f, dtype, requires_grad), two_tensors("square", dtype, requires_grad)
    grad = torch.ones((), dtype=torch.float64 if dtype == torch.float64 else torch.float32)
    grad.requires_grad_(requires_grad)
    namespace = torch.ops.ganfast
    # Tracing costs the most and sees no functors and few dtypes.
    everything = f == "softplus" and dtype in (torch.float64, torch.bfloat16)
    checks = ["test_schema", "test_autograd_registration", "test_faketensor"]
    traced = [*checks, "test_aot_dispatch_dynamic"] if everything else checks
    check = torch.library.opcheck
    check(namespace.unary_reduce.default, (x, f, WEIGHT, A, B), test_utils=traced)
    check(namespace.unary_reduce_backward.default, (grad, x, f, WEIGHT, A, B), test_utils=traced)
    # There is no third order to trace.
    check(
        namespace.unary_reduce_double_backward.default,
        (grad, x, v, f, WEIGHT, A, B),
        test_utils=checks if requires_grad else traced,
    )


def second_order(reduce, x: list[Tensor]) -> tuple[Tensor, ...]:
    loss = reduce(x, "softplus", WEIGHT, A, B)
    dx = torch.autograd.grad(loss, x, create_graph=True)
    return torch.autograd.grad(sum(d.square().sum() for d in dx), x, create_graph=True)


@compiled
def test_the_third_order_is_refused_with_a_sentence() -> None:
    x = two_tensors("softplus")
    second = second_order(ops.unary_reduce, x)
    with pytest.raises(NotImplementedError, match=r"unary_reduce: .*third order.*ganfast\.ref"):
        torch.autograd.grad(second[0].sum(), x[0])


def test_the_reference_has_a_third_order() -> None:
    x = two_tensors("softplus")
    third, expected = (
        torch.autograd.grad(second_order(reduce, x)[0].sum(), x[0])[0]
        for reduce in (reference.unary_reduce, reduce_plainly)
    )
    torch.testing.assert_close(third, expected)


@pytest.mark.parametrize("wanted", [(0,), (1,), (0, 1)])
def test_only_wanted_gradients_are_taken(wanted: tuple[int, ...], road: str) -> None:
    """As where only the generator's samples require gradients."""
    x = two_tensors("softplus", requires_grad=False)
    for k in wanted:
        x[k].requires_grad_()
    ops.unary_reduce(x, "softplus", WEIGHT, A, B).backward()
    for k, xk in enumerate(x):
        if k in wanted:
            s = torch.sigmoid(A[k] * xk.detach())
            torch.testing.assert_close(xk.grad, WEIGHT[k] * A[k] * s / xk.numel())
        else:
            assert xk.grad is None


def test_inputs_without_gradients_make_a_result_without(road: str) -> None:
    x = two_tensors("softplus", requires_grad=False)
    assert not ops.unary_reduce(x, "softplus", WEIGHT, A, B).requires_grad
    x[0].requires_grad_()
    with torch.no_grad():
        assert not ops.unary_reduce(x, "softplus", WEIGHT, A, B).requires_grad


def test_gradients_reach_what_the_inputs_were_made_of(road: str) -> None:
    w = torch.tensor([0.5, -2.0], dtype=torch.float64, requires_grad=True)
    ops.unary_reduce([w * 3, w.exp()], "identity", [2.0, 2.0], [0, 0], [0, 0]).backward()
    torch.testing.assert_close(w.grad, 3 + w.detach().exp())


def test_a_tensor_that_is_in_the_list_twice_gets_the_sum(road: str) -> None:
    x = torch.randn(7, dtype=torch.float64, generator=generator(0), requires_grad=True)
    (dx,) = torch.autograd.grad(ops.unary_reduce([x, x], "softplus", [1, 1], [-1, 2], [0, 0]), x)
    x = x.detach()
    torch.testing.assert_close(dx, (2 * torch.sigmoid(2 * x) - torch.sigmoid(-x)) / 7)


def test_the_second_order_of_one_gradient_of_many(road: str) -> None:
    """Gradients that a penalty leaves out have no cotangent."""
    x = two_tensors("softplus")
    loss = ops.unary_reduce(x, "softplus", WEIGHT, A, B)
    _, used = torch.autograd.grad(loss, x, create_graph=True)
    ddx = torch.autograd.grad(used.sum(), x, allow_unused=True)
    s = torch.sigmoid(A[1] * x[1].detach())
    torch.testing.assert_close(ddx[1], WEIGHT[1] * A[1] ** 2 * s * (1 - s) / x[1].numel())
    assert ddx[0] is None or ddx[0].count_nonzero() == 0


def test_a_gradient_taken_with_another_cotangent_is_scaled(road: str) -> None:
    x = two_tensors("bce")
    loss = ops.unary_reduce(x, "bce", WEIGHT, A, B)
    once = torch.autograd.grad(loss, x, retain_graph=True)
    thrice = torch.autograd.grad(loss * 3, x)
    torch.testing.assert_close(thrice, tuple(3 * d for d in once))


@compiled
def test_an_input_changed_in_place_is_noticed() -> None:
    x = two_tensors("square")
    leaf = x[0]
    x[0] = leaf * 1
    loss = ops.unary_reduce(x, "square", WEIGHT, A, B)
    with torch.no_grad():
        x[0].add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
