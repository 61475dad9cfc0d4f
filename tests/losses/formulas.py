"""The adversarial losses as their papers write them, element by element, in plain torch."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from numerics import LAYOUTS, generator
from torch import Tensor


def softplus(x: Tensor) -> Tensor:
    return F.softplus(x, threshold=50)  # the default threshold is 20


def cross_entropy(x: Tensor, target: float) -> Tensor:
    labels = torch.full_like(x, target)
    return F.binary_cross_entropy_with_logits(x, labels, reduction="none")


Elementwise = Callable[[Tensor], Tensor]

# kind, options, and the formulas of real outputs, of fake outputs, and of the generator
FORMULAS: dict[str, tuple[str, dict[str, Any], tuple[Elementwise, Elementwise, Elementwise]]] = {
    "non_saturating": (
        "non_saturating",
        {},
        (lambda r: softplus(-r), softplus, lambda f: softplus(-f)),
    ),
    "minimax": ("minimax", {}, (lambda r: softplus(-r), softplus, lambda f: -softplus(f))),
    "minimax, smooth": (
        "minimax",
        {"label_smoothing": 0.25, "fake_label_smoothing": 0.125},
        (
            lambda r: cross_entropy(r, 0.75),
            lambda f: cross_entropy(f, 0.125),
            lambda f: -softplus(f),
        ),
    ),
    "bce": (
        "bce",
        {},
        (
            lambda r: cross_entropy(r, 1.0),
            lambda f: cross_entropy(f, 0.0),
            lambda f: cross_entropy(f, 1.0),
        ),
    ),
    "bce, smooth": (
        "bce",
        {"label_smoothing": 0.25, "fake_label_smoothing": 0.125},
        (
            lambda r: cross_entropy(r, 0.75),
            lambda f: cross_entropy(f, 0.125),
            lambda f: cross_entropy(f, 1.0),
        ),
    ),
    "least_squares": (
        "least_squares",
        {},
        (lambda r: (r - 1) ** 2, lambda f: f**2, lambda f: (f - 1) ** 2),
    ),
    "least_squares, targets, smooth": (
        "least_squares",
        {"targets": (-1.0, 1.0, 0.5), "fake_label_smoothing": 0.25},
        (lambda r: (r - 1) ** 2, lambda f: (f + 0.5) ** 2, lambda f: (f - 0.5) ** 2),
    ),
    "wasserstein": ("wasserstein", {}, (lambda r: -r, lambda f: f, lambda f: -f)),
    "hinge": ("hinge", {}, (lambda r: F.relu(1 - r), lambda f: F.relu(1 + f), lambda f: -f)),
    "hinge, margin": (
        "hinge",
        {"margin": 0.5},
        (lambda r: F.relu(0.5 - r), lambda f: F.relu(0.5 + f), lambda f: -f),
    ),
    "hinge2": (
        "hinge2",
        {},
        (lambda r: F.relu(1 - r), lambda f: F.relu(1 + f), lambda f: F.relu(1 - f)),
    ),
}

SHAPES = ((4, 1, 5, 7), (4, 9), (4,), (4, 3, 1), (4, 2, 64), (4, 1))


def maps(
    n: int, seed: int, dtype: torch.dtype = torch.float32, layouts: Sequence[str] = ("contiguous",)
) -> list[Tensor]:
    """n maps of four samples, leaves of a graph."""
    random = generator(seed)
    return [
        LAYOUTS[layouts[k % len(layouts)]](
            (2 * torch.randn(SHAPES[k % len(SHAPES)], dtype=torch.float64, generator=random)).to(
                dtype
            )
        ).requires_grad_()
        for k in range(n)
    ]


def wide(x: Tensor, dtype: torch.dtype) -> Tensor:
    """A leaf with the values of x."""
    return x.detach().to(dtype).requires_grad_()


def nested(x: list[Tensor]) -> list[list[Tensor]]:
    """Nest maps like discriminators that return features."""
    return [[torch.full((2,), torch.nan), torch.full((3,), torch.nan), xk] for xk in x]


# Real and fake outputs that every loss refuses, the error, and the start of its message.
BAD_OUTPUTS = {
    "empty": (torch.ones(0), torch.ones(3), ValueError, r"^real\[0\] must hold at least one"),
    "integer": (
        torch.ones(3),
        torch.ones(3, dtype=torch.int64),
        TypeError,
        r"^fake\[0\] must ha",
    ),
}
