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


def _powered(s: Tensor, exponent: float) -> Tensor:
    """s^exponent, with zero for the derivatives that are not finite at zero."""
    if exponent >= 2 or exponent == 1:
        return s.pow(exponent)
    positive = ~(s <= 0)  # lets NaN through
    return torch.where(positive, torch.where(positive, s, 1.0).pow(exponent), 0.0)


def norm_reduce(
    g: Sequence[Tensor], phi: str, weight: float, a: float, b: float, pixel: bool
) -> Tensor:
    """See :func:`ganfast.ops.norm_reduce`."""
    wide = [gk if gk.dtype == torch.float64 else gk.float() for gk in g]
    squared = [(gk if pixel else gk.reshape(gk.shape[0], -1)).square().sum(1) for gk in wide]
    s = torch.stack(squared).sum(0) if len(g) > 1 else squared[0]
    if phi == "maximum":
        return weight * s.amax()
    if phi == "power":
        s = _powered(s, a)
    elif phi != "square":
        distance = _powered(s + b, 0.5) - a
        s = (F.relu(distance) if phi == "one_sided" else distance).square()
    return weight * s.mean()
