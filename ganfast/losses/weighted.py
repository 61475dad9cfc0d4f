"""The roads of the adversarial losses that weigh or keep single samples, in plain torch."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ganfast.losses.maps import Outputs
from ganfast.losses.sides import Side
from ganfast.reference import UNARY_FUNCTORS, compute_dtype


def side_loss(
    name: str,
    maps: Sequence[Tensor],
    side: Side,
    map_weights: Sequence[float],
    reduction: str,
    sample_weight: Outputs | None,
    flipped: Side | None,
    flips: Tensor | None,
) -> Tensor:
    """One side of a loss, a scalar or one number for each sample.

    Args:
        name: of the argument, for errors.
        maps: outputs, (B, ...) each where samples matter.
        side: the functor and its parameters.
        map_weights: a factor for each map.
        reduction: mean, sum or none, see :class:`ganfast.losses.AdversarialLoss`.
        sample_weight: (B,) for all maps, or a tensor, or one for each map, that broadcasts.
        flipped: the side that samples with flipped labels take.
        flips: (B,), true where the label is flipped.
    """
    losses = [
        weight
        * _map_loss(
            f"{name}[{k}]",
            compute_dtype(x),
            side,
            reduction,
            _weight_of_map(name, sample_weight, k, maps),
            flipped,
            flips,
        )
        for k, (x, weight) in enumerate(zip(maps, map_weights, strict=True))
    ]
    return torch.stack(losses).sum(0) if len(losses) > 1 else losses[0]


def draw_flips(x: Tensor, probability: float, generator: torch.Generator | None) -> Tensor:
    """(B,) of true with the probability, drawn on the device of x."""
    return torch.rand(x.shape[0], device=x.device, generator=generator) < probability


def check_samples(maps: dict[str, Sequence[Tensor]]) -> None:
    """Refuse maps that do not all have one axis of samples of the same length."""
    first = next(iter(maps.values()))[0]
    for name, list_ in maps.items():
        for k, x in enumerate(list_):
            if x.dim() == 0:
                raise ValueError(f"{name}[{k}] must have an axis of samples, got a scalar")
            if x.shape[0] != first.shape[0]:
                raise ValueError(
                    f"{name}[{k}] must have {first.shape[0]} samples as the first map has, "
                    f"got {x.shape[0]}"
                )


def _map_loss(
    name: str,
    x: Tensor,
    side: Side,
    reduction: str,
    sample_weight: Tensor | None,
    flipped: Side | None,
    flips: Tensor | None,
) -> Tensor:
    a: Tensor | float = side.a
    weight: Tensor | float = side.weight
    if flipped is not None and flips is not None:
        flips = _along_samples(flips, x)
        if flipped.a != side.a:
            a = _either(flips, side.a, flipped.a, x.dtype)
        if flipped.weight != side.weight:
            weight = _either(flips, side.weight, flipped.weight, x.dtype)
    values = UNARY_FUNCTORS[side.f](x, a, side.b)
    if isinstance(weight, Tensor) or weight != 1:
        values = weight * values
    if sample_weight is None:
        if reduction == "none":
            return values.reshape(values.shape[0], -1).mean(1)
        return values.mean() if reduction == "mean" else values.sum()
    m = _broadcast(name, sample_weight, x)
    values = m * values
    if reduction == "sum":
        return values.sum()
    total = m.sum() * (x.numel() // m.numel())
    total = torch.where(total == 0, torch.ones_like(total), total)
    if reduction == "mean":
        return values.sum() / total
    return values.reshape(values.shape[0], -1).sum(1) * (x.shape[0] / total)


def _either(flips: Tensor, label: float, flipped: float, dtype: torch.dtype) -> Tensor:
    return torch.full_like(flips, label, dtype=dtype).masked_fill(flips, flipped)


def _along_samples(x: Tensor, like: Tensor) -> Tensor:
    """Return (B,) as (B, 1, ...) with the number of axes of another tensor."""
    return x.reshape(-1, *[1] * (like.dim() - 1))


def _weight_of_map(
    name: str, weight: Outputs | None, k: int, maps: Sequence[Tensor]
) -> Tensor | None:
    if weight is None or isinstance(weight, Tensor):
        return weight
    if len(weight) != len(maps):
        raise ValueError(
            f"{name}_weight must be a tensor or have one for each of the {len(maps)} maps, "
            f"got {len(weight)}"
        )
    of_map = weight[k]
    if not isinstance(of_map, Tensor):
        raise TypeError(f"{name}_weight[{k}] must be a tensor, got {type(of_map).__name__}")
    return of_map


def _broadcast(name: str, weight: Tensor, x: Tensor) -> Tensor:
    """The weights, (B,) along the samples, in x's dtype; axes of length 1 are left so."""
    m = _along_samples(weight, x) if weight.dim() == 1 else weight
    m = m.to(x.dtype)
    try:
        m.expand_as(x)
    except RuntimeError:
        raise ValueError(
            f"the weights of {name} must be (B,) or broadcast to shape {list(x.shape)}, "
            f"got shape {list(weight.shape)}"
        ) from None
    return m
