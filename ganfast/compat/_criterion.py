"""Shared by the modules: the loss of one side at a time."""

from functools import lru_cache

from torch import Tensor

from ganfast.losses.formulas import Formula
from ganfast.losses.reduction import MapReduction, Outputs, cached_reducer, last_maps


@lru_cache(maxsize=64)
def formula_of(f: str, target_is_real: bool, labels: tuple[float, float] = (0.0, 1.0)) -> Formula:
    """Return the formula of outputs that are taken to be real or fake, with labels (fake, real)."""
    if f in ("square", "bce", "bce_with_logits"):
        return Formula(f, 1.0, float(labels[target_is_real]))
    sign = -1.0 if target_is_real else 1.0
    if f == "identity":
        return Formula(f, sign, 0.0)
    return Formula(f, 1.0, sign, 1.0)


def reduce_sides(
    *sides: tuple[str, Outputs, Formula], scale: float = 1.0, map_reduction: MapReduction = "sum"
) -> Tensor:
    """Return the sum of the sides' losses in one launch; all sides share one function.

    A side is the name of an argument, its outputs and their formula.
    """
    formulas = tuple([(name, formula) for name, _, formula in sides])
    maps = [last_maps(name, outputs) for name, outputs, _ in sides]
    return cached_reducer(formulas, "mean", scale, map_reduction).loss(maps)
