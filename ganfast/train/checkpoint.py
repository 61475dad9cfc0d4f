"""Checkpoints: written whole, read as plain tensors, refused when they do not fit."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import torch

from ganfast._files import atomic_write
from ganfast.models.checkpoint import FORMAT, State, load


class Checkpoints:
    """The checkpoints of a run: the newest, some before it, and the best.

    Args:
        out: folder of the run.
        keep: how many of the newest to keep.
    """

    def __init__(self, out: Path, keep: int) -> None:
        self.newest, self.best = out / "checkpoint.pt", out / "best.pt"
        self._out, self._keep = out, keep
        self._step: int | None = None  # of the newest, where this object knows it

    def older(self) -> list[Path]:
        """Those before the newest, the last one first."""
        found = self._out.glob("checkpoint-*.pt")
        return sorted((p for p in found if re.fullmatch(r".*-\d{8}\.pt", p.name)), reverse=True)

    def save(self, state: State) -> None:
        """Write the newest; a crash leaves those before. The one before gets its step's name."""
        with atomic_write(self.newest) as file:
            torch.save({"format": FORMAT, **state}, file)
            if self._keep > 1 and self._step is not None and self._step != state["step"]:
                _link(self.newest, self._out / f"checkpoint-{self._step:08d}.pt")
        self._step = state["step"]
        if not state["health"]["strikes"]:  # until then an older one may be needed
            for path in self.older()[self._keep - 1 :]:
                path.unlink(missing_ok=True)

    def save_best(self, state: State) -> None:
        """Write the best one."""
        with atomic_write(self.best) as file:
            torch.save({"format": FORMAT, **state}, file)

    def load(self, path: Path | None = None) -> State:
        """Read the newest, or another one, as :func:`load` does.

        Where the newest is damaged, the error names the last one that is not.
        """
        try:
            state = load(path or self.newest)
        except ValueError as error:
            others = (other for other in self.older() if _whole(other))
            offer = next(others, None) if path is None else None
            if offer is None:
                raise
            raise ValueError(f"{error}; {offer}, from before it, is whole: resume that") from error
        for torn in self._out.glob(".*.pt.*.tmp"):  # of a run that was killed while it saved
            torn.unlink(missing_ok=True)
        # A newest one that is damaged, or of a later step, is no older one when it is replaced.
        self._step = state["step"] if path in (None, self.newest) else None
        return state

    def sound(self) -> Iterator[State]:
        """Those that can be read and were saved while all was well, the newest first."""
        for path in (self.newest, *self.older()):
            if path.exists() and _whole(path):
                state = load(path)
                if not state["health"]["strikes"]:
                    yield state

    def forget_after(self, step: int) -> None:
        """Delete all from after a step, but the best."""
        for path in self.older():
            if int(path.stem.rpartition("-")[2]) > step:
                path.unlink()
        self._step = None


def _whole(path: Path) -> bool:
    try:
        load(path)
    except ValueError:
        return False
    return True


def _link(path: Path, other: Path) -> None:
    """Give a file a second name; one that is there stays."""
    if path.exists() and not other.exists():
        try:
            os.link(path, other)
        except OSError:  # no hard links on this file system
            with atomic_write(other) as file:
                file.write(path.read_bytes())
