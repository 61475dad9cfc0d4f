"""From the maps of a loss's sides to its value: over elements, samples and maps."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, get_args

import torch
from torch import Tensor

from ganfast.losses.maps import MapWeights, Outputs, Terms
from ganfast.losses.sides import Side
from ganfast.losses.weighted import WeightedSide, is_mask, loss_of_samples, masked_mean

Reduction = Literal["mean", "sum", "none"]
Stats = dict[str, Tensor]
Parameters = tuple[list[float], list[float], list[float], list[tuple[str, int]]]

_REDUCTIONS = get_args(Reduction)


class Reducer:
    """The sum of a loss's sides over their maps, by element or by sample, with statistics.

    Args:
        sides: name and side of each list of maps; they share f and b. A flipped sample of one of
            two sides counts for the other.
        weights: the factor of each map.
        reduction: of each map: mean, sum or none.
        threshold: what accuracies compare outputs with.
        below: name of the side whose outputs should lie below it.

    Raises:
        ValueError: an unknown reduction.
    """

    def __init__(
        self,
        sides: Sequence[tuple[str, Side]],
        weights: MapWeights,
        reduction: Reduction = "mean",
        threshold: float = 0.0,
        below: str = "",
    ) -> None:
        if reduction not in _REDUCTIONS:
            raise ValueError(f"reduction must be mean, sum or none, got {reduction!r}")
        self.reduction = reduction
        self._f = sides[0][1].f
        self._sides = sides
        self._weights = weights
        self._threshold = threshold
        self._below = below
        # What terms have besides tensors, by the number of maps.
        self._parameters: dict[int, Parameters] = {}

    def parameters(self, maps: int) -> Parameters:
        """Weight, a and b of each term, and each side's name and number of maps."""
        parameters = self._parameters.get(maps)
        if parameters is None:
            weight, a, b = [], [], []
            for _, side in self._sides:
                weight += [side.weight * w for w in self._weights.of(maps)]
                a += [side.a] * maps
                b += [side.b] * maps
            parameters = weight, a, b, [(name, maps) for name, _ in self._sides]
            if not torch.compiler.is_compiling():  # the next call would be compiled again
                self._parameters[maps] = parameters
        return parameters

    def terms(self, maps: Sequence[Sequence[Tensor]]) -> Terms:
        """The sum over the sides, each with its maps."""
        weight, a, b, sides = self.parameters(len(maps[0]))
        x = [*maps[0], *maps[1]] if len(maps) > 1 else [*maps[0]]
        if self.reduction == "sum":
            weight = [w * xk.numel() for w, xk in zip(weight, x, strict=True)]
        return Terms(self._f, x, weight, a, b, sides)

    def __call__(
        self,
        maps: Sequence[Sequence[Tensor]],
        stats: bool = False,
        sample_weights: Sequence[Outputs | None] | None = None,
        label_flips: float = 0.0,
        rng: torch.Generator | None = None,
        minus: Sequence[Tensor] = (),
    ) -> Tensor | tuple[Tensor, Stats]:
        """Scalar or (B,); with ``stats`` also each side's mean output, accuracy and term.

        Args:
            maps: as many for each side.
            stats: return statistics too.
            sample_weights: for each side (B,), or a mask, or one for each map, that broadcasts.
            label_flips: the probability of a sample to be flipped, drawn from rng.
            rng: the default one of the device where not given.
            minus: subtracted from the maps of the one side that there is, and like them. Masks and
                statistics take the differences instead.
        """
        if sample_weights is None and not label_flips and self.reduction != "none":
            terms = self.terms(maps)
            if not stats:
                return terms.reduce()
            loss, table = terms.reduce_with_stats(self._threshold)
            return loss, self._named(table.chunk(len(maps)))
        weights = sample_weights or [None] * len(maps)
        masks = [is_mask(weight) for weight in weights]
        if any(masks):
            terms = self.terms(maps)
            if self.reduction == "mean" and all(masks) and not label_flips and not stats:
                return masked_mean(terms, maps, weights)
            terms.check(samples=bool(label_flips) or self.reduction == "none" or not all(masks))
        others = reversed(self._sides)
        sides = [
            WeightedSide(name, of_side, side, weight, other, minus)
            for (name, side), of_side, weight, (_, other) in zip(
                self._sides, maps, weights, others, strict=True
            )
        ]
        loss, tables = loss_of_samples(
            sides,
            self._weights.of(len(maps[0])),
            self.reduction,
            label_flips,
            rng,
            self._threshold if stats else None,
        )
        return (loss, self._named(tables)) if stats else loss

    def _named(self, tables: Sequence[Tensor]) -> Stats:
        """The statistics (maps, 4) of each side by their names."""
        named: Stats = {}
        for (name, _), table in zip(self._sides, tables, strict=True):
            named[f"{name}_loss"] = table[:, 0]
            named[f"{name}_logits"] = table[:, 1]
            named[f"{name}_accuracy"] = table[:, 3 if name == self._below else 2]
        return named


_ITSELF = Side("identity", 1.0, 0.0)


@lru_cache(maxsize=64)
def _of_samples(side: Side, reduction: Reduction) -> Reducer:
    return Reducer([("values", side)], MapWeights(1.0, "sum", None), reduction)


def reduce_samples(
    values: Tensor,
    reduction: Reduction,
    weight: Tensor | None,
    side: Side = _ITSELF,
) -> Tensor:
    """Reduce a number (B,) of each sample, or a function of it: scalar, or for ``none`` (B,).

    Args:
        values: (B,), in the dtype of the loss.
        reduction: mean, sum or none.
        weight: (B,). The mean becomes sum(w l) / sum(w), 0 where all weights are.
        side: the function.

    Raises:
        TypeError: the weight is not a tensor.
        ValueError: an unknown reduction, or another number of weights.
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
    loss = _of_samples(side, reduction)(((values,),), sample_weights=weights)
    assert isinstance(loss, Tensor)
    return loss
