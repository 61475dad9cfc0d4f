"""unary_rows: values, both orders, layouts, autograd's rules, errors."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from numerics import LAYOUTS, bits, generator
from ops.rows import check_all_orders, factors, problems
from ops.unary_functors import DTYPES, FUNCTORS
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from ganfast import ops, reference

compiled = pytest.mark.compiled
each_functor = pytest.mark.parametrize("f", FUNCTORS)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)

WEIGHT, A, B = [1.0, -2.0], [1.0, 0.5], [0.25, 1.0]


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=generator(seed))


def two_tensors(f: str, dtype: torch.dtype = torch.float64, requires_grad=True) -> list[Tensor]:
    x = [FUNCTORS[f].domain(randn(*shape)) for shape in ((3,), (3, 2, 2))]
    return [xk.to(dtype).requires_grad_(requires_grad) for xk in x]


def of_samples(dtype: torch.dtype = torch.float64) -> tuple[list[Tensor | None], ...]:
    """Weights of the first tensor's samples, parameters of the second's."""
    return [torch.tensor([0.5, 2.0, 0.25], dtype=dtype), None], [
        None,
        torch.tensor([1.0, 0.5, 0.25], dtype=dtype),
    ]


@each_functor
@each_dtype
@settings(max_examples=6)
@given(data=st.data())
def test_all_orders(f: str, dtype: torch.dtype, data: st.DataObject) -> None:
    check_all_orders(ops.unary_rows, data.draw(problems(f, dtype)))


@each_functor
@settings(max_examples=6)
@given(data=st.data())
def test_all_orders_of_the_reference(f: str, data: st.DataObject) -> None:
    check_all_orders(reference.unary_rows, data.draw(problems(f, torch.float64)))


@each_functor
@pytest.mark.parametrize("normalize", [False, True])
def test_gradcheck(f: str, normalize: bool, road: str) -> None:
    def loss(*x: Tensor) -> Tensor:
        return ops.unary_rows(x, f, WEIGHT, A, B, *of_samples(), normalize)

    x = two_tensors(f)
    assert gradcheck(loss, x)
    assert gradgradcheck(loss, x)


@pytest.mark.parametrize("shape", [(70_001,), (5, 5000), (3, 1024), (1, 300_000), (40_000, 3)])
def test_many_samples_and_large_ones(shape: tuple[int, ...], road: str) -> None:
    x = randn(*shape).float()
    s = torch.rand(shape[0], generator=generator(1))
    rows = ops.unary_rows([x], "softplus", [2.0], [-1.0], [0.0], [s], (), True)
    expected = F.softplus(-x.double()).reshape(len(x), -1).mean(1) * s.double() / s.double().mean()
    torch.testing.assert_close(rows.double(), 2 * expected, rtol=1e-6, atol=0)


@pytest.mark.usefixtures("road")
@each_functor
@each_dtype
@settings(max_examples=3)
@given(data=st.data())
def test_statistics(f: str, dtype: torch.dtype, data: st.DataObject) -> None:
    p = data.draw(problems(f, dtype))
    rows, stats = ops.unary_rows_stats(p.x, *p.parameters, 0.25)
    torch.testing.assert_close(rows, ops.unary_rows(p.x, *p.parameters), rtol=1e-6, atol=1e-6)
    for xk, k in zip(p.x, range(len(p.x)), strict=True):
        x = xk.detach().double().flatten(1) if xk.dim() > 1 else xk.detach().double()[:, None]
        own = p.sample_a[k]
        a = [p.a[k]] * len(x) if own is None else own.tolist()
        means = [FUNCTORS[f].plain(x[i], a[i], p.b[k]).mean() for i in range(len(x))]
        s = torch.tensor(factors(p.sample_weight[k], p), dtype=torch.float64)
        terms = p.weight[k] * s * torch.stack(means)
        expected = [terms.sum(), x.mean(), (x > 0.25).double().mean(), (x < 0.25).double().mean()]
        size = 1 + float(terms.abs().sum()) + float(x.abs().mean())
        torch.testing.assert_close(
            stats[k].double(), torch.stack(expected), rtol=1e-6, atol=1e-6 * size
        )
    assert stats.dtype == rows.dtype
    assert not stats.requires_grad


@pytest.mark.parametrize("shape", [(70_001,), (5, 5000), (3, 1024), (1, 300_000), (40_000, 3)])
def test_statistics_of_many_samples(shape: tuple[int, ...], road: str) -> None:
    x = [randn(*shape).float().requires_grad_(), randn(shape[0], 2, seed=2).float()]
    s = torch.rand(shape[0], generator=generator(1))
    given_ = ("softplus", [2.0, 1.0], [-1.0, 1.0], [0.0, 0.0], [s, None], (), True)
    rows, stats = ops.unary_rows_stats(x, *given_, 0.5)
    torch.testing.assert_close(rows, ops.unary_rows(x, *given_))
    torch.testing.assert_close(stats[:, 0].sum(), rows.sum().detach(), rtol=2e-6, atol=0)
    wide = [xk.detach().double() for xk in x]
    second = F.softplus(wide[1]).mean(1).sum().float()
    torch.testing.assert_close(stats[1, 0], second, rtol=1e-6, atol=0)
    for row, xk in zip(stats, wide, strict=True):
        expected = [xk.mean(), (xk > 0.5).double().mean(), (xk < 0.5).double().mean()]
        torch.testing.assert_close(row[1:].double(), torch.stack(expected), rtol=1e-6, atol=1e-7)
    (dx,) = torch.autograd.grad(rows.sum(), x[:1])
    (expected_dx,) = torch.autograd.grad(ops.unary_rows(x, *given_).sum(), x[:1])
    assert torch.equal(dx, expected_dx)


@pytest.mark.usefixtures("road")
def test_nan_is_neither_above_nor_below() -> None:
    x = torch.tensor([[1.0, torch.nan], [-1.0, 2.0]])
    rows, stats = ops.unary_rows_stats(
        [x], "identity", [1.0], [0.0], [0.0], (), (), normalize=False, threshold=0.0
    )
    assert rows.isnan().tolist() == [True, False]
    assert stats[0, :2].isnan().all()
    assert stats[0, 2:].tolist() == [0.5, 0.25]


def test_a_sum_of_weights_of_nothing_counts_as_one(road: str) -> None:
    x = two_tensors("square")[:1]
    for s in (torch.zeros(3).double(), torch.tensor([1.0, -2.0, 1.0]).double()):
        rows = ops.unary_rows(x, "square", [1.0], [0.0], [0.0], [s], (), True)
        torch.testing.assert_close(rows, 3 * s * x[0] ** 2)


def test_weights_that_require_a_gradient_get_one(road: str) -> None:
    x = two_tensors("square")[:1]
    s = torch.ones(3, dtype=torch.float64, requires_grad=True)
    ops.unary_rows(x, "square", [1.0], [0.0], [0.0], [s]).sum().backward()
    torch.testing.assert_close(s.grad, x[0].detach() ** 2)


@pytest.mark.parametrize("wanted", [(0,), (1,), (0, 1)])
def test_only_wanted_gradients_are_taken(wanted: tuple[int, ...], road: str) -> None:
    x = two_tensors("square", requires_grad=False)
    for k in wanted:
        x[k].requires_grad_()
    s, a = of_samples()
    ops.unary_rows(x, "square", WEIGHT, A, B, s, a).sum().backward()
    expected = [2 * s[0] * (x[0] - 1), -2 * 2 * (x[1] - a[1].view(3, 1, 1)) / 4]
    for k, xk in enumerate(x):
        if k in wanted:
            torch.testing.assert_close(xk.grad, expected[k].detach())
        else:
            assert xk.grad is None


@compiled
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "unaligned", "permuted"])
def test_samples_that_are_blocks_of_memory_are_not_copied(layout: str) -> None:
    x = LAYOUTS[layout](randn(3, 4, 5, 2)).requires_grad_()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        rows = ops.unary_rows([x], "softplus", [1.0], [1.0], [0.0])
        (dx,) = torch.autograd.grad(rows, x, torch.ones(3, dtype=torch.float64))
    copies = sum(event.name == "aten::copy_" for event in profile.events())
    assert copies == (2 if layout == "permuted" else 0)  # samples are interleaved there
    assert layout == "permuted" or dx.stride() == x.stride()


@compiled
@pytest.mark.parametrize("requires_grad", [False, True])
@each_dtype
def test_the_ops_keep_torchs_rules(dtype: torch.dtype, requires_grad: bool) -> None:
    x, v = (two_tensors(f, dtype, requires_grad) for f in ("softplus", "square"))
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    grad = torch.ones(3, dtype=wide, requires_grad=requires_grad)
    rest = (*of_samples(wide), "softplus", WEIGHT, A, B, True)
    checks = ["test_schema", "test_autograd_registration", "test_faketensor"]
    traced = [*checks, "test_aot_dispatch_dynamic"] if dtype == torch.float64 else checks
    check, namespace = torch.library.opcheck, torch.ops.ganfast
    check(namespace.unary_rows.default, (x, *rest), test_utils=traced)
    check(namespace.unary_rows_stats.default, (x, *rest, 0.5), test_utils=traced)
    check(namespace.unary_rows_backward.default, (grad, x, *rest), test_utils=traced)
    check(
        namespace.unary_rows_double_backward.default,
        (grad, x, v, *rest),
        test_utils=checks if requires_grad else traced,
    )


@compiled
def test_the_third_order_is_refused_with_a_sentence() -> None:
    x = two_tensors("softplus")
    rows = ops.unary_rows(x, "softplus", WEIGHT, A, B)
    first = torch.autograd.grad(rows.sum(), x, create_graph=True)
    second = torch.autograd.grad(sum(d.square().sum() for d in first), x, create_graph=True)
    with pytest.raises(NotImplementedError, match=r"unary_rows: .*third order.*ganfast\.ref"):
        torch.autograd.grad(second[0].sum(), x[0])


@compiled
@pytest.mark.parametrize("changed", ["x", "weight"])
def test_what_is_changed_in_place_is_noticed(changed: str) -> None:
    leaf, s = two_tensors("square")[0], torch.ones(3, dtype=torch.float64)
    x = leaf * 1
    rows = ops.unary_rows([x], "square", [1.0], [1.0], [0.0], [s])
    with torch.no_grad():
        (x if changed == "x" else s).add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        rows.sum().backward()


def test_compiled_without_a_break() -> None:
    torch.compiler.reset()
    s, a = of_samples()

    def loss(x: Tensor, y: Tensor) -> Tensor:
        return ops.unary_rows([x, y], "bce_with_logits", WEIGHT, A, B, s, a, True).sum()

    fast = torch.compile(loss, fullgraph=True, backend="aot_eager")
    x = two_tensors("softplus")
    torch.testing.assert_close(fast(*x), loss(*x))
    torch.testing.assert_close(torch.autograd.grad(fast(*x), x), torch.autograd.grad(loss(*x), x))


@compiled
@pytest.mark.parametrize("shape", [(70_001,), (7, 30_000), (9000, 5)], ids=str)
def test_the_same_bits_every_time(shape: tuple[int, ...], restored_threads: None) -> None:
    x = [randn(*shape).float().requires_grad_(), randn(shape[0], 2).float().requires_grad_()]
    s = torch.rand(shape[0], generator=generator(1))
    grad = torch.rand(shape[0], generator=generator(2)).requires_grad_()
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        rows = ops.unary_rows(x, "softplus", WEIGHT, A, B, [s, None], (), True)
        dx = torch.autograd.grad(rows, x, grad, create_graph=True)
        second = torch.autograd.grad(dx, [grad, *x], [t.detach() for t in x])
        stats = ops.unary_rows_stats(x, "softplus", WEIGHT, A, B, [s, None], (), True, 0.5)
        results.append([bits(t) for t in (rows, *dx, *second, *stats)])
    assert results[0] == results[1] == results[2]


ONES = torch.ones(3)

REFUSED = [
    (ValueError, "x must hold at least one tensor", [], {}),
    (ValueError, r"x\[0\] must have an axis of samples, got a scalar", [torch.ones(())], {}),
    (ValueError, r"x\[1\] must have as many samples as x\[0\], 3, got 2", [ONES, ONES[:2]], {}),
    (ValueError, r"x\[0\] must hold at least one element", [torch.ones(3, 0)], {}),
    (TypeError, r"x\[0\] must have dtype float64", [torch.ones(3, dtype=torch.int64)], {}),
    (TypeError, r"x\[1\] must have the dtype of x\[0\]", [ONES, ONES.half()], {}),
    (ValueError, "f must be one of softplus .*, got cube", [ONES], {"f": "cube"}),
    (ValueError, "weight, a and b must have one number", [ONES], {"weight": [1.0, 2.0]}),
    (ValueError, "sample_weight must be empty or have one entry for each of the 2 tensors, got 1",
     [ONES, ONES], {"sample_weight": [ONES]}),
    (ValueError, r"sample_weight\[0\] must be on cpu with one entry for each of the 3 samples, "
     r"got shape \[2\]", [ONES], {"sample_weight": [ONES[:2]]}),
    (ValueError, r"sample_a\[0\] must be on cpu .* got shape \[3, 1\]", [ONES],
     {"sample_a": [ONES[:, None]]}),
    (TypeError, r"sample_a\[0\] must have dtype ", [ONES.half()], {"sample_a": [ONES.half()]}),
]  # fmt: skip


@pytest.mark.parametrize(("error", "match", "x", "options"), REFUSED)
def test_what_is_refused(
    error: type[Exception], match: str, x: list[Tensor], options: dict[str, object], road: str
) -> None:
    given: dict[str, object] = {"f": "square", "weight": [1.0] * len(x)} | options
    given |= {"a": [1.0] * len(x), "b": [0.0] * len(x)}
    with pytest.raises(error, match=f"unary_rows: {match}"):
        ops.unary_rows(x, **given)
    rest = {"sample_weight": (), "sample_a": (), "normalize": False, "threshold": 0.0}
    with pytest.raises(error, match=f"unary_rows: {match}"):
        ops.unary_rows_stats(x, **(rest | given))


@compiled
def test_the_registered_backwards_refuse_what_does_not_fit() -> None:
    """As reading past the end of what they were given."""
    rest = ([], [], "square", [1.0], [1.0], [0.0], False)
    namespace = torch.ops.ganfast
    assert namespace.unary_rows_backward(ONES, [ONES], *rest)[0].shape == (3,)
    for wrong in (ONES[:2], torch.ones(()), torch.ones(3, 1)):
        with pytest.raises(ValueError, match="one entry for each of the 3 samples"):
            namespace.unary_rows_backward(wrong, [ONES], *rest)
        with pytest.raises(ValueError, match="one entry for each of the 3 samples"):
            namespace.unary_rows_double_backward(wrong, [ONES], [ONES], *rest)
    with pytest.raises(TypeError, match="grad must have dtype"):
        namespace.unary_rows_backward(ONES.double(), [ONES], *rest)
    with pytest.raises(ValueError, match=r"v\[0\] must have the device and shape"):
        namespace.unary_rows_double_backward(ONES, [ONES], [ONES[:2]], *rest)
