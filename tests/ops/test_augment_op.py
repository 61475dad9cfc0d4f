"""augment: values, gradients of every order, memory, errors."""

from types import ModuleType

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numerics import LAYOUTS, assert_accurate, bits, exact, generator
from ops.augmented import ALL, DTYPES, PIECES, augment_plainly, check, problems
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from ganfast import ops, reference

each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def randn(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=generator(seed)).to(dtype)


def draws(samples: int, columns: int = 7) -> Tensor:
    u = torch.rand(samples, columns, generator=generator(1))
    u[:, 7:] -= 0.5
    return u


@pytest.mark.parametrize("pieces", PIECES)
@pytest.mark.parametrize(
    ("module", "dtype"),
    [*((ops, dtype) for dtype in DTYPES), (reference, torch.float64)],
    ids=[*map(str, DTYPES), "reference"],
)
@settings(max_examples=8)
@given(data=st.data())
def test_values_and_gradients(
    pieces: tuple[bool, ...],
    module: ModuleType,
    dtype: torch.dtype,
    device: str,
    data: st.DataObject,
) -> None:
    problem = data.draw(problems(dtype, device))
    check(problem, module.augment(problem.x, problem.u, *pieces), pieces)


@pytest.mark.compiled
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("mean", [0.0, 3.0])
@pytest.mark.parametrize("dtype", DTYPES[1:], ids=str)
def test_no_less_exact_than_plain_torch(dtype: torch.dtype, mean: float, layout: str) -> None:
    x = LAYOUTS[layout](randn(4, 3, 33, 40) + mean).to(dtype)
    v = LAYOUTS[layout](randn(4, 3, 33, 40, seed=2)).to(dtype)
    u = draws(4)

    def both(augment, x: Tensor) -> tuple[Tensor, Tensor]:
        x = x.detach().requires_grad_()
        y = augment(x, u, *ALL)
        return y, torch.autograd.grad(y, x, v.to(y.dtype))[0]

    expected = [exact(t) for t in both(augment_plainly, x.double())]
    plain = [t.to(dtype) for t in both(augment_plainly, x)]
    scales = (abs(exact(x)).max(), abs(exact(v)).max())
    for got, p, e, scale in zip(both(ops.augment, x), plain, expected, scales, strict=True):
        assert_accurate(str(dtype), got, p, e, abs(e) + scale * (dtype == torch.float32))


@pytest.mark.parametrize("pieces", PIECES[1:])
def test_gradcheck(pieces: tuple[bool, ...], route: str, device: str) -> None:
    x, u = randn(3, 2, 5, 4).to(device).requires_grad_(), draws(3, 8).to(device)
    assert gradcheck(lambda x: ops.augment(x, u, *pieces), x)
    assert gradgradcheck(lambda x: ops.augment(x, u, *pieces), x)


@pytest.mark.compiled
@pytest.mark.parametrize("adjoint", [False, True])
def test_each_linear_map_is_the_gradient_of_the_other(adjoint: bool) -> None:
    x, u = randn(3, 2, 5, 4).requires_grad_(), draws(3)
    linear = torch.ops.ganfast.augment_linear
    assert gradcheck(lambda x: linear(x, u, *ALL, adjoint), x)
    assert gradgradcheck(lambda x: linear(x, u, *ALL, adjoint), x)
    v = randn(3, 2, 5, 4, seed=3)
    inner = (linear(x, u, *ALL, adjoint) * v).sum()
    torch.testing.assert_close(inner, (x * linear(v, u, *ALL, not adjoint)).sum())
    torch.testing.assert_close(
        linear(x, u, *ALL, False), ops.augment(x, u, *ALL) - ops.augment(0 * x, u, *ALL)
    )


def test_whole_numbers_are_drawn_evenly(route: str) -> None:
    """Each shift, and each place of the box, from as many of the equally likely u."""
    u = torch.arange(1024) / 1024
    for side in (1, 3, 4, 31, 32):
        most, size = int(side * 0.125 + 0.5), int(side * 0.5 + 0.5)
        shifts, counts = reference.drawn_shift(u, side).unique(return_counts=True)
        assert shifts.tolist() == list(range(-most, most + 1))
        assert counts.max() - counts.min() <= 1
        begin, end = reference.drawn_cut(u, side)
        assert (end - begin == size).all()
        places, counts = (begin + size // 2).unique(return_counts=True)
        assert places.tolist() == list(range(side + 1 - size % 2))
        assert counts.max() - counts.min() <= 1


def test_what_is_cut_or_shifted_out_is_zero_whatever_it_was(route: str) -> None:
    u = torch.full((1, 7), 0.5)
    x = torch.full((1, 2, 8, 8), torch.nan)
    y = ops.augment(x, u, False, False, True)
    assert y.isnan().sum() == 2 * (64 - 16)
    assert (y.isnan() | (y == 0)).all()
    u[:, 3] = 0
    y = ops.augment(x, u, False, True, False)
    assert (y[:, :, 0] == 0).all()
    assert y[:, :, 1:].isnan().all()


def test_a_sample_left_alone_is_left_as_it_is(route: str) -> None:
    x, u = randn(2, 3, 4, 4), draws(2, 8)
    x[0] = torch.inf
    u[:, 7] = torch.tensor([0.0, -1e-9])
    y = ops.augment(x, u, *ALL)
    assert torch.equal(y[0], x[0])
    assert not torch.equal(y[1], x[1])


@pytest.mark.compiled
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "unaligned", "permuted"])
def test_both_layouts_are_taken_as_they_are(layout: str) -> None:
    x = LAYOUTS[layout](randn(3, 4, 5, 2)).requires_grad_()
    v, u = LAYOUTS[layout](randn(3, 4, 5, 2)), draws(3)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        y = ops.augment(x, u, *ALL)
        (dx,) = torch.autograd.grad(y, x, v)
    copies = sum(event.name == "aten::copy_" for event in profile.events())
    assert copies == (2 if layout == "permuted" else 0)
    assert layout == "permuted" or y.stride() == dx.stride() == x.stride()


@pytest.mark.compiled
@pytest.mark.parametrize("samples", [1, 7])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_the_same_bits_every_time(samples: int, layout: str, restored_threads: None) -> None:
    x = LAYOUTS[layout](randn(samples, 3, 200, 100, dtype=torch.float32)).requires_grad_()
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        y = ops.augment(x, draws(samples), *ALL)
        results.append((bits(y), bits(torch.autograd.grad(y, x, x)[0])))
    assert results[0] == results[1] == results[2]


@pytest.mark.compiled
@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize("channels_last", [False, True])
@each_dtype
def test_the_ops_keep_torchs_rules(
    dtype: torch.dtype, channels_last: bool, requires_grad: bool
) -> None:
    x = LAYOUTS["channels_last" if channels_last else "contiguous"](randn(2, 3, 6, 5)).to(dtype)
    arguments = (x.detach().requires_grad_(requires_grad), draws(2), *ALL)
    namespace = torch.ops.ganfast
    torch.library.opcheck(namespace.augment.default, arguments)
    torch.library.opcheck(namespace.augment_linear.default, (*arguments, True))


def test_compiled_without_a_break(route: str) -> None:
    torch.compiler.reset()
    fast = torch.compile(lambda x, u: ops.augment(x, u, *ALL), fullgraph=True, backend="aot_eager")
    x, u = randn(3, 2, 9, 8).requires_grad_(), draws(3)
    v = randn(3, 2, 9, 8, seed=1)
    torch.testing.assert_close(fast(x, u), ops.augment(x, u, *ALL))
    torch.testing.assert_close(
        torch.autograd.grad(fast(x, u), x, v), torch.autograd.grad(ops.augment(x, u, *ALL), x, v)
    )


X, U = torch.ones(2, 3, 4, 4), torch.rand(2, 7)
REFUSED = [
    (TypeError, "x must have dtype float64, float32, float16 or bfloat16, got", X.int(), U),
    (ValueError, r"x must have shape .*, got \[3, 4, 4\]", X[0], U),
    (ValueError, r"x must have shape .* none of them 0, got \[2, 0, 4, 4\]", X[:, :0], U),
    (TypeError, "u must have dtype float32, got", X, U.double()),
    (ValueError, r"u must have shape \(2, 7\) or \(2, 8\), got \[2, 6\]", X, U[:, :6]),
    (ValueError, r"u must have shape \(2, 7\) or \(2, 8\), got \[1, 7\]", X, U[:1]),
    (ValueError, "u must be on the device of x, cpu, got meta", X, U.to("meta")),
]


@pytest.mark.parametrize(("error", "match", "x", "u"), REFUSED)
def test_what_is_refused(
    error: type[Exception], match: str, x: Tensor, u: Tensor, route: str
) -> None:
    with pytest.raises(error, match=f"augment: {match}"):
        ops.augment(x, u, *ALL)


@pytest.mark.compiled
def test_the_registered_backward_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="augment: the arguments must fit"):
        torch.ops.ganfast.augment_linear(X, U[:1], *ALL, True)
