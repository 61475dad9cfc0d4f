"""The list ops inside torch.compile, torch.func, forward-mode differentiation and autocast."""

import shutil
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from numerics import bits, generator
from ops.functors import FUNCTORS
from torch import Tensor
from torch.autograd import forward_ad

from ganfast import ops

# Compiled kernels have nothing to do with the warnings of torch's own compiler.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

each_functor = pytest.mark.parametrize("f", FUNCTORS)

ONES, ZEROS, SIGNS = [1.0, 1.0], [0.0, 0.0], [-1.0, 1.0]
WEIGHTS = torch.tensor([0.5, 2.0, 0.25, 1.0, 3.0])

Loss = Callable[[Tensor, Tensor], Tensor]
#: Losses of real and fake logits (n,) by an op, as the op is registered, and written plainly.
LOSSES: dict[str, tuple[Loss, Loss, Loss]] = {
    "flat": (
        lambda r, f: ops.flat([r, f], "softplus", ONES, SIGNS, ZEROS),
        lambda r, f: torch.ops.ganfast.flat(
            [r, f], [], "softplus", ONES, SIGNS, ZEROS, False, None
        )[0],
        lambda r, f: F.softplus(-r).mean() + F.softplus(f).mean(),
    ),
    "flat of differences, each term": (
        lambda r, f: ops.flat(
            [r, f], "softplus", ONES, SIGNS, ZEROS, [f, r.detach()], per_term=True
        ).square().sum(),
        lambda r, f: torch.ops.ganfast.flat(
            [r, f], [f, r.detach()], "softplus", ONES, SIGNS, ZEROS, True, None
        )[0].square().sum(),
        lambda r, f: (
            F.softplus(f - r).mean().square() + F.softplus(f - r.detach()).mean().square()
        ),
    ),
    "flat, a number": (
        lambda r, f: ops.flat([r, f], "softplus", ONES, SIGNS, ZEROS, [f.mean(), r.mean()]),
        lambda r, f: torch.ops.ganfast.flat(
            [r, f], [f.mean(), r.mean()], "softplus", ONES, SIGNS, ZEROS, False, None
        )[0],
        lambda r, f: F.softplus(f.mean() - r).mean() + F.softplus(f - r.mean()).mean(),
    ),
    "rows": (
        lambda r, f: ops.rows([r], "square", [2.0], [1.0], [0.0], [f]).square().sum(),
        lambda r, f: torch.ops.ganfast.rows(
            [r], [f], [], [], "square", [2.0], [1.0], [0.0], False, False, "identity", []
        )[0].square().sum(),
        lambda r, f: (2 * (r - f - 1) ** 2).square().sum(),
    ),
    "norms": (
        lambda r, f: ops.norms([r[:, None], f[:, None]], "centred", 10.0, 1.0),
        lambda r, f: torch.ops.ganfast.rows(
            [r[:, None], f[:, None]], [], [], [], "square", ONES, ZEROS, ZEROS, False, False,
            "centred", [10.0, 1.0, 0.0],
        )[0],
        lambda r, f: 10 * ((torch.hypot(r, f) - 1) ** 2).mean(),
    ),
}  # fmt: skip
each_loss = pytest.mark.parametrize("name", LOSSES)


def trained(loss: Loss, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """A loss around ops that a compiler may fuse with it, with gradients."""
    random = generator(n)
    w = torch.randn(8, generator=random, requires_grad=True)
    x = torch.randn(n, 8, generator=random, requires_grad=True)
    value = loss(torch.tanh(x @ w), x.square() @ w)
    return value.detach(), *torch.autograd.grad(value, (w, x))


@each_loss
@pytest.mark.parametrize("through_the_op", [False, pytest.param(True, marks=pytest.mark.compiled)])
def test_compiled_without_a_break(name: str, through_the_op: bool) -> None:
    torch.compiler.reset()
    loss = LOSSES[name][through_the_op]
    fast = torch.compile(loss, fullgraph=True, backend="aot_eager", dynamic=True)
    for n in (5, 9):
        torch.testing.assert_close(trained(fast, n), trained(LOSSES[name][2], n))


@pytest.mark.skipif(not shutil.which("c++"), reason="no C++ compiler")
@pytest.mark.parametrize("through_the_op", [False, pytest.param(True, marks=pytest.mark.compiled)])
def test_compiled_by_inductor(through_the_op: bool) -> None:
    """All losses in one graph."""
    torch.compiler.reset()

    def all_of(k: int) -> Loss:
        return lambda r, f: sum(losses[k](r, f) for losses in LOSSES.values())

    fast = torch.compile(all_of(through_the_op), fullgraph=True, dynamic=True)
    torch.testing.assert_close(trained(fast, 9), trained(all_of(2), 9))


def softplus(x: Tensor) -> Tensor:
    return ops.flat([x], "softplus", [2.0], [-1.0], [0.0])


@pytest.fixture
def x() -> Tensor:
    return torch.randn(3, 5, dtype=torch.float64, generator=generator(0))


@each_loss
def test_func_grad(name: str, x: Tensor, route: str) -> None:
    got, expected = (torch.func.grad(of, (0, 1))(x[0], x[1]) for of in LOSSES[name][::2])
    torch.testing.assert_close(got, expected)


@each_loss
def test_func_vmap(name: str, x: Tensor, route: str) -> None:
    y = x.flip(1)
    for of in (lambda loss: loss, torch.func.grad):
        got = torch.func.vmap(of(LOSSES[name][0]))(x, y)
        plain = [of(LOSSES[name][2])(xi, yi) for xi, yi in zip(x, y, strict=True)]
        torch.testing.assert_close(got, torch.stack(plain))


def test_func_hessian(x: Tensor, route: str) -> None:
    s = torch.sigmoid(x[0])
    hessian = torch.func.hessian(softplus)(x[0])
    torch.testing.assert_close(hessian, torch.diag(2 * s * (1 - s) / 5))


@each_functor
def test_forward_mode(f: str, x: Tensor, route: str) -> None:
    def loss(x: Tensor) -> Tensor:
        rows = ops.rows([x], f, [2.0], [0.5], [0.25], sample_weight=[x.new_ones(3)])
        return ops.flat([x], f, [2.0], [0.5], [0.25]) + rows.square().sum()

    x, tangent = FUNCTORS[f].domain(x), torch.linspace(-1, 1, 15, dtype=x.dtype).view(3, 5)
    (gradient,) = torch.autograd.grad(loss(x.requires_grad_()), x)
    expected = (gradient * tangent).sum()
    x = x.detach()
    torch.testing.assert_close(torch.func.jvp(loss, (x,), (tangent,))[1], expected)
    with forward_ad.dual_level():
        dual = forward_ad.unpack_dual(loss(forward_ad.make_dual(x, tangent)))
        torch.testing.assert_close(dual.tangent, expected)


@each_functor
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_autocast_changes_nothing(f: str, dtype: torch.dtype, route: str) -> None:
    """Binary cross-entropy of probabilities included, which torch refuses under autocast."""

    def losses_and_gradients() -> list[bytes]:
        x = FUNCTORS[f].domain(torch.randn(100, generator=generator(0))).to(dtype).requires_grad_()
        y = [torch.randn(100, generator=generator(1)).to(dtype)]
        numbers = ("softplus" if f.startswith("bce") or f == "identity" else f, [1.0], [0.5], [1.0])
        made = []
        for loss in (
            ops.flat([x], f, *numbers[1:]),
            ops.rows([x], f, *numbers[1:]).sum(),
            ops.flat([x], *numbers, y),
            ops.norms([x], "centred", 1.0, 1.0),
        ):
            (dx,) = torch.autograd.grad(loss, x)
            assert dx.dtype == dtype
            made += [bits(loss), bits(dx)]
        return made

    outside = losses_and_gradients()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert losses_and_gradients() == outside


def test_scaled_float16_gradients(route: str) -> None:
    """A gradient scaler's factor keeps gradients that float16 would lose."""
    n = 2**17  # 2 / n is subnormal in float16, 2**-26 is 0
    x = torch.full((n,), -8.0, dtype=torch.float16, requires_grad=True)
    y = torch.full((n,), -9.0, dtype=torch.float16)
    slope = torch.sigmoid(torch.tensor(-8.0).double())
    for loss, expected in (
        (ops.flat([x], "softplus", [2.0**-3], [1.0], [0.0]), slope * 2.0**-4),
        (ops.flat([x], "l1", [2.0**-9], [0.0], [0.0], [y]), torch.tensor(2.0**-10)),
    ):
        (lost,) = torch.autograd.grad(loss, x, retain_graph=True)
        assert lost.count_nonzero() == 0
        (kept,) = torch.autograd.grad(loss * 65536.0, x)
        assert torch.equal(kept, expected.to(torch.float16).expand(n))
