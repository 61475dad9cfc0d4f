"""Shared by the modules: the loss of one side at a time."""

from functools import lru_cache

from torch import Tensor

from ganfast.losses.formulas import Formula
from ganfast.losses.reduction import MapReduction, MapWeights, Outputs, Reducer, last_maps


@lru_cache(maxsize=64)
def formula_of(f: str, target_is_real: bool, labels: tuple[float, float] = (0.0, 1.0)) -> Formula:
    """Return the formula of outputs that are taken to be real, or to be fake.

    Args:
        f: ``square``, ``bce`` or ``bce_with_logits``, which compare with a label; ``identity``
            (Wasserstein), ``softplus`` or ``hinge``, which differ in sign.
        target_is_real: take the outputs to be real, or to be fake.
        labels: of fake and of real outputs.
    """
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

    Args:
        *sides: name of the argument, outputs (a tensor, a list of maps, or a list of lists whose
            last maps count), and formula.
        scale: factor on the loss.
        map_reduction: the ``sum`` or the ``mean`` over each side's maps.

    Returns:
        Scalar; float64 for float64 outputs, else float32.
    """
    formulas = tuple([(name, formula) for name, _, formula in sides])
    maps = [last_maps(name, outputs) for name, outputs, _ in sides]
    return _reducer(formulas, scale, map_reduction).loss(maps)


@lru_cache(maxsize=64)
def _reducer(
    sides: tuple[tuple[str, Formula], ...], scale: float, map_reduction: MapReduction
) -> Reducer:
    return Reducer(sides, MapWeights(scale, map_reduction))
