"""norm_reduce: values, both orders, zero gradients, memory, errors."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numerics import LAYOUTS, bits, generator
from ops.norms import CASES, PHIS, check_all_orders, problems
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from ganfast import ops, reference

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
each_case = pytest.mark.parametrize(("phi", "a", "b", "pixel"), CASES)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def randn(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=generator(seed)).to(dtype)


def two(dtype: torch.dtype = torch.float64) -> list[Tensor]:
    return [randn(3, c, 2, 2, dtype=dtype, seed=c).requires_grad_() for c in (2, 1)]


@each_case
@each_dtype
@settings(max_examples=6)
@given(data=st.data())
def test_all_orders(
    phi: str, a: float, b: float, pixel: bool, dtype: torch.dtype, data: st.DataObject
) -> None:
    check_all_orders(ops.norm_reduce, data.draw(problems(dtype, pixel)), phi, a, b, pixel)


@each_case
@settings(max_examples=6)
@given(data=st.data())
def test_all_orders_of_the_reference(
    phi: str, a: float, b: float, pixel: bool, data: st.DataObject
) -> None:
    check_all_orders(
        reference.norm_reduce, data.draw(problems(torch.float64, pixel)), phi, a, b, pixel
    )


@each_case
def test_gradcheck(phi: str, a: float, b: float, pixel: bool, road: str) -> None:
    def loss(*g: Tensor) -> Tensor:
        return ops.norm_reduce(g, phi, 2.5, a, b, pixel)

    assert gradcheck(loss, two())
    assert gradgradcheck(loss, two())


@pytest.mark.parametrize("pixel", [False, True])
def test_the_second_order_of_one_gradient_of_many(pixel: bool, road: str) -> None:
    """Gradients that are left out have no cotangent."""
    orders = []
    for norm_reduce in (ops.norm_reduce, reference.norm_reduce):
        g = two()
        dg = torch.autograd.grad(
            norm_reduce(g, "centred", 2.5, 1.0, 0.0, pixel), g, create_graph=True
        )
        orders.append(torch.autograd.grad(dg[1].square().sum(), g))
    torch.testing.assert_close(*orders)


@pytest.mark.parametrize("shape", [(64, 3, 64, 64), (1, 70_001), (3, 4097)], ids=str)
def test_samples_of_several_tiles(shape: tuple[int, ...], road: str) -> None:
    g = randn(*shape, dtype=torch.float32, seed=1) / 100
    norms = torch.linalg.vector_norm(g.double().flatten(1), dim=1)
    loss = ops.norm_reduce([g], "centred", 10.0, 1.0)
    torch.testing.assert_close(loss.double(), 10 * ((norms - 1) ** 2).mean(), rtol=3e-6, atol=0)


@each_case
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16], ids=str)
def test_zero_gradients_give_zero(
    phi: str, a: float, b: float, pixel: bool, dtype: torch.dtype, road: str
) -> None:
    """And leave the gradients of the other samples alone."""
    g = two(dtype)
    with torch.no_grad():
        for x in g:
            x[1] = 0
    loss = ops.norm_reduce(g, phi, 2.5, a, b, pixel)
    dg = torch.autograd.grad(loss, g, create_graph=True)
    second = torch.autograd.grad(dg, g, g, allow_unused=True, materialize_grads=True)
    assert loss.isfinite()
    for first, next_ in zip(dg, second, strict=True):
        assert first[1].count_nonzero() == 0
        assert first.isfinite().all()
        assert next_.isfinite().all()
    if phi != "maximum":
        others = [x[[0, 2]].detach().requires_grad_() for x in g]
        alone = ops.norm_reduce(others, phi, 2.5, a, b, pixel)
        for x, y in zip(dg, torch.autograd.grad(alone, others), strict=True):
            torch.testing.assert_close(x[[0, 2]], y * 2 / 3)


def test_a_zero_batch_has_the_value_of_its_zero_norms(road: str) -> None:
    g = torch.zeros(4, 3, requires_grad=True)
    loss = ops.norm_reduce([g], "centred", 10.0, 1.0)
    assert loss == 10
    assert torch.autograd.grad(loss, g)[0].count_nonzero() == 0


def test_equal_maxima_share_the_gradient(road: str) -> None:
    g = torch.tensor([[3.0, 4.0], [5.0, 0.0], [1.0, 1.0]], requires_grad=True)
    loss = ops.norm_reduce([g], "maximum", 2.0)
    assert loss == 50
    assert torch.autograd.grad(loss, g)[0].tolist() == [[6, 8], [10, 0], [0, 0]]


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
@pytest.mark.parametrize("phi", PHIS)
def test_what_is_not_finite_goes_through(phi: str, value: float, road: str) -> None:
    g = randn(4, 3, dtype=torch.float32)
    g[2, 1] = value
    loss = ops.norm_reduce([g.requires_grad_()], phi, 1.0, 1.0)
    expected = torch.tensor(value)
    torch.testing.assert_close(loss.detach(), expected, equal_nan=True)
    dg = torch.autograd.grad(loss, g)[0]
    assert not dg[2].isfinite().all()


def test_half_types_are_summed_in_float32(road: str) -> None:
    g = torch.full((2, 60_000), 1.0, dtype=torch.float16)
    assert ops.norm_reduce([g * 30], "square") == 60_000 * 900
    assert ops.norm_reduce([g], "square").dtype == torch.float32


@pytest.mark.parametrize("wanted", [(0,), (1,), (0, 1)])
def test_only_wanted_gradients_are_taken(wanted: tuple[int, ...], road: str) -> None:
    g = [x.detach() for x in two()]
    for k in wanted:
        g[k].requires_grad_()
    ops.norm_reduce(g, "power", 2.0, 2.0).backward()
    s = sum(x.detach().flatten(1).square().sum(1) for x in g).view(3, 1, 1, 1)
    for k, x in enumerate(g):
        if k in wanted:
            torch.testing.assert_close(x.grad, 2 / 3 * 4 * s * x.detach())
        else:
            assert x.grad is None


@pytest.mark.compiled
@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize("pixel", [False, True])
@each_dtype
def test_the_ops_keep_torchs_rules(dtype: torch.dtype, pixel: bool, requires_grad: bool) -> None:
    g, v = ([x.detach().requires_grad_(requires_grad) for x in two(dtype)] for _ in range(2))
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    grad = torch.ones((), dtype=wide, requires_grad=requires_grad)
    derivatives = torch.ops.ganfast.norm_reduce(g, "centred", 1.0, 1.0, 0.0, pixel)[1].detach()
    checks = ["test_schema", "test_autograd_registration", "test_faketensor"]
    traced = [*checks, "test_aot_dispatch_dynamic"] if dtype == torch.float64 else checks
    check, namespace = torch.library.opcheck, torch.ops.ganfast
    check(namespace.norm_reduce.default, (g, "centred", 2.0, 1.0, 0.0, pixel), test_utils=traced)
    check(namespace.norm_reduce_backward.default, (grad, g, derivatives, pixel), test_utils=traced)
    check(
        namespace.norm_reduce_double_backward.default,
        (grad, g, v, derivatives, pixel),
        test_utils=checks if requires_grad else traced,
    )


@pytest.mark.compiled
def test_the_third_order_is_refused_with_a_sentence() -> None:
    g = two()
    first = torch.autograd.grad(ops.norm_reduce(g, "power", 1.0, 3.0), g, create_graph=True)
    second = torch.autograd.grad(sum(x.square().sum() for x in first), g, create_graph=True)
    with pytest.raises(NotImplementedError, match=r"norm_reduce: .*third order.*ganfast\.ref"):
        torch.autograd.grad(second[0].sum(), g[0])


def test_compiled_without_a_break() -> None:
    torch.compiler.reset()
    fast = torch.compile(
        lambda g: ops.norm_reduce([g], "centred", 10.0, 1.0), fullgraph=True, backend="aot_eager"
    )
    g = two()[0]
    torch.testing.assert_close(
        torch.autograd.grad(fast(g), g),
        torch.autograd.grad(ops.norm_reduce([g], "centred", 10.0, 1.0), g),
    )


@pytest.mark.compiled
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "unaligned", "permuted"])
def test_samples_that_are_one_block_of_memory_are_not_copied(layout: str) -> None:
    g = LAYOUTS[layout](randn(3, 4, 5, 2)).requires_grad_()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        (dg,) = torch.autograd.grad(ops.norm_reduce([g], "centred", 1.0, 1.0), g)
    copies = sum(event.name == "aten::copy_" for event in profile.events())
    assert copies == (2 if layout == "permuted" else 0)  # samples are interleaved there
    assert layout == "permuted" or dg.stride() == g.stride()


@pytest.mark.compiled
@pytest.mark.parametrize("pixel", [False, True])
def test_the_same_bits_every_time(pixel: bool, restored_threads: None) -> None:
    g = randn(7, 3, 100, 100, dtype=torch.float32).requires_grad_()
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        loss = ops.norm_reduce([g], "centred", 10.0, 1.0, 0.0, pixel)
        (dg,) = torch.autograd.grad(loss, g, create_graph=True)
        (second,) = torch.autograd.grad(dg, g, g.detach())
        results.append([bits(x) for x in (loss, dg, second)])
    assert results[0] == results[1] == results[2]


REFUSED = [
    (ValueError, r"g must hold at least one tensor", [], "square", False),
    (TypeError, r"g\[0\] must have dtype float64", [torch.ones(2, dtype=torch.int64)], "square",
     False),
    (TypeError, r"g\[1\] must have the dtype of g\[0\]", [torch.ones(2), torch.ones(2).half()],
     "square", False),
    (ValueError, r"g\[1\] must hold at least one element, got shape \[2, 0\]",
     [torch.ones(2), torch.ones(2, 0)], "square", False),
    (ValueError, r"g\[1\] must have the device of g\[0\]",
     [torch.ones(2), torch.ones(2, device="meta")], "square", False),
    (ValueError, r"g\[0\] must have at least 1 dimensions, the first of samples, got shape \[\]",
     [torch.ones(())], "square", False),
    (ValueError, r"g\[0\] must have at least 2 dimensions, samples and channels, got shape \[2\]",
     [torch.ones(2)], "square", True),
    (ValueError, r"g\[1\] must have the samples of g\[0\], of shape \[2, 3\], got shape \[3, 3\]",
     [torch.ones(2, 3), torch.ones(3, 3)], "square", False),
    (ValueError, r"g\[1\] must have the shape of g\[0\] but for the channels, \[2, 3, 4\], got "
     r"shape \[2, 3, 5\]", [torch.ones(2, 3, 4), torch.ones(2, 3, 5)], "square", True),
    (ValueError, r"g must hold at most 64 tensors, got 65", [torch.ones(1)] * 65, "square", False),
    (ValueError, r"phi must be one of centred one_sided square power maximum, got cube",
     [torch.ones(2)], "cube", False),
    (ValueError, r"pixel must be False for maximum", [torch.ones(2, 1)], "maximum", True),
]  # fmt: skip


@pytest.mark.parametrize(("error", "match", "g", "phi", "pixel"), REFUSED)
def test_what_is_refused(
    error: type[Exception], match: str, g: list[Tensor], phi: str, pixel: bool, road: str
) -> None:
    with pytest.raises(error, match=f"norm_reduce: {match}"):
        ops.norm_reduce(g, phi, 1.0, 0.0, 0.0, pixel)


@pytest.mark.compiled
def test_the_registered_backwards_refuse_what_does_not_fit() -> None:
    """As reading past the end of what they were given."""
    g, namespace = [torch.ones(3, 4)], torch.ops.ganfast
    grad, derivatives = torch.ones(()), torch.ones(2, 3)
    assert namespace.norm_reduce_backward(grad, g, derivatives, False)[0].shape == (3, 4)
    for wrong in (torch.ones(2, 2), torch.ones(6), torch.ones(2, 3).double(), torch.ones(3, 2).T):
        with pytest.raises(ValueError, match="derivatives must be those that norm_reduce returned"):
            namespace.norm_reduce_backward(grad, g, wrong, False)
        with pytest.raises(ValueError, match="derivatives must be those that norm_reduce returned"):
            namespace.norm_reduce_double_backward(grad, g, g, wrong, False)
    with pytest.raises(TypeError, match="grad must have dtype"):
        namespace.norm_reduce_backward(grad.double(), g, derivatives, False)
    with pytest.raises(ValueError, match=r"v\[0\] must have the device and shape"):
        namespace.norm_reduce_double_backward(grad, g, [torch.ones(3, 3)], derivatives, False)
