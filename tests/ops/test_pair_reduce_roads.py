"""pair_reduce: memory, what it refuses, and its way through torch's other machinery."""

import shutil

import pytest
import torch
import torch.nn.functional as F
from numerics import LAYOUTS, bits, generator
from ops.pair_functors import FUNCTORS
from torch import Tensor

from ganfast import ops

compiled = pytest.mark.compiled
compiler = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
each_functor = pytest.mark.parametrize("h", FUNCTORS)


def l1(x: Tensor, y: Tensor) -> Tensor:
    return ops.pair_reduce([x], [y], "l1", [2.0], [0.0], [0.0])


def laid_out(layout: str, seed: int, requires_grad: bool = False) -> Tensor:
    x = torch.randn(3, 4, 5, 2, generator=generator(seed))
    return LAYOUTS[layout](x).requires_grad_(requires_grad)


def allocated(x: Tensor, y: Tensor) -> int:
    """Bytes that the loss and its gradients allocate, freed ones included."""
    wanted = [t for t in (x, y) if t.requires_grad]
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        torch.autograd.grad(l1(x, y), wanted)
    return sum(max(event.self_cpu_memory_usage, 0) for event in profile.key_averages())


SMALL = 64  # bytes of scalars


@compiled
@pytest.mark.parametrize("layout", ["contiguous", "permuted", "channels_last", "unaligned"])
@pytest.mark.parametrize("both", [False, True])
def test_pairs_of_equal_strides_cost_their_gradients_alone(layout: str, both: bool) -> None:
    x, y = laid_out(layout, 0, True), laid_out(layout, 1, both)
    assert allocated(x, y) <= (1 + both) * x.nbytes + SMALL
    gradients = torch.autograd.grad(l1(x, y), [t for t in (x, y) if t.requires_grad])
    assert all(g.stride() == x.stride() for g in gradients)


@compiled
def test_nothing_but_the_inputs_is_saved() -> None:
    x, y = laid_out("contiguous", 0, True), laid_out("contiguous", 1)
    saved: list[int] = []

    def pack(t: Tensor) -> Tensor:
        saved.append(t.data_ptr())
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        l1(x, y)
    assert saved == [x.data_ptr(), y.data_ptr()]


@pytest.mark.parametrize("of_y", sorted(LAYOUTS))
@pytest.mark.parametrize("of_x", sorted(LAYOUTS))
def test_pairs_of_any_strides(of_x: str, of_y: str, road: str) -> None:
    x, y = laid_out(of_x, 0, True), laid_out(of_y, 1, True)
    dx, dy = torch.autograd.grad(l1(x, y), [x, y])
    expected = 2 * (x - y).sign() / x.numel()
    torch.testing.assert_close((dx, dy), (expected, -expected))
    torch.testing.assert_close(l1(x, y), 2 * (x - y).abs().mean())


def ones(*shapes: tuple[int, ...], **options: object) -> list[Tensor]:
    return [torch.ones(shape, **options) for shape in shapes]


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        ([], [], ValueError, "x must hold at least one tensor, got an empty list"),
        (ones((2,)), [], ValueError, "x and y must have the same number of tensors, got 1 and 0"),
        (
            ones((2,), (3, 1)),
            ones((2,), (3,)),
            ValueError,
            r"y\[1\] must have the shape of x\[1\], \[3, 1\], got \[3\]",
        ),
        (
            ones((2,), (3,)),
            ones((2,), ()),
            ValueError,
            r"y\[1\] must have the shape of x\[1\], \[3\], got \[\]",
        ),
        (
            ones((2,)),
            ones((2,), dtype=torch.float64),
            TypeError,
            r"y\[0\] must have the dtype of x\[0\], .*, got .*(Double|float64)",
        ),
        (
            ones((2,)),
            ones((2,), device="meta"),
            ValueError,
            r"y\[0\] must have the device of x\[0\], cpu, got meta",
        ),
        (
            ones((2, 0)),
            ones((2, 0)),
            ValueError,
            r"x\[0\] must hold at least one element, got shape \[2, 0\]",
        ),
        (
            ones((2,), dtype=torch.int64),
            ones((2,), dtype=torch.int64),
            TypeError,
            r"x\[0\] must have dtype float64, float32, float16 or bfloat16, got .*(Long|int64)",
        ),
        (
            ones((2,)) + ones((2,), dtype=torch.float16),
            ones((2,), (2,)),
            TypeError,
            r"x\[1\] must have the dtype of x\[0\]",
        ),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_what_is_refused(
    x: list[Tensor], y: list[Tensor], error: type[Exception], message: str, road: str
) -> None:
    numbers = [1.0] * len(x)
    with pytest.raises(error, match=f"^pair_reduce: {message}"):
        ops.pair_reduce(x, y, "l1", numbers, numbers, numbers)


@pytest.mark.parametrize("which", ["weight", "a", "b"])
def test_numbers_that_do_not_match_the_pairs(which: str, road: str) -> None:
    parameters = {"weight": [1.0], "a": [1.0], "b": [1.0], which: [1.0, 2.0]}
    with pytest.raises(ValueError, match="pair_reduce: weight, a and b must have one number"):
        ops.pair_reduce(ones((2,)), ones((2,)), "l1", **parameters)


def test_an_unknown_function(road: str) -> None:
    with pytest.raises(ValueError, match=r"pair_reduce: h must be one of l1.*hinge, got l3"):
        ops.pair_reduce(ones((2,)), ones((2,)), "l3", [1.0], [1.0], [1.0])


@compiler
@pytest.mark.parametrize(
    "backend",
    [
        "aot_eager",
        pytest.param(
            "inductor", marks=pytest.mark.skipif(not shutil.which("c++"), reason="no C++ compiler")
        ),
    ],
)
@pytest.mark.parametrize("through_the_op", [False, pytest.param(True, marks=compiled)])
def test_compiled_without_a_break(backend: str, through_the_op: bool) -> None:
    reduce = torch.ops.ganfast.pair_reduce if through_the_op else ops.pair_reduce

    def loss(x: Tensor, y: Tensor) -> Tensor:
        pairs = [x.tanh(), x.exp()], [y, y.detach()]
        return reduce(*pairs, "softplus", [1.0, 2.0], [-1.0, 1.0], [0.0, 0.0], False).square()

    def plainly(x: Tensor, y: Tensor) -> Tensor:
        value = F.softplus(y - x.tanh()).mean() + 2 * F.softplus(x.exp() - y.detach()).mean()
        return value.square()

    torch.compiler.reset()
    fast = torch.compile(loss, fullgraph=True, backend=backend, dynamic=True)
    for n in (5, 9):
        x, y = (torch.randn(n, 3, generator=generator(n + k)).requires_grad_() for k in (0, 1))
        value, expected = fast(x, y), plainly(x, y)
        torch.testing.assert_close(value, expected)
        torch.testing.assert_close(
            torch.autograd.grad(value, (x, y)), torch.autograd.grad(expected, (x, y))
        )


def test_func_grad_and_vmap(road: str) -> None:
    x, y = (torch.randn(3, 5, generator=generator(k)) for k in (0, 1))
    per_row = torch.func.vmap(torch.func.grad(l1))(x, y)
    torch.testing.assert_close(per_row, 2 * (x - y).sign() / 5)


@each_functor
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_autocast_changes_nothing(h: str, dtype: torch.dtype, road: str) -> None:
    x = torch.randn(100, generator=generator(0)).to(dtype).requires_grad_()
    y = torch.randn(100, generator=generator(1)).to(dtype)

    def loss_and_gradient() -> tuple[bytes, bytes]:
        loss = ops.pair_reduce([x], [y], h, [1.0], [0.5], [1.0])
        (dx,) = torch.autograd.grad(loss, x)
        assert dx.dtype == dtype
        return bits(loss), bits(dx)

    outside = loss_and_gradient()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert loss_and_gradient() == outside


def test_scaled_float16_gradients(road: str) -> None:
    """A gradient scaler's factor keeps gradients that float16 would lose."""
    n = 2**17  # 2 / n is subnormal in float16, 2**-26 is 0
    x = torch.ones(n, dtype=torch.float16, requires_grad=True)
    y = torch.zeros(n, dtype=torch.float16)
    loss = ops.pair_reduce([x], [y], "l1", [2.0**-9], [0.0], [0.0])
    (lost,) = torch.autograd.grad(loss, x, retain_graph=True)
    assert lost.count_nonzero() == 0
    (kept,) = torch.autograd.grad(loss * 65536.0, x)
    assert torch.equal(kept, torch.full_like(kept, 2.0**-10))
