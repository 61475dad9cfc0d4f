"""Functions of tests that run in several processes at once.

The processes are forked from a server that has imported torch once and has done nothing since, so
each starts in tenths of a second and inherits no thread.
"""

import multiprocessing
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

multiprocessing.set_forkserver_preload(
    ["ganfast.metrics", "hypothesis", "pytest", "scipy.stats", "torch.distributed"]
)


def start(
    count: int, folder: Path, function: Callable[..., None], *arguments: Any
) -> mp.ProcessContext:
    """Call ``function(rank, *arguments)`` in ``count`` processes of one gloo group.

    The group meets in ``folder``.
    """
    everything = (count, tempfile.mkdtemp(dir=folder), function, arguments)
    return mp.start_processes(_member, everything, count, join=False, start_method="forkserver")


def run(count: int, folder: Path, function: Callable[..., None], *arguments: Any) -> None:
    """Start the processes and wait for all. What one of them raises is raised here."""
    context = start(count, folder, function, *arguments)
    while not context.join():
        pass


def _member(
    rank: int, count: int, folder: str, function: Callable[..., None], arguments: tuple[Any, ...]
) -> None:
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=count)
    function(rank, *arguments)
    dist.barrier()
    dist.destroy_process_group()
