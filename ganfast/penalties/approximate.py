"""R1 and R2 by finite difference, of the first order alone."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Unpack

from ganfast import ops
from ganfast._checks import check_shapes
from ganfast.penalties._calls import CallOptions, Discriminator, Inputs, maps, strict, tensors


class ApproximateOptions(CallOptions, total=False):
    """The options of approximate penalties."""

    head: Callable[[Any], Any] | None
    noise: Inputs | None
    generator: torch.Generator | None


def mean_squared_difference(x: list[Tensor], y: list[Tensor], weight: float) -> Tensor:
    """weight * sum over maps of m[(x - y)^2], subtracted in float32 or better."""
    if len(x) != len(y):
        raise ValueError(f"both sides must have the same number of maps, got {len(x)} and {len(y)}")
    check_shapes(x, y)
    zeros = [0.0] * len(x)
    return ops.flat(x, "square", [weight] * len(x), zeros, zeros, y)


@strict
def approximate_r1(
    discriminator: Discriminator,
    real: Inputs,
    *,
    weight: float = 100.0,
    sigma: float = 0.01,
    divide: bool = False,
    logits: Inputs | None = None,
    **options: Unpack[ApproximateOptions],
) -> Tensor:
    r"""R1 without a double backward (Lin et al. 2025, arXiv:2501.08316).

    .. math:: \lambda \, m[(D(x + \sigma \epsilon) - D(x))^2], \quad \epsilon \sim N(0, 1)

    It works where exact R1 does not: under torch.compile, with flash attention, activation
    checkpoints and sharded parameters. The difference is taken in float32. Where D runs in half
    precision, most of so small a difference is rounding: let D return its features, and give the
    last layers as ``head``, which runs in float32.

    Args:
        discriminator: D, any callable; with ``head``, what comes before the head.
        real: real samples (N, ...), or one tensor for each input of D.
        weight: lambda; :func:`exact_gamma` says which gamma of R1 it is.
        sigma: standard deviation of the noise, in units of the samples.
        divide: also divide by sigma^2.
        logits: D(real) where it is there, so that D is called once.
        **options: ``args``, ``kwargs`` and ``output`` as of exact penalties; ``head``, from D's
            (float32) output to the logits; ``noise``, epsilon, else drawn by ``generator``.

    Returns:
        Scalar, the sum over maps; float64 for float64 logits, else float32.

    Raises:
        TypeError: real or the noise is not floating point, or an option is unknown.
        ValueError: sigma is not positive, or the noise has not the shapes of the samples.
    """
    _check_sigma(sigma)
    points = [x.detach() for x in tensors("real", real)]
    noise = options.get("noise")
    if noise is None:
        generator = options.get("generator")
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
    moved = [x + sigma * e for x, e in zip(points, drawn, strict=True)]
    at_real = maps(logits) if logits is not None else _logits(discriminator, points, options)
    strength = weight / sigma**2 if divide else weight
    return mean_squared_difference(_logits(discriminator, moved, options), at_real, strength)


@strict
def approximate_r2(
    discriminator: Discriminator,
    fake: Inputs,
    *,
    weight: float = 100.0,
    sigma: float = 0.01,
    divide: bool = False,
    logits: Inputs | None = None,
    **options: Unpack[ApproximateOptions],
) -> Tensor:
    """R2 without a double backward: :func:`approximate_r1` at fake samples."""
    tensors("fake", fake)
    return approximate_r1(
        discriminator, fake, weight=weight, sigma=sigma, divide=divide, logits=logits, **options
    )


def _check_sigma(sigma: float) -> None:
    if not 0 < sigma < math.inf:
        raise ValueError(f"sigma must be positive and finite, got {sigma}")


def _logits(
    discriminator: Discriminator, points: list[Tensor], options: ApproximateOptions
) -> list[Tensor]:
    returned = discriminator(*points, *options.get("args", ()), **(options.get("kwargs") or {}))
    head = options.get("head")
    if head is None:
        return maps(returned, options.get("output"))
    features = maps(returned, options.get("output"))
    with torch.autocast(points[0].device.type, enabled=False):
        wide = [f if f.dtype == torch.float64 else f.float() for f in features]
        return maps(head(wide if len(wide) > 1 else wide[0]))


def exact_gamma(weight: float, sigma: float, divide: bool = False) -> float:
    r"""The gamma of :func:`r1`, with its half, that an approximate penalty stands for.

    As :math:`E[(D(x + \sigma \epsilon) - D(x))^2] \to \sigma^2 \|\nabla D\|^2`, it is
    :math:`\gamma = 2 \lambda \sigma^2`, and :math:`\gamma = 2 \lambda` with ``divide``. It holds
    for one logit a sample, and for sigma small against the distances over which D bends.
    """
    _check_sigma(sigma)
    return 2 * weight if divide else 2 * weight * sigma**2


def approximate_weight(gamma: float, sigma: float, divide: bool = False) -> float:
    """The weight of an approximate penalty for a gamma: the inverse of :func:`exact_gamma`."""
    _check_sigma(sigma)
    return gamma / 2 if divide else gamma / (2 * sigma**2)
