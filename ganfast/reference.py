"""The pure-PyTorch twin of every op, with the op's name and signature.

Oracle of the tests, fallback where nothing is compiled and on other devices, and the path under
torch.func and torch.compile. Differentiable to any order.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def _softplus(x: Tensor) -> Tensor:
    # Above the threshold, what softplus leaves out is below any rounding.
    return F.softplus(x, threshold=50)


def _bce_with_logits(x: Tensor, a: Tensor | float, b: float) -> Tensor:
    # torch's own function is a difference, which loses f where it is small. These two forms are
    # sums of what is positive.
    return torch.where(x < 0, _softplus(x) - a * x, _softplus(-x) + (1 - a) * x)


def _bce(x: Tensor, a: Tensor | float, b: float) -> Tensor:
    target = a.expand_as(x) if isinstance(a, Tensor) else torch.full_like(x, a)
    valid = (x >= 0) & (x <= 1)  # the rest is NaN; torch's function would raise, on CUDA too late
    with torch.autocast(x.device.type, enabled=False):  # autocast refuses this function
        loss = F.binary_cross_entropy(torch.where(valid, x, 0.5), target, reduction="none")
    return torch.where(valid, loss, torch.nan)


#: f(d; a, b) by name: the functors of csrc/math/functors.h. a may be a tensor of d's dtype that
#: broadcasts to d, such as labels.
FUNCTORS: dict[str, Callable[[Tensor, Any, float], Tensor]] = {
    "softplus": lambda x, a, b: _softplus(a * x),
    "bce_with_logits": _bce_with_logits,
    "bce": _bce,
    "square": lambda x, a, b: (x - a).square(),
    "identity": lambda x, a, b: x,
    "hinge": lambda x, a, b: F.relu(b + a * x),
    "squared_hinge": lambda x, a, b: F.relu(b + a * x).square(),
    "l1": lambda x, a, b: x.abs(),
}


_COMPUTE_DTYPES = frozenset({torch.float64, torch.float32, torch.complex128, torch.complex64})


def compute_dtype(x: Tensor) -> Tensor:
    """Return x in the dtype that losses are computed in: float64 for float64, else float32.

    Complex tensors have parts of these dtypes.
    """
    if x.dtype in _COMPUTE_DTYPES:
        return x
    return x.to(torch.complex64) if x.is_complex() else x.float()


def _differences(x: Sequence[Tensor], y: Sequence[Tensor]) -> list[Tensor]:
    if not y:
        return [compute_dtype(xk) for xk in x]
    return [compute_dtype(xk) - compute_dtype(yk) for xk, yk in zip(x, y, strict=True)]


def _sum(terms: list[Tensor]) -> Tensor:
    return torch.stack(terms).sum(0) if len(terms) > 1 else terms[0]


def flat(
    x: Sequence[Tensor],
    f: str,
    weight: Sequence[float],
    a: Sequence[float],
    b: Sequence[float],
    y: Sequence[Tensor] = (),
    per_term: bool = False,
) -> Tensor:
    """See :func:`ganfast.ops.flat`."""
    terms = [
        wk * FUNCTORS[f](dk, ak, bk).mean()
        for dk, wk, ak, bk in zip(_differences(x, y), weight, a, b, strict=True)
    ]
    return torch.stack(terms) if per_term else _sum(terms)


def flat_with_stats(
    x: Sequence[Tensor],
    f: str,
    weight: Sequence[float],
    a: Sequence[float],
    b: Sequence[float],
    threshold: float,
) -> tuple[Tensor, Tensor]:
    """See :func:`ganfast.ops.flat_with_stats`."""
    terms = flat(x, f, weight, a, b, per_term=True)
    table = []
    for xk, term in zip(x, terms.detach(), strict=True):
        xk = compute_dtype(xk.detach())
        above, below = (xk > threshold).to(xk.dtype), (xk < threshold).to(xk.dtype)
        table.append(torch.stack([term, xk.mean(), above.mean(), below.mean()]))
    return terms.sum(0), torch.stack(table)


def along_samples(numbers: Tensor, x: Tensor) -> Tensor:
    """Return (B,) as (B, 1, ...) with the number of axes of another tensor."""
    return numbers.reshape(-1, *[1] * (x.dim() - 1))


def divisor(total: Tensor) -> Tensor:
    """The sum of weights, or 1 where it is 0, so that what has no weight counts nothing."""
    return total + (total == 0)


def rows(
    x: Sequence[Tensor],
    f: str,
    weight: Sequence[float],
    a: Sequence[float],
    b: Sequence[float],
    y: Sequence[Tensor] = (),
    sample_weight: Sequence[Tensor | None] = (),
    sample_a: Sequence[Tensor | None] = (),
    normalize: bool = False,
) -> Tensor:
    """See :func:`ganfast.ops.rows`."""
    terms = []
    for k, dk in enumerate(_differences(x, y)):
        own = sample_a[k] if sample_a else None
        ak = a[k] if own is None else along_samples(own, dk)
        values = FUNCTORS[f](dk, ak, b[k])
        of_samples = values.mean(tuple(range(1, dk.dim()))) if dk.dim() > 1 else values
        term = weight[k] * of_samples
        s = sample_weight[k] if sample_weight else None
        if s is not None:
            term = s * term
            if normalize:
                term = term * (len(s) / divisor(s.sum()))
        terms.append(term)
    return _sum(terms)


def powered(s: Tensor, exponent: float) -> Tensor:
    """s^exponent, with zero for the derivatives that are not finite at zero."""
    if exponent >= 2 or exponent == 1:
        return s.pow(exponent)
    positive = ~(s <= 0)  # lets NaN through
    return torch.where(positive, torch.where(positive, s, 1.0).pow(exponent), 0.0)


def norms(x: Sequence[Tensor], phi: str, weight: float, a: float, b: float, pixel: bool) -> Tensor:
    """See :func:`ganfast.ops.norms`."""
    wide = [compute_dtype(xk) for xk in x]
    s = _sum([(xk if pixel else xk.reshape(xk.shape[0], -1)).square().sum(1) for xk in wide])
    if phi == "maximum":
        return weight * s.amax()
    if phi == "power":
        s = powered(s, a)
    elif phi != "square":
        distance = powered(s + b, 0.5) - a
        s = (F.relu(distance) if phi == "one_sided" else distance).square()
    return weight * s.mean()


def _drawn_below(u: Tensor, n: int) -> Tensor:
    """floor(u n), of the first 24 binary digits of u: the same on every device."""
    return (((u * 2**24).long() * n) >> 24).clamp(0, n - 1)


def drawn_shift(u: Tensor, side: int) -> Tensor:
    """Shifts of up to an eighth of a side, either way."""
    most = (side + 4) // 8
    return _drawn_below(u, 2 * most + 1) - most


def drawn_cut(u: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Begin and end of half a side, whose middle may be anywhere in it."""
    size = (side + 1) // 2
    begin = _drawn_below(u, side + 1 - size % 2) - size // 2
    return begin, begin + size


def colored(y: Tensor, u: Tensor) -> Tensor:
    """Change brightness, saturation and contrast of samples (N, C, ...) by numbers (N, 3)."""
    brightness, saturation, contrast = (along_samples(c, y).to(y.dtype) for c in u.unbind(1))
    y = y + (brightness - 0.5)
    mean = y.mean(1, keepdim=True)
    y = (y - mean) * (2 * saturation) + mean
    mean = y.mean(list(range(1, y.dim())), keepdim=True)
    return (y - mean) * (contrast + 0.5) + mean


def _positions(y: Tensor, axis: int) -> tuple[Tensor, list[int]]:
    """Positions on an axis, and the shape in which (N, size) broadcasts to y."""
    size = y.shape[axis]
    shape = [len(y) if k == 0 else size if k == axis else 1 for k in range(y.dim())]
    return torch.arange(size, device=y.device), shape


def translated(y: Tensor, u: Tensor, axes: Sequence[int]) -> Tensor:
    """Shift samples along axes by numbers (N, axes), with zeros from outside."""
    for column, axis in zip(u.unbind(1), axes, strict=True):
        size = y.shape[axis]
        positions, shape = _positions(y, axis)
        source = positions + drawn_shift(column, size)[:, None]
        inside = ((source >= 0) & (source < size)).view(shape)
        # Positions outside repeat one inside, whose gradients from there are 0.
        index = source.clamp(0, size - 1).view(shape).expand(y.shape)
        y = torch.where(inside, y.gather(axis, index), 0)
    return y


def cut(y: Tensor, u: Tensor, axes: Sequence[int]) -> Tensor:
    """Set boxes of half of each axis to 0, at places of numbers (N, axes)."""
    inside = torch.ones((), dtype=torch.bool, device=y.device)
    for column, axis in zip(u.unbind(1), axes, strict=True):
        positions, shape = _positions(y, axis)
        begin, end = (edge[:, None] for edge in drawn_cut(column, y.shape[axis]))
        inside = inside & ((begin <= positions) & (positions < end)).view(shape)
    return torch.where(inside, 0, y)


def augment(x: Tensor, u: Tensor, color: bool, translation: bool, cutout: bool) -> Tensor:
    """See :func:`ganfast.ops.augment`."""
    y = wide = compute_dtype(x)
    if color:
        y = colored(y, u[:, :3])
    if translation:
        y = translated(y, u[:, 3:5], (2, 3))
    if cutout:
        y = cut(y, u[:, 5:7], (2, 3))
    if u.shape[1] > 7:
        y = torch.where((u[:, 7] < 0).view(-1, 1, 1, 1), y, wide)
    y = y.to(x.dtype)
    if torch._C._are_functorch_transforms_active():  # vmap knows of no layouts
        return y
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return y.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772848, 1.0507009873554804934

#: f(v; alpha) by name: the functions of csrc/math/bias_act.h.
ACTIVATIONS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "linear": lambda v, alpha: v,
    "relu": lambda v, alpha: F.relu(v),
    "lrelu": lambda v, alpha: F.leaky_relu(v, alpha),
    "tanh": lambda v, alpha: torch.tanh(v),
    "sigmoid": lambda v, alpha: torch.sigmoid(v),
    "elu": lambda v, alpha: F.elu(v),
    # At 0, where the slopes on both sides differ, torch's own has the lower one.
    "selu": lambda v, alpha: _SELU_SCALE * torch.where(v >= 0, v, F.elu(v, _SELU_ALPHA)),
    "softplus": lambda v, alpha: _softplus(v),
    "swish": lambda v, alpha: F.silu(v),
}


def bias_act(
    x: Tensor,
    b: Tensor | None,
    dim: int,
    act: str,
    alpha: float,
    gain: float,
    clamp: float | None,
) -> Tensor:
    """See :func:`ganfast.ops.bias_act`."""
    y = compute_dtype(x)
    if b is not None:
        y = y + compute_dtype(b).view([-1 if d == dim else 1 for d in range(x.ndim)])
    y = (gain * ACTIVATIONS[act](y, alpha)).to(x.dtype)
    if clamp is not None:
        # As the kernels have it, what is equal to the bound counts as clipped: torch.clamp would
        # pass its gradient on.
        bound = torch.full((), clamp, dtype=x.dtype, device=x.device)
        y = torch.where(y >= bound, bound, torch.where(y <= -bound, -bound, y))
    return y


def _resample(
    x: Tensor,
    f: Tensor,
    up: tuple[int, int],
    down: tuple[int, int],
    padding: tuple[int, int, int, int],
    flip_filter: bool,
) -> Tensor:
    samples, channels, height, width = x.shape
    x = F.pad(x[:, :, :, None, :, None], (0, up[0] - 1, 0, 0, 0, up[1] - 1))
    x = F.pad(x.reshape(samples, channels, height * up[1], width * up[0]), padding)
    g = f if flip_filter else f.flip((0, 1))
    g = g.expand(channels, 1, *f.shape)
    return F.conv2d(x, g, stride=(down[1], down[0]), groups=channels)


def upfirdn2d(
    x: Tensor,
    f: Tensor,
    up: tuple[int, int],
    down: tuple[int, int],
    padding: tuple[int, int, int, int],
    flip_filter: bool,
    gain: float,
) -> Tensor:
    """See :func:`ganfast.ops.upfirdn2d`."""
    y = compute_dtype(x)
    f = f.to(y.dtype)
    if f.ndim == 2:
        y = _resample(y, f, up, down, padding, flip_filter)
    else:
        left, right, top, bottom = padding
        y = _resample(y, f[None], (up[0], 1), (down[0], 1), (left, right, 0, 0), flip_filter)
        y = _resample(y, f[:, None], (1, up[1]), (1, down[1]), (0, 0, top, bottom), flip_filter)
    return (gain * y).to(x.dtype)
