"""The functors, twice: as users of plain torch write them, and as exact values.

``exact`` gives f and its first two derivatives in closed form; in extended precision, so that they
can also judge float64. Parameters are drawn such that every dtype holds them exactly.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from numerics import Exact
from torch import Tensor

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
    "l1": Functor(
        lambda x, a, b: x.abs(),
        (lambda x, a, b: np.abs(x), lambda x, a, b: np.sign(x), lambda x, a, b: 0 * x),
        st.just(0.0),
    ),
}
#: Those that also take the differences of x and y.
DIFFERENCES = ("softplus", "square", "hinge", "squared_hinge", "l1")
#: Those of any number.
LOGITS = sorted(FUNCTORS.keys() - {"bce"})
