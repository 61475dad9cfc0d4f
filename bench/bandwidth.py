"""Bytes per second of the kernels, as a share of those of a copy.

Each kernel reads and writes the least that its formula asks for: what it reaches of a copy's speed
is what it reaches of the memory's. Launches count, the copy's too.
"""

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bench.kit import block_seconds

OPS = torch.ops.ganfast
SAMPLES = 64
ROUNDS = 20

Run = Callable[[], Any]


class Kernel(NamedTuple):
    """A kernel's name, how many times the bytes of one tensor it moves, and what runs it."""

    name: str
    tensors: float
    prepare: Callable[[Tensor, Tensor], Run]


def _one_tensor(f: str) -> list[Kernel]:
    terms = f, [1.0], [1.0], [1.0]
    return [
        Kernel(f"flat {f}", 1, lambda x, y: partial(OPS.flat, [x], [], *terms, False, None)),
        Kernel(
            f"flat {f} statistics", 1, lambda x, y: partial(OPS.flat, [x], [], *terms, False, 0.0)
        ),
        Kernel(
            f"flat {f} backward",
            2,
            lambda x, y: partial(OPS.flat_backward, _one(x), [x], [], *terms, [0]),
        ),
    ]


def _pair(f: str) -> list[Kernel]:
    terms = f, [1.0], [1.0], [1.0]
    return [
        Kernel(
            f"flat {f} of pairs", 2, lambda x, y: partial(OPS.flat, [x], [y], *terms, False, None)
        ),
        Kernel(
            f"flat {f} of pairs backward",
            3,
            lambda x, y: partial(OPS.flat_backward, _one(x), [x], [y], *terms, [0]),
        ),
    ]


def _norm() -> list[Kernel]:
    def arguments(x: Tensor) -> tuple[object, ...]:
        size = float(x.numel() // SAMPLES)
        return [], [], "square", [size], [0.0], [0.0], False, False

    def forward(x: Tensor) -> Run:
        of_phi = "centred", (1.0, 1.0, 0.0)
        return partial(OPS.rows, [x.view(SAMPLES, -1)], [], *arguments(x), *of_phi)

    def backward(x: Tensor, y: Tensor) -> Run:
        derivatives = forward(x)()[1]
        g = [x.view(SAMPLES, -1)]
        return partial(OPS.rows_backward, _one(x), g, [], derivatives, *arguments(x), [0])

    return [
        Kernel("norm", 1, lambda x, y: forward(x)),
        Kernel("norm backward", 2, backward),
    ]


def _rows(f: str) -> list[Kernel]:
    terms: tuple[object, ...] = [], [], f, [1.0], [1.0], [0.0], False, False

    def backward(x: Tensor, y: Tensor) -> Run:
        grad = torch.ones(SAMPLES, device=x.device)
        return partial(OPS.rows_backward, grad, [x.view(SAMPLES, -1)], [], None, *terms, [0])

    return [
        Kernel(
            f"rows {f}",
            1,
            lambda x, y: partial(OPS.rows, [x.view(SAMPLES, -1)], [], *terms, "identity", ()),
        ),
        Kernel(f"rows {f} backward", 2, backward),
    ]


def _one(x: Tensor) -> Tensor:
    return torch.ones((), device=x.device)


COPY = Kernel("copy", 2, lambda x, y: partial(torch.empty_like(x).copy_, x))
KERNELS: list[Kernel] = [
    *(kernel for f in ("softplus", "square", "hinge") for kernel in _one_tensor(f)),
    *(kernel for f in ("l1", "square", "softplus") for kernel in _pair(f)),
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
