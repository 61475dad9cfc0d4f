"""The operations of StyleGAN's family, written as their equations in NumPy and SciPy, float64."""

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy import signal, special

LAMBDA, ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717

# f, its first and its second derivative, of v and the slope alpha
Function = Callable[[np.ndarray, float], np.ndarray]
sigmoid = special.expit
FORMULAS: dict[str, tuple[Function, Function, Function]] = {
    "linear": (lambda v, a: v, lambda v, a: np.ones_like(v), lambda v, a: 0 * v),
    "relu": (lambda v, a: np.maximum(v, 0), lambda v, a: 1.0 * (v > 0), lambda v, a: 0 * v),
    "lrelu": (
        lambda v, a: np.where(v > 0, v, a * v),
        lambda v, a: np.where(v > 0, 1, a),
        lambda v, a: 0 * v,
    ),
    "tanh": (
        lambda v, a: np.tanh(v),
        lambda v, a: np.cosh(v) ** -2.0,
        lambda v, a: -2 * np.tanh(v) * np.cosh(v) ** -2.0,
    ),
    "sigmoid": (
        lambda v, a: sigmoid(v),
        lambda v, a: sigmoid(v) * sigmoid(-v),
        lambda v, a: sigmoid(v) * sigmoid(-v) * (sigmoid(-v) - sigmoid(v)),
    ),
    "elu": (
        lambda v, a: np.where(v >= 0, v, np.expm1(v)),
        lambda v, a: np.where(v >= 0, 1, np.exp(v)),
        lambda v, a: np.where(v >= 0, 0, np.exp(v)),
    ),
    "selu": (
        lambda v, a: LAMBDA * np.where(v >= 0, v, ALPHA * np.expm1(v)),
        lambda v, a: LAMBDA * np.where(v >= 0, 1, ALPHA * np.exp(v)),
        lambda v, a: LAMBDA * np.where(v >= 0, 0, ALPHA * np.exp(v)),
    ),
    "softplus": (
        lambda v, a: np.logaddexp(0, v),
        lambda v, a: sigmoid(v),
        lambda v, a: sigmoid(v) * sigmoid(-v),
    ),
    "swish": (
        lambda v, a: v * sigmoid(v),
        lambda v, a: sigmoid(v) * (1 + v * sigmoid(-v)),
        lambda v, a: sigmoid(v) * sigmoid(-v) * (2 + v * (sigmoid(-v) - sigmoid(v))),
    ),
}
GAINS = {name: math.sqrt(2) if name in ("relu", "lrelu", "swish") else 1.0 for name in FORMULAS}


def dense(f: np.ndarray | None) -> np.ndarray:
    """A filter as (height, width)."""
    if f is None:
        return np.ones((1, 1))
    return np.outer(f, f) if f.ndim == 1 else f


def upfirdn2d(
    x: np.ndarray,
    f: np.ndarray | None,
    up: tuple[int, int] = (1, 1),
    down: tuple[int, int] = (1, 1),
    pads: Sequence[int] = (0, 0, 0, 0),
    flip: bool = False,
    gain: float = 1.0,
) -> np.ndarray:
    """The sum of the docstring, pixel by pixel."""
    g = dense(f) if flip else dense(f)[::-1, ::-1]
    (n, c, h, w), (fh, fw) = x.shape, g.shape
    u = np.zeros((n, c, h * up[1] + pads[2] + pads[3], w * up[0] + pads[0] + pads[1]))
    for i, j in itertools.product(range(h), range(w)):
        row, column = i * up[1] + pads[2], j * up[0] + pads[0]
        if 0 <= row < u.shape[2] and 0 <= column < u.shape[3]:
            u[:, :, row, column] = x[:, :, i, j]
    rows, columns = (u.shape[2] - fh) // down[1] + 1, (u.shape[3] - fw) // down[0] + 1
    y = np.zeros((n, c, rows, columns))
    for i, j in itertools.product(range(rows), range(columns)):
        window = u[:, :, i * down[1] : i * down[1] + fh, j * down[0] : j * down[0] + fw]
        y[:, :, i, j] = gain * (window * g).sum((2, 3))
    return y


def conv2d(x: np.ndarray, w: np.ndarray, groups: int = 1, flip_weight: bool = True) -> np.ndarray:
    """Valid correlation, or convolution without ``flip_weight``, in groups."""
    y = []
    for o, kernel in enumerate(w):
        first = o // (len(w) // groups) * w.shape[1]
        channels = [
            sum(
                signal.correlate2d(image[first + c], k if flip_weight else k[::-1, ::-1], "valid")
                for c, k in enumerate(kernel)
            )
            for image in x
        ]
        y.append(np.stack(channels))
    return np.stack(y, 1)
