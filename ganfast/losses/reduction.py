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
from ganfast.losses.formulas import DISTANCES, Distance, Formula
from ganfast.reference import along_samples, divisor

MapReduction = Literal["sum", "mean"]
Outputs = Tensor | Sequence[Tensor] | Sequence[Sequence[Tensor]]
Reduction = Literal["mean", "sum", "none"]
Stats = dict[str, Tensor]
#: For each side (B,), or a mask that broadcasts to each map, or one mask for each map.
SampleWeights = Sequence[Outputs | None]
Parameters = tuple[list[float], list[float], list[float]]


def last_maps(name: str, outputs: Outputs) -> Sequence[Tensor]:
    """Return the maps that count: a tensor, a list's tensors, or the last of each inner list."""
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


def weights_of_sides(real: Outputs | None, fake: Outputs | None) -> SampleWeights | None:
    """Return the weights of both sides, or None if there are none."""
    return None if real is None and fake is None else (real, fake)


class Terms(NamedTuple):
    """Arguments of :func:`ganfast.ops.flat`, with the names of the sides, of equally many maps."""

    f: str
    x: list[Tensor]
    weight: list[float]
    a: list[float]
    b: list[float]
    sides: tuple[str, ...]

    def name(self, argument: str, k: int) -> str:
        """The caller's name of an op's tensor: ``real[0]``, or ``real_weight`` of its samples."""
        side, place = divmod(k, len(self.x) // len(self.sides))
        return f"{self.sides[side]}[{place}]" if argument == "x" else f"{self.sides[side]}_weight"

    def reduce(self, y: Sequence[Tensor] = ()) -> Tensor:
        """Return the sum of the terms, of x - y if there is a y."""
        return ops.flat(self.x, self.f, self.weight, self.a, self.b, y, name=self.name)


#: A map's place among all, x, y, weight, a, b, and its numbers of samples or elements.
_Row = tuple[int, Tensor, Tensor | None, float, float, float, Tensor | None, Tensor | None]


class _Rows(NamedTuple):
    """Arguments of :func:`ganfast.ops.rows`: the rows are samples, or with masks elements."""

    groups: dict[int, list[_Row]]  # by the number of elements with a mask, else 0
    name: Name
    samples: int
    normalize: bool


def distances(
    x: Sequence[Tensor],
    y: Sequence[Tensor],
    kind: Distance,
    weight: Sequence[float],
    name: Name = place,
    per_term: bool = False,
) -> Tensor:
    """The sum of the weighted mean distances of pairs of one shape, or its terms, in one launch."""
    zeros = [0.0] * len(x)
    return ops.flat(
        x, DISTANCES[kind], weight, zeros, zeros, y, per_term=per_term, broadcast=False, name=name
    )


def means_of_maps(maps: Sequence[Tensor], name: Name = place) -> Tensor:
    """The mean of each map, (maps,), in float32 or better, from one launch."""
    zeros = [0.0] * len(maps)
    return ops.flat(maps, "identity", [1.0] * len(maps), zeros, zeros, per_term=True, name=name)


class Reducer:
    """The sum of the losses of one or two sides over their maps, by element or by sample.

    Args:
        sides: name and formula of each list of maps; the formulas share f and b. A flipped sample
            of one side takes the formula of the other.
        reduction, scale, map_reduction, map_weights: see :class:`ganfast.losses.AdversarialLoss`.
        threshold: the value that accuracies compare outputs with.
        below: name of the side whose outputs should lie below the threshold.
    """

    def __init__(
        self,
        sides: Sequence[tuple[str, Formula]],
        reduction: Reduction = "mean",
        scale: float = 1.0,
        map_reduction: MapReduction = "sum",
        map_weights: Sequence[float] | None = None,
        threshold: float = 0.0,
        below: str = "",
    ) -> None:
        check_name("map_reduction", map_reduction, get_args(MapReduction))
        if not math.isfinite(scale):
            raise ValueError(f"scale must be finite, got {scale}")
        check_name("reduction", reduction, get_args(Reduction))
        self.reduction = reduction
        self.f = sides[0][1].f
        self._sides = sides
        self._names = tuple([name for name, _ in sides])
        self._scale, self._mean = scale, map_reduction == "mean"
        self._map_weights = None if map_weights is None else list(map_weights)
        self._threshold = threshold
        self._below = below
        # The numbers of the terms, by the number of maps.
        self._parameters: dict[int, Parameters] = {}

    def parameters(self, maps: int) -> Parameters:
        """Return weight, a and b of each term."""
        parameters = self._parameters.get(maps)
        if parameters is None:
            factors = [1.0] * maps if self._map_weights is None else self._map_weights
            if len(factors) != maps:
                raise ValueError(
                    f"map_weights must have one weight for each of the {maps} maps, "
                    f"got {len(factors)}"
                )
            scale = self._scale / maps if self._mean else self._scale
            weight, a, b = [], [], []
            for _, formula in self._sides:
                weight += [formula.weight * (scale * w) for w in factors]
                a += [formula.a] * maps
                b += [formula.b] * maps
            parameters = weight, a, b
            if not torch.compiler.is_compiling():  # the next call would be compiled again
                self._parameters[maps] = parameters
        return parameters

    def terms(self, maps: Sequence[Sequence[Tensor]]) -> Terms:
        """Return the terms of the sum over the sides, each with its maps."""
        weight, a, b = self.parameters(len(maps[0]))
        x = [*maps[0], *maps[1]] if len(maps) > 1 else [*maps[0]]
        if self.reduction == "sum":
            weight = [w * xk.numel() for w, xk in zip(weight, x, strict=True)]
        return Terms(self.f, x, weight, a, b, self._names)

    def loss(
        self,
        maps: Sequence[Sequence[Tensor]],
        sample_weights: SampleWeights | None = None,
        label_flips: float = 0.0,
        rng: torch.Generator | None = None,
        minus: Sequence[Tensor] = (),
    ) -> Tensor:
        """Return the loss, a scalar, or (B,) for the reduction ``none``.

        With weights or ``none``, ``minus`` is subtracted from the maps of a single side.
        """
        if sample_weights is None and not label_flips and self.reduction != "none":
            return self.terms(maps).reduce()
        return self._sum(self._rows(maps, sample_weights, label_flips, rng, minus))

    def loss_with_stats(
        self,
        maps: Sequence[Sequence[Tensor]],
        sample_weights: SampleWeights | None = None,
        label_flips: float = 0.0,
        rng: torch.Generator | None = None,
    ) -> tuple[Tensor, Stats]:
        """Return the loss, and each side's terms of it, mean outputs and accuracies, (maps,)."""
        if sample_weights is None and not label_flips and self.reduction != "none":
            t = self.terms(maps)
            loss, table = ops.flat_with_stats(
                t.x, t.f, t.weight, t.a, t.b, self._threshold, name=t.name
            )
            return loss, self._named(table)
        rows = self._rows(maps, sample_weights, label_flips, rng, ())
        loss = self._sum(rows)  # first, as its errors name the caller's arguments
        x = [x.detach() for side in maps for x in side]
        zeros = [0.0] * len(x)
        _, table = ops.flat_with_stats(x, "identity", zeros, zeros, zeros, self._threshold)
        with torch.no_grad():  # each map's part of the loss, a launch each
            for size, group in rows.groups.items():
                for row in group:
                    table[row[0], 0] = self._launch(rows, size, [row]).mean()
        return loss, self._named(table)

    def _named(self, table: Tensor) -> Stats:
        """The statistics of each side by their names, from those of all maps, (maps, 4)."""
        named: Stats = {}
        for (name, _), of_side in zip(self._sides, table.chunk(len(self._sides)), strict=True):
            named[f"{name}_loss"] = of_side[:, 0]
            named[f"{name}_logits"] = of_side[:, 1]
            named[f"{name}_accuracy"] = of_side[:, 3 if name == self._below else 2]
        return named

    def _rows(
        self,
        maps: Sequence[Sequence[Tensor]],
        weights: SampleWeights | None,
        label_flips: float,
        rng: torch.Generator | None,
        minus: Sequence[Tensor],
    ) -> _Rows:
        """The terms of a loss with weights or flips, or of the loss of each sample."""
        *maps, minus = in_one_dtype(*maps, minus)
        weights = weights or [None] * len(maps)
        terms, none = self.terms(maps), self.reduction == "none"
        masked = [is_mask(weight) for weight in weights]
        if any(masked):
            if label_flips or none or not all(masked):
                check_samples(terms.x, terms.name)
            elif len({x.device for x in terms.x}) > 1 or not all(x.numel() for x in terms.x):
                check_list(terms.x, terms.name)
        groups: dict[int, list[_Row]] = {}
        places = iter(range(len(terms.x)))
        for (side, own), (_, other), of_side, weight in zip(
            self._sides, reversed(self._sides), maps, weights, strict=True
        ):
            x = of_side[0]
            samples = (x.shape[0] if x.dim() else 0) or 1  # the op refuses maps without samples
            sign = a = None
            if label_flips:
                flips = torch.rand(x.shape[:1], device=x.device, generator=rng) < label_flips
                sign = _either(flips, 1.0, other.weight / own.weight, x)
                a = _either(flips, own.a, other.a, x)
            over = samples if none else 1
            if not is_mask(weight):
                s = self._signed(_sample_weight(side, weight, x), sign)
                group = groups.setdefault(0, [])
                for k, xk in enumerate(of_side):
                    p = next(places)
                    w = terms.weight[p] * over / samples
                    group.append((p, xk, minus[k] if minus else None, w, own.a, own.b, s, a))
                continue
            for k, mask in enumerate(_masks(side, weight, of_side)):
                name, xk, size = f"{side}[{k}]", of_side[k], of_side[k].numel()
                s, signs, ak = _of_elements(name, xk, mask), sign, a
                if label_flips:
                    signs, ak = _of_elements(name, xk, sign), _of_elements(name, xk, a)
                p, y = next(places), minus[k].reshape(-1) if minus else None
                w = terms.weight[p] * over / max(size, 1)
                row = p, xk.reshape(-1), y, w, own.a, own.b, self._signed(s, signs), ak
                groups.setdefault(size, []).append(row)
        normalize = self.reduction != "sum" and sign is None
        return _Rows(groups, terms.name, samples, normalize)

    def _signed(self, weight: Tensor | None, sign: Tensor | None) -> Tensor | None:
        """Weights times the signs of flipped samples, which do not count in the weights' mean."""
        if weight is None or sign is None:
            return sign if weight is None else weight
        if self.reduction != "sum":
            weight = weight * (len(weight) / divisor(weight.sum()))
        return sign * weight

    def _sum(self, rows: _Rows) -> Tensor:
        parts = [self._launch(rows, size, group) for size, group in rows.groups.items()]
        return parts[0] if len(parts) == 1 else torch.stack(parts).sum(0)

    def _launch(self, rows: _Rows, size: int, group: list[_Row]) -> Tensor:
        """The sum of the terms of a group, a scalar, or (B,) for the reduction ``none``."""
        places, x, y, weight, a, b, sample_weight, sample_a = zip(*group, strict=True)
        made = ops.rows(
            x,
            self.f,
            weight,
            a,
            b,
            () if y[0] is None else y,
            sample_weight=sample_weight,
            sample_a=sample_a,
            normalize=rows.normalize,
            name=lambda argument, k: rows.name(argument, places[k]),
        )
        if self.reduction != "none":
            return made.sum()
        return made.reshape(rows.samples, -1).sum(1) if size else made


@lru_cache(maxsize=64)
def cached_reducer(
    sides: tuple[tuple[str, Formula], ...],
    reduction: Reduction,
    scale: float = 1.0,
    map_reduction: MapReduction = "sum",
) -> Reducer:
    """One reducer for equal options; a function, which torch.compile traces."""
    return Reducer(sides, reduction, scale, map_reduction)


def _of_elements(name: str, x: Tensor, numbers: Tensor | None) -> Tensor | None:
    """Numbers (B,), or a mask, for each element of a map, flat."""
    if numbers is None:
        return None
    if numbers.shape != x.shape:
        numbers = along_samples(numbers, x) if numbers.dim() == 1 else numbers
        try:
            numbers = numbers.expand_as(x)
        except RuntimeError:
            raise ValueError(
                f"the weights of {name} must be (B,) or broadcast to shape {list(x.shape)}, "
                f"got shape {list(numbers.shape)}"
            ) from None
    dtype = loss_dtype(x)
    return numbers.reshape(-1) if numbers.dtype is dtype else numbers.reshape(-1).to(dtype)


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


def _sample_weight(name: str, weight: Outputs | None, x: Tensor) -> Tensor | None:
    """Weights (B,) in the dtype of a loss over x."""
    if weight is None:
        return None
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


def reduce_samples(
    values: Tensor,
    reduction: Reduction,
    weight: Tensor | None,
    formula: Formula = _IDENTITY,
) -> Tensor:
    """Reduce one number per sample, or a function of it, to a scalar, or for ``none`` to (B,).

    With weights (B,) the mean becomes sum(w l) / sum(w), or 0 if all weights are 0.
    """
    if reduction == "mean" and weight is None and formula is _IDENTITY:
        return values.mean()
    if weight is not None:
        if not isinstance(weight, Tensor):
            raise TypeError(f"weight must be a tensor, got {type(weight).__name__}")
        if weight.shape != values.shape or weight.device != values.device:
            raise ValueError(
                f"weight must be on {values.device} with one entry for each of the {len(values)} "
                f"samples, got shape {list(weight.shape)} on {weight.device}"
            )
    weights = None if weight is None else (weight,)
    return cached_reducer((("values", formula),), reduction).loss(((values,),), weights)
