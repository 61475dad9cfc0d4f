"""Per-sample weights, masks and label flips of the adversarial losses."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ganfast import ops
from ganfast._checks import loss_dtype
from ganfast.losses.maps import Outputs, stats_of_maps, terms_of
from ganfast.losses.sides import Side
from ganfast.reference import FUNCTORS, along_samples, compute_dtype, divisor


class WeightedSide(NamedTuple):
    """One side of a loss with what its samples have of their own."""

    name: str
    maps: Sequence[Tensor]
    side: Side
    weight: Outputs | None  # (B,), or a mask, or one for each map, that broadcasts
    flipped: Side  # what a flipped sample takes: the same function with other parameters
    minus: Sequence[Tensor] = ()  # subtracted from the maps, like them; not with masks


def loss_of_samples(
    sides: Sequence[WeightedSide],
    map_weights: Sequence[float],
    reduction: str,
    label_flips: float,
    rng: torch.Generator | None,
    threshold: float | None,
) -> tuple[Tensor, list[Tensor]]:
    """Weighted loss, a scalar or for ``none`` (B,): one launch, but for masks, which are torch's.

    With a threshold also each side's statistics (maps, 4): the terms that add up to the loss, for
    ``none`` to its mean, and without weights the mean outputs and the shares above and below the
    threshold.

    Args:
        sides: the outputs have passed the checks of their masks, where they have some.
        map_weights: a factor for each map.
        reduction: mean, sum or none, see :class:`ganfast.losses.AdversarialLoss`.
        label_flips: the probability of a sample to be flipped, drawn from rng.
        threshold: what outputs are compared with; None where statistics are not wanted.
    """
    terms = terms_of(sides[0].side.f)
    sample_weight: list[Tensor | None] = []
    sample_a: list[Tensor | None] = []
    parts: list[Tensor] = []
    stats: dict[str, Tensor] = {}
    normalize = reduction != "sum"
    y: list[Tensor] = []
    for name, maps, side, weight, flipped, minus in sides:
        x, n = maps[0], len(maps)
        samples = (x.shape[0] if x.dim() else 0) or 1  # the op refuses what has none
        sign = a = None
        if label_flips:
            flips = torch.rand(x.shape[:1], device=x.device, generator=rng) < label_flips
            sign = _either(flips, side.weight, flipped.weight, x)
            a = _either(flips, side.a, flipped.a, x)
        weights = map_weights
        if sign is None and side.weight != 1:
            weights = [side.weight * w for w in weights]
        if is_mask(weight):
            masks = _masks(name, weight, maps)
            losses = [
                w * _masked(f"{name}[{k}]", maps[k], side, a, sign, masks[k], reduction)
                for k, w in enumerate(weights)
            ]
            parts.append(torch.stack(losses).sum(0) if n > 1 else losses[0])
            if threshold is not None:
                own = torch.stack([loss.detach().mean() for loss in losses])
                logits = stats_of_maps([x.detach() for x in maps], threshold)
                stats[name] = torch.cat([own[:, None], logits[:, 1:]], 1)
            continue
        s = None if weight is None else _sample_weight(name, weight, x)
        if sign is not None:  # which is no weight: it does not count in the mean
            normalize = False
            if s is not None and reduction != "sum":
                s = s * (samples / divisor(s.sum()))
            s = sign if s is None else sign * s
        if reduction == "mean" and samples > 1:
            weights = [w / samples for w in weights]
        elif reduction == "sum":
            weights = [w * (y.numel() // samples) for w, y in zip(weights, maps, strict=True)]
        terms.add(name, maps, weights, side.a, side.b)
        sample_weight += [s] * n
        sample_a += [a] * n
        y += minus
    if terms.x:
        of = (terms.x, terms.f, terms.weight, terms.a, terms.b)
        if threshold is None:
            rows = ops.rows(
                *of,
                y,
                sample_weight=sample_weight,
                sample_a=sample_a,
                normalize=normalize,
                name=terms.name,
            )
        else:
            rows, table = ops.rows_with_stats(
                *of,
                threshold,
                sample_weight=sample_weight,
                sample_a=sample_a,
                normalize=normalize,
                name=terms.name,
            )
            if reduction == "none":
                table[:, 0] /= len(rows)
            for (name, _), of_side in zip(terms.sides, table.chunk(len(terms.sides)), strict=True):
                stats[name] = of_side
        parts.append(rows if reduction == "none" else rows.sum())
    loss = parts[0] if len(parts) == 1 else parts[0] + parts[1]
    return loss, [stats[side.name] for side in sides if stats]


def is_mask(weight: Outputs | None) -> bool:
    """Say whether weights are not simply (B,)."""
    return weight is not None and (not isinstance(weight, Tensor) or weight.dim() != 1)


def _sample_weight(name: str, weight: Outputs, x: Tensor) -> Tensor:
    """Weights (B,) in the dtype of a loss over x."""
    assert isinstance(weight, Tensor)
    if x.dim() and weight.shape[0] != x.shape[0]:
        raise ValueError(
            f"{name}_weight must have one entry for each of the {x.shape[0]} samples, "
            f"got shape {list(weight.shape)}"
        )
    return weight.to(loss_dtype(x))


def _either(flips: Tensor, own: float, flipped: float, like: Tensor) -> Tensor | None:
    """The number of each sample, where a flip changes it."""
    return None if own == flipped else torch.where(flips, flipped, own).to(loss_dtype(like))


def _masked(
    name: str,
    x: Tensor,
    side: Side,
    a: Tensor | None,
    sign: Tensor | None,
    mask: Tensor,
    reduction: str,
) -> Tensor:
    """Loss of one map with a mask, and with a and sign (B,) of flipped samples."""
    values = _values(side, compute_dtype(x), None if a is None else along_samples(a, x))
    mask = mask.to(values.dtype)
    if mask.dim() == 1:
        mask = along_samples(mask, values)
    try:
        mask.expand_as(values)
    except RuntimeError:
        raise ValueError(
            f"the weights of {name} must be (B,) or broadcast to shape {list(values.shape)}, "
            f"got shape {list(mask.shape)}"
        ) from None
    total = divisor(mask.sum() * (values.numel() // mask.numel()))
    values = mask * values if sign is None else mask * along_samples(sign, values) * values
    if reduction == "sum":
        return values.sum()
    if reduction == "mean":
        return values.sum() / total
    rows = values.shape[0]
    return values.reshape(rows, -1).sum(1) * (rows / total)


def _values(side: Side, x: Tensor, a: Tensor | None) -> Tensor:
    """The functor, without the passes that a factor of 1 or -1 does not need."""
    if a is None and abs(side.a) == 1:
        if side.f == "softplus":
            return F.softplus(x if side.a == 1 else -x, threshold=50)
        if side.f == "hinge":
            return F.relu(x + side.b if side.a == 1 else side.b - x)
    return FUNCTORS[side.f](x, side.a if a is None else a, side.b)


def _masks(name: str, weight: Outputs | None, maps: Sequence[Tensor]) -> list[Tensor]:
    """A mask for each map."""
    assert weight is not None
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
