"""Checkpoints: written whole, read as plain tensors, refused when they do not fit."""

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ganfast._files import atomic_write

State = dict[str, Any]

_FORMAT = "ganfast-train-1"


def save(path: Path, state: State) -> None:
    """Write a checkpoint; a crash leaves the one before it."""
    with atomic_write(path) as file:
        torch.save({"format": _FORMAT, **state}, file)


def load(path: Path) -> State:
    """Read a checkpoint to the CPU without running any code in it.

    Raises:
        FileNotFoundError: there is none.
        ValueError: the file is no checkpoint of this trainer.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path} to resume from")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(f"{path} cannot be read as a checkpoint: {error}") from error
    if not isinstance(state, dict) or state.get("format") != _FORMAT:
        raise ValueError(f"{path} is not a checkpoint of this trainer ({_FORMAT})")
    return state


def refuse_nonfinite(name: str, module: nn.Module) -> None:
    """Raise FloatingPointError where a parameter is not finite."""
    for key, parameter in module.named_parameters():
        if not parameter.isfinite().all():
            raise FloatingPointError(f"training failed: {name}'s {key} is no longer finite")


def load_module(name: str, module: nn.Module, state: State) -> None:
    """Load weights, naming the first parameter or buffer that does not fit in a ValueError."""
    mine = module.state_dict()
    for key in [*mine, *state]:
        here = tuple(mine[key].shape) if key in mine else "absent"
        there = tuple(state[key].shape) if key in state else "absent"
        if here != there:
            raise ValueError(
                f"the checkpoint's {name} is another architecture: "
                f"{key} is {there} there and {here} here"
            )
    module.load_state_dict(state)
