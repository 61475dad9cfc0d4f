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


def polar(
    a: Tensor, coefficients: Sequence[float], single_steps: int
) -> tuple[Tensor, Tensor, Tensor]:
    """See :func:`ganfast.ops.polar`."""
    norm = torch.linalg.matrix_norm(a, keepdim=True)
    x = a / torch.where(norm == 0, torch.ones_like(norm), norm)
    x = x.float() if single_steps > 0 else x
    for k in range(0, len(coefficients), 3):
        x = x if k < 3 * single_steps else x.double()
        gram = x.mT @ x
        if k == 0:
            bound = torch.linalg.matrix_norm(gram, keepdim=True).sqrt()
            bound = torch.where(bound == 0, torch.ones_like(bound), bound)
            x, gram = x / bound, gram / bound**2
        first, third, fifth = coefficients[k : k + 3]
        square = third * gram + fifth * (gram @ gram)
        square.diagonal(dim1=-2, dim2=-1).add_(first)
        x = x @ square
    inner = (x * a).sum((-2, -1))
    residual = (a - a @ (x.mT @ x)).square().sum((-2, -1))
    return x, inner, residual
