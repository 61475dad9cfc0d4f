"""unary_reduce inside torch.compile, torch.func, forward-mode differentiation and autocast."""

import shutil
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from numerics import bits, generator
from ops.unary_functors import FUNCTORS
from torch import Tensor
from torch.autograd import forward_ad

from ganfast import ops

# Compiled kernels have nothing to do with the warnings of torch's own compiler.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

BACKENDS = [
    "aot_eager",
    pytest.param(
        "inductor", marks=pytest.mark.skipif(not shutil.which("c++"), reason="no C++ compiler")
    ),
]


def through_the_function(real: Tensor, fake: Tensor) -> Tensor:
    return ops.unary_reduce([real, fake], "softplus", [1.0, 1.0], [-1.0, 1.0], [0.0, 0.0])


def through_the_op(real: Tensor, fake: Tensor) -> Tensor:
    return torch.ops.ganfast.unary_reduce(
        [real, fake], "softplus", [1.0, 1.0], [-1.0, 1.0], [0.0, 0.0]
    )


def plainly(real: Tensor, fake: Tensor) -> Tensor:
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def trained(loss: Callable[[Tensor, Tensor], Tensor], n: int) -> tuple[Tensor, Tensor, Tensor]:
    """A loss around ops that a compiler may fuse with it, with gradients."""
    random = generator(n)
    w = torch.randn(8, generator=random, requires_grad=True)
    x = torch.randn(n, 8, generator=random, requires_grad=True)
    value = loss(torch.tanh(x @ w), x.square() @ w)
    return value.detach(), *torch.autograd.grad(value, (w, x))


@pytest.mark.parametrize("backend", BACKENDS)
def test_compiled_without_a_break(backend: str) -> None:
    torch.compiler.reset()
    fast = torch.compile(through_the_function, fullgraph=True, backend=backend, dynamic=True)
    for n in (5, 9, 64):
        torch.testing.assert_close(trained(fast, n), trained(plainly, n))


@pytest.mark.compiled
@pytest.mark.parametrize("dynamic", [False, True])
def test_the_registered_op_compiled_without_a_break(dynamic: bool) -> None:
    torch.compiler.reset()
    fast = torch.compile(through_the_op, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    for n in (5, 9):
        torch.testing.assert_close(trained(fast, n), trained(plainly, n))


def softplus(x: Tensor) -> Tensor:
    return ops.unary_reduce([x], "softplus", [2.0], [-1.0], [0.0])


@pytest.fixture
def x() -> Tensor:
    return torch.randn(3, 5, dtype=torch.float64, generator=generator(0))


def test_func_grad(x: Tensor, road: str) -> None:
    torch.testing.assert_close(torch.func.grad(softplus)(x), -2 * torch.sigmoid(-x) / 15)


def test_func_vmap(x: Tensor, road: str) -> None:
    expected = 2 * F.softplus(-x).mean(dim=1)
    torch.testing.assert_close(torch.func.vmap(softplus)(x), expected)
    per_row = torch.func.vmap(torch.func.grad(softplus))(x)
    torch.testing.assert_close(per_row, -2 * torch.sigmoid(-x) / 5)


def test_func_hessian(x: Tensor, road: str) -> None:
    s = torch.sigmoid(x[0])
    hessian = torch.func.hessian(softplus)(x[0])
    torch.testing.assert_close(hessian, torch.diag(2 * s * (1 - s) / 5))


@pytest.mark.parametrize("f", FUNCTORS)
def test_forward_mode(f: str, x: Tensor, road: str) -> None:
    def loss(x: Tensor) -> Tensor:
        return ops.unary_reduce([x], f, [2.0], [0.5], [0.25])

    x, tangent = FUNCTORS[f].domain(x), torch.linspace(-1, 1, 15, dtype=x.dtype).view(3, 5)
    (gradient,) = torch.autograd.grad(loss(x.requires_grad_()), x)
    expected = (gradient * tangent).sum()
    x = x.detach()
    torch.testing.assert_close(torch.func.jvp(loss, (x,), (tangent,))[1], expected)
    with forward_ad.dual_level():
        dual = forward_ad.unpack_dual(loss(forward_ad.make_dual(x, tangent)))
        torch.testing.assert_close(dual.tangent, expected)


@pytest.mark.parametrize("f", FUNCTORS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_autocast_changes_nothing(f: str, dtype: torch.dtype, road: str) -> None:
    """Binary cross-entropy of probabilities included, which torch refuses under autocast."""

    def loss_and_gradient() -> tuple[bytes, bytes]:
        x = FUNCTORS[f].domain(torch.randn(100, generator=generator(0))).to(dtype).requires_grad_()
        loss = ops.unary_reduce([x], f, [1.0], [0.5], [1.0])
        (dx,) = torch.autograd.grad(loss, x)
        assert dx.dtype == dtype
        return bits(loss), bits(dx)

    outside = loss_and_gradient()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert loss_and_gradient() == outside


def test_scaled_float16_gradients(road: str) -> None:
    """A gradient scaler's factor keeps gradients that float16 would lose."""
    x = torch.full((2**15,), -8.0, dtype=torch.float16, requires_grad=True)
    loss = ops.unary_reduce([x], "softplus", [1.0], [1.0], [0.0])
    (lost,) = torch.autograd.grad(loss, x, retain_graph=True)
    assert lost.count_nonzero() == 0
    (kept,) = torch.autograd.grad(loss * 65536.0, x)
    expected = torch.sigmoid(x.detach().double()) * 65536 / x.numel()
    assert torch.equal(kept, expected.to(torch.float16))
