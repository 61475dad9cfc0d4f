"""The list ops where numbers are extreme, where tensors are large, and what is new in each form."""

import os

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from numerics import ENOUGH, generator
from ops.functors import DIFFERENCES, DTYPES, FUNCTORS, LOGITS
from ops.lists import derivatives, flat_plainly, loss_dtype, problems
from torch import Tensor, nn

from ganfast import ops

INF, NAN = float("inf"), float("nan")

each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
each_difference = pytest.mark.parametrize("f", DIFFERENCES)

A = {"softplus": (-1.0, 1.0), "bce_with_logits": (0.0, 0.25, 1.0), "hinge": (-1.0, 1.0)}


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=generator(seed))


@each_dtype
@pytest.mark.parametrize(("f", "a"), [(f, a) for f in LOGITS for a in A.get(f, (0.5,))])
def test_extreme_values_go_through_as_in_plain_torch(
    f: str, a: float, dtype: torch.dtype, device: str
) -> None:
    half = torch.tensor(0.5, dtype=dtype, device=device)
    for value in (INF, -INF, NAN, 1e4, -1e4):
        x = torch.tensor(value, dtype=dtype, device=device)
        pairs = [(x, half), (half, x), (x, x)] if f in DIFFERENCES else []
        numbers = [(x, y.to(loss_dtype(dtype)).view(1, 1)) for _, y in pairs]
        for x_, y in [(x, None), *pairs, *numbers]:
            got = derivatives(ops.flat, x_, f, a, y)
            plain = derivatives(flat_plainly, x_, f, a, y)
            assert abs(value) != 1e4 or all(order.isfinite() for order in got)
            for order, of_plain in zip(got, plain, strict=True):
                if f == "bce_with_logits" and order.isposinf() and of_plain.isnan():
                    continue  # where torch subtracts infinities, the loss is infinite
                torch.testing.assert_close(order, of_plain, rtol=1e-6, atol=0, equal_nan=True)


@pytest.mark.parametrize("position", [0, 7, ENOUGH - 1])
@pytest.mark.parametrize("f", LOGITS)
def test_one_nan_spoils_the_loss_and_its_own_gradient(f: str, position: int) -> None:
    x = randn(ENOUGH)
    x[position] = NAN
    for y in [None, randn(ENOUGH, seed=1), randn(1)][: 3 if f in DIFFERENCES else 1]:
        loss, dx, _ = derivatives(ops.flat, x, f, 1.0, y)
        assert loss.isnan()
        assert dx.isnan().sum() == dx[position].isnan() == (f not in ("identity", "hinge", "l1"))


@each_dtype
@pytest.mark.parametrize("target", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_certain_probabilities_are_clamped_as_in_bce_loss(
    probability: float, target: float, dtype: torch.dtype
) -> None:
    x = torch.tensor([probability], dtype=dtype, requires_grad=True)
    loss = ops.flat([x], "bce", [1.0], [target], [0.0])
    (dx,) = torch.autograd.grad(loss, x)

    y = x.detach().requires_grad_()
    precise = y if dtype == torch.float64 else y.float()
    expected = nn.BCELoss()(precise, torch.full_like(precise, target))
    (dy,) = torch.autograd.grad(expected, y)
    assert torch.equal(loss, expected)
    # torch's own clamp, 1e-12, is a float32 number even in float64
    rtol = 1e-8 if dtype == torch.float64 else 2 * torch.finfo(dtype).eps
    torch.testing.assert_close(dx, dy, rtol=rtol, atol=0)


@pytest.mark.parametrize("value", [-0.5, 1.5, -INF, INF, NAN])
def test_what_is_no_probability_gives_nan(value: float, route: str) -> None:
    x = torch.tensor([0.5, value])
    assert ops.flat([x], "bce", [1.0], [1.0], [0.0]).isnan()
    assert ops.rows([x], "bce", [1.0], [1.0], [0.0]).isnan().tolist() == [False, True]


def test_at_the_kinks_the_gradient_is_torchs(route: str) -> None:
    """That of its relu and of its abs: zero."""
    x = torch.tensor([0.5, 1.0, 1.5], requires_grad=True)
    loss = ops.flat([x], "hinge", [3.0], [-1.0], [1.0])
    assert loss == 0.5
    assert torch.autograd.grad(loss, x)[0].tolist() == [-1, 0, 0]
    for y in ((), [torch.ones(3)], [torch.tensor(1.0)]):
        loss = ops.flat([x if y else x - 1], "l1", [3.0], [0.0], [0.0], y)
        assert torch.autograd.grad(loss, x)[0].tolist() == [-1, 0, 1]


@each_difference
def test_equal_tensors(f: str, route: str) -> None:
    x = randn(9)
    for y in (x, x[0]):
        got, plain = (derivatives(of, x, f, -1.0, y)[:2] for of in (ops.flat, flat_plainly))
        torch.testing.assert_close(got, plain)


SHAPES = [
    (),
    (1,),
    (5,),
    (1, 3),
    (4, 3),
    (3, 4, 5, 2),
    (3, 5000),
    (2, 3, 1024),
    (70_001,),
    (300, 7),
]


@each_dtype
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_what_repeats_is_as_if_it_were_expanded(
    shape: tuple[int, ...], dtype: torch.dtype, route: str
) -> None:
    """One number or one sample, also of a single sample; in the result's dtype."""
    x = randn(*shape).to(dtype).requires_grad_()
    numbers = ("softplus", [2.0 * x.numel()], [-1.0], [0.0])
    grad = torch.tensor(1.5, dtype=loss_dtype(dtype), requires_grad=True)
    for of_y in {(), (1,), (1, 1), shape[1:], (1, *shape[1:])}:
        y = randn(*of_y, seed=1).to(grad.dtype).requires_grad_()
        slack = 8 * torch.finfo(grad.dtype).eps  # what is summed is of size one or less
        wide_x, wide_y = (t.detach().double().requires_grad_() for t in (x, y))
        wide_grad = grad.detach().double().requires_grad_()
        cotangents = randn(*shape, seed=2).to(dtype), randn(*of_y, seed=3).to(y.dtype)

        def all_orders(
            loss: Tensor, *t: Tensor, v: tuple[Tensor, ...] = cotangents
        ) -> list[Tensor]:
            first = torch.autograd.grad(loss, t[:2], t[2], create_graph=True)
            v = tuple(vk.to(d.dtype) for vk, d in zip(v, first, strict=True))
            return [loss, *first, *torch.autograd.grad(first, t, v)]

        got = all_orders(ops.flat([x], *numbers, [y]), x, y, grad)
        expected = all_orders(2 * F.softplus(wide_y - wide_x).sum(), wide_x, wide_y, wide_grad)
        for order, exact in zip(got, expected, strict=True):
            size = x.numel() if exact.numel() == 1 else float(exact.detach().abs().max())
            torch.testing.assert_close(
                order.double(), exact, rtol=2 * torch.finfo(order.dtype).eps, atol=slack * size
            )


def test_a_list_mixes_numbers_samples_and_tensors(route: str) -> None:
    x = [randn(4, 3, seed=k).requires_grad_() for k in range(3)]
    y = [randn(*shape, seed=5).requires_grad_() for shape in ((), (3,), (4, 3))]
    n = [1.0, 2.0, -1.0]
    loss = ops.flat(x, "square", n, [0.5] * 3, n, y)
    plain = flat_plainly(x, "square", n, [0.5] * 3, n, y)
    torch.testing.assert_close(loss, plain)
    torch.testing.assert_close(torch.autograd.grad(loss, x + y), torch.autograd.grad(plain, x + y))


@pytest.mark.parametrize("subtrahend", ["none", "same", "repeated"])
@settings(max_examples=5)
@given(data=st.data())
def test_each_term_is_that_of_its_tensor_alone(subtrahend: str, data: st.DataObject) -> None:
    p = data.draw(problems("flat", "square", subtrahend, torch.float32))
    f, *numbers = p.numbers
    terms = ops.flat(p.x, *p.numbers, p.y, per_term=True)
    torch.testing.assert_close(terms.sum(), ops.flat(p.x, *p.numbers, p.y), rtol=1e-5, atol=1e-4)
    for k, term in enumerate(terms[:7]):
        alone = ops.flat([p.x[k]], f, *([n[k]] for n in numbers), p.y[k : k + 1])
        torch.testing.assert_close(term, alone, rtol=1e-6, atol=0)


LARGE = [(70_001,), (5, 5000), (3, 1024), (1, 300_000), (40_000, 3)]


@pytest.mark.parametrize("shape", LARGE, ids=str)
def test_many_samples_and_large_ones(shape: tuple[int, ...], route: str) -> None:
    x, y = (randn(*shape, seed=k).requires_grad_() for k in (0, 2))
    s = torch.rand(shape[0], generator=generator(1))
    wide = [t.detach().double().requires_grad_() for t in (x, y)]
    for of_y, d in (((), -wide[0]), ([y], wide[1] - wide[0])):
        rows = ops.rows(
            [x], "softplus", [2.0], [-1.0], [0.0], of_y, sample_weight=[s], normalize=True
        )
        factor = 2 * s.double() / s.double().mean()
        expected = F.softplus(d).reshape(len(x), -1).mean(1) * factor
        torch.testing.assert_close(rows.double(), expected, rtol=1e-6, atol=0)
        dx = torch.autograd.grad(rows.sum(), [x, *of_y])
        exact = torch.autograd.grad(expected.sum(), wide[: len(dx)])
        torch.testing.assert_close([g.double() for g in dx], list(exact), rtol=2e-6, atol=1e-9)


def test_a_sum_of_weights_of_nothing_counts_as_one(route: str) -> None:
    x = randn(3).double()
    for s in (torch.zeros(3).double(), torch.tensor([1.0, -2.0, 1.0]).double()):
        rows = ops.rows([x], "square", [1.0], [0.0], [0.0], sample_weight=[s], normalize=True)
        torch.testing.assert_close(rows, 3 * s * x**2)


@pytest.mark.usefixtures("route")
@pytest.mark.parametrize("f", FUNCTORS)
@settings(max_examples=8)
@given(data=st.data())
def test_statistics(f: str, data: st.DataObject) -> None:
    p = data.draw(problems("flat", f, "none", data.draw(st.sampled_from(DTYPES))))
    loss, stats = ops.flat_with_stats(p.x, *p.numbers, 0.25)
    torch.testing.assert_close(loss, ops.flat(p.x, *p.numbers))
    _, weight, a, b = p.numbers
    for k, x in enumerate(xk.detach().double() for xk in p.x):
        term = weight[k] * FUNCTORS[f].plain(x, a[k], b[k]).mean()
        expected = [term, x.mean(), (x > 0.25).double().mean(), (x < 0.25).double().mean()]
        size = 1 + float(term.abs()) + float(x.abs().mean())
        torch.testing.assert_close(
            stats[k].double(), torch.stack(expected), rtol=1e-6, atol=1e-6 * size
        )
    assert stats.dtype == loss.dtype
    assert not stats.requires_grad


@pytest.mark.usefixtures("route")
def test_nan_is_neither_above_nor_below() -> None:
    x = torch.tensor([1.0, NAN, -1.0, 2.0])
    loss, stats = ops.flat_with_stats([x], "identity", [1.0], [0.0], [0.0], 0.0)
    assert loss.isnan()
    assert stats[0, :2].isnan().all()
    assert stats[0, 2:].tolist() == [0.5, 0.25]


def zeros_without_memory(n: int) -> Tensor:
    """Zeros that the system maps to one page until they are written to."""
    return torch.from_numpy(np.zeros(n, np.int16)).view(torch.bfloat16)


@pytest.mark.slow
@pytest.mark.compiled
def test_more_elements_than_32_bits_count() -> None:
    n = 2**31 + 4099
    try:
        x = zeros_without_memory(n)
    except MemoryError:
        pytest.skip(f"no address space for {n} elements")
    x[0], x[2**31 - 1], x[2**31 + 1], x[n - 1] = 1, 2, 4, 8
    loss = ops.flat([torch.ones(3, dtype=x.dtype), x], "identity", [3.0, n], [0, 0], [0, 0])
    assert loss == 3 + 15


@pytest.mark.slow
@pytest.mark.compiled
def test_gradients_of_more_elements_than_32_bits_count() -> None:
    n = 2**31 + 4099
    if os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") < 6 * 2**30:
        pytest.skip("the gradient takes 4.3 GB of memory")
    x = zeros_without_memory(n)
    far = torch.tensor([2**31 - 1, 2**31 + 1, n - 1])
    x[far] = torch.tensor([1.0, 2.0, 3.0], dtype=x.dtype)
    x.requires_grad_()
    loss = ops.flat([x], "square", [n], [0.0], [0.0])
    (dx,) = torch.autograd.grad(loss, x)
    assert dx[far].tolist() == [2, 4, 6]
    assert dx[:: 2**20].count_nonzero() == 0
