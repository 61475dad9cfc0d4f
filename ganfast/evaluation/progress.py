"""Progress of long work, on a terminal."""

import sys
from typing import Any

import torch


def process() -> tuple[int, int]:
    """Number of this process and of all of them."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def progress_bar(name: str, n: int, quiet: bool) -> Any:
    """A bar with images/s and the time that is left, of the first process, where one looks on."""
    from tqdm import tqdm

    hidden = quiet or not sys.stderr.isatty() or process()[0] > 0
    return tqdm(total=n, desc=name, unit="img", dynamic_ncols=True, disable=hidden)
