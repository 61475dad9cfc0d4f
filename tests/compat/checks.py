"""Shared by the tests of the drop-in modules: float64 outputs, and equality of gradients."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def draw(*shape: int, seed: int = 0) -> Tensor:
    """Outputs around the kinks of the losses, float64, which require gradients."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (1.5 * x).requires_grad_()


def assert_same(got: Any, expected: Any, inputs: Sequence[Tensor]) -> None:
    """Assert that scalars, or tuples of scalars, have equal values and gradients."""
    got, expected = [x if isinstance(x, tuple) else (x,) for x in (got, expected)]
    for g, e in zip(got, expected, strict=True):
        torch.testing.assert_close(g, e, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(
            torch.autograd.grad(g, inputs, retain_graph=True, allow_unused=True),
            torch.autograd.grad(e, inputs, retain_graph=True, allow_unused=True),
            rtol=1e-11,
            atol=1e-14,
        )


def assert_same_networks(got: torch.nn.Module, expected: torch.nn.Module) -> None:
    """Assert that two copies of a network have accumulated equal gradients."""
    for (name, g), e in zip(got.named_parameters(), expected.parameters(), strict=True):
        assert (g.grad is None) == (e.grad is None), name
        if g.grad is not None:
            torch.testing.assert_close(g.grad, e.grad, rtol=1e-10, atol=1e-13)


def arguments(function: Callable[..., Any]) -> str:
    """Return a function's arguments with their defaults, as written in a call."""
    kinds = inspect.Parameter
    shown = []
    for p in inspect.signature(function).parameters.values():
        if p.kind is kinds.KEYWORD_ONLY:
            continue  # beyond the project's own
        star = {kinds.VAR_POSITIONAL: "*", kinds.VAR_KEYWORD: "**"}.get(p.kind, "")
        default = "" if p.default is kinds.empty else f"={p.default!r}"
        shown.append(f"{star}{p.name}{default}")
    return ", ".join(shown)
