"""The pure-PyTorch twin of every op, with the op's name and signature.

Oracle of the tests, fallback where nothing is compiled and on other devices, and the road under
torch.func and torch.compile. Differentiable to any order.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def _bce(x: Tensor, a: float, b: float) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):  # autocast refuses this function
        return F.binary_cross_entropy(x, torch.full_like(x, a), reduction="none")


#: f(x; a, b) by name: the functors of csrc/math/unary_reduce.h
UNARY_FUNCTORS: dict[str, Callable[[Tensor, float, float], Tensor]] = {
    "softplus": lambda x, a, b: -F.logsigmoid(-a * x),
    "bce_with_logits": lambda x, a, b: (1 - a) * x - F.logsigmoid(x),
    "bce": _bce,
    "square": lambda x, a, b: (x - a).square(),
    "identity": lambda x, a, b: x,
    "hinge": lambda x, a, b: F.relu(b + a * x),
}


def unary_reduce(
    x: Sequence[Tensor],
    f: str,
    weight: Sequence[float],
    a: Sequence[float],
    b: Sequence[float],
) -> Tensor:
    """See :func:`ganfast.ops.unary_reduce`."""
    functor = UNARY_FUNCTORS[f]
    terms = [
        wk * functor(xk if xk.dtype == torch.float64 else xk.float(), ak, bk).mean()
        for xk, wk, ak, bk in zip(x, weight, a, b, strict=True)
    ]
    return torch.stack(terms).sum() if len(terms) > 1 else terms[0]


#: h(x, y; a, b) by name, as a function of x - y: the functors of csrc/math/pair_reduce.h
PAIR_FUNCTORS: dict[str, Callable[[Tensor, float, float], Tensor]] = {
    "l1": lambda d, a, b: d.abs(),
    **{name: UNARY_FUNCTORS[name] for name in ("square", "softplus", "hinge")},
}


def pair_reduce(
    x: Sequence[Tensor],
    y: Sequence[Tensor],
    h: str,
    weight: Sequence[float],
    a: Sequence[float],
    b: Sequence[float],
    per_pair: bool = False,
) -> Tensor:
    """See :func:`ganfast.ops.pair_reduce`."""
    functor = PAIR_FUNCTORS[h]

    def wide(x: Tensor) -> Tensor:
        return x if x.dtype == torch.float64 else x.float()

    terms = [
        wk * functor(wide(xk) - wide(yk), ak, bk).mean()
        for xk, yk, wk, ak, bk in zip(x, y, weight, a, b, strict=True)
    ]
    if per_pair:
        return torch.stack(terms)
    return torch.stack(terms).sum() if len(terms) > 1 else terms[0]
