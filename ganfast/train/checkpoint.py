"""Checkpoints: their content, atomic writes, and checks that they fit a run."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

from ganfast._files import atomic_write, remove_abandoned
from ganfast.distributed import Processes
from ganfast.models.checkpoint import FORMAT, State, load


class Checkpoints:
    """The checkpoint files of a run: the newest, up to ``keep`` with older ones, and the best."""

    def __init__(self, out: Path, keep: int) -> None:
        self.newest, self.best = out / "checkpoint.pt", out / "best.pt"
        self._out, self._keep = out, keep
        self._step: int | None = None  # step of the newest file, if this object knows it

    def older(self) -> list[Path]:
        """Return the checkpoints before the newest, latest first."""
        found = self._out.glob("checkpoint-*.pt")
        return sorted((p for p in found if re.fullmatch(r".*-\d{8}\.pt", p.name)), reverse=True)

    def save(self, state: State) -> None:
        """Write the newest checkpoint; the previous one is renamed to its step.

        A crash leaves the earlier checkpoints intact.
        """
        with atomic_write(self.newest) as file:
            _write(state, file)
            if self._keep > 1 and self._step is not None and self._step != state["step"]:
                _link(self.newest, self._out / f"checkpoint-{self._step:08d}.pt")
        self._step = state["step"]
        if _is_sound(state):  # until then a roll-back may need an older one
            for path in self.older()[self._keep - 1 :]:
                path.unlink(missing_ok=True)

    def save_best(self, state: State) -> None:
        """Write the best checkpoint."""
        with atomic_write(self.best) as file:
            _write(state, file)

    def load(self, path: Path | None = None) -> State:
        """Read the newest checkpoint, or the one at ``path``.

        Raises:
            FileNotFoundError: there is no checkpoint.
            ValueError: the file is damaged; for the newest, the error names an intact older one.
        """
        try:
            state = load(path or self.newest)
        except ValueError as error:
            others = (other for other in self.older() if _intact(other) is not None)
            offer = next(others, None) if path is None else None
            if offer is None:
                raise
            raise ValueError(f"{error}; {offer} is older and intact: resume it") from error
        remove_abandoned(self._out)
        # After loading an older file, the newest is damaged or ahead: it is not kept when replaced.
        step = state.get("step")
        self._step = step if path in (None, self.newest) else None
        return state

    def sound(self) -> State | None:
        """Return the newest readable checkpoint that was saved without a sign of divergence."""
        states = map(_intact, (self.newest, *self.older()))
        return next((s for s in states if s is not None and _is_sound(s)), None)

    def forget_after(self, step: int) -> None:
        """Delete all checkpoints after a step, except the best."""
        for path in self.older():
            if int(path.stem.rpartition("-")[2]) > step:
                path.unlink()
        self._step = None


def _write(state: State, file: BinaryIO) -> None:
    """Write a checkpoint to an open file; a full disk raises its own OSError."""
    try:
        torch.save({"format": FORMAT, **state}, file)
    except RuntimeError as error:  # torch reports "unexpected pos" after every failed write
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def _is_sound(state: State) -> bool:
    """Return True if the run had shown no sign of divergence."""
    health = state.get("health")
    return not (isinstance(health, dict) and health.get("strikes"))


def _intact(path: Path) -> State | None:
    """Load a checkpoint; return None if it is missing or damaged."""
    try:
        return load(path)
    except (FileNotFoundError, ValueError):
        return None


def _link(path: Path, other: Path) -> None:
    """Give a file a second name, unless that name exists."""
    if path.exists() and not other.exists():
        try:
            os.link(path, other)
        except OSError:  # this file system has no hard links
            with atomic_write(other) as file:
                file.write(path.read_bytes())


def capture(parts: Mapping[str, Any], random: torch.Generator, processes: Processes) -> State:
    """Return the state of the parts and of all random number generators.

    Parts are objects with a ``state_dict``, by name. Everything except torch's own random numbers
    is the same in all processes.

    Raises:
        FloatingPointError: a weight is not finite.
    """
    state: State = {
        "device": random.device.type,
        "processes": processes.count,
        "rng": processes.gathered(torch.get_rng_state()),
        "random": random.get_state(),
    }
    if random.device.type == "cuda":
        state["rng_cuda"] = processes.gathered(torch.cuda.get_rng_state(random.device))
    for name, part in parts.items():
        for key, parameter in part.named_parameters() if isinstance(part, nn.Module) else ():
            if not parameter.isfinite().all():
                raise FloatingPointError(f"training failed: {name}'s {key} is no longer finite")
        state[name] = part.state_dict()
    return state


def restore(
    parts: Mapping[str, Any], random: torch.Generator, processes: Processes, state: State
) -> None:
    """Restore what :func:`capture` returned.

    Raises:
        ValueError: a part is missing, or the device, architecture or number of processes differs.
            The networks are then unchanged.
    """
    needed = {"device", "rng", "random", *parts}
    if random.device.type == "cuda":
        needed.add("rng_cuda")
    refuse_incomplete(state, needed)
    if state["device"] != random.device.type:
        raise ValueError(
            f"the checkpoint was made on {state['device']}, the generator is on {random.device}"
        )
    made_by = state.get("processes", 1)
    if made_by != processes.count:
        raise ValueError(
            f"the checkpoint was made by {made_by} processes, this run has {processes.count}"
        )
    for name, part in parts.items():
        if isinstance(part, nn.Module):
            _refuse_other(name, part, state[name])
    # Networks come last: an error in another part leaves them unchanged.
    for name, part in sorted(parts.items(), key=lambda item: isinstance(item[1], nn.Module)):
        with refused(name):
            part.load_state_dict(state[name])
    with refused("random numbers"):
        random.set_state(state["random"])
        torch.set_rng_state(processes.own(state["rng"]))
        if random.device.type == "cuda":
            torch.cuda.set_rng_state(processes.own(state["rng_cuda"]), random.device)


def refuse_incomplete(state: State, names: Iterable[str]) -> None:
    """Raise ValueError if a checkpoint lacks one of its parts."""
    missing = sorted(set(names) - state.keys())
    if missing:
        raise ValueError(f"the checkpoint lacks {', '.join(missing)}")


@contextmanager
def refused(name: str) -> Iterator[None]:
    """Raise errors in the block as a ValueError that names the part of the checkpoint."""
    try:
        yield
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError) as error:
        words = str(error).strip().partition("\n")[0]
        raise ValueError(f"the checkpoint's {name} does not fit this run: {words}") from error


def _refuse_other(name: str, module: nn.Module, state: State) -> None:
    """Raise ValueError, naming the first parameter or buffer that does not fit."""
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f"the checkpoint's {name} must hold tensors by name, got {type(state)}")
    mine = module.state_dict()
    for key in [*mine, *state]:
        here = tuple(mine[key].shape) if key in mine else "absent"
        there = tuple(state[key].shape) if key in state else "absent"
        if here != there:
            raise ValueError(
                f"the checkpoint's {name} is another architecture: "
                f"{key} is {there} there and {here} here"
            )
