"""The functors of unary_reduce, twice: as users of plain torch write them, and as exact values.

``exact`` gives f and its first two derivatives in closed form; in extended precision, so that they
can also judge float64. Parameters are drawn such that every dtype holds them exactly.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from numerics import LAYOUTS, SEEDS, Exact, assert_accurate, exact, generator, structures
from torch import Tensor

from ganfast import _ext, ops

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


class Functor(NamedTuple):
    plain: Callable[[Tensor, float, float], Tensor]
    exact: tuple[Callable[[Exact, float, float], Exact], ...]
    a: st.SearchStrategy[float]
    b: st.SearchStrategy[float] = st.just(0.0)
    # from standard normal values to the values of the function's domain
    domain: Callable[[Tensor], Tensor] = lambda x: 5 * x
    # the size of the two terms whose difference is f', where nothing else tells it
    cancelling: Callable[[Exact, float, float], Exact] = lambda x, a, b: 0 * x


def sigmoid(t: Exact) -> Exact:
    return np.exp(-np.logaddexp(0, -t))


def dsigmoid(t: Exact) -> Exact:
    return np.exp(-np.logaddexp(0, -t) - np.logaddexp(0, t))


def cross_entropy(x: Exact, a: float) -> Exact:
    return -a * np.log(x) - (1 - a) * np.log1p(-x)


SIGNS = st.sampled_from([-2.0, -1.0, -0.5, 0.5, 1.0, 2.0])
TARGETS = st.integers(0, 64).map(lambda k: k / 64)
NUMBERS = st.integers(-128, 128).map(lambda k: k / 64)

FUNCTORS = {
    "softplus": Functor(
        lambda x, a, b: F.softplus(a * x, threshold=50),  # by default it is cut off at 20
        (
            lambda x, a, b: np.logaddexp(0, a * x),
            lambda x, a, b: a * sigmoid(a * x),
            lambda x, a, b: a * a * dsigmoid(a * x),
        ),
        SIGNS,
    ),
    "bce_with_logits": Functor(
        lambda x, a, b: F.binary_cross_entropy_with_logits(
            x, torch.full_like(x, a), reduction="none"
        ),
        (
            lambda x, a, b: (1 - a) * np.logaddexp(0, x) + a * np.logaddexp(0, -x),
            lambda x, a, b: (1 - a) * sigmoid(x) - a * sigmoid(-x),
            lambda x, a, b: dsigmoid(x),
        ),
        TARGETS,
        cancelling=lambda x, a, b: np.maximum((1 - a) * sigmoid(x), a * sigmoid(-x)),
    ),
    "bce": Functor(
        lambda x, a, b: F.binary_cross_entropy(x, torch.full_like(x, a), reduction="none"),
        (
            lambda x, a, b: cross_entropy(x, a),
            lambda x, a, b: (1 - a) / (1 - x) - a / x,
            lambda x, a, b: (1 - a) / (1 - x) ** 2 + a / x**2,
        ),
        TARGETS,
        # float16 holds the second derivative that far
        domain=lambda x: torch.sigmoid(2 * x).clamp(1 / 64, 63 / 64),
    ),
    "square": Functor(
        lambda x, a, b: (x - a).square(),
        (lambda x, a, b: (x - a) ** 2, lambda x, a, b: 2 * (x - a), lambda x, a, b: 2 + 0 * x),
        NUMBERS,
    ),
    "identity": Functor(
        lambda x, a, b: x,
        (lambda x, a, b: x, lambda x, a, b: 1 + 0 * x, lambda x, a, b: 0 * x),
        st.just(0.0),
    ),
    "hinge": Functor(
        lambda x, a, b: F.relu(b + a * x),
        (
            lambda x, a, b: np.maximum(b + a * x, 0),
            lambda x, a, b: a * (b + a * x > 0),
            lambda x, a, b: 0 * x,
        ),
        SIGNS,
        NUMBERS,
    ),
    "squared_hinge": Functor(
        lambda x, a, b: F.relu(b + a * x).square(),
        (
            lambda x, a, b: np.maximum(b + a * x, 0) ** 2,
            lambda x, a, b: 2 * a * np.maximum(b + a * x, 0),
            lambda x, a, b: 2 * a * a * (b + a * x > 0),
        ),
        SIGNS,
        NUMBERS,
    ),
}


def reduce_plainly(
    x: list[Tensor], f: str, weight: list[float], a: list[float], b: list[float]
) -> Tensor:
    """unary_reduce as users of plain torch write it, half types in float32."""
    total = torch.zeros((), dtype=torch.float64 if x[0].dtype == torch.float64 else torch.float32)
    total = total.to(x[0].device)
    for xk, wk, ak, bk in zip(x, weight, a, b, strict=True):
        total = total + wk * FUNCTORS[f].plain(xk.to(total.dtype), ak, bk).mean()
    return total


class Problem(NamedTuple):
    """A call of unary_reduce with what is needed for its two derivatives."""

    f: str
    x: list[Tensor]
    weight: list[float]
    a: list[float]
    b: list[float]
    grad: Tensor
    v: list[Tensor]

    def __repr__(self) -> str:
        tensors = ", ".join(f"{tuple(x.shape)} in strides {x.stride()}" for x in self.x)
        return f"{self.parameters} on {self.x[0].dtype} tensors {tensors}"

    @property
    def parameters(self) -> tuple[str, list[float], list[float], list[float]]:
        return self.f, self.weight, self.a, self.b


@st.composite
def problems(draw: st.DrawFn, f: str, dtype: torch.dtype, device: str = "cpu") -> Problem:
    """A list of tensors drawn with its parameters.

    All elements weigh about the same, so that no single one decides: w_k is n_k times a factor.
    """
    structure = draw(structures())
    random = generator(draw(SEEDS))
    functor = FUNCTORS[f]
    x, v = [], []
    for shape, layout in structure:
        values = functor.domain(torch.randn(shape, dtype=torch.float64, generator=random))
        x.append(LAYOUTS[layout](values.to(device, dtype)).requires_grad_())
        v.append(torch.randn(shape, generator=random).clamp(-2, 2).to(device, dtype))

    def cycled(numbers: st.SearchStrategy[float]) -> list[float]:
        few = draw(st.lists(numbers, min_size=1, max_size=3))
        return [few[k % len(few)] for k in range(len(x))]

    factor = cycled(st.sampled_from([-1.5, -1.0, 0.75, 1.0, 2.0]))
    grad = torch.tensor(draw(st.sampled_from([-2.0, 0.375, 1.0])), device=device)
    return Problem(
        f,
        x,
        [c * xk.numel() for c, xk in zip(factor, x, strict=True)],
        cycled(functor.a),
        cycled(functor.b),
        grad.to(torch.float64 if dtype == torch.float64 else torch.float32).requires_grad_(),
        v,
    )


class Orders(NamedTuple):
    """The result and its derivatives: dx of <grad, loss>, dgrad and ddx of sum_k <v_k, dx_k>."""

    loss: Tensor
    dx: tuple[Tensor, ...]
    dgrad: Tensor
    ddx: tuple[Tensor, ...]


def all_orders(reduce: Callable[..., Tensor], p: Problem) -> Orders:
    loss = reduce(p.x, *p.parameters)
    dx = torch.autograd.grad(loss, p.x, p.grad, create_graph=True)
    dgrad, *ddx = torch.autograd.grad(
        dx, [p.grad, *p.x], p.v, allow_unused=True, materialize_grads=True
    )
    return Orders(loss, dx, dgrad, tuple(ddx))


def check_all_orders(reduce: Callable[..., Tensor], p: Problem) -> None:
    """Hold value, gradient and second gradient of a drawn problem to the rule of accuracy."""
    got, plain = all_orders(reduce, p), all_orders(reduce_plainly, p)
    for xk, dxk, ddxk in zip(p.x, got.dx, got.ddx, strict=True):
        assert dxk.dtype == ddxk.dtype == xk.dtype
        assert dxk.shape == ddxk.shape == xk.shape
    assert got.loss.shape == got.dgrad.shape == ()
    assert got.loss.dtype == got.dgrad.dtype == p.grad.dtype

    # Each element's own weight and parameters, and f with its derivatives there.
    n = [xk.numel() for xk in p.x]
    weight = np.repeat(np.divide(p.weight, n).astype(np.longdouble), n)
    a, b = np.repeat(p.a, n), np.repeat(p.b, n)
    x, v, grad = exact(p.x), exact(p.v), exact(p.grad)
    f, df, d2f = (derivative(x, a, b) for derivative in FUNCTORS[p.f].exact)
    # Next to a zero of f, a rounding of what it is made of counts.
    f_size = np.maximum(np.abs(f), np.abs(x * df))
    df_size = np.maximum(np.abs(df), np.abs(x * d2f))
    df_size = np.maximum(df_size, FUNCTORS[p.f].cancelling(x, a, b))

    summed_in_double = reduce is ops.unary_reduce and p.grad.device.type in _ext.DEVICES

    def check_sum(what: str, got: Tensor, plain: Tensor, terms: Exact, sizes: Exact) -> None:
        magnitude = np.sum(np.abs(sizes)) + np.abs(np.sum(terms))
        if not summed_in_double:  # at the result's own precision
            magnitude = magnitude * np.sqrt(np.longdouble(len(terms)))
        elif got.dtype == torch.float64:  # weight, sum over a tensor, sum over the list
            magnitude = magnitude * 2
        assert_accurate(what, got, plain, np.sum(terms), magnitude)

    check_sum("loss", got.loss, plain.loss, weight * f, weight * f_size)
    assert_accurate("dx", got.dx, plain.dx, grad * weight * df, grad * weight * df_size)
    check_sum("dgrad", got.dgrad, plain.dgrad, weight * v * df, weight * v * df_size)
    second = grad * weight * v * d2f
    assert_accurate("ddx", got.ddx, plain.ddx, second, second)


def derivatives(
    reduce: Callable[..., Tensor], x: Tensor, f: str, a: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss of one tensor and its two derivatives, with b = 1."""
    x = x.detach().requires_grad_()
    loss = reduce([x], f, [1.0], [a], [1.0])
    (dx,) = torch.autograd.grad(loss, x, create_graph=True)
    (ddx,) = torch.autograd.grad(dx.sum() + 0 * x.sum(), x)
    return loss, dx, ddx
