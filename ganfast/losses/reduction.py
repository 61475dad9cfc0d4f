"""A discriminator's outputs as maps, and the reduction of a loss over elements, samples and maps.

A plain loss is one operation, :class:`Terms`. Weights, masks and label flips take others.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from ganfast import ops
from ganfast._checks import Name, check_list, check_samples, in_one_dtype, loss_dtype, place
from ganfast._names import check_name
from ganfast.losses.formulas import Formula
from ganfast.reference import FUNCTORS, along_samples, compute_dtype, divisor

MapReduction = Literal["sum", "mean"]
Outputs = Tensor | Sequence[Tensor] | Sequence[Sequence[Tensor]]
Reduction = Literal["mean", "sum", "none"]
Stats = dict[str, Tensor]
#: For each side (B,), or a mask that broadcasts to each map, or one mask for each map.
SampleWeights = Sequence[Outputs | None]
Parameters = tuple[list[float], list[float], list[float], list[tuple[str, int]]]


def last_maps(name: str, outputs: Outputs) -> Sequence[Tensor]:
    """Return the maps that count: a tensor, a list's tensors, or the last one of each inner list.

    Raises:
        TypeError: the output is not a tensor, a list of tensors, or a list of such lists.
        ValueError: a list is empty.
    """
    if isinstance(outputs, Tensor):
        return (outputs,)
    if not isinstance(outputs, (list, tuple)):
        raise TypeError(
            f"{name} must be a tensor, a list of tensors or a list of lists of tensors, "
            f"got {type(outputs).__name__}"
        )
    if not outputs:
        raise ValueError(f"{name} must hold at least one tensor, got an empty list")
    return [x if isinstance(x, Tensor) else _last(f"{name}[{k}]", x) for k, x in enumerate(outputs)]


def _last(name: str, inner: Sequence[Tensor]) -> Tensor:
    if not isinstance(inner, (list, tuple)):
        raise TypeError(f"{name} must be a tensor, got {type(inner).__name__}")
    if not inner:
        raise ValueError(f"{name} must hold at least one tensor, got an empty list")
    last = inner[-1]
    if not isinstance(last, Tensor):
        raise TypeError(f"{name}[-1] must be a tensor, got {type(last).__name__}")
    return last


def pairs_of_maps(real: Outputs, fake: Outputs) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """Return the maps of real and of fake samples, equally many."""
    real, fake = last_maps("real", real), last_maps("fake", fake)
    if len(real) != len(fake):
        raise ValueError(
            f"real and fake must have the same number of maps, got {len(real)} and {len(fake)}"
        )
    return real, fake


class MapWeights:
    """The factor of each map in a loss: scale times weight, over the number of maps for a mean."""

    def __init__(
        self,
        scale: float = 1.0,
        map_reduction: MapReduction = "sum",
        map_weights: Sequence[float] | None = None,
    ) -> None:
        check_name("map_reduction", map_reduction, get_args(MapReduction))
        if not math.isfinite(scale):
            raise ValueError(f"scale must be finite, got {scale}")
        self._scale = scale
        self._mean = map_reduction == "mean"
        self._weights = None if map_weights is None else list(map_weights)

    def of(self, maps: int) -> list[float]:
        """Return the factors of that many maps."""
        scale = self._scale / maps if self._mean else self._scale
        if self._weights is None:
            return [scale] * maps
        if len(self._weights) != maps:
            raise ValueError(
                f"map_weights must have one weight for each of the {maps} maps, "
                f"got {len(self._weights)}"
            )
        return [scale * w for w in self._weights]


class Terms(NamedTuple):
    """Arguments of :func:`ganfast.ops.flat`, with each side's name and number of maps."""

    f: str
    x: list[Tensor]
    weight: list[float]
    a: list[float]
    b: list[float]
    sides: list[tuple[str, int]]

    def add(
        self, name: str, maps: Sequence[Tensor], weights: Sequence[float], a: float, b: float
    ) -> None:
        """Append the maps of a side."""
        self.x.extend(maps)
        self.weight.extend(weights)
        self.a.extend([a] * len(maps))
        self.b.extend([b] * len(maps))
        self.sides.append((name, len(maps)))

    def name(self, argument: str, k: int) -> str:
        """The caller's name of an op's tensor: ``real[0]``, or ``real_weight`` of its samples."""
        for side, maps in self.sides:
            if k < maps:
                return f"{side}[{k}]" if argument == "x" else f"{side}_weight"
            k -= maps
        raise IndexError(f"k must be less than the number of tensors, got {k} too many")

    def reduce(self, y: Sequence[Tensor] = ()) -> Tensor:
        """Return the sum of the terms, of x - y if there is a y."""
        return ops.flat(self.x, self.f, self.weight, self.a, self.b, y, name=self.name)

    def reduce_with_stats(self, threshold: float) -> tuple[Tensor, Tensor]:
        """Return the sum of the terms, and statistics of x, (maps, 4)."""
        return ops.flat_with_stats(
            self.x, self.f, self.weight, self.a, self.b, threshold, name=self.name
        )

    def check(self, samples: bool = False) -> None:
        """Raise the errors of the ops; with ``samples``, also if the numbers of samples differ."""
        (check_samples if samples else check_list)(self.x, self.name)


def stats_of_maps(maps: Sequence[Tensor], threshold: float) -> Tensor:
    """(maps, 4) from one launch, not differentiable: 0, mean, shares above and below."""
    zeros = [0.0] * len(maps)
    return ops.flat_with_stats(maps, "identity", zeros, zeros, zeros, threshold)[1]


def means_of_maps(maps: Sequence[Tensor], name: Name = place) -> Tensor:
    """The mean of each map, (maps,), in float32 or better, from one launch."""
    zeros = [0.0] * len(maps)
    return ops.flat(maps, "identity", [1.0] * len(maps), zeros, zeros, per_term=True, name=name)


class Reducer:
    """The sum of the losses of one or two sides over their maps, by element or by sample.

    Args:
        sides: name and formula of each list of maps; the formulas share f and b. A flipped sample
            of one side takes the formula of the other.
        weights: the factor of each map.
        reduction: of each map: mean, sum or none.
        threshold: the value that accuracies compare outputs with.
        below: name of the side whose outputs should lie below the threshold.

    Raises:
        ValueError: the reduction is unknown.
    """

    def __init__(
        self,
        sides: Sequence[tuple[str, Formula]],
        weights: MapWeights,
        reduction: Reduction = "mean",
        threshold: float = 0.0,
        below: str = "",
    ) -> None:
        check_name("reduction", reduction, get_args(Reduction))
        self.reduction = reduction
        self.f = sides[0][1].f
        self._sides = sides
        self._weights = weights
        self._threshold = threshold
        self._below = below
        # The numbers of the terms, by the number of maps.
        self._parameters: dict[int, Parameters] = {}

    def parameters(self, maps: int) -> Parameters:
        """Return weight, a and b of each term, and each side's name and number of maps."""
        parameters = self._parameters.get(maps)
        if parameters is None:
            weight, a, b = [], [], []
            for _, formula in self._sides:
                weight += [formula.weight * w for w in self._weights.of(maps)]
                a += [formula.a] * maps
                b += [formula.b] * maps
            parameters = weight, a, b, [(name, maps) for name, _ in self._sides]
            if not torch.compiler.is_compiling():  # the next call would be compiled again
                self._parameters[maps] = parameters
        return parameters

    def terms(self, maps: Sequence[Sequence[Tensor]]) -> Terms:
        """Return the terms of the sum over the sides, each with its maps."""
        weight, a, b, sides = self.parameters(len(maps[0]))
        x = [*maps[0], *maps[1]] if len(maps) > 1 else [*maps[0]]
        if self.reduction == "sum":
            weight = [w * xk.numel() for w, xk in zip(weight, x, strict=True)]
        return Terms(self.f, x, weight, a, b, sides)

    def loss(
        self,
        maps: Sequence[Sequence[Tensor]],
        sample_weights: SampleWeights | None = None,
        label_flips: float = 0.0,
        rng: torch.Generator | None = None,
        minus: Sequence[Tensor] = (),
    ) -> Tensor:
        """Return the loss, a scalar, or (B,) for the reduction ``none``.

        Args:
            maps: those of each side, equally many.
            sample_weights: the weights of each side.
            label_flips: the probability that a sample is flipped.
            rng: draws the flips; the device's default generator if None.
            minus: subtracted from the maps of a single side, of their shapes; not with masks.
        """
        if sample_weights is None and not label_flips and self.reduction != "none":
            return self.terms(maps).reduce()
        weights = sample_weights or [None] * len(maps)
        if self.reduction == "mean" and not label_flips and all(is_mask(w) for w in weights):
            return _masked_mean(self.terms(maps), maps, weights)
        return self._by_sample(maps, weights, label_flips, rng, minus, None)[0]

    def loss_with_stats(
        self,
        maps: Sequence[Sequence[Tensor]],
        sample_weights: SampleWeights | None = None,
        label_flips: float = 0.0,
        rng: torch.Generator | None = None,
    ) -> tuple[Tensor, Stats]:
        """Return the loss, and each side's terms of it, mean outputs and accuracies, (maps,)."""
        if sample_weights is None and not label_flips and self.reduction != "none":
            loss, table = self.terms(maps).reduce_with_stats(self._threshold)
            return loss, self._named(table.chunk(len(maps)))
        weights = sample_weights or [None] * len(maps)
        loss, tables = self._by_sample(maps, weights, label_flips, rng, (), self._threshold)
        return loss, self._named(tables)

    def _named(self, tables: Sequence[Tensor]) -> Stats:
        """The statistics (maps, 4) of each side by their names."""
        named: Stats = {}
        for (name, _), table in zip(self._sides, tables, strict=True):
            named[f"{name}_loss"] = table[:, 0]
            named[f"{name}_logits"] = table[:, 1]
            named[f"{name}_accuracy"] = table[:, 3 if name == self._below else 2]
        return named

    def _by_sample(
        self,
        maps: Sequence[Sequence[Tensor]],
        weights: SampleWeights,
        label_flips: float,
        rng: torch.Generator | None,
        minus: Sequence[Tensor],
        threshold: float | None,
    ) -> tuple[Tensor, list[Tensor]]:
        """One launch for all sides without masks, and plain torch for each map with a mask.

        With a threshold, also each side's statistics (maps, 4): the terms that add up to the loss,
        or for ``none`` to its mean, and without weights the mean outputs and the shares above and
        below the threshold.
        """
        *maps, minus = in_one_dtype(*maps, minus)
        masked = [is_mask(weight) for weight in weights]
        if any(masked):
            same_samples = bool(label_flips) or self.reduction == "none" or not all(masked)
            self.terms(maps).check(samples=same_samples)
        factors = self._weights.of(len(maps[0]))
        terms = Terms(self.f, [], [], [], [], [])
        sample_weight: list[Tensor | None] = []
        sample_a: list[Tensor | None] = []
        parts: list[Tensor] = []
        tables: dict[str, Tensor] = {}
        normalize = self.reduction != "sum"
        for (name, own), (_, other), of_side, weight in zip(
            self._sides, reversed(self._sides), maps, weights, strict=True
        ):
            x, scales = of_side[0], factors
            samples = (x.shape[0] if x.dim() else 0) or 1  # the op refuses maps without samples
            sign = a = None
            if label_flips:
                flips = torch.rand(x.shape[:1], device=x.device, generator=rng) < label_flips
                sign = _either(flips, own.weight, other.weight, x)
                a = _either(flips, own.a, other.a, x)
            if sign is None and own.weight != 1:
                scales = [own.weight * w for w in scales]
            if is_mask(weight):
                masks = _masks(name, weight, of_side)
                losses = [
                    scales[k] * self._masked(f"{name}[{k}]", xk, own, a, sign, masks[k])
                    for k, xk in enumerate(of_side)
                ]
                parts.append(torch.stack(losses).sum(0) if len(losses) > 1 else losses[0])
                if threshold is not None:
                    tables[name] = stats_of_maps([xk.detach() for xk in of_side], threshold)
                    tables[name][:, 0] = torch.stack([loss.detach().mean() for loss in losses])
                continue
            s = None if weight is None else _sample_weight(name, weight, x)
            if sign is not None:  # a sign does not count in the mean of the weights
                normalize = False
                if s is not None and self.reduction != "sum":
                    s = s * (samples / divisor(s.sum()))
                s = sign if s is None else sign * s
            if self.reduction == "mean" and samples > 1:
                scales = [w / samples for w in scales]
            elif self.reduction == "sum":
                scales = [scales[k] * (xk.numel() // samples) for k, xk in enumerate(of_side)]
            terms.add(name, of_side, scales, own.a, own.b)
            sample_weight += [s] * len(of_side)
            sample_a += [a] * len(of_side)

        def rows(of: slice) -> Tensor:
            return ops.rows(
                terms.x[of],
                terms.f,
                terms.weight[of],
                terms.a[of],
                terms.b[of],
                minus,
                sample_weight=sample_weight[of],
                sample_a=sample_a[of],
                normalize=normalize,
                name=terms.name,
            )

        if terms.x:
            of_samples = rows(slice(None))
            parts.append(of_samples if self.reduction == "none" else of_samples.sum())
            if threshold is not None:
                table = stats_of_maps([x.detach() for x in terms.x], threshold)
                with torch.no_grad():  # each map's part of the sum, a launch each
                    of_maps = torch.stack([rows(slice(k, k + 1)) for k in range(len(terms.x))])
                    table[:, 0] = of_maps.mean(1) if self.reduction == "none" else of_maps.sum(1)
                names = [name for name, _ in terms.sides]
                tables.update(zip(names, table.chunk(len(names)), strict=True))
        loss = parts[0] if len(parts) == 1 else parts[0] + parts[1]
        return loss, [tables[name] for name, _ in self._sides if tables]

    def _masked(
        self,
        name: str,
        x: Tensor,
        formula: Formula,
        a: Tensor | None,
        sign: Tensor | None,
        mask: Tensor,
    ) -> Tensor:
        """The loss of one map with a mask, and with a and sign (B,) of flipped samples."""
        values = FUNCTORS[formula.f](
            compute_dtype(x), formula.a if a is None else along_samples(a, x), formula.b
        )
        mask = _expanded(name, values, mask).to(values.dtype)
        total = divisor(mask.sum())
        values = mask * values if sign is None else mask * along_samples(sign, values) * values
        if self.reduction == "sum":
            return values.sum()
        if self.reduction == "mean":
            return values.sum() / total
        rows = values.shape[0]
        return values.reshape(rows, -1).sum(1) * (rows / total)


def _masked_mean(terms: Terms, maps: Sequence[Sequence[Tensor]], weights: SampleWeights) -> Tensor:
    """The sum of the maps' weighted means by masks, with one launch for all maps of one size.

    To the op, each element is a sample with a weight of its own.
    """
    device = terms.x[0].device
    if any(x.device != device for x in terms.x):
        terms.check()
    terms.x[:] = in_one_dtype(terms.x)[0]
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


def is_mask(weight: Outputs | None) -> bool:
    """Whether weights are for elements or for each map, and not simply (B,)."""
    return weight is not None and (not isinstance(weight, Tensor) or weight.dim() != 1)


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
    """The number of each sample, or None if a flip does not change it."""
    return None if own == flipped else torch.where(flips, flipped, own).to(loss_dtype(like))


_IDENTITY = Formula("identity", 1.0, 0.0)


@lru_cache(maxsize=64)
def _reducer_of_samples(formula: Formula, reduction: Reduction) -> Reducer:
    return Reducer([("values", formula)], MapWeights(), reduction)


def reduce_samples(
    values: Tensor,
    reduction: Reduction,
    weight: Tensor | None,
    formula: Formula = _IDENTITY,
) -> Tensor:
    """Reduce one number per sample, or a function of it, to a scalar, or for ``none`` to (B,).

    Args:
        values: (B,), in the dtype of the loss.
        reduction: mean, sum or none.
        weight: (B,). The mean becomes sum(w l) / sum(w), or 0 if all weights are 0.
        formula: the function.

    Raises:
        TypeError: the weight is not a tensor.
        ValueError: the reduction is unknown, or the weight does not fit the values.
    """
    if weight is not None:
        if not isinstance(weight, Tensor):
            raise TypeError(f"weight must be a tensor, got {type(weight).__name__}")
        if weight.shape != values.shape or weight.device != values.device:
            raise ValueError(
                f"weight must be on {values.device} with one entry for each of the {len(values)} "
                f"samples, got shape {list(weight.shape)} on {weight.device}"
            )
    weights = None if weight is None else (weight,)
    return _reducer_of_samples(formula, reduction).loss(((values,),), weights)
