"""Features that are whole numbers, so that no order of summation changes a moment of few images."""

import os
from pathlib import Path

from torch import Tensor


def corner(images: Tensor) -> Tensor:
    """Twelve bytes of each picture."""
    return images[:, :, :2, :2].float().flatten(1)


def deadly(images: Tensor) -> Tensor:
    """The same, but that each process of the first two dies at its third batch."""
    marks = Path(os.environ["GANFAST_TEST_MARKS"])
    calls = marks / f"{os.getpid()}"
    count = len(calls.read_text()) if calls.exists() else 0
    calls.write_text("x" * (count + 1))
    if count == 2 and len(list(marks.glob("died-*"))) < 1:
        (marks / f"died-{os.getpid()}").touch()
        os._exit(1)
    return corner(images)
