"""bias_act by its equations in numpy, with both derivatives, and problems drawn for it."""

from typing import NamedTuple

import numpy as np
import torch
from hypothesis import strategies as st
from numerics import LAYOUTS, SEEDS, Exact, exact, generator
from torch import Tensor

SELU, SCALE = np.longdouble("1.6732632423543772848"), np.longdouble("1.0507009873554804934")


def _sigma(v: Exact) -> Exact:
    return np.where(v < 0, np.exp(-abs(v)), 1) / (1 + np.exp(-abs(v)))


def _tanh(v: Exact, alpha: float) -> tuple[Exact, Exact, Exact]:
    return np.tanh(v), 1 / np.cosh(v) ** 2, -2 * np.tanh(v) / np.cosh(v) ** 2


def _sigmoid(v: Exact, alpha: float) -> tuple[Exact, Exact, Exact]:
    s, t = _sigma(v), _sigma(-v)
    return s, s * t, s * t * (t - s)


def _elu(v: Exact, alpha: float, scale: float = 1, a: float = 1) -> tuple[Exact, Exact, Exact]:
    low, e = v < 0, np.exp(np.minimum(v, 0))
    value = np.where(low, a * np.expm1(np.minimum(v, 0)), v)
    return scale * value, scale * np.where(low, a * e, 1), scale * np.where(low, a * e, 0)


def _softplus(v: Exact, alpha: float) -> tuple[Exact, Exact, Exact]:
    return np.maximum(v, 0) + np.log1p(np.exp(-abs(v))), _sigma(v), _sigma(v) * _sigma(-v)


def _swish(v: Exact, alpha: float) -> tuple[Exact, Exact, Exact]:
    s, t = _sigma(v), _sigma(-v)
    return v * s, s + v * s * t, s * t * (2 + v * (t - s))


#: f, f' and f'' at v.
EQUATIONS = {
    "linear": lambda v, a: (v, np.ones_like(v), 0 * v),
    "relu": lambda v, a: (np.maximum(v, 0), 1.0 * (v > 0), 0 * v),
    "lrelu": lambda v, a: (np.where(v > 0, v, a * v), np.where(v > 0, 1, a), 0 * v),
    "tanh": _tanh,
    "sigmoid": _sigmoid,
    "elu": _elu,
    "selu": lambda v, a: _elu(v, a, SCALE, SELU),
    "softplus": _softplus,
    "swish": _swish,
}
CURVED = sorted(EQUATIONS.keys() - {"linear", "relu", "lrelu"})


class Problem(NamedTuple):
    x: Tensor
    b: Tensor | None
    dim: int
    alpha: float
    gain: float
    clamp: float | None
    grad: Tensor
    v: Tensor  # cotangents of the gradients
    c: Tensor | None

    def arguments(self, act: str) -> tuple[str, float, float, float | None]:
        return act, self.alpha, self.gain, self.clamp


@st.composite
def problems(draw: st.DrawFn, dtype: torch.dtype, device: str = "cpu") -> Problem:
    """Tensors of any rank, size and layout, with a bias or without, and what comes back to them."""
    random = generator(draw(SEEDS))
    shape = draw(st.lists(st.sampled_from([1, 2, 3, 5, 17, 40]), min_size=1, max_size=4))
    dim = draw(st.integers(0, len(shape) - 1))
    layouts = st.sampled_from(sorted(LAYOUTS.keys() - {"expanded"}))

    def numbers() -> Tensor:
        x = torch.randn(shape, generator=random, dtype=torch.float64)
        return LAYOUTS[draw(layouts)](x.to(device, dtype)).detach()

    def of_channels() -> Tensor:
        x = torch.randn(shape[dim], generator=random, dtype=torch.float64)
        return x.to(device, dtype)

    biased = draw(st.booleans())
    return Problem(
        numbers().requires_grad_(),
        of_channels().requires_grad_() if biased else None,
        dim,
        draw(st.sampled_from([0.2, 0.0, 0.7, -0.3])),
        draw(st.sampled_from([1.0, 2**0.5, 0.25, -1.5, 0.0])),
        draw(st.sampled_from([None, None, 0.4, 1.1])),
        numbers().requires_grad_(),
        numbers(),
        of_channels() if biased else None,
    )


def results(problem: Problem, y: Tensor) -> list[Tensor]:
    """y, its gradients, and those of <gradients, cotangents>; zeros where there are none."""
    inputs = [t for t in (problem.x, problem.b) if t is not None]
    first = torch.autograd.grad(y, inputs, problem.grad, create_graph=True)
    back = [t for t in (problem.v, problem.c) if t is not None]
    second = torch.autograd.grad(
        first, [problem.grad, *inputs], back, allow_unused=True, materialize_grads=True
    )
    return [y, *first, *second]


def _along(t: Tensor | None, problem: Problem) -> Exact:
    x, dim = problem.x, problem.dim
    if t is None:
        return np.zeros([1] * x.ndim, np.longdouble)
    return exact(t).reshape([-1 if d == dim else 1 for d in range(x.ndim)])


def expected(act: str, problem: Problem, got: Tensor) -> list[Exact]:
    """The same by the equations; what is clipped by the y that was got, as roundings decide it."""
    x, shape = problem.x, tuple(problem.x.shape)
    v = exact(x).reshape(shape) + _along(problem.b, problem)
    f, df, d2f = EQUATIONS[act](v, problem.alpha)
    y = problem.gain * f
    bound = np.inf
    if problem.clamp is not None:
        bound = exact(torch.tensor(problem.clamp, dtype=x.dtype))[0]
    live = abs(exact(got)).reshape(shape) < bound
    grad = exact(problem.grad).reshape(shape)
    w = exact(problem.v).reshape(shape) + _along(problem.c, problem)
    slope, bend = problem.gain * df * live, problem.gain * d2f * live
    others = tuple(d for d in range(x.ndim) if d != problem.dim)
    first, second = slope * grad, bend * grad * w
    made = [np.clip(y, -bound, bound), first, first.sum(others), slope * w, second]
    made.append(second.sum(others))
    if problem.b is None:
        del made[5], made[2]
    return [part.ravel() for part in made]


def sizes(act: str, problem: Problem) -> list[Exact]:
    """How large the parts are that each result is computed from."""
    big = [float(abs(t.detach()).max()) for t in (problem.x, problem.grad, problem.v)]
    big[0] += 0 if problem.b is None else float(abs(problem.b.detach()).max())
    big[2] += 0 if problem.c is None else float(abs(problem.c.detach()).max())
    gain, count = abs(problem.gain), problem.x.numel() / problem.x.shape[problem.dim]
    first, second = gain * big[1], gain * big[1] * big[2]
    made = [gain * big[0], first, first * count, gain * big[2], second, second * count]
    if problem.b is None:
        del made[5], made[2]
    return [np.asarray(2 * m + 1e-30) for m in made]


def check(act: str, problem: Problem, y: Tensor) -> None:
    """Each result within a few roundings of the equations', by the size of its parts."""
    dtype = problem.x.dtype
    arithmetic = torch.finfo(torch.float64 if dtype == torch.float64 else torch.float32).eps
    # What is recovered from y, and y's gradient on its way, have been rounded to the dtype.
    stored = torch.finfo(dtype).eps
    got = results(problem, y)
    for k, (result, wanted, size) in enumerate(
        zip(got, expected(act, problem, y), sizes(act, problem), strict=True)
    ):
        assert result.dtype == dtype
        error = abs(exact(result) - wanted)
        allowed = 8 * arithmetic * size + stored * (size if act in CURVED and k else abs(wanted))
        assert (error <= allowed).all(), (k, act, float(error.max()))
