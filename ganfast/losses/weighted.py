"""The roads of the adversarial losses that weigh or keep single samples, in plain torch."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ganfast.losses.maps import Outputs, Terms
from ganfast.losses.sides import Side
from ganfast.reference import UNARY_FUNCTORS, compute_dtype


def side_of_samples(
    name: str,
    maps: Sequence[Tensor],
    side: Side,
    map_weights: Sequence[float],
    reduction: str,
    sample_weight: Outputs | None,
    flips: Tensor | None,
    flipped: Side,
) -> Tensor:
    """One side of a loss, a scalar or one number for each sample.

    Args:
        name: of the argument, for errors.
        maps: outputs of one dtype, (B, ...) each; with masks, of any shape.
        side: the functor and its parameters.
        map_weights: a factor for each map.
        reduction: mean, sum or none, see :class:`ganfast.losses.AdversarialLoss`.
        sample_weight: (B,) for all maps, or a mask, or one for each map, that broadcasts.
        flips: (B,), true where a sample takes ``flipped`` instead of ``side``.
        flipped: the same functor with other parameters.
    """
    a: Tensor | float = side.a
    if flips is not None and side.a != flipped.a:
        a = _either(flips, side.a, flipped.a, maps[0])
    masks = _masks(name, sample_weight, maps)
    losses = []
    for k, (x, weight) in enumerate(zip(maps, map_weights, strict=True)):
        a_of_map = _along_samples(a, x) if isinstance(a, Tensor) else a
        values = _values(side.f, compute_dtype(x), a_of_map, side.b)
        if masks is not None:
            loss = _masked(f"{name}[{k}]", values, masks[k], reduction)
        else:
            loss = _rows(values)
            if reduction == "sum":
                weight *= x.numel() // x.shape[0]
        losses.append(loss if weight == 1 else weight * loss)
    loss = losses[0] if len(losses) == 1 else torch.stack(losses).sum(0)
    if flips is not None and side.weight != flipped.weight:
        loss = _either(flips, side.weight, flipped.weight, maps[0]) * loss
    elif side.weight != 1:
        loss = side.weight * loss
    if masks is not None:
        return loss
    return _weighted_rows(name, loss, sample_weight, reduction)


def draw_flips(x: Tensor, probability: float, generator: torch.Generator | None) -> Tensor:
    """(B,) of true with the probability, drawn on the device of x."""
    return torch.rand(x.shape[0], device=x.device, generator=generator) < probability


def check_samples(terms: Terms) -> None:
    """Refuse maps that do not all have one axis of samples of the same length."""
    samples = terms.x[0].shape[:1]
    for k, x in enumerate(terms.x):
        if x.shape[:1] == samples and samples:
            continue
        name = terms.names()[k]
        if x.dim() == 0:
            raise ValueError(f"{name} must have an axis of samples, got a scalar")
        raise ValueError(
            f"{name} must have as many samples as {terms.names()[0]}, "
            f"got {x.shape[0]} and {', '.join(map(str, samples)) or 'a scalar'}"
        )


def is_mask(weight: Outputs | None) -> bool:
    """Say whether weights are not simply (B,)."""
    return weight is not None and (not isinstance(weight, Tensor) or weight.dim() != 1)


def _values(f: str, x: Tensor, a: Tensor | float, b: float) -> Tensor:
    """The functor, without the passes that a factor of 1 or -1 does not need."""
    if isinstance(a, float) and abs(a) == 1:
        if f == "softplus":
            return F.softplus(x if a == 1 else -x, threshold=50)
        if f == "hinge":
            return F.relu(x + b if a == 1 else b - x)
    return UNARY_FUNCTORS[f](x, a, b)


def _rows(values: Tensor) -> Tensor:
    """Return the mean over each sample's elements, (B,)."""
    if values.dim() == 1:
        return values
    if values.numel() == len(values):
        return values.reshape(-1)
    return values.mean(tuple(range(1, values.dim())))


def _weighted_rows(name: str, rows: Tensor, weight: Outputs | None, reduction: str) -> Tensor:
    if weight is None:
        if reduction == "none":
            return rows
        return rows.mean() if reduction == "mean" else rows.sum()
    assert isinstance(weight, Tensor)
    if weight.shape != rows.shape:
        raise ValueError(
            f"{name}_weight must have one entry for each of the {len(rows)} samples, "
            f"got shape {list(weight.shape)}"
        )
    weight = weight.to(rows.dtype)
    rows = weight * rows
    if reduction == "sum":
        return rows.sum()
    total = _divisor(weight.sum())
    return rows.sum() / total if reduction == "mean" else rows * (len(rows) / total)


def _masked(name: str, values: Tensor, mask: Tensor, reduction: str) -> Tensor:
    mask = mask.to(values.dtype)
    if mask.dim() == 1:
        mask = _along_samples(mask, values)
    try:
        mask.expand_as(values)
    except RuntimeError:
        raise ValueError(
            f"the weights of {name} must be (B,) or broadcast to shape {list(values.shape)}, "
            f"got shape {list(mask.shape)}"
        ) from None
    total = _divisor(mask.sum() * (values.numel() // mask.numel()))
    values = mask * values
    if reduction == "sum":
        return values.sum()
    if reduction == "mean":
        return values.sum() / total
    rows = values.shape[0]
    return values.reshape(rows, -1).sum(1) * (rows / total)


def _divisor(total: Tensor) -> Tensor:
    """The sum of the weights, or 1 where it is 0, so that what has no weight counts nothing."""
    return total + (total == 0)


def _either(flips: Tensor, own: float, flipped: float, like: Tensor) -> Tensor:
    dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
    return torch.full_like(flips, own, dtype=dtype).masked_fill(flips, flipped)


def _along_samples(x: Tensor, like: Tensor) -> Tensor:
    """Return (B,) as (B, 1, ...) with the number of axes of another tensor."""
    return x if like.dim() == 1 else x.reshape(-1, *[1] * (like.dim() - 1))


def _masks(name: str, weight: Outputs | None, maps: Sequence[Tensor]) -> list[Tensor] | None:
    """A mask for each map, where the weights are not simply (B,)."""
    if weight is None or not is_mask(weight):
        return None
    if isinstance(weight, Tensor):
        return [weight] * len(maps)
    if len(weight) != len(maps):
        raise ValueError(
            f"{name}_weight must be a tensor or have one for each of the {len(maps)} maps, "
            f"got {len(weight)}"
        )
    masks = []
    for k, mask in enumerate(weight):
        if not isinstance(mask, Tensor):
            raise TypeError(f"{name}_weight[{k}] must be a tensor, got {type(mask).__name__}")
        masks.append(mask)
    return masks
