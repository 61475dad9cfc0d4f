"""Differentiable exchange between the processes of torch.distributed."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def process_count() -> int:
    """Number of processes of torch.distributed; 1 if it is not initialized."""
    initialized = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if initialized else 1


class _Sum(torch.autograd.Function):
    """Sum over the processes; its gradient is the sum of the gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        result = x.clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(result)
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _sum(grad)


def _sum(x: Tensor) -> Tensor:
    result: Tensor = _Sum.apply(x)  # type: ignore[no-untyped-call]
    return result


def mean_over_processes(x: Sequence[Tensor]) -> list[Tensor]:
    """Return the mean of each tensor over all processes, in one exchange.

    Gradients are summed over the processes. DistributedDataParallel then averages those of the
    parameters, which gives the gradient of the loss over the global batch.
    """
    count = process_count()
    if count == 1:
        return list(x)
    mean = _sum(torch.cat([t.reshape(-1) for t in x])) / count
    parts = torch.split(mean, [t.numel() for t in x])
    return [part.view(t.shape) for part, t in zip(parts, x, strict=True)]


def gather(x: Tensor) -> Tensor:
    """Concatenate the tensors (B, ...) of all processes, of equal shapes, to (processes * B, ...).

    Gradients are summed over the processes, as for :func:`mean_over_processes`.
    """
    count = process_count()
    if count == 1:
        return x
    if not x.is_floating_point():
        parts = [torch.empty_like(x) for _ in range(count)]
        torch.distributed.all_gather(parts, x.contiguous())
        return torch.cat(parts)
    # A sum of zero-padded parts has a sum as its gradient, of any order, on every backend.
    before = torch.distributed.get_rank() * x.shape[0]
    after = count * x.shape[0] - before - x.shape[0]
    padded = torch.cat([x.new_zeros(before, *x.shape[1:]), x, x.new_zeros(after, *x.shape[1:])])
    return _sum(padded)
