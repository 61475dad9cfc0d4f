"""Multiply and add in one pass."""

import torch
from torch import Tensor


def fma(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    r"""Return :math:`a b + c`, with broadcasting.

    Args:
        a: of a shape that broadcasts with the others, and of their dtype.
        b: likewise.
        c: likewise.

    Returns:
        The broadcast result.
    """
    return torch.addcmul(c, a, b)
