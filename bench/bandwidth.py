"""Bytes per second of the kernels, as a share of those of a copy.

Each kernel reads and writes the least that its formula asks for: what it reaches of a copy's speed
is what it reaches of the memory's. Launches count, the copy's too.
"""

import statistics
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from bench.kit import block_seconds

OPS = torch.ops.ganfast
SAMPLES = 64
ROUNDS = 20

Run = Callable[[], object]


class Kernel(NamedTuple):
    """A kernel's name, how many times the bytes of one tensor it moves, and what runs it."""

    name: str
    tensors: float
    prepare: Callable[[Tensor, Tensor], Run]


def _unary(f: str) -> list[Kernel]:
    def terms(x: Tensor) -> tuple[object, ...]:
        return [x], f, [1.0], [1.0], [1.0]

    return [
        Kernel(f"unary {f}", 1, lambda x, y: partial(OPS.unary_reduce, *terms(x))),
        Kernel(
            f"unary {f} statistics",
            1,
            lambda x, y: partial(OPS.unary_reduce_stats, *terms(x), 0.0),
        ),
        Kernel(
            f"unary {f} backward",
            2,
            lambda x, y: partial(OPS.unary_reduce_backward, _one(x), *terms(x)),
        ),
    ]


def _pair(h: str) -> list[Kernel]:
    def terms(x: Tensor, y: Tensor) -> tuple[object, ...]:
        return [x], [y], h, [1.0], [1.0], [1.0]

    return [
        Kernel(f"pair {h}", 2, lambda x, y: partial(OPS.pair_reduce, *terms(x, y), False)),
        Kernel(
            f"pair {h} backward",
            3,
            lambda x, y: partial(OPS.pair_reduce_backward, _one(x), *terms(x, y), [0]),
        ),
    ]


def _norm() -> list[Kernel]:
    phi = ("centred", 1.0, 1.0, 0.0, False)

    def backward(x: Tensor, y: Tensor) -> Run:
        g = [x.view(SAMPLES, -1)]
        derivatives = OPS.norm_reduce(g, *phi)[1]
        return partial(OPS.norm_reduce_backward, _one(x), g, derivatives, False)

    return [
        Kernel("norm", 1, lambda x, y: partial(OPS.norm_reduce, [x.view(SAMPLES, -1)], *phi)),
        Kernel("norm backward", 2, backward),
    ]


def _rows(f: str) -> list[Kernel]:
    def terms(x: Tensor) -> tuple[object, ...]:
        return [x.view(SAMPLES, -1)], [None], [None], f, [1.0], [1.0], [0.0], False

    def backward(x: Tensor, y: Tensor) -> Run:
        return partial(OPS.unary_rows_backward, torch.ones(SAMPLES, device=x.device), *terms(x))

    return [
        Kernel(f"rows {f}", 1, lambda x, y: partial(OPS.unary_rows, *terms(x))),
        Kernel(f"rows {f} backward", 2, backward),
    ]


def _one(x: Tensor) -> Tensor:
    return torch.ones((), device=x.device)


COPY = Kernel("copy", 2, lambda x, y: partial(torch.empty_like(x).copy_, x))
KERNELS: list[Kernel] = [
    *(kernel for f in ("softplus", "square", "hinge") for kernel in _unary(f)),
    *(kernel for h in ("l1", "square", "softplus") for kernel in _pair(h)),
    *_norm(),
    *_rows("softplus"),
]


def tensors(elements: int, dtype: torch.dtype, device: str) -> tuple[Tensor, Tensor]:
    """The two inputs of every kernel."""
    x, y = (torch.randn(elements, device=device).to(dtype) for _ in range(2))
    return x, y


def bytes_per_second(kernel: Kernel, x: Tensor, y: Tensor) -> float:
    """Of the median round."""
    run = kernel.prepare(x, y)
    run()
    seconds = [block_seconds(run, x.device.type) for _ in range(ROUNDS)]
    return kernel.tensors * x.nbytes / statistics.median(seconds)
