"""bias_act: values, gradients of every order, memory, errors."""

import math
from functools import partial
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from numerics import LAYOUTS, assert_accurate, bits, exact, generator
from ops.biased import CURVED, EQUATIONS, check, problems
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from ganfast import ops, reference

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
each_act = pytest.mark.parametrize("act", EQUATIONS)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
each_module = pytest.mark.parametrize(
    ("module", "dtype"),
    [
        *(pytest.param(ops, dtype, marks=pytest.mark.compiled) for dtype in DTYPES),
        (reference, torch.float64),
    ],
    ids=[*map(str, DTYPES), "reference"],
)


def randn(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=generator(seed)).to(dtype)


@each_act
@each_module
@settings(max_examples=12)
@given(data=st.data())
def test_values_and_gradients(
    act: str, module: ModuleType, dtype: torch.dtype, device: str, data: st.DataObject
) -> None:
    problem = data.draw(problems(dtype, device))
    y = module.bias_act(problem.x, problem.b, problem.dim, *problem.arguments(act))
    check(act, problem, y)


@pytest.mark.compiled
@each_act
def test_the_tails(act: str) -> None:
    """Far from 0 and near it, relative to each value's own size."""
    for dtype, most in ((torch.float64, 1e-14), (torch.float32, 1e-6)):
        size = torch.logspace(-6, 1.9, 500, dtype=torch.float64)
        x = torch.cat([-size, size]).to(dtype)
        wanted = EQUATIONS[act](exact(x), 0.2)[0]
        error = abs(exact(ops.bias_act(x, act=act, gain=1)) - wanted)
        assert (error <= most * abs(wanted) + 1e-30).all()


def test_what_is_not_finite(route: str) -> None:
    x = torch.tensor([math.nan, math.inf, -math.inf])
    for act in EQUATIONS:
        y = ops.bias_act(x, act=act, clamp=2.0)
        assert y[0].isnan()
        assert y[1] == min(2.0, ops.ACTIVATIONS[act].gain * float(EQUATIONS[act](9.0, 0.2)[0])) or (
            act in ("tanh", "sigmoid") and y[1] == 1
        )
    assert ops.bias_act(x, act="relu").tolist()[1:] == [math.inf, 0.0]


def test_the_defaults(route: str) -> None:
    x = randn(3, 4)
    torch.testing.assert_close(ops.bias_act(x, act="lrelu"), F.leaky_relu(x, 0.2) * 2**0.5)
    torch.testing.assert_close(ops.bias_act(x, act="swish"), F.silu(x) * 2**0.5)
    torch.testing.assert_close(ops.bias_act(x, act="elu"), F.elu(x))
    torch.testing.assert_close(ops.bias_act(x), x)
    assert ops.bias_act(x, act="relu", gain=0).eq(0).all()


@each_dtype
@pytest.mark.parametrize("act", ["lrelu", "swish"])
def test_what_is_equal_to_the_clamp_counts_as_clipped(
    act: str, dtype: torch.dtype, route: str
) -> None:
    """Also where the clamp is no number of the dtype: 181.02 is 181 in float16."""
    clamp = 256 * math.sqrt(0.5)
    x = torch.tensor([1.0, 1e4, -1e6], dtype=dtype).requires_grad_()
    y = ops.bias_act(x, act=act, gain=1, clamp=clamp)
    assert y[1] == torch.tensor(clamp, dtype=dtype)
    (dx,) = torch.autograd.grad(y.sum(), x)
    assert dx[0] != 0
    assert dx[1] == 0
    x = torch.tensor([2.0, -2.0], dtype=dtype).requires_grad_()
    (dx,) = torch.autograd.grad(ops.bias_act(x, clamp=2).sum(), x)
    assert dx.eq(0).all()


@pytest.mark.parametrize("clamp", [None, 0.9])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize(("act", "alpha"), [*((act, 0.2) for act in EQUATIONS), ("lrelu", -0.5)])
def test_gradcheck(
    act: str, biased: bool, clamp: float | None, alpha: float, route: str, device: str
) -> None:
    x, b = (randn(*s).to(device).requires_grad_() for s in ((3, 4, 5), (4,)))
    inputs = (x, b) if biased else (x,)
    run = partial(_run, act=act, alpha=alpha, gain=1.3, clamp=clamp)
    assert gradcheck(run, inputs)
    assert gradgradcheck(run, inputs)


def _run(x: Tensor, b: Tensor | None = None, **options: object) -> Tensor:
    return ops.bias_act(x, b, 1, **options)  # type: ignore[arg-type]


@pytest.mark.compiled
@pytest.mark.parametrize("act", ["linear", "relu", "lrelu"])
def test_the_third_and_fourth_order_of_what_is_piecewise_linear(act: str) -> None:
    x = randn(3, 4, 5).requires_grad_()
    v = [randn(3, 4, 5, seed=k).requires_grad_() for k in range(3)]
    orders = []
    for activation in (partial(ops.bias_act), partial(reference.bias_act)):
        b = randn(4, seed=9).requires_grad_()
        y = activation(x, b, 1, act, 0.2, 1.5, 1.2)
        dx, db = torch.autograd.grad(y, (x, b), v[0], create_graph=True)
        (d0,) = torch.autograd.grad((dx * v[1]).sum() + (db**2).sum(), v[0], create_graph=True)
        (d1,) = torch.autograd.grad((d0 * v[2]).sum(), v[1], create_graph=True)
        (d2,) = torch.autograd.grad((d1**2).sum(), v[2])
        orders.append([dx, db, d0, d1, d2])
    for got, expected in zip(*orders, strict=True):
        torch.testing.assert_close(got, expected)


@pytest.mark.compiled
@pytest.mark.parametrize("act", CURVED)
def test_the_third_order_of_the_others_raises_a_sentence(act: str) -> None:
    x = randn(3, 4).requires_grad_()
    (dx,) = torch.autograd.grad(ops.bias_act(x, act=act).sum(), x, create_graph=True)
    (d2x,) = torch.autograd.grad(dx.sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match=f"third order .* for {act}"):
        torch.autograd.grad(d2x.sum(), x)


@pytest.mark.compiled
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("dtype", DTYPES[1:], ids=str)
@each_act
def test_no_less_exact_than_plain_torch(act: str, dtype: torch.dtype, layout: str) -> None:
    x = LAYOUTS[layout](randn(4, 32, 33, 40)).to(dtype)
    v, b = LAYOUTS[layout](randn(4, 32, 33, 40, seed=2)).to(dtype), randn(32, seed=3).to(dtype)

    def plainly(x: Tensor, b: Tensor) -> Tensor:
        y = reference.ACTIVATIONS[act](x + b.view(-1, 1, 1), 0.2)
        return (y * 2**0.5).clamp(-2.5, 2.5)

    def both(run, x: Tensor, b: Tensor) -> tuple[Tensor, ...]:
        x, b = x.detach().requires_grad_(), b.detach().requires_grad_()
        y = run(x, b)
        return y, *torch.autograd.grad(y, (x, b), v.to(y.dtype))

    wanted = [exact(t) for t in both(plainly, x.double(), b.double())]
    plain = both(plainly, x, b)
    got = both(lambda x, b: ops.bias_act(x, b, 1, act, 0.2, 2**0.5, 2.5), x, b)
    size = 2**0.5 * abs(exact(v)).reshape(4, 32, 33, 40)
    sizes = [abs(wanted[0]) + 2**0.5 * abs(exact(b)).max(), size.ravel(), size.sum((0, 2, 3))]
    # Elements within a rounding of the clamp pass their gradient on one side of it alone.
    away = abs(abs(wanted[0]) - 2.5) > 8 * torch.finfo(dtype).eps
    for g, p, e, s, every in zip(got, plain, wanted, sizes, (1, 1, 0), strict=True):
        if every:
            keep = torch.from_numpy(away)
            g, p = g.contiguous().flatten()[keep], p.contiguous().flatten()[keep]
            e, s = e[away], s[away]
        assert_accurate(f"{act} {dtype}", g, p, e, s)


@pytest.mark.compiled
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "unaligned", "permuted"])
@pytest.mark.parametrize("act", ["lrelu", "swish"])
def test_dense_layouts_are_taken_as_they_are(act: str, layout: str) -> None:
    x = LAYOUTS[layout](randn(3, 4, 5, 2)).requires_grad_()
    v, b = LAYOUTS[layout](randn(3, 4, 5, 2)), randn(4).requires_grad_()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        y = ops.bias_act(x, b, act=act)
        dx, _ = torch.autograd.grad(y, (x, b), v)
    assert not any(event.name == "aten::copy_" for event in profile.events())
    assert y.stride() == dx.stride() == x.stride()


@pytest.mark.compiled
@pytest.mark.parametrize("act", EQUATIONS)
@pytest.mark.parametrize("biased", [False, True])
def test_what_the_graph_holds(act: str, biased: bool) -> None:
    """The result itself, for swish x and b, and where the slope is constant nothing."""
    x, b = randn(3, 4).requires_grad_(), randn(4).requires_grad_() if biased else None
    held = []

    def keep(t: Tensor) -> Tensor:
        held.append(t)
        return t

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        y = ops.bias_act(x, b, act=act)
    pointers = {t.data_ptr() for t in held}
    own = {"linear": [], "swish": [x] if b is None else [x, b]}.get(act, [y])
    assert pointers == {t.data_ptr() for t in own}


@pytest.mark.compiled
@pytest.mark.parametrize("shape", [(1, 3, 200, 100), (7, 33, 40, 50), (2000, 48), (8, 512, 4, 4)])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_the_same_bits_every_time(
    layout: str, shape: tuple[int, ...], restored_threads: None
) -> None:
    x = LAYOUTS[layout](randn(*shape, dtype=torch.float32)).requires_grad_()
    b = randn(shape[1], dtype=torch.float32).requires_grad_()
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        y = ops.bias_act(x, b, act="lrelu")
        found.append((bits(y), *map(bits, torch.autograd.grad(y, (x, b), x))))
    assert found[0] == found[1] == found[2]


@pytest.mark.compiled
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("act", ["lrelu", "tanh", "swish"])
@each_dtype
def test_the_ops_keep_torchs_rules(dtype: torch.dtype, act: str, layout: str) -> None:
    def tensor(*shape: int) -> Tensor:
        return LAYOUTS[layout](randn(*shape)).to(dtype).detach().requires_grad_()

    x, b, options = tensor(2, 3, 6, 5), tensor(3), (1, act, 0.2, 1.5, 1.0)
    namespace = torch.ops.ganfast
    torch.library.opcheck(namespace.bias_act.default, (x, b, *options))
    of_input = b if act == "swish" else None
    arguments = (tensor(2, 3, 6, 5), x, of_input)
    torch.library.opcheck(namespace.bias_act_backward.default, (*arguments, *options, True))
    cotangents = (tensor(2, 3, 6, 5), tensor(3))
    # Third derivatives are not implemented.
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    if act == "lrelu":
        tests = (*tests, "test_aot_dispatch_dynamic")
        arguments = (None, *arguments[1:])
    torch.library.opcheck(
        namespace.bias_act_double_backward.default,
        (*arguments, *cotangents, *options),
        test_utils=tests,
    )


def test_compiled_without_a_break(route: str) -> None:
    torch.compiler.reset()
    run = partial(ops.bias_act, act="lrelu", clamp=0.5)
    fast = torch.compile(run, fullgraph=True, backend="aot_eager")
    x, b = randn(3, 2, 9, 8).requires_grad_(), randn(2).requires_grad_()
    v = randn(3, 2, 9, 8, seed=1)
    torch.testing.assert_close(fast(x, b), run(x, b))
    torch.testing.assert_close(
        torch.autograd.grad(fast(x, b), (x, b), v), torch.autograd.grad(run(x, b), (x, b), v)
    )


@pytest.mark.parametrize("act", ["lrelu", "swish"])
def test_nothing_in_nothing_out(act: str, route: str) -> None:
    x, b = torch.ones(0, 3, 4, 4).requires_grad_(), torch.ones(3).requires_grad_()
    y = ops.bias_act(x, b, act=act)
    assert y.shape == x.shape
    dx, db = torch.autograd.grad(y.sum(), (x, b))
    assert dx.shape == x.shape
    assert db.tolist() == [0, 0, 0]


X, B = torch.ones(2, 3, 4, 4), torch.ones(3)
REFUSED = [
    (TypeError, "x must have dtype float64, float32, float16 or bfloat16, got", X.int(), B, {}),
    (TypeError, "b must have the dtype of x, .*, got", X, B.double(), {}),
    (ValueError, r"b must have shape \(3\), got \[4\]", X, torch.ones(4), {}),
    (ValueError, r"b must have shape \(3\), got \[3, 1\]", X, B[:, None], {}),
    (ValueError, "b must be on the device of x, cpu, got meta", X, B.to("meta"), {}),
    (ValueError, "dim must be one of the 4 dimensions of x, got 4", X, B, {"dim": 4}),
    (ValueError, "dim must be one of the 4 dimensions of x, got -1", X, B, {"dim": -1}),
    (ValueError, "act must be linear, relu, .* softplus or swish, got gelu", X, B, {"act": "gelu"}),
    (ValueError, "clamp must be None or >= 0, got -1", X, B, {"clamp": -1}),
    (ValueError, "clamp must be None or >= 0, got nan", X, B, {"clamp": math.nan}),
]


@pytest.mark.parametrize(("error", "match", "x", "b", "options"), REFUSED)
def test_what_is_refused(
    error: type[Exception], match: str, x: Tensor, b: Tensor, options: dict[str, int], route: str
) -> None:
    with pytest.raises(error, match=f"bias_act: {match}"):
        ops.bias_act(x, b, **options)  # type: ignore[arg-type]


@pytest.mark.compiled
def test_the_registered_backward_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="bias_act: the arguments must fit"):
        torch.ops.ganfast.bias_act_backward(X[:1], X, None, 1, "lrelu", 0.2, 1.0, None, False)
