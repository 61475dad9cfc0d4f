"""Pairs of tensors, and the losses' reduction over them."""

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from torch import Tensor

from ganfast import ops

Distance = Literal["l1", "l2"]

#: names of distances in :func:`ganfast.ops.pair_reduce`; the square's parameter a is 0
DISTANCES = {"l1": "l1", "l2": "square"}


class Pair(NamedTuple):
    """Two tensors of one shape, their weight in the loss, and their names in its arguments."""

    x: Tensor
    y: Tensor
    weight: float
    x_name: str
    y_name: str


def reduce_pairs(
    pairs: Sequence[Pair], h: str, a: float = 0.0, b: float = 0.0, per_pair: bool = False
) -> Tensor:
    """Return sum_k w_k mean h(x_k, y_k; a, b), or its terms: :func:`ganfast.ops.pair_reduce`.

    What the op says of its lists is said in terms of the names.
    """
    n = len(pairs)
    try:
        return ops.pair_reduce(
            [pair.x for pair in pairs],
            [pair.y for pair in pairs],
            h,
            [pair.weight for pair in pairs],
            [a] * n,
            [b] * n,
            per_pair,
        )
    except (TypeError, ValueError) as error:
        message = re.sub(
            r"\b([xy])\[(\d+)\]",
            lambda match: getattr(pairs[int(match[2])], f"{match[1]}_name"),
            str(error).removeprefix("pair_reduce: "),
        )
        raise type(error)(message) from None
