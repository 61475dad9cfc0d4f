"""What networks, optimizers and random numbers are in the middle of a run."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ganfast.models.checkpoint import State
from ganfast.train.processes import Processes


def capture(parts: Mapping[str, Any], random: torch.Generator, processes: Processes) -> State:
    """The state of the parts and of all random numbers, on the device of ``random``.

    All but torch's own random numbers is the same in all processes.

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
        if isinstance(part, nn.Module):
            _refuse_nonfinite(name, part)
        state[name] = part.state_dict()
    return state


def restore(
    parts: Mapping[str, Any], random: torch.Generator, processes: Processes, state: State
) -> None:
    """Bring back what :func:`capture` returned.

    Raises:
        ValueError: it is of another device, architecture or number of processes; the parts are then
            as before.
    """
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
    for name, part in parts.items():
        part.load_state_dict(state[name])
    random.set_state(state["random"])
    torch.set_rng_state(processes.own(state["rng"]))
    if random.device.type == "cuda":
        torch.cuda.set_rng_state(processes.own(state["rng_cuda"]), random.device)


def _refuse_nonfinite(name: str, module: nn.Module) -> None:
    for key, parameter in module.named_parameters():
        if not parameter.isfinite().all():
            raise FloatingPointError(f"training failed: {name}'s {key} is no longer finite")


def _refuse_other(name: str, module: nn.Module, state: State) -> None:
    """Name the first parameter or buffer that does not fit."""
    mine = module.state_dict()
    for key in [*mine, *state]:
        here = tuple(mine[key].shape) if key in mine else "absent"
        there = tuple(state[key].shape) if key in state else "absent"
        if here != there:
            raise ValueError(
                f"the checkpoint's {name} is another architecture: "
                f"{key} is {there} there and {here} here"
            )
