"""The processes of a distributed run: what they share, and what is each one's own.

Each gets its part of every batch, and its gradients become the mean over all, so that all take the
same steps. In a run of one process everything here is left out.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

T = TypeVar("T")


class Processes:
    """Those of torch.distributed, where it is initialized, or this one alone."""

    def __init__(self) -> None:
        joined = dist.is_available() and dist.is_initialized()
        self.count = dist.get_world_size() if joined else 1
        self.rank = dist.get_rank() if joined else 0
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
