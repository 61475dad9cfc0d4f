"""The problems of unary_rows, and the op sample by sample as users of plain torch write it."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from hypothesis import strategies as st
from numerics import LAYOUTS, SEEDS, Exact, assert_accurate, exact, generator
from ops.unary_functors import FUNCTORS
from torch import Tensor


class Problem(NamedTuple):
    """A call of unary_rows with what is needed for its two derivatives."""

    f: str
    x: list[Tensor]
    weight: list[float]
    a: list[float]
    b: list[float]
    sample_weight: list[Tensor | None]
    sample_a: list[Tensor | None]
    normalize: bool
    grad: Tensor
    v: list[Tensor]

    def __repr__(self) -> str:
        tensors = ", ".join(f"{tuple(x.shape)} in strides {x.stride()}" for x in self.x)
        return f"{self.f}, {self.x[0].dtype} tensors {tensors}, {self[2:8]}"

    @property
    def parameters(self) -> tuple[object, ...]:
        s, a = ([] if not any(n is not None for n in ns) else ns for ns in self[5:7])
        return self.f, self.weight, self.a, self.b, s, a, self.normalize


@st.composite
def problems(draw: st.DrawFn, f: str, dtype: torch.dtype, device: str = "cpu") -> Problem:
    """One to four tensors of any layout, one with many elements, weights of the elements alike."""
    functor = FUNCTORS[f]
    random = generator(draw(SEEDS))
    samples = draw(st.integers(1, 9))
    tails = draw(st.lists(st.lists(st.integers(1, 5), max_size=3), max_size=3))
    tails.insert(draw(st.integers(0, len(tails))), [draw(st.integers(300, 1500))])
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    x, v, weight, sample_weight, sample_a = [], [], [], [], []
    for tail in tails:
        shape = (samples, *tail)
        values = functor.domain(torch.randn(shape, dtype=torch.float64, generator=random))
        layout = draw(st.sampled_from(sorted(LAYOUTS)))
        x.append(LAYOUTS[layout](values.to(device, dtype)).detach().requires_grad_())
        v.append(torch.randn(shape, generator=random).clamp(-2, 2).to(device, dtype))
        weight.append(draw(st.sampled_from([-1.5, 0.75, 1.0, 2.0])) * x[-1].numel() / samples)
        s = torch.randint(1, 65, (samples,), generator=random).to(device, wide) / 64
        sample_weight.append(draw(st.sampled_from([None, s])))
        own = torch.tensor([draw(functor.a) for _ in range(samples)], dtype=wide, device=device)
        sample_a.append(draw(st.sampled_from([None, own])))
    a, b = ([draw(numbers) for _ in tails] for numbers in (functor.a, functor.b))
    grad = torch.randint(1, 9, (samples,), generator=random).to(device, wide) / 4
    normalize = draw(st.booleans())
    return Problem(f, x, weight, a, b, sample_weight, sample_a, normalize, grad.requires_grad_(), v)


def factors(s: Tensor | None, p: Problem) -> list[float]:
    """What each sample counts."""
    weights = [1.0] * len(p.grad) if s is None else s.tolist()
    mean = sum(weights) / len(weights) if p.normalize else 1.0
    return [w / mean for w in weights]


def rows_plainly(p: Problem) -> Tensor:
    """Half types in float32."""
    rows = torch.zeros_like(p.grad)
    for k, xk in enumerate(p.x):
        s = factors(p.sample_weight[k], p)
        own = p.sample_a[k]
        a = [p.a[k]] * len(s) if own is None else own.tolist()
        plain = FUNCTORS[p.f].plain
        means = [plain(xk[i].to(rows.dtype), a[i], p.b[k]).mean() for i in range(len(s))]
        rows = rows + p.weight[k] * torch.stack(
            [factor * mean for factor, mean in zip(s, means, strict=True)]
        )
    return rows


class Orders(NamedTuple):
    """The result and its derivatives: dx of <grad, rows>, dgrad and ddx of sum_k <v_k, dx_k>."""

    rows: Tensor
    dx: tuple[Tensor, ...]
    dgrad: Tensor
    ddx: tuple[Tensor, ...]


def all_orders(rows: Tensor, p: Problem) -> Orders:
    dx = torch.autograd.grad(rows, p.x, p.grad, create_graph=True)
    dgrad, *ddx = torch.autograd.grad(
        dx, [p.grad, *p.x], p.v, allow_unused=True, materialize_grads=True
    )
    return Orders(rows, dx, dgrad, tuple(ddx))


def check_all_orders(reduce: Callable[..., Tensor], p: Problem) -> None:
    """Hold value, gradient and second gradient of a drawn problem to the rule of accuracy."""
    got = all_orders(reduce(p.x, *p.parameters), p)
    plain = all_orders(rows_plainly(p), p)
    for xk, dxk, ddxk in zip(p.x, got.dx, got.ddx, strict=True):
        assert dxk.dtype == ddxk.dtype == xk.dtype
        assert dxk.shape == ddxk.shape == xk.shape
    assert got.rows.shape == got.dgrad.shape == p.grad.shape
    assert got.rows.dtype == got.dgrad.dtype == p.grad.dtype

    # Each element's own sample, weight and parameters, and f with its derivatives there.
    samples = len(p.grad)
    n = [xk.numel() for xk in p.x]
    sample = np.concatenate([np.repeat(np.arange(samples), nk // samples) for nk in n])
    weight, a = (
        np.concatenate([np.repeat(np.asarray(nk, np.longdouble), mk) for nk, mk in numbers])
        for numbers in zip(
            *(
                (
                    (np.multiply(factors(s, p), w * samples / nk), nk // samples),
                    ([ak] * samples if own is None else own.tolist(), nk // samples),
                )
                for s, own, w, ak, nk in zip(
                    p.sample_weight, p.sample_a, p.weight, p.a, n, strict=True
                )
            ),
            strict=True,
        )
    )
    b = np.repeat(p.b, n)
    x, v, grad = exact(p.x), exact(p.v), exact(p.grad)[sample]
    f, df, d2f = (derivative(x, a, b) for derivative in FUNCTORS[p.f].exact)
    # Next to a zero of f, a rounding of what it is made of counts.
    f_size = np.maximum(np.abs(f), np.abs(x * df))
    df_size = np.maximum(np.abs(df), np.abs(x * d2f))
    df_size = np.maximum(df_size, FUNCTORS[p.f].cancelling(x, a, b))

    def check_rows(what: str, got: Tensor, plain: Tensor, terms: Exact, sizes: Exact) -> None:
        sums, size = np.zeros(samples, np.longdouble), np.zeros(samples, np.longdouble)
        np.add.at(sums, sample, terms)
        np.add.at(size, sample, np.abs(sizes))
        # A few roundings of each term, and those of sums at the result's own precision.
        size *= np.sqrt(np.longdouble(len(terms) / samples)) + 2
        assert_accurate(what, got, plain, sums, size)

    check_rows("rows", got.rows, plain.rows, weight * f, weight * f_size)
    # In the plain road, too, a scale is rounded before the derivative is multiplied by it.
    first, second = grad * weight * df, grad * weight * v * d2f
    assert_accurate("dx", got.dx, plain.dx, first, 2 * grad * weight * df_size)
    check_rows("dgrad", got.dgrad, plain.dgrad, weight * v * df, weight * v * df_size)
    assert_accurate("ddx", got.ddx, plain.ddx, second, 2 * second)
