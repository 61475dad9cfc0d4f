"""The losses of :class:`ganfast.losses.AdversarialLoss` in one call, and the schedule of top-k."""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from ganfast.losses.adversarial import AdversarialLoss
from ganfast.losses.formulas import Kind
from ganfast.losses.reduction import MapReduction, Outputs, Reduction


@lru_cache(maxsize=64)
def _loss(
    of_formula: tuple[Kind, bool, float, float, float, float],
    targets: tuple[float, ...],
    of_reduction: tuple[float, Reduction, MapReduction],
    map_weights: tuple[float, ...] | None,
) -> AdversarialLoss:
    """One loss for equal options; tuples keep the calls short, and lists hashable."""
    kind, from_probs, label_smoothing, fake_label_smoothing, label_flips, margin = of_formula
    scale, reduction, map_reduction = of_reduction
    return AdversarialLoss(
        kind,
        from_probs=from_probs,
        label_smoothing=label_smoothing,
        fake_label_smoothing=fake_label_smoothing,
        label_flips=label_flips,
        targets=targets,  # type: ignore[arg-type]
        margin=margin,
        scale=scale,
        reduction=reduction,
        map_reduction=map_reduction,
        map_weights=map_weights,
    )


def discriminator_loss(
    real: Outputs,
    fake: Outputs,
    kind: Kind = "non_saturating",
    *,
    real_weight: Outputs | None = None,
    fake_weight: Outputs | None = None,
    rng: torch.Generator | None = None,
    from_probs: bool = False,
    label_smoothing: float = 0.0,
    fake_label_smoothing: float = 0.0,
    label_flips: float = 0.0,
    targets: tuple[float, float, float] = (0.0, 1.0, 1.0),
    margin: float = 1.0,
    scale: float = 1.0,
    reduction: Reduction = "mean",
    map_reduction: MapReduction = "sum",
    map_weights: Sequence[float] | None = None,
) -> Tensor:
    """Loss of the discriminator: :meth:`AdversarialLoss.discriminator` in one call.

    Outputs are a tensor of any shape, a list of maps, or a list of lists whose last maps count. The
    options, the result and the errors are those of :class:`AdversarialLoss`.
    """
    loss = _loss(
        (kind, from_probs, label_smoothing, fake_label_smoothing, label_flips, margin),
        tuple(targets),
        (scale, reduction, map_reduction),
        None if map_weights is None else tuple(map_weights),
    )
    return loss.discriminator(real, fake, real_weight=real_weight, fake_weight=fake_weight, rng=rng)


def generator_loss(
    fake: Outputs,
    kind: Kind = "non_saturating",
    *,
    fake_weight: Outputs | None = None,
    top_k: int | None = None,
    from_probs: bool = False,
    label_smoothing: float = 0.0,
    fake_label_smoothing: float = 0.0,
    label_flips: float = 0.0,
    targets: tuple[float, float, float] = (0.0, 1.0, 1.0),
    margin: float = 1.0,
    scale: float = 1.0,
    reduction: Reduction = "mean",
    map_reduction: MapReduction = "sum",
    map_weights: Sequence[float] | None = None,
) -> Tensor:
    """Loss of the generator: :meth:`AdversarialLoss.generator` in one call.

    Outputs are a tensor of any shape, a list of maps, or a list of lists whose last maps count. The
    options, the result and the errors are those of :class:`AdversarialLoss`.
    """
    loss = _loss(
        (kind, from_probs, label_smoothing, fake_label_smoothing, label_flips, margin),
        tuple(targets),
        (scale, reduction, map_reduction),
        None if map_weights is None else tuple(map_weights),
    )
    return loss.generator(fake, fake_weight=fake_weight, top_k=top_k)


def top_k_schedule(k: int, step: int, *, gamma: float = 0.99, k_min: int | None = None) -> int:
    r"""Number of highest outputs that train the generator after some steps or epochs.

    .. math:: \max(\lfloor k \gamma^{step} \rfloor, k_{min})

    Args:
        k: the number at step 0, the batch size.
        step: step of the schedule, an epoch in the paper.
        gamma: factor of one step, in (0, 1].
        k_min: the lowest number; k / 2 if None.

    Raises:
        ValueError: an argument is out of range.

    Source: Sinha et al. 2020, Top-k training of GANs.
    """
    k_min = max(k // 2, 1) if k_min is None else k_min
    if not 1 <= k_min <= k:
        raise ValueError(f"k_min must be in [1, k], got {k_min} with k {k}")
    if step < 0:
        raise ValueError(f"step must be at least 0, got {step}")
    if not 0 < gamma <= 1:
        raise ValueError(f"gamma must be in (0, 1], got {gamma}")
    return max(int(k * gamma**step), k_min)
