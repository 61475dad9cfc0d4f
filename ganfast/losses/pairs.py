"""Pairs of tensors, and the losses' reduction over them."""

import re
from collections.abc import Callable, Sequence
from typing import Literal

from torch import Tensor

from ganfast import ops

Distance = Literal["l1", "l2"]

#: names of distances in :func:`ganfast.ops.pair_reduce`; the square's parameter a is 0
DISTANCES = {"l1": "l1", "l2": "square"}


def reduce_pairs(
    x: Sequence[Tensor],
    y: Sequence[Tensor],
    h: str,
    weight: Sequence[float],
    a: Sequence[float],
    b: Sequence[float],
    names: Callable[[int], tuple[str, str]],
    per_pair: bool = False,
) -> Tensor:
    """Return sum_k w_k mean h(x_k, y_k; a, b), or its terms: :func:`ganfast.ops.pair_reduce`.

    What the op says of its lists is said in terms of the names of the pair k, names(k).
    """
    try:
        return ops.pair_reduce(x, y, h, weight, a, b, per_pair)
    except (TypeError, ValueError) as error:
        raise named(error, names) from None


def named(error: Exception, names: Callable[[int], tuple[str, str]]) -> Exception:
    """What an op said of its lists of pairs, in terms of the loss's arguments."""
    message = re.sub(
        r"\b([xy])\[(\d+)\]",
        lambda match: names(int(match[2]))[match[1] == "y"],
        str(error).removeprefix("pair_reduce: "),
    )
    return type(error)(message)
