"""Relativistic losses: how much more real a real sample is than a fake one, or the average fake."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, get_args

from torch import Tensor

from ganfast import ops
from ganfast._checks import Name, check_flat
from ganfast.distributed import mean_over_processes
from ganfast.losses.formulas import Formula
from ganfast.losses.outputs import (
    MapReduction,
    MapWeights,
    Outputs,
    Terms,
    means_of_maps,
    pairs_of_maps,
)
from ganfast.losses.reduction import Reducer, Reduction, Stats, is_mask
from ganfast.reference import compute_dtype

RelativisticKind = Literal["logistic", "least_squares", "hinge"]
MeanOver = Literal["all", "batch"]
_MEANS = get_args(MeanOver)

# The formulas of a difference that should be large, and of one that should be small.
_FORMULAS = {
    "logistic": (Formula("softplus", 1.0, -1.0), Formula("softplus", 1.0, 1.0)),
    "least_squares": (Formula("square", 1.0, 1.0), Formula("square", 1.0, -1.0)),
    "hinge": (Formula("hinge", 1.0, -1.0, 1.0), Formula("hinge", 1.0, 1.0, 1.0)),
}


def relativistic_discriminator_loss(
    real: Outputs,
    fake: Outputs,
    kind: RelativisticKind = "logistic",
    *,
    pair_weight: Outputs | None = None,
    scale: float = 1.0,
    reduction: Reduction = "mean",
    map_reduction: MapReduction = "sum",
    map_weights: Sequence[float] | None = None,
) -> Tensor:
    r"""Loss of the discriminator on pairs of one real and one fake sample (RpGAN).

    With r, f the outputs for real and fake samples, m the mean over all elements of a map, and
    sp(t) = log(1 + exp(t)):

    ================= ===================
    ``logistic``      m[sp(-(r - f))]
    ``least_squares`` m[(r - f - 1)^2]
    ``hinge``         m[relu(1 - (r - f))]
    ================= ===================

    Args:
        real: outputs for real samples: a tensor, a list of maps, or a list of lists whose last maps
            count.
        fake: outputs for fake samples, equally many maps of the same shapes.
        kind: one of the above.
        pair_weight: weights of the pairs: (B,), or a mask that broadcasts to each map, or one mask
            per map. A map's mean becomes the weighted mean sum(w l) / sum(w) over its elements l,
            or 0 if all weights are 0; its sum becomes sum(w l).
        scale: factor on the loss.
        reduction: of each map: the ``mean`` or the ``sum`` over its elements, or ``none``: (B,),
            the share of each pair, whose mean is the ``mean``.
        map_reduction: the ``sum`` or the ``mean`` of the maps' losses.
        map_weights: a weight for each map; all 1 if None.

    Returns:
        Scalar, or (B,) for ``reduction="none"``; float64 for float64 outputs, else float32.
        Differentiable twice.

    Raises:
        TypeError: an output is not a floating-point tensor or a list of them, or dtypes differ.
        ValueError: an option is unknown; outputs are empty or differ in number or shape; weights do
            not fit; maps differ in their number of samples where samples matter.

    Source: Jolicoeur-Martineau 2018, The relativistic discriminator; R3GAN (logistic).
    """
    reducer = _reducer("pair", kind, scale, reduction, map_reduction, map_weights)
    return _pair_loss(reducer, ("real", "fake"), real, fake, pair_weight)


def relativistic_discriminator_loss_with_stats(
    real: Outputs,
    fake: Outputs,
    kind: RelativisticKind = "logistic",
    *,
    pair_weight: Outputs | None = None,
    scale: float = 1.0,
    reduction: Reduction = "mean",
    map_reduction: MapReduction = "sum",
    map_weights: Sequence[float] | None = None,
) -> tuple[Tensor, Stats]:
    """Loss of the discriminator and statistics to log.

    Arguments and errors are those of :func:`relativistic_discriminator_loss`.

    Returns:
        The loss, and a dict of (maps,) tensors on the device, not differentiable: ``pair_logits``,
        the mean of r - f; ``pair_accuracy``, the share of elements where it is positive;
        ``pair_loss``, the terms that add up to the loss (for ``none``, to its mean). Weights
        affect only these terms.
    """
    reducer = _reducer("pair", kind, scale, reduction, map_reduction, map_weights)
    return _pair_loss_with_stats(reducer, ("real", "fake"), real, fake, pair_weight)


def relativistic_generator_loss(
    real: Outputs,
    fake: Outputs,
    kind: RelativisticKind = "logistic",
    *,
    pair_weight: Outputs | None = None,
    scale: float = 1.0,
    reduction: Reduction = "mean",
    map_reduction: MapReduction = "sum",
    map_weights: Sequence[float] | None = None,
) -> Tensor:
    """Loss of the generator: that of the discriminator with real and fake exchanged.

    ``real`` gets no gradient if it requires none: compute it under ``torch.no_grad()``.

    Arguments, result and errors are those of :func:`relativistic_discriminator_loss`.
    """
    reducer = _reducer("pair", kind, scale, reduction, map_reduction, map_weights)
    return _pair_loss(reducer, ("fake", "real"), fake, real, pair_weight)


def relativistic_generator_loss_with_stats(
    real: Outputs,
    fake: Outputs,
    kind: RelativisticKind = "logistic",
    *,
    pair_weight: Outputs | None = None,
    scale: float = 1.0,
    reduction: Reduction = "mean",
    map_reduction: MapReduction = "sum",
    map_weights: Sequence[float] | None = None,
) -> tuple[Tensor, Stats]:
    """Loss of the generator and statistics to log.

    Arguments and errors are those of :func:`relativistic_discriminator_loss`, and so are the
    statistics of :func:`relativistic_discriminator_loss_with_stats`, of f - r.
    """
    reducer = _reducer("pair", kind, scale, reduction, map_reduction, map_weights)
    return _pair_loss_with_stats(reducer, ("fake", "real"), fake, real, pair_weight)


def relativistic_average_discriminator_loss(
    real: Outputs,
    fake: Outputs,
    kind: RelativisticKind = "logistic",
    *,
    mean_over: MeanOver = "all",
    detach_mean: bool = False,
    distributed: bool = False,
    real_weight: Outputs | None = None,
    fake_weight: Outputs | None = None,
    scale: float = 1.0,
    reduction: Reduction = "mean",
    map_reduction: MapReduction = "sum",
    map_weights: Sequence[float] | None = None,
) -> Tensor:
    r"""Loss of the discriminator against the mean output for the other side.

    With r, f the outputs for real and fake samples, r̄, f̄ their means, m the mean over all elements
    of a map, and sp(t) = log(1 + exp(t)):

    ================= ===================================================
    ``logistic``      m[sp(-(r - f̄))] + m[sp(f - r̄)]            (RaSGAN)
    ``least_squares`` m[(r - f̄ - 1)^2] + m[(f - r̄ + 1)^2]       (RaLSGAN)
    ``hinge``         m[relu(1 - (r - f̄))] + m[relu(1 + f - r̄)] (RaHinge)
    ================= ===================================================

    The means of all maps are one launch forward and one backward, and so are the functions with
    their sums. Statistics, weights and ``reduction="none"`` take the differences in plain torch.

    Args:
        real: outputs for real samples: a tensor, a list of maps, or a list of lists whose last maps
            count.
        fake: outputs for fake samples, equally many maps, of the same shapes except for the batch.
        kind: one of the above.
        mean_over: r̄ and f̄ over ``all`` elements of a map, or over the ``batch``, one for each
            position (B, ...).
        detach_mean: the loss has no gradient through r̄ and f̄.
        distributed: take r̄ and f̄ over all processes of torch.distributed, with equal batches and
            with gradients; no effect if torch.distributed is not initialized.
        real_weight: weights of the real samples: (B,), or a mask that broadcasts to each map, or
            one mask per map. A map's m becomes the weighted mean sum(w l) / sum(w) over its
            elements l, or 0 if all weights are 0; its sum becomes sum(w l). They do not affect r̄
            and f̄.
        fake_weight: the same for the fake samples.
        scale: factor on the loss, 0.5 for the projects that halve.
        reduction: of each map: the ``mean`` or the ``sum`` over its elements, or ``none``: (B,),
            the share of each sample, whose mean is the ``mean``.
        map_reduction: the ``sum`` or the ``mean`` of the maps' losses.
        map_weights: a weight for each map; all 1 if None.

    Returns:
        Scalar, or (B,) for ``reduction="none"``; float64 for float64 outputs, else float32.
        Differentiable twice.

    Raises:
        TypeError: an output is not a floating-point tensor or a list of them, or dtypes differ.
        ValueError: an option is unknown; outputs are empty, differ in their number of maps or in
            more than the batch; weights do not fit; maps differ in their number of samples where
            samples matter.

    Source: Jolicoeur-Martineau 2018, The relativistic discriminator.
    """
    reducer = _reducer("real", kind, scale, reduction, map_reduction, map_weights)
    terms, means = _average_terms(reducer, real, fake, mean_over, detach_mean, distributed)
    return _average_loss(reducer, terms, means, real_weight, fake_weight)


def relativistic_average_discriminator_loss_with_stats(
    real: Outputs,
    fake: Outputs,
    kind: RelativisticKind = "logistic",
    *,
    mean_over: MeanOver = "all",
    detach_mean: bool = False,
    distributed: bool = False,
    real_weight: Outputs | None = None,
    fake_weight: Outputs | None = None,
    scale: float = 1.0,
    reduction: Reduction = "mean",
    map_reduction: MapReduction = "sum",
    map_weights: Sequence[float] | None = None,
) -> tuple[Tensor, Stats]:
    """Loss of the discriminator and statistics to log.

    Arguments and errors are those of :func:`relativistic_average_discriminator_loss`.

    Returns:
        The loss, and a dict of (maps,) tensors on the device, not differentiable: ``real_logits``
        and ``fake_logits``, the means of r - f̄ and f - r̄; ``real_accuracy`` and
        ``fake_accuracy``, the shares of r above f̄ and of f below r̄; ``real_loss`` and
        ``fake_loss``, the terms that add up to the loss (for ``none``, to its mean). Weights
        affect only these terms.
    """
    reducer = _reducer("real", kind, scale, reduction, map_reduction, map_weights)
    terms, means = _average_terms(reducer, real, fake, mean_over, detach_mean, distributed)
    return reducer.with_stats(_differences(terms, means), _given(real_weight, fake_weight))


def relativistic_average_generator_loss(
    real: Outputs,
    fake: Outputs,
    kind: RelativisticKind = "logistic",
    *,
    mean_over: MeanOver = "all",
    detach_mean: bool = False,
    distributed: bool = False,
    real_weight: Outputs | None = None,
    fake_weight: Outputs | None = None,
    scale: float = 1.0,
    reduction: Reduction = "mean",
    map_reduction: MapReduction = "sum",
    map_weights: Sequence[float] | None = None,
) -> Tensor:
    """Loss of the generator: that of the discriminator with real and fake exchanged.

    Detach ``real`` if you do not want its graph, as ESRGAN does.

    Arguments, result and errors are those of :func:`relativistic_average_discriminator_loss`.
    """
    reducer = _reducer("fake", kind, scale, reduction, map_reduction, map_weights)
    terms, means = _average_terms(reducer, real, fake, mean_over, detach_mean, distributed)
    return _average_loss(reducer, terms, means, real_weight, fake_weight)


def relativistic_average_generator_loss_with_stats(
    real: Outputs,
    fake: Outputs,
    kind: RelativisticKind = "logistic",
    *,
    mean_over: MeanOver = "all",
    detach_mean: bool = False,
    distributed: bool = False,
    real_weight: Outputs | None = None,
    fake_weight: Outputs | None = None,
    scale: float = 1.0,
    reduction: Reduction = "mean",
    map_reduction: MapReduction = "sum",
    map_weights: Sequence[float] | None = None,
) -> tuple[Tensor, Stats]:
    """Loss of the generator and statistics to log.

    Arguments and errors are those of :func:`relativistic_average_discriminator_loss`, and the
    statistics those of :func:`relativistic_average_discriminator_loss_with_stats`.
    """
    reducer = _reducer("fake", kind, scale, reduction, map_reduction, map_weights)
    terms, means = _average_terms(reducer, real, fake, mean_over, detach_mean, distributed)
    return reducer.with_stats(_differences(terms, means), _given(real_weight, fake_weight))


def _reducer(
    larger: str,
    kind: RelativisticKind,
    scale: float,
    reduction: Reduction,
    map_reduction: MapReduction,
    map_weights: Sequence[float] | None,
) -> Reducer:
    """The reduction over pairs, or over both sides, of which ``larger`` should have the larger
    outputs."""
    of_maps = None if map_weights is None else tuple(map_weights)
    return _cached_reducer(larger, kind, scale, reduction, map_reduction, of_maps)


@lru_cache(maxsize=64)
def _cached_reducer(
    larger: str,
    kind: RelativisticKind,
    scale: float,
    reduction: Reduction,
    map_reduction: MapReduction,
    map_weights: tuple[float, ...] | None,
) -> Reducer:
    if kind not in _FORMULAS:
        raise ValueError(f"kind must be one of {', '.join(_FORMULAS)}, got {kind!r}")
    large, small = _FORMULAS[kind]
    sides: tuple[tuple[str, Formula], ...] = (("pair", large),)
    if larger == "real":
        sides = ("real", large), ("fake", small)
    elif larger == "fake":
        sides = ("real", small), ("fake", large)
    return Reducer(sides, MapWeights(scale, map_reduction, map_weights), reduction, below="fake")


def _pairs(
    names: tuple[str, str], larger: Outputs, smaller: Outputs
) -> tuple[Sequence[Tensor], Sequence[Tensor], Name]:
    """The maps of both sides, of equal shapes, and the caller's names for them."""
    x, y = pairs_of_maps(larger, smaller)

    def name(argument: str, k: int) -> str:
        return f"{names[argument == 'y']}[{k}]" if argument in "xy" else "pair_weight"

    return x, y, name


def _pair_loss(
    reducer: Reducer,
    names: tuple[str, str],
    larger: Outputs,
    smaller: Outputs,
    pair_weight: Outputs | None,
) -> Tensor:
    x, y, name = _pairs(names, larger, smaller)
    weight, a, b, _ = reducer.parameters(len(x))
    if pair_weight is None and reducer.reduction != "none":
        if reducer.reduction == "sum":
            weight = [w * xk.numel() for w, xk in zip(weight, x, strict=True)]
        return ops.flat(x, reducer.f, weight, a, b, y, broadcast=False, name=name)
    check_flat(x, y, reducer.f, weight, a, b, name, broadcast=False)
    weights = None if pair_weight is None else (pair_weight,)
    if is_mask(pair_weight):
        return reducer((_subtracted(x, y),), weights)
    return reducer((x,), weights, minus=y)


def _pair_loss_with_stats(
    reducer: Reducer,
    names: tuple[str, str],
    larger: Outputs,
    smaller: Outputs,
    pair_weight: Outputs | None,
) -> tuple[Tensor, Stats]:
    x, y, name = _pairs(names, larger, smaller)
    check_flat(x, y, reducer.f, *reducer.parameters(len(x))[:3], name, broadcast=False)
    weights = None if pair_weight is None else (pair_weight,)
    return reducer.with_stats((_subtracted(x, y),), weights)


def _subtracted(x: Sequence[Tensor], y: Sequence[Tensor]) -> list[Tensor]:
    return [compute_dtype(xk) - compute_dtype(yk) for xk, yk in zip(x, y, strict=True)]


def _average_terms(
    reducer: Reducer,
    real: Outputs,
    fake: Outputs,
    mean_over: MeanOver,
    detach_mean: bool,
    distributed: bool,
) -> tuple[Terms, list[Tensor]]:
    """The maps of both sides, and for each the mean of the other side's map."""
    if mean_over not in _MEANS:
        raise ValueError(f"mean_over must be all or batch, got {mean_over!r}")
    real, fake = pairs_of_maps(real, fake)
    terms = reducer.terms((real, fake))
    for k, (r, f) in enumerate(zip(real, fake, strict=True)):
        no_batch = mean_over == "batch" and r.dim() == 0
        if no_batch or (r.shape != f.shape and (r.dim() != f.dim() or r.shape[1:] != f.shape[1:])):
            raise ValueError(
                f"real[{k}] and fake[{k}] must have one shape except for the batch, got "
                f"{list(r.shape)} and {list(f.shape)}"
            )
    maps = [x.detach() for x in terms.x] if detach_mean else terms.x
    if mean_over == "batch":
        terms.check()
        means = [compute_dtype(x).mean(0) for x in maps]
    else:
        means = [*means_of_maps(maps, terms.name).unbind()]
    if distributed:
        means = mean_over_processes(means)
    return terms, means[len(real) :] + means[: len(real)]


def _average_loss(
    reducer: Reducer,
    terms: Terms,
    means: Sequence[Tensor],
    real_weight: Outputs | None,
    fake_weight: Outputs | None,
) -> Tensor:
    weights = _given(real_weight, fake_weight)
    if weights is None and reducer.reduction != "none":
        return terms.reduce(means)
    return reducer(_differences(terms, means), weights)


def _differences(terms: Terms, means: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Each map minus the mean of the other side's, of real and of fake samples."""
    x, n = _subtracted(terms.x, means), len(terms.x) // 2
    return x[:n], x[n:]


def _given(
    real_weight: Outputs | None, fake_weight: Outputs | None
) -> tuple[Outputs | None, Outputs | None] | None:
    """The weights of both sides, or None if there are none."""
    none = real_weight is None and fake_weight is None
    return None if none else (real_weight, fake_weight)
