"""Distances of pairs of tensors by their names in the losses."""

from typing import Literal

Distance = Literal["l1", "l2"]

#: Names of distances in :func:`ganfast.ops.flat`; the square's parameter a is 0.
DISTANCES = {"l1": "l1", "l2": "square"}
