"""Calls of flat and rows drawn with what their derivatives take, and the rule for all orders."""

from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from hypothesis import strategies as st
from numerics import LAYOUTS, SEEDS, Exact, assert_accurate, exact, generator, structures
from ops.functors import DIFFERENCES, FUNCTORS
from torch import Tensor

from ganfast import _ext, ops

#: Family, f, and what is subtrahend: nothing, tensors like x, or numbers and samples that repeat.
KINDS = [
    (family, f, subtrahend)
    for family, subtrahends in (("flat", ("none", "same", "repeated")), ("rows", ("none", "same")))
    for subtrahend in subtrahends
    for f in (FUNCTORS if subtrahend == "none" else DIFFERENCES)
]


def loss_dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


class Problem(NamedTuple):
    """A call of an op, by its arguments, with what is needed for its two derivatives.

    `inputs` are the tensors that require gradients, with cotangents `v` for their gradients.
    """

    family: str
    x: list[Tensor]
    y: list[Tensor]
    numbers: tuple[str, list[float], list[float], list[float]]  # f, weight, a, b
    options: dict[str, Any]
    grad: Tensor
    inputs: list[Tensor]
    v: list[Tensor]

    def __repr__(self) -> str:
        tensors = ", ".join(f"{tuple(t.shape)} in strides {t.stride()}" for t in self.x + self.y)
        return f"{self.family}{self.numbers} {self.options}, {self.x[0].dtype} tensors {tensors}"

    def call(self, module: ModuleType) -> Tensor:
        """The op, or its twin in ganfast.reference."""
        op: Callable[..., Tensor] = getattr(module, self.family)
        return op(self.x, *self.numbers, self.y, **self.options)

    def at(self, *inputs: Tensor) -> "Problem":
        """The same call of other inputs."""
        by_id = {id(old): new for old, new in zip(self.inputs, inputs, strict=True)}
        x, y = ([by_id.get(id(t), t) for t in tensors] for tensors in (self.x, self.y))
        return self._replace(x=x, y=y, inputs=list(inputs))


@st.composite
def of_rows(draw: st.DrawFn) -> list[tuple[tuple[int, ...], str]]:
    """Shapes and layouts of one to four tensors with as many samples, one of many elements."""
    samples = draw(st.integers(1, 9))
    tails = draw(st.lists(st.lists(st.integers(1, 5), max_size=3), max_size=3))
    tails.insert(draw(st.integers(0, len(tails))), [draw(st.integers(300, 1500))])
    return [((samples, *tail), draw(st.sampled_from(sorted(LAYOUTS)))) for tail in tails]


@st.composite
def small_shapes(draw: st.DrawFn, family: str) -> list[tuple[tuple[int, ...], str]]:
    """Shapes for derivatives by finite differences."""
    samples = [draw(st.integers(1, 3))] if family == "rows" else []
    tails = draw(st.lists(st.lists(st.integers(1, 3), max_size=2), min_size=1, max_size=2))
    return [((*samples, *tail), "contiguous") for tail in tails]


@st.composite
def problems(
    draw: st.DrawFn,
    family: str,
    f: str,
    subtrahend: str,
    dtype: torch.dtype,
    device: str = "cpu",
    small: bool = False,
) -> Problem:
    """A call drawn with its parameters.

    All elements weigh about the same, so that no single one decides: w_k is n_k times a factor.
    """
    functor, wide = FUNCTORS[f], loss_dtype(dtype)
    large = structures() if family == "flat" else of_rows()
    drawn = draw(small_shapes(family) if small else large)
    random = generator(draw(SEEDS))

    def cycled(choices: st.SearchStrategy[Any]) -> list[Any]:
        few = draw(st.lists(choices, min_size=1, max_size=3))
        return [few[k % len(few)] for k in range(len(drawn))]

    def tensor(shape: tuple[int, ...], layout: str, dtype: torch.dtype) -> Tensor:
        values = functor.domain(torch.randn(shape, dtype=torch.float64, generator=random))
        half = values if subtrahend == "none" else values / 2
        return LAYOUTS[layout](half.to(device, dtype))

    x = [tensor(*of_x, dtype) for of_x in drawn]
    y = []
    if subtrahend == "same":
        others = st.just(None) if small else st.sampled_from([None, *sorted(LAYOUTS)])
        y = [
            tensor(shape, own or layout, dtype)
            for (shape, layout), own in zip(drawn, cycled(others), strict=True)
        ]
    elif subtrahend == "repeated":
        one = cycled(st.sampled_from(["()", "(1,)", "sample", "(1, sample)", "all"]))
        for (shape, layout), which in zip(drawn, one, strict=True):
            shapes = {"()": (), "(1,)": (1,), "sample": shape[1:], "all": shape}
            y.append(tensor(shapes.get(which, (1, *shape[1:])), layout, wide))
    wanted = draw(st.sampled_from(["x", "y", "xy", "each"] if y else ["x"]))
    inputs = []
    for name, tensors in (("x", x), ("y", y)):
        for k, t in enumerate(tensors):
            if name in wanted or (wanted == "each" and k % 2 == (name == "x")):
                inputs.append(t.requires_grad_())
    v = [torch.randn(t.shape, generator=random).clamp(-2, 2).to(device, t.dtype) for t in inputs]

    samples = drawn[0][0][0] if family == "rows" else 1
    factors = cycled(st.sampled_from([-1.5, -1.0, 0.75, 1.0, 2.0]))
    weight = [c * xk.numel() / samples for c, xk in zip(factors, x, strict=True)]
    numbers = (f, weight, cycled(functor.a), cycled(functor.b))
    if family == "flat":
        per_term = draw(st.booleans())
        grads = cycled(st.sampled_from([-2.0, 0.375, 1.0]))
        grad = torch.tensor(grads if per_term else grads[0], dtype=wide, device=device)
        options: dict[str, Any] = {"per_term": per_term}
    else:
        grad = torch.randint(1, 9, (samples,), generator=random).to(device, wide) / 4
        s = torch.randint(1, 65, (samples,), generator=random).to(device, wide) / 64
        own = torch.tensor([draw(functor.a) for _ in range(samples)], dtype=wide, device=device)
        of_samples = {
            name: cycled(st.sampled_from([None, values]))
            for name, values in (("sample_weight", s), ("sample_a", own))
        }
        options = {n: () if all(s is None for s in of) else of for n, of in of_samples.items()}
        options["normalize"] = draw(st.booleans())
    return Problem(family, x, y, numbers, options, grad.requires_grad_(), inputs, v)


def flat_plainly(
    x: list[Tensor],
    f: str,
    weight: list[float],
    a: list[float],
    b: list[float],
    y: list[Tensor] | tuple[()] = (),
    per_term: bool = False,
) -> Tensor:
    """flat as users of plain torch write it, half types in float32."""
    dtype = loss_dtype(x[0].dtype)
    d = [xk.to(dtype) - (y[k].to(dtype) if y else 0) for k, xk in enumerate(x)]
    terms = [
        wk * FUNCTORS[f].plain(dk, ak, bk).mean()
        for dk, wk, ak, bk in zip(d, weight, a, b, strict=True)
    ]
    return torch.stack(terms) if per_term else sum(terms[1:], terms[0])


def of_samples(p: Problem, k: int) -> tuple[list[float], list[float]]:
    """What each sample of a tensor counts, and its a."""
    samples = len(p.grad)
    s, a = (
        p.options[name][k] if p.options[name] else None for name in ("sample_weight", "sample_a")
    )
    weights = [1.0] * samples if s is None else s.tolist()
    mean = sum(weights) / samples if p.options["normalize"] else 1.0
    return [w / mean for w in weights], [p.numbers[2][k]] * samples if a is None else a.tolist()


def plainly(p: Problem) -> Tensor:
    """The call as users of plain torch write it; rows sample by sample."""
    if p.family == "flat":
        return flat_plainly(p.x, *p.numbers, p.y, **p.options)
    f, weight, _, b = p.numbers
    rows = torch.zeros_like(p.grad)
    for k, xk in enumerate(p.x):
        d = xk.to(rows.dtype) - (p.y[k].to(rows.dtype) if p.y else 0)
        means = [
            factor * FUNCTORS[f].plain(d[i], ai, b[k]).mean()
            for i, (factor, ai) in enumerate(zip(*of_samples(p, k), strict=True))
        ]
        rows = rows + weight[k] * torch.stack(means)
    return rows


class Orders(NamedTuple):
    """The result and its derivatives: dx of <grad, result>, dgrad and ddx of sum <v, dx>."""

    result: Tensor
    dx: tuple[Tensor, ...]
    dgrad: Tensor
    ddx: tuple[Tensor, ...]


def all_orders(p: Problem, result: Tensor) -> Orders:
    dx = torch.autograd.grad(result, p.inputs, p.grad, create_graph=True)
    dgrad, *ddx = torch.autograd.grad(
        dx, [p.grad, *p.inputs], p.v, allow_unused=True, materialize_grads=True
    )
    # torch's zeros without memory, as of abs'', become zeros with
    ddx = [
        torch.zeros_like(x) if d._is_zerotensor() else d for x, d in zip(p.inputs, ddx, strict=True)
    ]
    return Orders(result, dx, dgrad, tuple(ddx))


def sums_in_double(module: ModuleType, p: Problem) -> bool:
    return module is ops and p.family == "flat" and p.grad.device.type in _ext.DEVICES


def check_all_orders(module: ModuleType, p: Problem) -> None:
    """Hold value, gradient and second gradient of a drawn problem to the rule of accuracy."""
    got, plain = all_orders(p, p.call(module)), all_orders(p, plainly(p))
    for x, dx, ddx in zip(p.inputs, got.dx, got.ddx, strict=True):
        assert dx.dtype == ddx.dtype == x.dtype
        assert dx.shape == ddx.shape == x.shape
    assert got.result.shape == got.dgrad.shape == p.grad.shape
    assert got.result.dtype == got.dgrad.dtype == p.grad.dtype

    # Each element's term, its result among the results, and what it counts there.
    f, weights, a, b = p.numbers
    n = [x.numel() for x in p.x]
    term = np.repeat(np.arange(len(n)), n)
    if p.family == "flat":
        group = term if p.grad.dim() else 0 * term
        weight, a = np.divide(weights, n).astype(np.longdouble)[term], np.array(a)[term]
    else:
        samples = len(p.grad)
        group = np.concatenate([np.repeat(np.arange(samples), nk // samples) for nk in n])
        s, a = np.array([of_samples(p, k) for k in range(len(n))]).transpose(1, 0, 2)
        per_sample = np.divide(weights, n).astype(np.longdouble)[term] * samples
        weight, a = per_sample * s[term, group], a[term, group]
    b = np.array(b)[term]
    grad = exact(p.grad)[group]

    # What is subtracted from each element, as a place among the elements of all y.
    starts = np.cumsum([0, *(y.numel() for y in p.y)])
    place = np.concatenate(
        [
            np.broadcast_to(
                start + np.arange(y.numel()).reshape(y.shape if y.numel() > 1 else ()), x.shape
            ).ravel()
            for start, x, y in zip(starts, p.x, p.y, strict=False)
        ]
        or [np.zeros(0, int)]
    )
    x, y = exact(p.x), exact(p.y)[place] if p.y else 0
    d = x - y
    values, df, d2f = (derivative(d, a, b) for derivative in FUNCTORS[f].exact)
    # Next to a zero of f, a rounding of what it is made of counts; and x - y is rounded.
    d_size = np.maximum(np.abs(x), np.abs(y))
    f_size = np.maximum(np.abs(values), d_size * np.abs(df))
    df_size = np.maximum(np.abs(df), d_size * np.abs(d2f))
    df_size = np.maximum(df_size, FUNCTORS[f].cancelling(d, a, b))

    # The cotangents of dx, and those of dy from the other side.
    def cotangents(tensors: list[Tensor]) -> Exact:
        own = {id(t): v for t, v in zip(p.inputs, p.v, strict=True)}
        return exact([own.get(id(t), torch.zeros(t.shape)) for t in tensors])

    vx, vy = cotangents(p.x), cotangents(p.y)[place] if p.y else 0
    u, u_size = vx - vy, np.maximum(np.abs(vx), np.abs(vy))

    def check_sums(
        what: str, got: Tensor, plain: Tensor, group: np.ndarray, terms: Exact, sizes: Exact
    ) -> None:
        count = sum(t.numel() for t in ([got] if isinstance(got, Tensor) else got))
        result, size = np.zeros(count, np.longdouble), np.zeros(count, np.longdouble)
        np.add.at(result, group, terms)
        np.add.at(size, group, np.abs(sizes))
        size = size + np.abs(result)
        if not sums_in_double(module, p):  # at the result's own precision
            size = size * (np.sqrt(np.bincount(group, minlength=count)) + 2 * (p.family == "rows"))
        elif p.grad.dtype == torch.float64:  # weight, sum over a tensor, sum over the list
            size = size * 2
        assert_accurate(what, got, plain, result, size)

    def check_gradients(
        what: str, got: tuple[Tensor, ...], plain: tuple[Tensor, ...], terms: Exact, sizes: Exact
    ) -> None:
        """Of x element by element; of what repeats, the sum over the elements it repeats for."""
        places = {id(t): i for i, t in enumerate(p.inputs)}
        # A scale is rounded before the derivative is multiplied by it, also plainly.
        slack = 2 if p.family == "rows" else 1
        for name, tensors, sign in (("x", p.x, 1), ("y", p.y, -1)):
            wanted = [k for k, t in enumerate(tensors) if id(t) in places]
            if not wanted:
                continue
            chosen = [[of[places[id(tensors[k])]] for k in wanted] for of in (got, plain)]
            mask = np.isin(term, wanted)
            if sum(tensors[k].numel() for k in wanted) == mask.sum():
                assert_accurate(
                    f"{what} of {name}", *chosen, sign * terms[mask], slack * sizes[mask]
                )
            else:
                _, of_sum = np.unique(place[mask], return_inverse=True)
                check_sums(f"{what} of {name}", *chosen, of_sum, sign * terms[mask], sizes[mask])

    check_sums("result", got.result, plain.result, group, weight * values, weight * f_size)
    check_gradients("dx", got.dx, plain.dx, grad * weight * df, grad * weight * df_size)
    check_sums("dgrad", got.dgrad, plain.dgrad, group, weight * u * df, weight * u_size * df_size)
    second, size = grad * weight * u * d2f, grad * weight * u_size * d2f
    check_gradients("ddx", got.ddx, plain.ddx, second, size)


def derivatives(
    reduce: Callable[..., Tensor], x: Tensor, f: str, a: float, y: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """flat of one tensor and its two derivatives in x, with b = 1."""
    x = x.detach().requires_grad_()
    loss = reduce([x], f, [1.0], [a], [1.0], () if y is None else [y])
    (dx,) = torch.autograd.grad(loss, x, create_graph=True)
    (ddx,) = torch.autograd.grad(dx.sum() + 0 * x.sum(), x)
    return loss, dx, ddx
