"""The processes of a distributed run: collective arithmetic, differentiable and not."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn


def process_count() -> int:
    """Number of processes of torch.distributed; 1 if it is not initialized."""
    initialized = dist.is_available() and dist.is_initialized()
    return dist.get_world_size() if initialized else 1


def process_rank() -> int:
    """Number of this process in torch.distributed; 0 if it is not initialized."""
    return dist.get_rank() if process_count() > 1 else 0


class _Sum(torch.autograd.Function):
    """Sum over the processes; its gradient is the sum of the gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        result = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(result)
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
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)
    # A sum of zero-padded parts has a sum as its gradient, of any order, on every backend.
    before = dist.get_rank() * x.shape[0]
    after = count * x.shape[0] - before - x.shape[0]
    padded = torch.cat([x.new_zeros(before, *x.shape[1:]), x, x.new_zeros(after, *x.shape[1:])])
    return _sum(padded)


T = TypeVar("T")


def is_first() -> bool:
    """Whether this process writes, logs and scores: the first of torch.distributed, or the only."""
    return process_rank() == 0


def gather_objects(value: T) -> list[T]:
    """Return the values of all processes, in order of rank."""
    if process_count() == 1:
        return [value]
    values: list[Any] = [None] * process_count()
    dist.all_gather_object(values, value)
    return values


class Processes:
    """Those of torch.distributed, where it is initialized, or this one alone."""

    def __init__(self) -> None:
        self.count, self.rank = process_count(), process_rank()
        # What hosts agree on does not wait for their devices.
        self._hosts = dist.new_group(backend="gloo") if self.count > 1 else None

    @property
    def first(self) -> bool:
        """Whether this is the one that writes, logs and scores."""
        return self.rank == 0

    def part(self, x: Tensor) -> Tensor:
        """This process's rows of those (count * n, ...) that all have drawn alike."""
        return x.chunk(self.count)[self.rank]

    @torch.no_grad()
    def average(self, tensors: Sequence[Tensor]) -> None:
        """Each becomes its mean over the processes, in one exchange."""
        if self.count == 1 or not tensors:
            return
        flat = torch.cat([x.reshape(-1) for x in tensors])
        dist.all_reduce(flat)
        means = torch.split(flat / self.count, [x.numel() for x in tensors])
        for x, mean in zip(tensors, means, strict=True):
            x.copy_(mean.view_as(x))

    def average_buffers(self, *modules: nn.Module) -> None:
        """So that batch norm's statistics are those of all data, and the same everywhere."""
        if self.count > 1:
            buffers = [b for module in modules for b in module.buffers()]
            self.average([b for b in buffers if b.is_floating_point()])

    def start_alike(self, *modules: nn.Module) -> None:
        """All get the first one's weights; what each draws for itself, as dropout, differs."""
        if self.count == 1:
            return
        for module in modules:
            for tensor in (*module.parameters(), *module.buffers()):
                dense = tensor.detach().contiguous()  # gloo takes no other
                dist.broadcast(dense, 0)
                tensor.detach().copy_(dense)
        if self.rank:
            torch.manual_seed((torch.initial_seed() + self.rank) % 2**63)

    def any(self, told: bool) -> bool:
        """Whether one of them was told so."""
        if self.count == 1:
            return told
        flag = torch.tensor(int(told))
        dist.all_reduce(flag, dist.ReduceOp.MAX, self._hosts)
        return bool(flag)

    def from_first(self, value: T) -> T:
        """The first one's value."""
        if self.count == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, 0, self._hosts)
        return values[0]

    def gathered(self, value: T) -> T | list[T]:
        """The values of all, or of one alone itself."""
        if self.count == 1:
            return value
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value, self._hosts)
        return values

    def own(self, gathered: Any) -> Any:
        """This process's value of what was gathered."""
        return gathered if self.count == 1 else gathered[self.rank]

    def wait(self) -> None:
        """Until all are here."""
        if self.count > 1:
            dist.barrier(self._hosts)


@contextmanager
def joined(device: str) -> Iterator[str]:
    """Within the block, join the processes that torchrun has started; gives this one's device."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield device
        return
    if device == "cuda":
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    yield device
    dist.destroy_process_group()  # after an error torchrun ends the others
