"""Per-sample weights, masks and label flips of the adversarial losses."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ganfast import ops
from ganfast._checks import Name, loss_dtype
from ganfast.losses.maps import Outputs, Terms, stats_of_maps, terms_of
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
    """Weighted loss, a scalar or for ``none`` (B,): one launch, and one for each map with a mask.

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
        rows = _rows(terms, y, sample_weight, sample_a, normalize, slice(None))
        if threshold is not None:
            own = _terms_of_maps(terms, sample_weight, sample_a, normalize)
            table = stats_of_maps([x.detach() for x in terms.x], threshold)
            table[:, 0] = own / len(rows) if reduction == "none" else own
            for (name, _), of_side in zip(terms.sides, table.chunk(len(terms.sides)), strict=True):
                stats[name] = of_side
        parts.append(rows if reduction == "none" else rows.sum())
    loss = parts[0] if len(parts) == 1 else parts[0] + parts[1]
    return loss, [stats[side.name] for side in sides if stats]


def masked_mean(
    terms: Terms, maps: Sequence[Sequence[Tensor]], weights: Sequence[Outputs | None]
) -> Tensor:
    """The weighted mean of each map by a mask, summed: one launch for maps of one size.

    To the op, each element is a sample with a weight of its own.

    Args:
        terms: the maps of all sides, with the weight of each mean.
        maps: the maps of each side.
        weights: their masks, see :func:`loss_of_samples`.
    """
    dtype, device = terms.x[0].dtype, terms.x[0].device
    if any(x.dtype is not dtype or x.device != device for x in terms.x):
        terms.check()
    masks = [
        mask
        for (name, _), of_side, weight in zip(terms.sides, maps, weights, strict=True)
        for mask in _masks(name, weight, of_side)
    ]
    sizes = [x.numel() for x in terms.x]
    parts = []
    for size in dict.fromkeys(sizes):
        places = [k for k, of_map in enumerate(sizes) if of_map == size]
        rows = ops.rows(
            [terms.x[k].reshape(-1) for k in places],
            terms.f,
            [terms.weight[k] / max(size, 1) for k in places],
            [terms.a[k] for k in places],
            [terms.b[k] for k in places],
            sample_weight=[_of_elements(terms, k, masks[k]) for k in places],
            normalize=True,
            name=_name_among(terms, places),
        )
        parts.append(rows.sum())
    return parts[0] if len(parts) == 1 else torch.stack(parts).sum(0)


def _name_among(terms: Terms, places: Sequence[int]) -> Name:
    """The names of some of the terms."""
    return lambda argument, k: terms.name(argument, places[k])


def _of_elements(terms: Terms, k: int, mask: Tensor) -> Tensor:
    """A mask's weight of each element of the k-th map, flat."""
    x = terms.x[k]
    if mask.shape != x.shape:
        mask = _expanded(terms.name("x", k), x, mask)
    dtype = loss_dtype(x)
    return mask.reshape(-1) if mask.dtype is dtype else mask.reshape(-1).to(dtype)


def _expanded(name: str, x: Tensor, mask: Tensor) -> Tensor:
    """A mask in the shape of its map."""
    if mask.dim() == 1:
        mask = along_samples(mask, x)
    try:
        return mask.expand_as(x)
    except RuntimeError:
        raise ValueError(
            f"the weights of {name} must be (B,) or broadcast to shape {list(x.shape)}, "
            f"got shape {list(mask.shape)}"
        ) from None


def _rows(
    terms: Terms,
    y: Sequence[Tensor],
    sample_weight: Sequence[Tensor | None],
    sample_a: Sequence[Tensor | None],
    normalize: bool,
    of: slice,
) -> Tensor:
    """(B,) of some of the terms."""
    return ops.rows(
        terms.x[of],
        terms.f,
        terms.weight[of],
        terms.a[of],
        terms.b[of],
        y,
        sample_weight=sample_weight[of],
        sample_a=sample_a[of],
        normalize=normalize,
        name=terms.name,
    )


@torch.no_grad()
def _terms_of_maps(
    terms: Terms,
    sample_weight: Sequence[Tensor | None],
    sample_a: Sequence[Tensor | None],
    normalize: bool,
) -> Tensor:
    """Each map's part of the sum over all samples, (maps,), a launch each."""
    parts = [
        _rows(terms, (), sample_weight, sample_a, normalize, slice(k, k + 1)).sum()
        for k in range(len(terms.x))
    ]
    return torch.stack(parts)


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
    """Loss of one map with a mask, and with a and sign (B,) of flipped samples.

    It is plain torch, as what is logged, or drawn by sample, is rarely in a hurry.
    """
    values = FUNCTORS[side.f](
        compute_dtype(x), side.a if a is None else along_samples(a, x), side.b
    )
    mask = _expanded(name, values, mask).to(values.dtype)
    total = divisor(mask.sum())
    values = mask * values if sign is None else mask * along_samples(sign, values) * values
    if reduction == "sum":
        return values.sum()
    if reduction == "mean":
        return values.sum() / total
    rows = values.shape[0]
    return values.reshape(rows, -1).sum(1) * (rows / total)


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
