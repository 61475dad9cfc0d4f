"""Relativistic average losses: how much more real are real samples than the average fake one."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, TypedDict, get_args, overload

from torch import Tensor
from typing_extensions import Unpack

from ganfast.distributed import mean_over_processes
from ganfast.losses.maps import (
    MapReduction,
    MapWeights,
    Outputs,
    Terms,
    means_of_maps,
    pairs_of_maps,
)
from ganfast.losses.reduction import Reducer, Reduction, Stats
from ganfast.losses.sides import Side
from ganfast.reference import compute_dtype

RelativisticKind = Literal["logistic", "least_squares", "hinge"]
MeanOver = Literal["all", "batch"]
_MEANS = get_args(MeanOver)

# f, its parameter a for what should be the larger side and for the smaller one, and b
_FUNCTIONS = {
    "logistic": ("softplus", -1.0, 1.0, 0.0),
    "least_squares": ("square", 1.0, -1.0, 0.0),
    "hinge": ("hinge", -1.0, 1.0, 1.0),
}


class RelativisticAverageOptions(TypedDict, total=False):
    """The options of the relativistic average losses."""

    mean_over: MeanOver
    detach_mean: bool
    distributed: bool
    real_weight: Outputs | None
    fake_weight: Outputs | None
    scale: float
    reduction: Reduction
    map_reduction: MapReduction
    map_weights: Sequence[float] | None


@overload
def relativistic_average_discriminator_loss(
    real: Outputs,
    fake: Outputs,
    kind: RelativisticKind = ...,
    *,
    stats: Literal[False] = ...,
    **options: Unpack[RelativisticAverageOptions],
) -> Tensor: ...
@overload
def relativistic_average_discriminator_loss(
    real: Outputs,
    fake: Outputs,
    kind: RelativisticKind = ...,
    *,
    stats: Literal[True],
    **options: Unpack[RelativisticAverageOptions],
) -> tuple[Tensor, Stats]: ...
def relativistic_average_discriminator_loss(
    real: Outputs,
    fake: Outputs,
    kind: RelativisticKind = "logistic",
    *,
    stats: bool = False,
    **options: Unpack[RelativisticAverageOptions],
) -> Tensor | tuple[Tensor, Stats]:
    r"""Loss of the discriminator against the mean output for the other side.

    With r, f the outputs for real and fake samples, r̄, f̄ their means, m the mean over all elements
    of a map, and sp(t) = log(1 + exp(t)):

    ================= ===================================================
    ``logistic``      m[sp(-(r - f̄))] + m[sp(f - r̄)]            (RaSGAN)
    ``least_squares`` m[(r - f̄ - 1)^2] + m[(f - r̄ + 1)^2]       (RaLSGAN)
    ``hinge``         m[relu(1 - (r - f̄))] + m[relu(1 + f - r̄)] (RaHinge)
    ================= ===================================================

    The means of all maps are one launch forward and one backward, and so are the functions with
    their sums. Statistics, weights and ``reduction="none"`` take the differences by plain torch.

    Args:
        real: outputs for real samples: a tensor, a list of maps, or a list of lists of which the
            last map counts.
        fake: outputs for fake samples, as many maps, of the same shapes but for the batch.
        kind: one of the above.
        stats: return statistics too.
        mean_over: r̄ and f̄ over ``all`` elements of a map, or over the ``batch``, one for each
            position (B, ...).
        detach_mean: the loss has no gradient through r̄ and f̄.
        distributed: take r̄ and f̄ over all processes of torch.distributed, of equal batches, with
            gradients; nothing changes where it is not initialized.
        real_weight: weights of the real samples: (B,), or a mask that broadcasts to each map, or
            one for each map. A map's m becomes the weighted mean sum(w l) / sum(w) over its
            elements l, 0 where all weights are; its sum sum(w l). They do not count in r̄ and f̄.
        fake_weight: the same for the fake samples.
        scale: factor on the loss, 0.5 for the projects that halve.
        reduction: of each map: the ``mean`` or the ``sum`` over its elements, or ``none``: (B,),
            for each sample its share, whose mean is the ``mean``.
        map_reduction: the ``sum`` or the ``mean`` of the maps' losses.
        map_weights: a weight for each map, 1 where not given.

    Returns:
        Scalar, or (B,) for ``reduction="none"``; float64 for float64 outputs, else float32.
        Differentiable twice. With ``stats`` also a dict of (maps,) tensors on the device, not
        differentiable: ``real_logits`` and ``fake_logits``, the means of r - f̄ and f - r̄;
        ``real_accuracy`` and ``fake_accuracy``, the shares of r above f̄ and of f below r̄;
        ``real_loss`` and ``fake_loss``, the terms that add up to the loss (for ``none`` to its
        mean), in which alone weights count.

    Raises:
        TypeError: an output is not a floating-point tensor or a list of such, or dtypes differ.
        ValueError: an unknown option, empty outputs, different numbers of maps, maps whose shapes
            differ in more than the batch, or weights that do not fit; where samples matter, maps
            with different numbers of samples.

    Source: Jolicoeur-Martineau 2018, The relativistic discriminator.
    """
    return _loss(real, fake, kind, False, stats, **options)


@overload
def relativistic_average_generator_loss(
    real: Outputs,
    fake: Outputs,
    kind: RelativisticKind = ...,
    *,
    stats: Literal[False] = ...,
    **options: Unpack[RelativisticAverageOptions],
) -> Tensor: ...
@overload
def relativistic_average_generator_loss(
    real: Outputs,
    fake: Outputs,
    kind: RelativisticKind = ...,
    *,
    stats: Literal[True],
    **options: Unpack[RelativisticAverageOptions],
) -> tuple[Tensor, Stats]: ...
def relativistic_average_generator_loss(
    real: Outputs,
    fake: Outputs,
    kind: RelativisticKind = "logistic",
    *,
    stats: bool = False,
    **options: Unpack[RelativisticAverageOptions],
) -> Tensor | tuple[Tensor, Stats]:
    """Loss of the generator: that of the discriminator with real and fake exchanged.

    Detach ``real`` where its graph is not wanted, as ESRGAN does.

    Args:
        real, fake, kind, stats, **options: see :func:`relativistic_average_discriminator_loss`.

    Returns:
        As :func:`relativistic_average_discriminator_loss`.

    Raises:
        TypeError, ValueError: as :func:`relativistic_average_discriminator_loss`.
    """
    return _loss(real, fake, kind, True, stats, **options)


@lru_cache(maxsize=64)
def _reducer(
    kind: RelativisticKind,
    exchanged: bool,
    scale: float,
    reduction: Reduction,
    map_reduction: MapReduction,
    map_weights: tuple[float, ...] | None,
) -> Reducer:
    if kind not in _FUNCTIONS:
        raise ValueError(f"kind must be one of {', '.join(_FUNCTIONS)}, got {kind!r}")
    f, larger, smaller, b = _FUNCTIONS[kind]
    if exchanged:
        larger, smaller = smaller, larger
    sides = ("real", Side(f, 1.0, larger, b)), ("fake", Side(f, 1.0, smaller, b))
    return Reducer(sides, MapWeights(scale, map_reduction, map_weights), reduction, below="fake")


def _loss(
    real: Outputs,
    fake: Outputs,
    kind: RelativisticKind,
    exchanged: bool,
    stats: bool,
    mean_over: MeanOver = "all",
    detach_mean: bool = False,
    distributed: bool = False,
    real_weight: Outputs | None = None,
    fake_weight: Outputs | None = None,
    scale: float = 1.0,
    reduction: Reduction = "mean",
    map_reduction: MapReduction = "sum",
    map_weights: Sequence[float] | None = None,
) -> Tensor | tuple[Tensor, Stats]:
    of_maps = None if map_weights is None else tuple(map_weights)
    reducer = _reducer(kind, exchanged, scale, reduction, map_reduction, of_maps)
    if mean_over not in _MEANS:
        raise ValueError(f"mean_over must be all or batch, got {mean_over!r}")
    real, fake = pairs_of_maps(real, fake)
    n = len(real)
    terms = reducer.terms((real, fake))
    for k, (r, f) in enumerate(zip(real, fake, strict=True)):
        no_batch = mean_over == "batch" and r.dim() == 0
        if no_batch or (r.shape != f.shape and (r.dim() != f.dim() or r.shape[1:] != f.shape[1:])):
            raise ValueError(
                f"real[{k}] and fake[{k}] must have one shape but for the batch, got "
                f"{list(r.shape)} and {list(f.shape)}"
            )
    maps = [x.detach() for x in terms.x] if detach_mean else terms.x
    means = _means(maps, mean_over, terms)
    if distributed:
        means = mean_over_processes(means)
    means = means[n:] + means[:n]
    weighted = real_weight is not None or fake_weight is not None
    if not weighted and not stats and reduction != "none":
        return terms.reduce(means)
    x = [compute_dtype(xk) - mean for xk, mean in zip(terms.x, means, strict=True)]
    return reducer((x[:n], x[n:]), stats, (real_weight, fake_weight) if weighted else None)


def _means(maps: Sequence[Tensor], over: MeanOver, terms: Terms) -> list[Tensor]:
    if over == "batch":
        terms.check()
        return [compute_dtype(x).mean(0) for x in maps]
    return [*means_of_maps(maps, terms.name).unbind()]
