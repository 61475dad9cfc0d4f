"""Relativistic pairing losses: how much more real is a real sample than the fake one beside it."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, TypedDict, overload

from torch import Tensor
from typing_extensions import Unpack

from ganfast import ops
from ganfast._checks import check_flat, check_shapes
from ganfast.losses.maps import MapReduction, MapWeights, Outputs, pairs_of_maps
from ganfast.losses.reduction import Reducer, Reduction, Stats
from ganfast.losses.relativistic_average import RelativisticKind
from ganfast.losses.sides import Side
from ganfast.losses.weighted import is_mask
from ganfast.reference import compute_dtype

# of the difference of what should be larger and what should be smaller
_FUNCTIONS = {
    "logistic": Side("softplus", 1.0, -1.0),
    "least_squares": Side("square", 1.0, 1.0),
    "hinge": Side("hinge", 1.0, -1.0, 1.0),
}


class RelativisticOptions(TypedDict, total=False):
    """The options of the relativistic pairing losses."""

    pair_weight: Outputs | None
    scale: float
    reduction: Reduction
    map_reduction: MapReduction
    map_weights: Sequence[float] | None


@overload
def relativistic_discriminator_loss(
    real: Outputs,
    fake: Outputs,
    kind: RelativisticKind = ...,
    *,
    stats: Literal[False] = ...,
    **options: Unpack[RelativisticOptions],
) -> Tensor: ...
@overload
def relativistic_discriminator_loss(
    real: Outputs,
    fake: Outputs,
    kind: RelativisticKind = ...,
    *,
    stats: Literal[True],
    **options: Unpack[RelativisticOptions],
) -> tuple[Tensor, Stats]: ...
def relativistic_discriminator_loss(
    real: Outputs,
    fake: Outputs,
    kind: RelativisticKind = "logistic",
    *,
    stats: bool = False,
    **options: Unpack[RelativisticOptions],
) -> Tensor | tuple[Tensor, Stats]:
    r"""Loss of the discriminator on pairs of one real and one fake sample (RpGAN).

    With r, f the outputs for real and fake samples, m the mean over all elements of a map, and
    sp(t) = log(1 + exp(t)):

    ================= ===================
    ``logistic``      m[sp(-(r - f))]
    ``least_squares`` m[(r - f - 1)^2]
    ``hinge``         m[relu(1 - (r - f))]
    ================= ===================

    Args:
        real: outputs for real samples: a tensor, a list of maps, or a list of lists of which the
            last map counts.
        fake: outputs for fake samples, as many maps of the same shapes.
        kind: one of the above.
        stats: return statistics too.
        pair_weight: weights of the pairs: (B,), or a mask that broadcasts to each map, or one for
            each map. A map's mean becomes the weighted mean sum(w l) / sum(w) over its elements l,
            0 where all weights are; its sum sum(w l).
        scale: factor on the loss.
        reduction: of each map: the ``mean`` or the ``sum`` over its elements, or ``none``: (B,),
            for each pair its share, whose mean is the ``mean``.
        map_reduction: the ``sum`` or the ``mean`` of the maps' losses.
        map_weights: a weight for each map, 1 where not given.

    Returns:
        Scalar, or (B,) for ``reduction="none"``; float64 for float64 outputs, else float32.
        Differentiable twice. With ``stats`` also a dict of (maps,) tensors on the device, not
        differentiable: ``pair_logits``, the mean of r - f (of f - r for the generator);
        ``pair_accuracy``, the share of elements where it is positive; ``pair_loss``, the terms that
        add up to the loss (for ``none`` to its mean), in which alone weights count.

    Raises:
        TypeError: an output is not a floating-point tensor or a list of such, or dtypes differ.
        ValueError: an unknown option, empty outputs, different numbers or shapes of maps, or
            weights that do not fit; where samples matter, maps with different numbers of samples.

    Source: Jolicoeur-Martineau 2018, The relativistic discriminator; R3GAN (logistic).
    """
    return _loss(("real", "fake"), real, fake, kind, stats, **options)


@overload
def relativistic_generator_loss(
    real: Outputs,
    fake: Outputs,
    kind: RelativisticKind = ...,
    *,
    stats: Literal[False] = ...,
    **options: Unpack[RelativisticOptions],
) -> Tensor: ...
@overload
def relativistic_generator_loss(
    real: Outputs,
    fake: Outputs,
    kind: RelativisticKind = ...,
    *,
    stats: Literal[True],
    **options: Unpack[RelativisticOptions],
) -> tuple[Tensor, Stats]: ...
def relativistic_generator_loss(
    real: Outputs,
    fake: Outputs,
    kind: RelativisticKind = "logistic",
    *,
    stats: bool = False,
    **options: Unpack[RelativisticOptions],
) -> Tensor | tuple[Tensor, Stats]:
    """Loss of the generator: that of the discriminator with real and fake exchanged.

    No gradient is computed for ``real`` where it requires none: take it under ``torch.no_grad()``.

    Args:
        real, fake, kind, stats, **options: see :func:`relativistic_discriminator_loss`.

    Returns:
        As :func:`relativistic_discriminator_loss`.

    Raises:
        TypeError, ValueError: as :func:`relativistic_discriminator_loss`.
    """
    return _loss(("fake", "real"), fake, real, kind, stats, **options)


@lru_cache(maxsize=64)
def _reducer(
    kind: RelativisticKind,
    scale: float,
    reduction: Reduction,
    map_reduction: MapReduction,
    map_weights: tuple[float, ...] | None,
) -> Reducer:
    if kind not in _FUNCTIONS:
        raise ValueError(f"kind must be one of {', '.join(_FUNCTIONS)}, got {kind!r}")
    weights = MapWeights(scale, map_reduction, map_weights)
    return Reducer((("pair", _FUNCTIONS[kind]),), weights, reduction)


def _loss(
    names: tuple[str, str],
    larger: Outputs,
    smaller: Outputs,
    kind: RelativisticKind,
    stats: bool,
    pair_weight: Outputs | None = None,
    scale: float = 1.0,
    reduction: Reduction = "mean",
    map_reduction: MapReduction = "sum",
    map_weights: Sequence[float] | None = None,
) -> Tensor | tuple[Tensor, Stats]:
    of_maps = None if map_weights is None else tuple(map_weights)
    reducer = _reducer(kind, scale, reduction, map_reduction, of_maps)
    x, y = pairs_of_maps(larger, smaller)

    def name(argument: str, k: int) -> str:
        return f"{names[argument == 'y']}[{k}]" if argument in "xy" else "pair_weight"

    if any(xk.shape != yk.shape for xk, yk in zip(x, y, strict=True)):
        check_shapes(x, y, name)
    f = _FUNCTIONS[kind].f
    weight, a, b, _ = reducer.parameters(len(x))
    if pair_weight is None and reduction != "none" and not stats:
        if reduction == "sum":
            weight = [w * xk.numel() for w, xk in zip(weight, x, strict=True)]
        return ops.flat(x, f, weight, a, b, y, name=name)
    check_flat(x, y, f, weight, a, b, name)
    if stats or is_mask(pair_weight):
        x = [compute_dtype(xk) - compute_dtype(yk) for xk, yk in zip(x, y, strict=True)]
        y = ()
    return reducer((x,), stats, None if pair_weight is None else (pair_weight,), minus=y)
