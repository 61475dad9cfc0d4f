"""The processes of a distributed run, and collective operations with and without gradients."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def process_count() -> int:
    """Number of processes of torch.distributed; 1 if it is not initialized."""
    initialized = dist.is_available() and dist.is_initialized()
    return dist.get_world_size() if initialized else 1


def process_rank() -> int:
    """Number of this process in torch.distributed; 0 if it is not initialized."""
    return dist.get_rank() if process_count() > 1 else 0


class _Sum(torch.autograd.Function):
    """Sum over processes; the gradient is the sum of all processes' gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        result = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(result)
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _sum(grad)


def _sum(x: Tensor) -> Tensor:
    return cast(Tensor, _Sum.apply(x))  # type: ignore[no-untyped-call]


def mean_over_processes(x: Sequence[Tensor]) -> list[Tensor]:
    """Return the mean of each tensor over all processes, in one exchange.

    The gradient is summed over processes. Averaging the gradients of the parameters afterwards, as
    DistributedDataParallel does, then gives the gradient of the loss over the global batch. A
    single process gets ``x`` itself.

    Args:
        x: tensors with the same shapes in all processes.
    """
    count = process_count()
    if count == 1:
        return list(x)
    mean = _sum(torch.cat([t.reshape(-1) for t in x])) / count
    parts = torch.split(mean, [t.numel() for t in x])
    return [part.view_as(t) for part, t in zip(parts, x, strict=True)]


def gather(x: Tensor) -> Tensor:
    """Concatenate the tensors (B, ...) of all processes to (processes * B, ...).

    Gradients are summed over processes, as in :func:`mean_over_processes`.

    Args:
        x: tensor with the same shape in all processes.
    """
    count = process_count()
    if count == 1:
        return x
    if not x.is_floating_point():
        parts = [torch.empty_like(x) for _ in range(count)]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)
    # Sum zero-padded parts: gradients of any order are sums too, and every backend has sums.
    parts = [x if rank == dist.get_rank() else torch.zeros_like(x) for rank in range(count)]
    return _sum(torch.cat(parts))


T = TypeVar("T")


def is_first() -> bool:
    """Return True in the process that writes, logs and scores: the first, or the only one."""
    return process_rank() == 0


def collective_device(like: torch.device, group: Any = None) -> torch.device:
    """Return ``like`` if collectives of the group take its tensors, or else a device that they do.

    NCCL alone, for one, takes no tensor of the CPU.
    """
    backends = dist.get_backend_config(group)  # such as "cpu:gloo,cuda:nccl"
    kinds = [pair.partition(":")[0] for pair in backends.split(",")]
    if like.type in kinds:
        return like
    kind = torch.device(kinds[0])
    return torch.device(kind.type, torch.cuda.current_device()) if kind.type == "cuda" else kind


def gather_numbers(
    numbers: Sequence[int], like: torch.device, group: Any = None
) -> list[list[int]]:
    """Return the numbers of each process of a group, in order of rank."""
    own = torch.tensor(numbers, device=collective_device(like, group))
    everything = [torch.empty_like(own) for _ in range(dist.get_world_size(group))]
    dist.all_gather(everything, own, group)
    return [those.tolist() for those in everything]


def gather_rows(x: Tensor, group: Any = None) -> Tensor:
    """Concatenate the rows (N, D) of all processes of a group, in order of rank.

    N may differ. A process without rows need not know D or the dtype.

    Raises:
        ValueError: D differs.
    """
    counts = gather_numbers([*x.shape, _DTYPES.index(x.dtype)], x.device, group)
    filled = [those for those in counts if those[0]]
    if not filled:
        return x
    if len({columns for _, columns, _ in filled}) > 1:
        raise ValueError(f"rows must have one length in all processes, got shapes {counts}")
    dtype = reduce(torch.promote_types, (_DTYPES[at] for _, _, at in filled))
    most, columns = max(rows for rows, _, _ in filled), filled[0][1]
    padded = torch.zeros(most, columns, dtype=dtype, device=collective_device(x.device, group))
    if len(x):
        padded[: len(x)] = x
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded, group)
    rows = [part[:n] for part, (n, _, _) in zip(parts, counts, strict=True)]
    return torch.cat(rows).to(x.device)


class Processes:
    """The processes of torch.distributed, or this one alone if it is not initialized."""

    def __init__(self) -> None:
        self.count, self.rank = process_count(), process_rank()
        # Decisions of the hosts go through gloo, so that they do not wait for the devices.
        self._hosts = dist.new_group(backend="gloo") if self.count > 1 else None

    @property
    def first(self) -> bool:
        """True in the process that writes, logs and scores."""
        return self.rank == 0

    def part(self, x: Tensor) -> Tensor:
        """Return this process's share (n, ...) of a tensor (count * n, ...) that all hold."""
        return x.chunk(self.count)[self.rank]

    @torch.no_grad()
    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its mean over processes, in one exchange."""
        if self.count == 1 or not tensors:
            return
        flat = torch.cat([x.reshape(-1) for x in tensors])
        dist.all_reduce(flat)
        means = torch.split(flat / self.count, [x.numel() for x in tensors])
        for x, mean in zip(tensors, means, strict=True):
            x.copy_(mean.view_as(x))

    def average_buffers(self, *modules: nn.Module) -> None:
        """Average floating-point buffers, so that all have batch norm's statistics of all data."""
        if self.count > 1:
            buffers = [b for module in modules for b in module.buffers()]
            self.average([b for b in buffers if b.is_floating_point()])

    def start_alike(self, *modules: nn.Module) -> None:
        """Give all processes the first one's weights, and each its own seed for dropout."""
        if self.count == 1:
            return
        for module in modules:
            for tensor in (*module.parameters(), *module.buffers()):
                dense = tensor.detach().contiguous()  # gloo needs it
                dist.broadcast(dense, 0)
                tensor.detach().copy_(dense)
        if self.rank:
            torch.manual_seed((torch.initial_seed() + self.rank) % 2**63)

    def any(self, value: bool) -> bool:
        """Return True if the value is true in any process."""
        if self.count == 1:
            return value
        flag = torch.tensor(int(value))
        dist.all_reduce(flag, dist.ReduceOp.MAX, self._hosts)
        return bool(flag)

    def from_first(self, value: T) -> T:
        """Return the value of the first process."""
        if self.count == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, 0, self._hosts)
        return values[0]

    def to_first(self, value: T, merge: Callable[[Iterable[T]], T]) -> T | None:
        """Merge the values of all processes in the first one, which holds one at a time.

        The others get None.
        """
        if self.count == 1:
            return value
        if self.rank:
            dist.send_object_list([value], 0, self._hosts)
            return None

        def received() -> Iterator[T]:
            yield value
            for rank in range(1, self.count):
                box: list[Any] = [None]
                dist.recv_object_list(box, rank, self._hosts)
                yield box[0]

        return merge(received())

    def gathered(self, value: T) -> T | list[T]:
        """Return the values of all processes; a single process gets its value itself."""
        if self.count == 1:
            return value
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value, self._hosts)
        return values

    def own(self, gathered: Any) -> Any:
        """Return this process's value out of what ``gathered`` returned."""
        return gathered if self.count == 1 else gathered[self.rank]

    def wait(self) -> None:
        """Wait for all processes."""
        if self.count > 1:
            dist.barrier(self._hosts)


def own_device(device: str) -> str:
    """Return the GPU of this process of torchrun for ``cuda``; other devices are returned as given.

    Raises:
        ValueError: this machine has fewer GPUs than processes.
    """
    if device != "cuda" or "LOCAL_RANK" not in os.environ:
        return device
    rank, count = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if rank >= count:
        raise ValueError(
            f"--nproc-per-node must be at most {count} on a machine of {count} GPUs, "
            f"got a process number {rank}"
        )
    return f"cuda:{rank}"


@contextmanager
def joined(device: str) -> Iterator[str]:
    """Within the block, join the processes that torchrun started; yield this one's device."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield device
        return
    device = own_device(device)
    if device.startswith("cuda"):
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    yield device
    dist.destroy_process_group()  # after an error torchrun ends the others
