"""The functors of pair_reduce, by their unary functions of x - y; and problems drawn from them."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from hypothesis import strategies as st
from numerics import LAYOUTS, SEEDS, Exact, assert_accurate, exact, generator, structures
from ops.unary_functors import FUNCTORS as UNARY
from ops.unary_functors import Functor
from torch import Tensor

from ganfast import _ext, ops

FUNCTORS = {
    "l1": Functor(
        lambda d, a, b: d.abs(),
        (lambda d, a, b: np.abs(d), lambda d, a, b: np.sign(d), lambda d, a, b: 0 * d),
        st.just(0.0),
    ),
    **{name: UNARY[name] for name in ("square", "softplus", "hinge")},
}

#: What a list's loss is reduced to.
REDUCTIONS = {"sum": False, "per_pair": True}


def reduce_plainly(
    x: list[Tensor],
    y: list[Tensor],
    h: str,
    weight: list[float],
    a: list[float],
    b: list[float],
    per_pair: bool = False,
) -> Tensor:
    """pair_reduce as users of plain torch write it, half types in float32."""
    dtype = torch.float64 if x[0].dtype == torch.float64 else torch.float32
    terms = [
        wk * FUNCTORS[h].plain(xk.to(dtype) - yk.to(dtype), ak, bk).mean()
        for xk, yk, wk, ak, bk in zip(x, y, weight, a, b, strict=True)
    ]
    if per_pair:
        return torch.stack(terms)
    total = torch.zeros_like(terms[0])
    for term in terms:
        total = total + term
    return total


class Problem(NamedTuple):
    """A call of pair_reduce with what is needed for its two derivatives.

    `inputs` are the tensors that require gradients, with cotangents `v` for their gradients.
    """

    x: list[Tensor]
    y: list[Tensor]
    parameters: tuple[str, list[float], list[float], list[float], bool]
    grad: Tensor
    inputs: list[Tensor]
    v: list[Tensor]

    def __repr__(self) -> str:
        tensors = ", ".join(
            f"{tuple(x.shape)} in strides {x.stride()} and {y.stride()}"
            for x, y in zip(self.x, self.y, strict=True)
        )
        return f"{self.parameters} on {self.x[0].dtype} tensors {tensors}"


@st.composite
def problems(draw: st.DrawFn, h: str, dtype: torch.dtype, device: str = "cpu") -> Problem:
    """Two lists of tensors drawn with their parameters.

    All elements weigh about the same, so that no single one decides: w_k is n_k times a factor.
    """
    structure = draw(structures())
    random = generator(draw(SEEDS))
    wanted = draw(st.sampled_from(["x", "y", "xy", "each"]))
    y_layouts = draw(st.sampled_from([None, *sorted(LAYOUTS)]))
    x, y = [], []
    for k, (shape, layout) in enumerate(structure):
        for tensors, name, of in ((x, "x", layout), (y, "y", y_layouts or layout)):
            values = FUNCTORS[h].domain(torch.randn(shape, dtype=torch.float64, generator=random))
            tensor = LAYOUTS[of]((values / 2).to(device, dtype))
            takes = name in wanted or (wanted == "each" and k % 2 == (name == "x"))
            tensors.append(tensor.requires_grad_(takes))

    def cycled(numbers: st.SearchStrategy[float]) -> list[float]:
        few = draw(st.lists(numbers, min_size=1, max_size=3))
        return [few[k % len(few)] for k in range(len(x))]

    factor = cycled(st.sampled_from([-1.5, -1.0, 0.75, 1.0, 2.0]))
    weight = [c * xk.numel() for c, xk in zip(factor, x, strict=True)]
    per_pair = draw(st.booleans())
    grads = cycled(st.sampled_from([-2.0, 0.375, 1.0]))
    grad = torch.tensor(grads if per_pair else grads[0], device=device)
    inputs = [t for t in (*x, *y) if t.requires_grad]
    return Problem(
        x,
        y,
        (h, weight, cycled(FUNCTORS[h].a), cycled(FUNCTORS[h].b), per_pair),
        grad.to(torch.float64 if dtype == torch.float64 else torch.float32).requires_grad_(),
        inputs,
        [torch.randn(t.shape, generator=random).clamp(-2, 2).to(device, dtype) for t in inputs],
    )


class Orders(NamedTuple):
    """The result and its derivatives: dx of <grad, loss>, dgrad and ddx of sum <v, dx>."""

    loss: Tensor
    dx: tuple[Tensor, ...]
    dgrad: Tensor
    ddx: tuple[Tensor, ...]


def all_orders(reduce: Callable[..., Tensor], p: Problem) -> Orders:
    loss = reduce(p.x, p.y, *p.parameters)
    dx = torch.autograd.grad(loss, p.inputs, p.grad, create_graph=True)
    dgrad, *ddx = torch.autograd.grad(
        dx, [p.grad, *p.inputs], p.v, allow_unused=True, materialize_grads=True
    )
    # torch's zeros without memory, as of abs'', become zeros with
    ddx = [
        torch.zeros_like(x) if d._is_zerotensor() else d for x, d in zip(p.inputs, ddx, strict=True)
    ]
    return Orders(loss, dx, dgrad, tuple(ddx))


def check_all_orders(reduce: Callable[..., Tensor], p: Problem) -> None:
    """Hold value, gradient and second gradient of a drawn problem to the rule of accuracy."""
    got, plain = all_orders(reduce, p), all_orders(reduce_plainly, p)
    for x, dx, ddx in zip(p.inputs, got.dx, got.ddx, strict=True):
        assert dx.dtype == ddx.dtype == x.dtype
        assert dx.shape == ddx.shape == x.shape
    assert got.loss.shape == got.dgrad.shape == p.grad.shape
    assert got.loss.dtype == got.dgrad.dtype == p.grad.dtype

    # Each element's pair, weight and parameters, and f with its derivatives there.
    h, weights, a_of, b_of, per_pair = p.parameters
    n = [x.numel() for x in p.x]
    pair = np.repeat(np.arange(len(n)), n)
    weight = np.divide(weights, n).astype(np.longdouble)[pair]
    a, b = np.array(a_of)[pair], np.array(b_of)[pair]
    x, y = exact(p.x), exact(p.y)
    d, grad = x - y, exact(p.grad)[pair] if per_pair else exact(p.grad)
    f, df, d2f = (derivative(d, a, b) for derivative in FUNCTORS[h].exact)
    # Next to a zero of f, a rounding of what it is made of counts; and x - y is rounded.
    d_size = np.maximum(np.abs(x), np.abs(y))
    f_size = np.maximum(np.abs(f), d_size * np.abs(df))
    df_size = np.maximum(np.abs(df), d_size * np.abs(d2f))

    # The cotangent of dx, and that of dy = -dx from the other side.
    u = np.zeros_like(d)
    for tensors, sign in ((p.x, 1), (p.y, -1)):
        for k, tensor in enumerate(tensors):
            for v in (v for t, v in zip(p.inputs, p.v, strict=True) if t is tensor):
                u[pair == k] += sign * exact(v)

    summed_in_double = reduce is ops.pair_reduce and p.grad.device.type in _ext.DEVICES

    def check_sum(what: str, got: Tensor, plain: Tensor, terms: Exact, sizes: Exact) -> None:
        group = pair if per_pair else 0 * pair
        result, size = np.zeros(got.numel(), np.longdouble), np.zeros(got.numel(), np.longdouble)
        np.add.at(result, group, terms)
        np.add.at(size, group, np.abs(sizes))
        size = size + np.abs(result)
        if not summed_in_double or got.dtype == torch.float64:  # at the result's own precision
            size = size * np.sqrt(np.bincount(group))
        assert_accurate(what, got, plain, result, size)

    def of_inputs(of_x: Exact) -> Exact:
        sides = [
            sign * of_x[pair == k]
            for tensors, sign in ((p.x, 1), (p.y, -1))
            for k, tensor in enumerate(tensors)
            if tensor.requires_grad
        ]
        return np.concatenate(sides)

    check_sum("loss", got.loss, plain.loss, weight * f, weight * f_size)
    first, first_size = of_inputs(grad * weight * df), of_inputs(grad * weight * df_size)
    assert_accurate("dx", got.dx, plain.dx, first, first_size)
    u_size = np.maximum(np.abs(u), 4 * (u != 0))  # the difference of two cotangents is rounded
    check_sum("dgrad", got.dgrad, plain.dgrad, weight * u * df, weight * u_size * df_size)
    second, size = of_inputs(grad * weight * u * d2f), of_inputs(grad * weight * u_size * d2f)
    assert_accurate("ddx", got.ddx, plain.ddx, second, size)


def derivatives(
    reduce: Callable[..., Tensor], x: Tensor, y: Tensor, h: str, a: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss of one pair and its two derivatives in x, with b = 1."""
    x = x.detach().requires_grad_()
    loss = reduce([x], [y], h, [1.0], [a], [1.0])
    (dx,) = torch.autograd.grad(loss, x, create_graph=True)
    (ddx,) = torch.autograd.grad(dx.sum() + 0 * x.sum(), x)
    return loss, dx, ddx
