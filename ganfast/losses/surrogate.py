"""Losses that walk back to the generator's output when they are made, and on from there later.

Each network behind them is back-propagated once, its gradients are combined at the output, and the
backward pass of the loss hands the result to the generator.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from ganfast.reference import compute_dtype


def scale_of(scaler: torch.amp.GradScaler | None, like: Tensor) -> Tensor:
    """Return a scaler's factor as a tensor on the device: without a sync; 1 where there is none."""
    one = torch.ones((), device=like.device, dtype=compute_dtype(like.detach()).dtype)
    if scaler is None:
        return one
    return scaler.scale(one)


def gradients_of(
    name: str,
    output: Tensor,
    inputs: Mapping[str, Tensor],
    of_output: Tensor | None = None,
    retain: bool = False,
) -> list[Tensor]:
    """Gradients of an output with respect to inputs, given by name, that it must depend on.

    Raises:
        ValueError: it does not depend on one of them, or that one requires no gradient.
    """
    gradients: Sequence[Tensor | None] = [None] * len(inputs)
    if output.requires_grad and all(x.requires_grad for x in inputs.values()):
        gradients = torch.autograd.grad(
            output, list(inputs.values()), of_output, retain_graph=retain, allow_unused=True
        )
    found = []
    for gradient, of in zip(gradients, inputs, strict=True):
        if gradient is None:
            raise ValueError(f"{name} must depend on {of}, but has no gradient there")
        found.append(gradient)
    return found


class _Surrogate(torch.autograd.Function):
    """A value whose gradients are known: those given, times that of the value over their scale."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, scale: Tensor, count: int, *tensors: Tensor) -> Tensor:
        inputs, gradients = tensors[:count], tensors[count:]
        ctx.dtypes = [x.dtype for x in inputs]
        ctx.save_for_backward(scale, *gradients)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # create_graph=True: the given gradients have no graph
            raise NotImplementedError(
                "adaptive_weight_loss and Balancer: derivatives of the second order are not "
                "implemented; use the sum of the weighted losses"
            )
        scale, *gradients = ctx.saved_tensors
        factor = grad / scale
        given = [
            (factor * compute_dtype(g)).to(dtype)
            for g, dtype in zip(gradients, ctx.dtypes, strict=True)
        ]
        return None, None, None, *given, *(None for _ in given)


def surrogate(
    value: Tensor, scale: Tensor, inputs: Sequence[Tensor], gradients: Sequence[Tensor]
) -> Tensor:
    """Return a loss of a given value, whose gradients with respect to inputs are gradients / scale.

    It can be differentiated once: a second order raises NotImplementedError.
    """
    return cast(
        Tensor,
        _Surrogate.apply(value, scale, len(inputs), *inputs, *gradients),  # type: ignore[no-untyped-call]
    )
