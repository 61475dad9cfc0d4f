"""Relativistic average losses: how much more real are real samples than the average fake one."""

from collections.abc import Sequence
from typing import Any, Literal, TypedDict, get_args

import torch
from torch import Tensor
from typing_extensions import Unpack

from ganfast import ops
from ganfast.losses.distributed import mean_over_processes
from ganfast.losses.maps import (
    MapReduction,
    MapWeights,
    Outputs,
    means_of_maps,
    pairs_of_maps,
    terms_of,
)
from ganfast.reference import compute_dtype

RelativisticKind = Literal["logistic", "least_squares", "hinge"]
MeanOver = Literal["all", "batch"]

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
    scale: float
    map_reduction: MapReduction
    map_weights: Sequence[float] | None


def relativistic_average_discriminator_loss(
    real: Outputs,
    fake: Outputs,
    kind: RelativisticKind = "logistic",
    **options: Unpack[RelativisticAverageOptions],
) -> Tensor:
    r"""Loss of the discriminator against the mean output for the other side.

    With r, f the outputs for real and fake samples, r̄, f̄ their means, m the mean over all elements
    of a map, and sp(t) = log(1 + exp(t)):

    ================= ===================================================
    ``logistic``      m[sp(-(r - f̄))] + m[sp(f - r̄)]            (RaSGAN)
    ``least_squares`` m[(r - f̄ - 1)^2] + m[(f - r̄ + 1)^2]       (RaLSGAN)
    ``hinge``         m[relu(1 - (r - f̄))] + m[relu(1 + f - r̄)] (RaHinge)
    ================= ===================================================

    The means and differences are plain torch in float32 or better; the functions of all maps, with
    their sums, are one launch forward and one backward.

    Args:
        real: outputs for real samples: a tensor, a list of maps, or a list of lists of which the
            last map counts.
        fake: outputs for fake samples, as many maps, of the same shapes but for the batch.
        kind: one of the above.
        mean_over: r̄ and f̄ over ``all`` elements of a map, or over the ``batch``, one for each
            position (B, ...).
        detach_mean: the loss has no gradient through r̄ and f̄.
        distributed: take r̄ and f̄ over all processes of torch.distributed, of equal batches, with
            gradients; nothing changes where it is not initialized.
        scale: factor on the loss, 0.5 for the projects that halve.
        map_reduction: the ``sum`` or the ``mean`` of the maps' losses.
        map_weights: a weight for each map, 1 where not given.

    Returns:
        Scalar; float64 for float64 outputs, else float32. Differentiable twice.

    Raises:
        TypeError: an output is not a floating-point tensor or a list of such, or dtypes differ.
        ValueError: an unknown option, empty outputs, different numbers of maps, or maps whose
            shapes differ in more than the batch.

    Source: Jolicoeur-Martineau 2018, The relativistic discriminator.
    """
    return _loss(real, fake, kind, False, **options)


def relativistic_average_generator_loss(
    real: Outputs,
    fake: Outputs,
    kind: RelativisticKind = "logistic",
    **options: Unpack[RelativisticAverageOptions],
) -> Tensor:
    """Loss of the generator: that of the discriminator with real and fake exchanged.

    Detach ``real`` where its graph is not wanted, as ESRGAN does.

    Args:
        real, fake, kind, **options: see :func:`relativistic_average_discriminator_loss`.

    Returns:
        Scalar; float64 for float64 outputs, else float32. Differentiable twice.

    Raises:
        TypeError, ValueError: as :func:`relativistic_average_discriminator_loss`.
    """
    return _loss(real, fake, kind, True, **options)


def _loss(
    real: Outputs,
    fake: Outputs,
    kind: RelativisticKind,
    exchanged: bool,
    *,
    mean_over: MeanOver = "all",
    detach_mean: bool = False,
    distributed: bool = False,
    scale: float = 1.0,
    map_reduction: MapReduction = "sum",
    map_weights: Sequence[float] | None = None,
) -> Tensor:
    if kind not in _FUNCTIONS:
        raise ValueError(f"kind must be one of {', '.join(_FUNCTIONS)}, got {kind!r}")
    if mean_over not in get_args(MeanOver):
        raise ValueError(f"mean_over must be all or batch, got {mean_over!r}")
    real, fake = pairs_of_maps(real, fake)
    weights = MapWeights(scale, map_reduction, map_weights).of(len(real))
    f, larger, smaller, b = _FUNCTIONS[kind]
    if exchanged:
        larger, smaller = smaller, larger
    terms = terms_of(f)
    terms.add("real", real, weights, larger, b)
    terms.add("fake", fake, weights, smaller, b)
    terms.check()
    maps = [compute_dtype(x) for x in terms.x]
    for k, (r, f_) in enumerate(zip(real, fake, strict=True)):
        no_batch = r.dim() == 0 and mean_over == "batch"
        if no_batch or r.dim() != f_.dim() or r.shape[1:] != f_.shape[1:]:
            raise ValueError(
                f"real[{k}] and fake[{k}] must have one shape but for the batch, got "
                f"{list(r.shape)} and {list(f_.shape)}"
            )
    # The node that saves launches for lists costs more than it saves for a map or two.
    plain = detach_mean or distributed or len(real) <= 2 or not ops._compiled(maps)
    if plain:
        means = [_mean(x.detach() if detach_mean else x, mean_over) for x in maps]
        if distributed:
            means = mean_over_processes(means)
        n = len(real)
        x = [x - mean for x, mean in zip(maps, means[n:] + means[:n], strict=True)]
    else:
        x = list(_from_means(mean_over, False, *maps))
    return terms._replace(x=x).reduce()


def _mean(x: Tensor, over: MeanOver) -> Tensor:
    return x.mean() if over == "all" else x.mean(0)


def _from_means(over: MeanOver, transposed: bool, *maps: Tensor) -> tuple[Tensor, ...]:
    result: tuple[Tensor, ...] = _FromMeans.apply(over, transposed, *maps)  # type: ignore[no-untyped-call]
    return result


class _FromMeans(torch.autograd.Function):
    """What maps of one side are from the means of the other: one node for all of them.

    It is linear. Its transpose is the same but for the number of elements that a mean divides by:
    of the map that it is taken from, not of the map that it is taken of.
    """

    @staticmethod
    def forward(ctx: Any, over: MeanOver, transposed: bool, *maps: Tensor) -> tuple[Tensor, ...]:
        ctx.over, ctx.transposed = over, transposed
        n = len(maps) // 2
        means = means_of_maps(maps) if over == "all" else [x.mean(0) for x in maps]
        means = means[n:] + means[:n]
        if transposed:
            for k, x in enumerate(maps):
                y = maps[k - n]
                if x.numel() != y.numel():
                    means[k] = means[k] * (y.numel() / x.numel())
        return torch._foreach_sub(maps, means)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        return None, None, *_from_means(ctx.over, not ctx.transposed, *grads)
