"""upfirdn2d: values, gradients of every order, memory, errors."""

from types import ModuleType

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numerics import LAYOUTS, assert_accurate, bits, exact, generator
from ops.resampled import check, problems, resample
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from ganfast import ops, reference

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
each_module = pytest.mark.parametrize(
    ("module", "dtype"),
    [
        *(pytest.param(ops, dtype, marks=pytest.mark.compiled) for dtype in DTYPES),
        (reference, torch.float64),
    ],
    ids=[*map(str, DTYPES), "reference"],
)
UP = ((2, 2), (1, 1), (2, 1, 2, 1), False, 4.0)
DOWN = ((1, 1), (2, 2), (1, 1, 1, 1), False, 1.0)
BLUR = ((1, 1), (1, 1), (2, 2, 2, 2), False, 1.0)


def randn(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=generator(seed)).to(dtype)


def binomial() -> Tensor:
    f = torch.tensor([1.0, 3.0, 3.0, 1.0])
    return torch.outer(f, f) / 64


@each_module
@settings(max_examples=50)
@given(data=st.data())
def test_values_and_gradients(
    module: ModuleType, dtype: torch.dtype, device: str, data: st.DataObject
) -> None:
    problem = data.draw(problems(dtype, device))
    check(problem, module.upfirdn2d(problem.x, problem.f, *problem.options))


@pytest.mark.compiled
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("options", [UP, DOWN, BLUR], ids=["up", "down", "blur"])
@pytest.mark.parametrize("shape", [(2, 3, 257, 190), (1, 70, 65, 66), (3, 8, 9, 5000)], ids=str)
def test_images_of_many_tiles(shape: tuple[int, ...], options: tuple, layout: str) -> None:
    x, f = LAYOUTS[layout](randn(*shape)), binomial()
    wanted = resample(exact(x).reshape(shape), exact(f).reshape(4, 4), *options)
    y = ops.upfirdn2d(x, f, *options)
    assert y.shape == wanted.shape
    torch.testing.assert_close(y, torch.from_numpy(wanted.astype("float64")))


@pytest.mark.compiled
@pytest.mark.parametrize("options", [UP, DOWN, BLUR], ids=["up", "down", "blur"])
@pytest.mark.parametrize("dtype", DTYPES[1:], ids=str)
def test_no_less_exact_than_plain_torch(dtype: torch.dtype, options: tuple) -> None:
    x, f = randn(2, 8, 33, 40).to(dtype), binomial()
    wanted = resample(exact(x).reshape(x.shape), exact(f).reshape(4, 4), *options)
    size = resample(abs(exact(x)).reshape(x.shape), exact(f).reshape(4, 4), *options)
    # As StyleGAN's reference has it: the filter in the dtype of the images.
    up, down, padding, flip, gain = options
    plain = gain * reference._resample(x, f.to(dtype), up, down, padding, flip)
    got = ops.upfirdn2d(x, f, *options)
    assert_accurate(str(dtype), got, plain, wanted.ravel(), size.ravel())


@pytest.mark.parametrize("f", [binomial(), torch.tensor([1.0, 2.0, -0.5])], ids=["4x4", "3"])
@pytest.mark.parametrize(
    "options",
    [
        UP,
        DOWN,
        BLUR,
        ((1, 3), (2, 1), (-1, 2, 3, -2), True, 0.5),
        ((3, 2), (2, 3), (4,) * 4, False, 2.0),
    ],
)
def test_gradcheck(f: Tensor, options: tuple, route: str, device: str) -> None:
    x, f = randn(2, 2, 5, 6).to(device).requires_grad_(), f.to(device)
    assert gradcheck(lambda x: ops.upfirdn2d(x, f, *options), x)
    assert gradgradcheck(lambda x: ops.upfirdn2d(x, f, *options), x)


@pytest.mark.compiled
def test_the_fourth_order() -> None:
    x, f = randn(1, 2, 5, 6).requires_grad_(), binomial()
    orders = []
    for run in (ops.upfirdn2d, reference.upfirdn2d):
        y, found = run(x, f, *UP), []
        for _ in range(4):
            (y,) = torch.autograd.grad(y.sin().sum(), x, create_graph=True)
            found.append(y)
        orders.append(found)
    torch.testing.assert_close(*orders)


@pytest.mark.compiled
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "unaligned", "permuted"])
def test_both_layouts_are_taken_as_they_are(layout: str) -> None:
    x = LAYOUTS[layout](randn(3, 4, 5, 2)).requires_grad_()
    v, f = LAYOUTS[layout](randn(3, 4, 10, 4)), binomial()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        y = ops.upfirdn2d(x, f, *UP)
        (dx,) = torch.autograd.grad(y, x, v)
    copies = sum(event.name == "aten::copy_" for event in profile.events())
    assert copies == (2 if layout == "permuted" else 0)
    assert layout == "permuted" or (y.stride() == v.stride() and dx.stride() == x.stride())


@pytest.mark.compiled
def test_the_same_bits_every_time(restored_threads: None) -> None:
    x, found = randn(2, 5, 100, 90, dtype=torch.float32), []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append(bits(ops.upfirdn2d(x, binomial(), *UP)))
    assert found[0] == found[1] == found[2]


@pytest.mark.compiled
@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@each_dtype
def test_the_op_keeps_torchs_rules(dtype: torch.dtype, layout: str, requires_grad: bool) -> None:
    x = LAYOUTS[layout](randn(2, 3, 6, 5)).to(dtype).detach().requires_grad_(requires_grad)
    torch.library.opcheck(torch.ops.ganfast.upfirdn2d.default, (x, binomial(), *UP))


def test_compiled_without_a_break(route: str) -> None:
    torch.compiler.reset()
    fast = torch.compile(
        lambda x, f: ops.upfirdn2d(x, f, *DOWN), fullgraph=True, backend="aot_eager"
    )
    x, f = randn(3, 2, 9, 8).requires_grad_(), binomial()
    torch.testing.assert_close(fast(x, f), ops.upfirdn2d(x, f, *DOWN))


def test_no_image_in_no_image_out(route: str) -> None:
    x = torch.ones(0, 3, 4, 4).requires_grad_()
    y = ops.upfirdn2d(x, binomial(), *UP)
    assert y.shape == (0, 3, 8, 8)
    assert torch.autograd.grad(y.sum(), x)[0].shape == x.shape


X, F = torch.ones(2, 3, 4, 4), torch.ones(4, 4)
REFUSED = [
    (TypeError, "x must have dtype float64, float32, float16 or bfloat16, got", X.int(), F, {}),
    (ValueError, r"x must have shape .*, got \[3, 4, 4\]", X[0], F, {}),
    (TypeError, "f must have dtype float32, got", X, F.double(), {}),
    (ValueError, r"f must have shape .*, got \[1, 4, 4\]", X, F[None], {}),
    (ValueError, r"f must have shape .*, got \[0\]", X, F[0, :0], {}),
    (ValueError, "f must be on the device of x, cpu, got meta", X, F.to("meta"), {}),
    (ValueError, r"up must be two numbers >= 1, got \[2, 0\]", X, F, {"up": (2, 0)}),
    (ValueError, r"down must be two numbers >= 1, got \[2\]", X, F, {"down": (2,)}),
    (ValueError, r"padding must be four numbers .*, got \[1, 1\]", X, F, {"padding": (1, 1)}),
    (
        ValueError,
        "x must be at least as large as f after padding, got 4 x 3 for a filter of 4 x 4",
        X,
        F,
        {"padding": (0, -1, 0, 0)},
    ),
]


@pytest.mark.parametrize(("error", "match", "x", "f", "options"), REFUSED)
def test_what_is_refused(
    error: type[Exception], match: str, x: Tensor, f: Tensor, options: dict, route: str
) -> None:
    with pytest.raises(error, match=f"upfirdn2d: {match}"):
        ops.upfirdn2d(x, f, **options)


@pytest.mark.compiled
def test_no_gradient_of_the_filter() -> None:
    with pytest.raises(NotImplementedError, match="upfirdn2d: a gradient of f is not implemented"):
        ops.upfirdn2d(X, F.clone().requires_grad_(), *UP)
