"""Weights from one network to another by name and shape, with a table of what was not taken."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Row(NamedTuple):
    """One weight: its name, and whether it was ``taken``, or why not."""

    name: str
    status: str


@torch.no_grad()
def take(module: nn.Module, weights: Mapping[str, Tensor]) -> list[Row]:
    """Copy every weight that has the same name and shape; say of every other why it was not.

    Raises:
        ValueError: none could be taken.
    """
    rows, mine = [], module.state_dict()
    for name, value in mine.items():
        other = weights.get(name)
        if other is None:
            rows.append(Row(name, "not in the source: drawn anew"))
        elif other.shape != value.shape:
            shapes = f"{_shape(other)} in the source, {_shape(value)} here"
            rows.append(Row(name, f"{shapes}: drawn anew"))
        else:
            value.copy_(other)
            rows.append(Row(name, "taken"))
    rows += [Row(name, "not here: left") for name in weights if name not in mine]
    if not any(row.status == "taken" for row in rows):
        raise ValueError(
            f"no weight of the source fits {type(module).__name__}: it has {list(weights)[:3]}, "
            f"this has {list(mine)[:3]}"
        )
    return rows


def _shape(x: Tensor) -> str:
    return "x".join(map(str, x.shape)) or "one number"
