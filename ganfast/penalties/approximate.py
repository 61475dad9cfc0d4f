"""R1 and R2 by finite differences, which need first derivatives only."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ganfast import ops
from ganfast.penalties._calls import (
    Discriminator,
    Inputs,
    Output,
    constant,
    output_maps,
    tensors,
)


def mean_squared_difference(x: list[Tensor], y: list[Tensor], weight: float) -> Tensor:
    """weight * sum over maps of m[(x - y)^2], subtracted in float32 or better."""
    if len(x) != len(y):
        raise ValueError(f"both sides must have the same number of maps, got {len(x)} and {len(y)}")
    zeros = [0.0] * len(x)
    return ops.flat(x, "square", [weight] * len(x), zeros, zeros, y, broadcast=False)


def approximate_r1(
    discriminator: Discriminator,
    real: Inputs,
    *,
    weight: float = 100.0,
    sigma: float = 0.01,
    divide: bool = False,
    logits: Inputs | None = None,
    noise: Inputs | None = None,
    generator: torch.Generator | None = None,
    head: Callable[[Any], Any] | None = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    output: Output = None,
) -> Tensor:
    r"""R1 without a double backward (Lin et al. 2025, arXiv:2501.08316).

    .. math:: \lambda \, m[(D(x + \sigma \epsilon) - D(x))^2], \quad \epsilon \sim N(0, 1)

    It works where exact R1 does not: under torch.compile, with flash attention, activation
    checkpoints and sharded parameters. The difference is taken in float32. If D runs in half
    precision, so small a difference is mostly rounding: let D return its features, and pass the
    last layers as ``head``, which runs in float32.

    Args:
        discriminator: D, any callable; with ``head``, the layers before the head.
        real: real samples (N, ...), or one tensor for each input of D.
        weight: lambda; :func:`exact_gamma` converts it to the gamma of R1.
        sigma: standard deviation of the noise, in units of the samples.
        divide: also divide by sigma^2.
        logits: D(real) if you have it, so that D is called once.
        noise: epsilon, of the samples' shapes; drawn from a normal distribution if None.
        generator: draws the noise.
        head: maps D's (float32) output to the logits.
        args, kwargs, output: see :func:`wgan_gp`.

    Returns:
        Scalar, the sum over maps; float64 for float64 logits, else float32.

    Raises:
        TypeError: real or the noise is not floating point.
        ValueError: sigma is not positive, or the noise does not have the samples' shapes.
    """
    _check_sigma(sigma)
    points = [constant(x) for x in tensors("real", real)]
    if noise is None:
        drawn = [
            torch.randn(x.shape, device=x.device, dtype=x.dtype, generator=generator)
            for x in points
        ]
    else:
        drawn = tensors("noise", noise)
        shapes = [[tuple(x.shape) for x in side] for side in (points, drawn)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"noise must have the shapes of the samples, {shapes[0]}, got {shapes[1]}"
            )

    def logits_at(samples: list[Tensor]) -> list[Tensor]:
        returned = discriminator(*samples, *args, **(kwargs or {}))
        maps = output_maps(returned, output)
        if head is None:
            return maps
        with torch.autocast(samples[0].device.type, enabled=False):
            wide = [x if x.dtype == torch.float64 else x.float() for x in maps]
            return output_maps(head(wide if len(wide) > 1 else wide[0]))

    moved = [x + sigma * e for x, e in zip(points, drawn, strict=True)]
    at_points = logits_at(points) if logits is None else output_maps(logits)
    strength = weight / sigma**2 if divide else weight
    return mean_squared_difference(logits_at(moved), at_points, strength)


def approximate_r2(
    discriminator: Discriminator,
    fake: Inputs,
    *,
    weight: float = 100.0,
    sigma: float = 0.01,
    divide: bool = False,
    logits: Inputs | None = None,
    noise: Inputs | None = None,
    generator: torch.Generator | None = None,
    head: Callable[[Any], Any] | None = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    output: Output = None,
) -> Tensor:
    """R2 without a double backward: :func:`approximate_r1` at fake samples."""
    tensors("fake", fake)
    return approximate_r1(
        discriminator,
        fake,
        weight=weight,
        sigma=sigma,
        divide=divide,
        logits=logits,
        noise=noise,
        generator=generator,
        head=head,
        args=args,
        kwargs=kwargs,
        output=output,
    )


def _check_sigma(sigma: float) -> None:
    if not 0 < sigma < math.inf:
        raise ValueError(f"sigma must be positive and finite, got {sigma}")


def exact_gamma(weight: float, sigma: float, divide: bool = False) -> float:
    r"""The gamma of :func:`r1`, with its half, that matches an approximate penalty.

    As :math:`E[(D(x + \sigma \epsilon) - D(x))^2] \to \sigma^2 \|\nabla D\|^2`, it is
    :math:`\gamma = 2 \lambda \sigma^2`, or :math:`\gamma = 2 \lambda` with ``divide``. This holds
    for one logit per sample, and if sigma is small against the distances over which D bends.
    """
    _check_sigma(sigma)
    return 2 * weight if divide else 2 * weight * sigma**2


def approximate_weight(gamma: float, sigma: float, divide: bool = False) -> float:
    """The weight of an approximate penalty for a gamma: the inverse of :func:`exact_gamma`."""
    _check_sigma(sigma)
    return gamma / 2 if divide else gamma / (2 * sigma**2)
