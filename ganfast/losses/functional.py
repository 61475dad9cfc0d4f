"""The losses of :class:`ganfast.losses.AdversarialLoss` in one call, and the schedule of top-k."""

from functools import lru_cache
from typing import Literal, overload

import torch
from torch import Tensor
from typing_extensions import Unpack

from ganfast.losses.adversarial import (
    AdversarialLoss,
    DiscriminatorInputs,
    GeneratorInputs,
    Options,
)
from ganfast.losses.maps import Outputs
from ganfast.losses.reduction import Stats
from ganfast.losses.sides import Kind


class DiscriminatorOptions(Options, DiscriminatorInputs):
    """The options of :func:`discriminator_loss`."""


class GeneratorOptions(Options, GeneratorInputs):
    """The options of :func:`generator_loss`."""


@lru_cache(maxsize=64)
def _loss(kind: Kind, **options: Unpack[Options]) -> AdversarialLoss:
    return AdversarialLoss(kind, **options)


def _with_options(kind: Kind, options: Options) -> AdversarialLoss:
    # Lists serve as well; what is cached has to be a tuple.
    if "targets" in options:
        options["targets"] = tuple(options["targets"])  # type: ignore[typeddict-item]
    weights = options.get("map_weights")
    if weights is not None:
        options["map_weights"] = tuple(weights)
    return _loss(kind, **options)


@overload
def discriminator_loss(
    real: Outputs,
    fake: Outputs,
    kind: Kind = ...,
    *,
    stats: Literal[False] = ...,
    **options: Unpack[DiscriminatorOptions],
) -> Tensor: ...
@overload
def discriminator_loss(
    real: Outputs,
    fake: Outputs,
    kind: Kind = ...,
    *,
    stats: Literal[True],
    **options: Unpack[DiscriminatorOptions],
) -> tuple[Tensor, Stats]: ...
def discriminator_loss(
    real: Outputs,
    fake: Outputs,
    kind: Kind = "non_saturating",
    *,
    stats: bool = False,
    real_weight: Outputs | None = None,
    fake_weight: Outputs | None = None,
    rng: torch.Generator | None = None,
    **options: Unpack[Options],
) -> Tensor | tuple[Tensor, Stats]:
    """Loss of the discriminator: :meth:`AdversarialLoss.discriminator` in one call.

    Args:
        real: the discriminator's outputs for real samples, a tensor of any shape, a list of maps,
            or a list of lists of which the last map counts.
        fake: its outputs for fake samples, as many maps.
        kind: see :class:`AdversarialLoss`.
        stats, real_weight, fake_weight, rng: see :meth:`AdversarialLoss.discriminator`.
        **options: the options of :class:`AdversarialLoss`.

    Returns:
        Scalar, or (B,) for ``reduction="none"``; float64 for float64 outputs, else float32. With
        ``stats`` also a dict of (maps,) tensors.

    Raises:
        TypeError, ValueError: as :class:`AdversarialLoss`.
    """
    loss = _with_options(kind, options)
    if stats:
        return loss.discriminator(
            real, fake, stats=True, real_weight=real_weight, fake_weight=fake_weight, rng=rng
        )
    return loss.discriminator(real, fake, real_weight=real_weight, fake_weight=fake_weight, rng=rng)


@overload
def generator_loss(
    fake: Outputs,
    kind: Kind = ...,
    *,
    stats: Literal[False] = ...,
    **options: Unpack[GeneratorOptions],
) -> Tensor: ...
@overload
def generator_loss(
    fake: Outputs,
    kind: Kind = ...,
    *,
    stats: Literal[True],
    **options: Unpack[GeneratorOptions],
) -> tuple[Tensor, Stats]: ...
def generator_loss(
    fake: Outputs,
    kind: Kind = "non_saturating",
    *,
    stats: bool = False,
    fake_weight: Outputs | None = None,
    top_k: int | None = None,
    **options: Unpack[Options],
) -> Tensor | tuple[Tensor, Stats]:
    """Loss of the generator: :meth:`AdversarialLoss.generator` in one call.

    Args:
        fake: the discriminator's outputs for fake samples, a tensor of any shape, a list of maps,
            or a list of lists of which the last map counts.
        kind: see :class:`AdversarialLoss`.
        stats, fake_weight, top_k: see :meth:`AdversarialLoss.generator`.
        **options: the options of :class:`AdversarialLoss`.

    Returns:
        Scalar, or (B,) for ``reduction="none"``; float64 for float64 outputs, else float32. With
        ``stats`` also a dict of (maps,) tensors.

    Raises:
        TypeError, ValueError: as :class:`AdversarialLoss`.
    """
    loss = _with_options(kind, options)
    if stats:
        return loss.generator(fake, stats=True, fake_weight=fake_weight, top_k=top_k)
    return loss.generator(fake, fake_weight=fake_weight, top_k=top_k)


def top_k_schedule(k: int, step: int, *, gamma: float = 0.99, k_min: int | None = None) -> int:
    r"""Number of highest outputs that train the generator after a number of steps or epochs.

    .. math:: \max(\lfloor k \gamma^{step} \rfloor, k_{min})

    Args:
        k: at step 0, the size of the batch.
        step: of the schedule, an epoch in the paper.
        gamma: factor of a step, in (0, 1].
        k_min: the lowest number, k / 2 where not given.

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
