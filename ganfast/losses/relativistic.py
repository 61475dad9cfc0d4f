"""Relativistic losses: how much more real a real sample is than a fake one, or the average fake."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, get_args

from torch import Tensor

from ganfast import ops
from ganfast._checks import Name, check_flat, check_list
from ganfast._names import check_name
from ganfast.distributed import mean_over_processes
from ganfast.losses.formulas import Formula
from ganfast.losses.reduction import (
    MapReduction,
    Outputs,
    Reducer,
    Reduction,
    Stats,
    Terms,
    means_of_maps,
    pairs_of_maps,
    weights_of_sides,
)
from ganfast.reference import compute_dtype

RelativisticKind = Literal["logistic", "least_squares", "hinge"]
MeanOver = Literal["all", "batch"]

# The formulas of a difference that should be large, and of one that should be small.
_FORMULAS = {
    "logistic": (Formula("softplus", 1.0, -1.0), Formula("softplus", 1.0, 1.0)),
    "least_squares": (Formula("square", 1.0, 1.0), Formula("square", 1.0, -1.0)),
    "hinge": (Formula("hinge", 1.0, -1.0, 1.0), Formula("hinge", 1.0, 1.0, 1.0)),
}


class RelativisticLoss:
    r"""The two losses on pairs of one real and one fake sample (RpGAN).

    With r, f the outputs for real and fake samples, m the mean over all elements of a map, and
    sp(t) = log(1 + exp(t)), the loss of the discriminator is

    ================= ===================
    ``logistic``      m[sp(-(r - f))]
    ``least_squares`` m[(r - f - 1)^2]
    ``hinge``         m[relu(1 - (r - f))]
    ================= ===================

    and that of the generator the same with r and f exchanged. Outputs are a tensor, a list of maps,
    or a list of lists whose last maps count; both sides have the same shapes.

    Args:
        kind: one of the above.
        scale, reduction, map_reduction, map_weights: see :class:`AdversarialLoss`; with ``none``
            the shares are those of pairs.

    Raises:
        TypeError, ValueError: as :class:`AdversarialLoss`, or outputs differ in shape.

    Source: Jolicoeur-Martineau 2018, The relativistic discriminator; R3GAN (logistic).
    """

    def __init__(
        self,
        kind: RelativisticKind = "logistic",
        *,
        scale: float = 1.0,
        reduction: Reduction = "mean",
        map_reduction: MapReduction = "sum",
        map_weights: Sequence[float] | None = None,
    ) -> None:
        check_name("kind", kind, _FORMULAS)
        of_pairs = (("pair", _FORMULAS[kind][0]),)
        self._reducer = Reducer(of_pairs, reduction, scale, map_reduction, map_weights)

    def discriminator(
        self, real: Outputs, fake: Outputs, *, pair_weight: Outputs | None = None
    ) -> Tensor:
        """Loss of the discriminator.

        Args:
            real, fake: outputs for real and for fake samples.
            pair_weight: weights of the pairs, as of the samples in
                :meth:`AdversarialLoss.discriminator`.

        Returns:
            Scalar, or (B,) for ``reduction="none"``; float64 for float64 outputs, else float32.
            Differentiable twice.
        """
        return self._loss(("real", "fake"), real, fake, pair_weight)

    def discriminator_with_stats(
        self, real: Outputs, fake: Outputs, *, pair_weight: Outputs | None = None
    ) -> tuple[Tensor, Stats]:
        """Loss of the discriminator and statistics to log.

        Args:
            real, fake, pair_weight: see :meth:`discriminator`.

        Returns:
            The loss, and a dict of (maps,) tensors on the device, not differentiable:
            ``pair_logits``, the mean of r - f; ``pair_accuracy``, the share of elements where it is
            positive; ``pair_loss``, the terms that add up to the loss (for ``none``, to its mean).
            Weights affect only these terms.
        """
        return self._loss_with_stats(("real", "fake"), real, fake, pair_weight)

    def generator(
        self, real: Outputs, fake: Outputs, *, pair_weight: Outputs | None = None
    ) -> Tensor:
        """Loss of the generator, with the arguments of :meth:`discriminator`.

        ``real`` gets no gradient if it requires none: compute it under ``torch.no_grad()``.
        """
        return self._loss(("fake", "real"), fake, real, pair_weight)

    def generator_with_stats(
        self, real: Outputs, fake: Outputs, *, pair_weight: Outputs | None = None
    ) -> tuple[Tensor, Stats]:
        """Loss of the generator, and :meth:`discriminator_with_stats`'s statistics, of f - r."""
        return self._loss_with_stats(("fake", "real"), fake, real, pair_weight)

    def _loss(
        self,
        names: tuple[str, str],
        larger: Outputs,
        smaller: Outputs,
        pair_weight: Outputs | None,
    ) -> Tensor:
        x, y, name = _pairs(names, larger, smaller)
        reducer = self._reducer
        weight, a, b = reducer.parameters(len(x))
        if pair_weight is None and reducer.reduction != "none":
            if reducer.reduction == "sum":
                weight = [w * xk.numel() for w, xk in zip(weight, x, strict=True)]
            return ops.flat(x, reducer.f, weight, a, b, y, broadcast=False, name=name)
        check_flat(x, y, reducer.f, weight, a, b, name, broadcast=False)
        weights = None if pair_weight is None else (pair_weight,)
        return reducer.loss((x,), weights, minus=y)

    def _loss_with_stats(
        self,
        names: tuple[str, str],
        larger: Outputs,
        smaller: Outputs,
        pair_weight: Outputs | None,
    ) -> tuple[Tensor, Stats]:
        x, y, name = _pairs(names, larger, smaller)
        weight, a, b = self._reducer.parameters(len(x))
        check_flat(x, y, self._reducer.f, weight, a, b, name, broadcast=False)
        weights = None if pair_weight is None else (pair_weight,)
        return self._reducer.loss_with_stats((_subtracted(x, y),), weights)


class RelativisticAverageLoss:
    r"""The two losses against the mean output for the other side.

    With r, f the outputs for real and fake samples, r̄, f̄ their means, m the mean over all elements
    of a map, and sp(t) = log(1 + exp(t)), the loss of the discriminator is

    ================= ===================================================
    ``logistic``      m[sp(-(r - f̄))] + m[sp(f - r̄)]            (RaSGAN)
    ``least_squares`` m[(r - f̄ - 1)^2] + m[(f - r̄ + 1)^2]       (RaLSGAN)
    ``hinge``         m[relu(1 - (r - f̄))] + m[relu(1 + f - r̄)] (RaHinge)
    ================= ===================================================

    and that of the generator the same with r and f exchanged. Outputs are a tensor, a list of maps,
    or a list of lists whose last maps count; the shapes of both sides may differ in the batch.

    The means of all maps take one launch forward and one backward, and so do the functions with
    their sums. Statistics, weights and ``reduction="none"`` compute the differences in plain torch.

    Args:
        kind: one of the above.
        mean_over: r̄ and f̄ over ``all`` elements of a map, or over the ``batch``, one for each
            position (B, ...).
        detach_mean: the loss has no gradient through r̄ and f̄.
        distributed: take r̄ and f̄ over all processes of torch.distributed, with equal batches and
            with gradients; no effect if torch.distributed is not initialized.
        scale: factor on the loss, 0.5 for the projects that halve.
        reduction, map_reduction, map_weights: see :class:`RelativisticLoss`.

    Raises:
        TypeError, ValueError: as :class:`RelativisticLoss`.

    Source: Jolicoeur-Martineau 2018, The relativistic discriminator.
    """

    def __init__(
        self,
        kind: RelativisticKind = "logistic",
        *,
        mean_over: MeanOver = "all",
        detach_mean: bool = False,
        distributed: bool = False,
        scale: float = 1.0,
        reduction: Reduction = "mean",
        map_reduction: MapReduction = "sum",
        map_weights: Sequence[float] | None = None,
    ) -> None:
        check_name("kind", kind, _FORMULAS)
        check_name("mean_over", mean_over, get_args(MeanOver))
        self._mean_over, self._detach_mean, self._distributed = mean_over, detach_mean, distributed
        options = reduction, scale, map_reduction, map_weights
        self._discriminator, self._generator = (
            Reducer((("real", real), ("fake", fake)), *options, below="fake")
            for real, fake in (_FORMULAS[kind], reversed(_FORMULAS[kind]))
        )

    def discriminator(
        self,
        real: Outputs,
        fake: Outputs,
        *,
        real_weight: Outputs | None = None,
        fake_weight: Outputs | None = None,
    ) -> Tensor:
        """Loss of the discriminator.

        Args:
            real, fake: outputs for real and for fake samples.
            real_weight, fake_weight: weights of the samples, see
                :meth:`AdversarialLoss.discriminator`. They do not affect r̄ and f̄.

        Returns:
            Scalar, or (B,) for ``reduction="none"``; float64 for float64 outputs, else float32.
            Differentiable twice.
        """
        return self._loss(self._discriminator, real, fake, real_weight, fake_weight)

    def discriminator_with_stats(
        self,
        real: Outputs,
        fake: Outputs,
        *,
        real_weight: Outputs | None = None,
        fake_weight: Outputs | None = None,
    ) -> tuple[Tensor, Stats]:
        """Loss of the discriminator and statistics to log.

        Args:
            real, fake, real_weight, fake_weight: see :meth:`discriminator`.

        Returns:
            The loss, and a dict of (maps,) tensors on the device, not differentiable:
            ``real_logits`` and ``fake_logits``, the means of r - f̄ and f - r̄; ``real_accuracy``
            and ``fake_accuracy``, the shares of r above f̄ and of f below r̄; ``real_loss`` and
            ``fake_loss``, the terms that add up to the loss (for ``none``, to its mean). Weights
            affect only these terms.
        """
        differences = _differences(*self._terms(self._discriminator, real, fake))
        return self._discriminator.loss_with_stats(
            differences, weights_of_sides(real_weight, fake_weight)
        )

    def generator(
        self,
        real: Outputs,
        fake: Outputs,
        *,
        real_weight: Outputs | None = None,
        fake_weight: Outputs | None = None,
    ) -> Tensor:
        """Loss of the generator, with the arguments of :meth:`discriminator`.

        Detach ``real`` if you do not want its graph, as ESRGAN does.
        """
        return self._loss(self._generator, real, fake, real_weight, fake_weight)

    def generator_with_stats(
        self,
        real: Outputs,
        fake: Outputs,
        *,
        real_weight: Outputs | None = None,
        fake_weight: Outputs | None = None,
    ) -> tuple[Tensor, Stats]:
        """Loss of the generator, and the statistics of :meth:`discriminator_with_stats`."""
        differences = _differences(*self._terms(self._generator, real, fake))
        return self._generator.loss_with_stats(
            differences, weights_of_sides(real_weight, fake_weight)
        )

    def _loss(
        self,
        reducer: Reducer,
        real: Outputs,
        fake: Outputs,
        real_weight: Outputs | None,
        fake_weight: Outputs | None,
    ) -> Tensor:
        terms, means = self._terms(reducer, real, fake)
        weights = weights_of_sides(real_weight, fake_weight)
        numbers = all(mean.numel() == 1 for mean in means)
        if numbers and weights is None and reducer.reduction != "none":
            return terms.reduce(means)
        return reducer.loss(_differences(terms, means), weights)

    def _terms(self, reducer: Reducer, real: Outputs, fake: Outputs) -> tuple[Terms, list[Tensor]]:
        """The maps of both sides, and for each map the mean of the other side's."""
        real, fake = pairs_of_maps(real, fake)
        terms = reducer.terms((real, fake))
        batch = self._mean_over == "batch"
        for k, (r, f) in enumerate(zip(real, fake, strict=True)):
            differ = r.shape != f.shape and (r.dim() != f.dim() or r.shape[1:] != f.shape[1:])
            if differ or (batch and r.dim() == 0):
                raise ValueError(
                    f"real[{k}] and fake[{k}] must have one shape except for the batch, got "
                    f"{list(r.shape)} and {list(f.shape)}"
                )
        maps = [x.detach() for x in terms.x] if self._detach_mean else terms.x
        if batch:
            check_list(terms.x, terms.name)
            means = [compute_dtype(x).mean(0) for x in maps]
        else:
            means = [*means_of_maps(maps, terms.name).unbind()]
        if self._distributed:
            means = mean_over_processes(means)
        return terms, means[len(real) :] + means[: len(real)]


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
    """:meth:`RelativisticLoss.discriminator` in one call, with the options of that class."""
    weights = None if map_weights is None else tuple(map_weights)
    loss = _pair_loss(kind, scale, reduction, map_reduction, weights)
    return loss.discriminator(real, fake, pair_weight=pair_weight)


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
    """:meth:`RelativisticLoss.generator` in one call, with the options of that class."""
    weights = None if map_weights is None else tuple(map_weights)
    loss = _pair_loss(kind, scale, reduction, map_reduction, weights)
    return loss.generator(real, fake, pair_weight=pair_weight)


@lru_cache(maxsize=64)
def _pair_loss(
    kind: RelativisticKind,
    scale: float,
    reduction: Reduction,
    map_reduction: MapReduction,
    map_weights: tuple[float, ...] | None,
) -> RelativisticLoss:
    return RelativisticLoss(
        kind,
        scale=scale,
        reduction=reduction,
        map_reduction=map_reduction,
        map_weights=map_weights,
    )


def relativistic_average_discriminator_loss(
    real: Outputs,
    fake: Outputs,
    kind: RelativisticKind = "logistic",
    *,
    real_weight: Outputs | None = None,
    fake_weight: Outputs | None = None,
    mean_over: MeanOver = "all",
    detach_mean: bool = False,
    distributed: bool = False,
    scale: float = 1.0,
    reduction: Reduction = "mean",
    map_reduction: MapReduction = "sum",
    map_weights: Sequence[float] | None = None,
) -> Tensor:
    """:meth:`RelativisticAverageLoss.discriminator` in one call, with the options of that class."""
    weights = None if map_weights is None else tuple(map_weights)
    means = (mean_over, detach_mean, distributed)
    loss = _average_loss(kind, means, scale, reduction, map_reduction, weights)
    return loss.discriminator(real, fake, real_weight=real_weight, fake_weight=fake_weight)


def relativistic_average_generator_loss(
    real: Outputs,
    fake: Outputs,
    kind: RelativisticKind = "logistic",
    *,
    real_weight: Outputs | None = None,
    fake_weight: Outputs | None = None,
    mean_over: MeanOver = "all",
    detach_mean: bool = False,
    distributed: bool = False,
    scale: float = 1.0,
    reduction: Reduction = "mean",
    map_reduction: MapReduction = "sum",
    map_weights: Sequence[float] | None = None,
) -> Tensor:
    """:meth:`RelativisticAverageLoss.generator` in one call, with the options of that class."""
    weights = None if map_weights is None else tuple(map_weights)
    means = (mean_over, detach_mean, distributed)
    loss = _average_loss(kind, means, scale, reduction, map_reduction, weights)
    return loss.generator(real, fake, real_weight=real_weight, fake_weight=fake_weight)


@lru_cache(maxsize=64)
def _average_loss(
    kind: RelativisticKind,
    means: tuple[MeanOver, bool, bool],
    scale: float,
    reduction: Reduction,
    map_reduction: MapReduction,
    map_weights: tuple[float, ...] | None,
) -> RelativisticAverageLoss:
    mean_over, detach_mean, distributed = means
    return RelativisticAverageLoss(
        kind,
        mean_over=mean_over,
        detach_mean=detach_mean,
        distributed=distributed,
        scale=scale,
        reduction=reduction,
        map_reduction=map_reduction,
        map_weights=map_weights,
    )


def _pairs(
    names: tuple[str, str], larger: Outputs, smaller: Outputs
) -> tuple[Sequence[Tensor], Sequence[Tensor], Name]:
    """The maps of both sides, of equal shapes, and the caller's names for them."""
    x, y = pairs_of_maps(larger, smaller)

    def name(argument: str, k: int) -> str:
        return f"{names[argument == 'y']}[{k}]" if argument in "xy" else "pair_weight"

    return x, y, name


def _subtracted(x: Sequence[Tensor], y: Sequence[Tensor]) -> list[Tensor]:
    return [compute_dtype(xk) - compute_dtype(yk) for xk, yk in zip(x, y, strict=True)]


def _differences(terms: Terms, means: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Each map minus the mean of the other side's, for real and for fake samples."""
    x, n = _subtracted(terms.x, means), len(terms.x) // 2
    return x[:n], x[n:]
