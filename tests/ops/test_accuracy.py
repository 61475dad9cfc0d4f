"""Value, gradient and second gradient of every list op, against exact values."""

from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numerics import ENOUGH, SEEDS, assert_accurate, exact, generator
from ops import norms
from ops.functors import DTYPES, FUNCTORS
from ops.lists import KINDS, check_all_orders, flat_plainly, problems

from ganfast import ops, reference

each_functor = pytest.mark.parametrize("f", FUNCTORS)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
each_kind = pytest.mark.parametrize(("family", "f", "subtrahend"), KINDS)
each_norm = pytest.mark.parametrize(("phi", "a", "b", "pixel"), norms.CASES)


@each_functor
def test_the_exact_values_are_those_of_plain_torch(f: str) -> None:
    functor = FUNCTORS[f]
    x = functor.domain(torch.linspace(-3, 3, 301, dtype=torch.float64)).requires_grad_()
    for a, b in ((1.0, 1.0), (0.0, 0.25)):
        value = functor.plain(x, a, b) + 0 * x.square()  # so that linear ones have a second order
        ones = torch.ones_like(value)
        (df,) = torch.autograd.grad(value, x, ones, create_graph=True)
        (d2f,) = torch.autograd.grad(df, x, ones)
        for plain, formula in zip((value, df, d2f), functor.exact, strict=True):
            np.testing.assert_allclose(exact(plain), formula(exact(x), a, b), 1e-5, 1e-9)


@pytest.mark.parametrize(
    ("module", "dtypes"),
    [*((ops, [dtype]) for dtype in DTYPES), (reference, DTYPES)],
    ids=[*map(str, DTYPES), "reference"],
)
@each_kind
@settings(max_examples=5)
@given(data=st.data())
def test_all_orders(
    family: str,
    f: str,
    subtrahend: str,
    module: ModuleType,
    dtypes: list[torch.dtype],
    device: str,
    data: st.DataObject,
) -> None:
    dtype = data.draw(st.sampled_from(dtypes))
    check_all_orders(module, data.draw(problems(family, f, subtrahend, dtype, device)))


@pytest.mark.parametrize("module", [ops, reference], ids=["op", "reference"])
@each_norm
@settings(max_examples=10)
@given(data=st.data())
def test_all_orders_of_norms(
    phi: str, a: float, b: float, pixel: bool, module: ModuleType, device: str, data: st.DataObject
) -> None:
    problem = data.draw(norms.problems(data.draw(st.sampled_from(DTYPES)), pixel, device))
    norms.check_all_orders(module.norms, problem, phi, a, b, pixel)


@each_functor
@each_dtype
@settings(max_examples=2)
@given(data=st.data())
def test_tensors_of_one_element(f: str, dtype: torch.dtype, data: st.DataObject) -> None:
    """As many lists of one 0-dim tensor as it takes for the rule."""
    functor = FUNCTORS[f]
    a, b = data.draw(functor.a), data.draw(functor.b)
    random = generator(data.draw(SEEDS))
    x = functor.domain(torch.randn(ENOUGH, dtype=torch.float64, generator=random)).to(dtype)
    parameters = (f, [1.0], [a], [b])
    got = [ops.flat([xi], *parameters) for xi in x]
    plain = [flat_plainly([xi], *parameters) for xi in x]
    value, derivative, _ = (formula(exact(x), a, b) for formula in functor.exact)
    assert_accurate("loss", got, plain, value, np.maximum(abs(value), abs(exact(x) * derivative)))


#: Parameters a and b of functors at arguments far from zero.
TAILS = [
    *(("softplus", a, 0.0) for a in (-1.0, 1.0)),
    *(("bce_with_logits", a, 0.0) for a in (0.0, 0.5, 1.0)),
    *((f, a, 1.0) for f in ("hinge", "squared_hinge") for a in (-1.0, 1.0)),
    *((f, 0.5, 0.0) for f in ("square", "identity", "l1")),
]


@pytest.mark.parametrize(("f", "a", "b"), TAILS)
def test_small_values_keep_their_digits(f: str, a: float, b: float) -> None:
    """Each element of 1 <= |x| <= 100 alone: in a mean, large ones would hide it."""
    positive = torch.logspace(0, 2, 400)
    x = torch.cat([-positive.flip(0), positive]).requires_grad_()
    n = len(x)
    terms = ops.flat(x.unbind(), f, [1.0] * n, [a] * n, [b] * n, per_term=True)
    (df,) = torch.autograd.grad(terms.sum(), x, create_graph=True)
    d2f = torch.autograd.grad(df.sum(), x)[0] if df.requires_grad else torch.zeros(n)
    eps = torch.finfo(torch.float32).eps
    for order, (got, formula) in enumerate(zip((terms, df, d2f), FUNCTORS[f].exact, strict=True)):
        expected = formula(exact(x), a, b)
        normal = np.abs(expected) >= torch.finfo(torch.float32).tiny
        error = np.abs(exact(got) - expected)
        assert (error[normal] <= 4 * eps * np.abs(expected[normal])).all(), order
        assert (error <= torch.finfo(torch.float32).tiny)[~normal].all(), order


@pytest.mark.parametrize(("f", "a"), [("softplus", 1.0), ("bce_with_logits", 0.0)])
def test_the_reference_keeps_small_values(f: str, a: float) -> None:
    x = torch.linspace(-80, -1, 100)
    got = reference.flat(x.unbind(), f, [1.0] * 100, [a] * 100, [0.0] * 100, per_term=True)
    torch.testing.assert_close(got.double(), torch.log1p(x.double().exp()), rtol=1e-6, atol=0.0)


@pytest.mark.compiled
def test_a_sum_of_float32_loses_nothing_where_terms_cancel() -> None:
    for numbers, mean in (([1e8, 1, -1e8, 1], 0.5), ([3e38, 3e38, -3e38, -3e38], 0.0)):
        x = torch.tensor(numbers)
        assert float(ops.flat([x], "identity", [1.0], [0.0], [0.0])) == mean
        _, stats = ops.flat_with_stats([x], "identity", [1.0], [0.0], [0.0], 0.0)
        assert float(stats[0, 1]) == mean


@pytest.mark.compiled
@pytest.mark.parametrize("shape", [(), (4,)])
def test_nor_does_the_gradient_of_what_repeats(shape: tuple[int, ...]) -> None:
    column = torch.tensor([1e8, 1, -1e8, 1])
    x = column[:, None].expand(4, 4).contiguous()
    y = torch.zeros(shape, requires_grad=True)
    loss = ops.flat([x], "square", [x.numel() / 2], [0.0], [0.0], [y])
    (dy,) = torch.autograd.grad(loss, y)
    assert torch.equal(dy, torch.full_like(dy, -8 if shape == () else -2))


@pytest.mark.parametrize("n", [4096, 2_000_000])
def test_a_float64_sum_is_as_accurate_as_torch(n: int) -> None:
    got, plain = [], []
    for seed in range(10):
        x = torch.rand(n, dtype=torch.float64, generator=generator(seed))
        mean = exact(x).mean()
        got.append(exact(ops.flat([x], "identity", [1.0], [0.0], [0.0])) - mean)
        plain.append(exact(x.mean()) - mean)
    error, error_of_plain = (float(np.sqrt(np.mean(np.square(e)))) for e in (got, plain))
    assert error <= 2 * error_of_plain + 0.5 * 2.0**-53


@each_dtype
def test_every_two_byte_number_is_read_and_written_exactly(dtype: torch.dtype, device: str) -> None:
    numbers = torch.arange(-(2**15), 2**15).to(torch.int16)
    x = numbers.view(dtype) if dtype.itemsize == 2 else numbers.to(dtype) / 3
    x = x[x.isfinite()].to(device).requires_grad_()
    (dx,) = torch.autograd.grad(ops.flat([x], "square", [x.numel()], [0.0], [0.0]), x)
    assert torch.equal(dx, 2 * x)


@each_dtype
@settings(max_examples=30)
@given(weight=st.floats(allow_nan=False, width=32), n=st.integers(1, 5))
def test_a_gradient_is_rounded_to_nearest_once(dtype: torch.dtype, weight: float, n: int) -> None:
    x = torch.ones(n, dtype=dtype, requires_grad=True)
    (dx,) = torch.autograd.grad(ops.flat([x], "identity", [weight], [0.0], [0.0]), x)
    computed = torch.tensor(weight / n, dtype=torch.float64)
    if dtype != torch.float64:  # half types are computed in float32
        computed = computed.float()
    assert torch.equal(dx, computed.to(dtype).expand(n))


def test_norms_of_half_types_are_summed_in_float32(route: str) -> None:
    x = torch.full((2, 60_000), 1.0, dtype=torch.float16)
    assert ops.norms([x * 30], "square") == 60_000 * 900
    assert ops.norms([x], "square").dtype == torch.float32
