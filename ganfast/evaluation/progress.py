"""Progress bars of long work, and the process that shows them."""

import sys
from typing import Any

import torch


def rank_and_world_size() -> tuple[int, int]:
    """Return the rank of this process and the number of processes."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def progress_bar(name: str, n: int, quiet: bool) -> Any:
    """Return a bar with images/s and the time left, shown by the first process on a terminal."""
    from tqdm import tqdm

    hidden = quiet or not sys.stderr.isatty() or rank_and_world_size()[0] > 0
    return tqdm(total=n, desc=name, unit="img", dynamic_ncols=True, disable=hidden)
