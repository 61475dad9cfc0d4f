r"""Exact gradient penalties, by double backward.

Below, :math:`g_b` is the gradient of the sum of the discriminator's outputs in sample b, over all
of its inputs. All penalties take, by keyword, how the discriminator is called,

    args, kwargs  what it gets after the samples: ``D(*samples, *args, **kwargs)``
    output        which part of a tuple or dict the penalty is of: an index, a key or a function

and how the gradients become one number,

    norm    ``"sample"``: over a sample; ``"pixel"``: over the channels of each pixel, with the mean
            over pixels; ``"batch"``: over all samples at once
    mask    multiplies the gradients, and the penalty is divided by its mean; of zeros it gives 0
    scaler  the ``GradScaler`` of mixed precision, whose scale is used without reading it

Penalties of a norm, not of its square, also have ``eps``, added to the squared norm under the root;
with 0 a zero gradient gives a zero gradient.

They raise TypeError or ValueError where samples, outputs or options do not fit, TypeError for an
option that the penalty does not have, and RuntimeError with the way out where the discriminator is
compiled.
"""

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.amp.grad_scaler import GradScaler
from typing_extensions import Unpack

from ganfast.penalties._calls import (
    Discriminator,
    ExactOptions,
    Inputs,
    NormOptions,
    gradients_of,
    penalty_at,
    penalty_of,
    strict,
    tensors,
)
from ganfast.reference import compute_dtype

Mode = Literal["mixed", "real", "fake"]


class MixedOptions(ExactOptions, total=False):
    """The options of penalties at points between real and fake samples."""

    mode: Mode
    alpha: Tensor | float | None
    generator: torch.Generator | None


def _uniform(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """One number in [0, 1) for each sample of x, on its device."""
    shape = (x.shape[0],) + (1,) * (x.dim() - 1)
    return torch.rand(shape, device=x.device, dtype=x.dtype, generator=generator)


def _alpha(
    given: Tensor | float | None, x: Tensor, generator: torch.Generator | None
) -> Tensor | float:
    """Alpha as given, within [0, 1] where the host can tell, or drawn."""
    if given is None:
        return _uniform(x, generator)
    if isinstance(given, Tensor):
        inside = given.device.type != "cpu" or bool(((given >= 0) & (given <= 1)).all())
    else:
        inside = 0 <= given <= 1
    if not inside:
        raise ValueError(f"alpha must be in [0, 1], got {given}")
    return given


def mixed_points(
    real: Inputs | None,
    fake: Inputs | None,
    *,
    mode: Mode = "mixed",
    alpha: Tensor | float | None = None,
    generator: torch.Generator | None = None,
) -> list[Tensor]:
    r"""Points of a penalty: :math:`\alpha x_{real} + (1 - \alpha) x_{fake}`, or one of the two.

    Args:
        real: real samples (N, ...), or one tensor for each input of the discriminator.
        fake: fake samples of the same shapes.
        mode: ``"mixed"``, ``"real"`` or ``"fake"``; the other side may then be None.
        alpha: a number in [0, 1], or a tensor of such, one for each sample or of a shape that
            broadcasts to the samples; one number in [0, 1) drawn for each sample, on their device,
            where not given. A tensor on an accelerator is not read.
        generator: draws alpha.

    Raises:
        ValueError: shapes differ, mode is unknown, or alpha does not fit.
    """
    if mode not in get_args(Mode):
        raise ValueError(f"mode must be one of {', '.join(get_args(Mode))}, got {mode!r}")
    if mode != "mixed":
        return tensors(mode, real if mode == "real" else fake)
    reals, fakes = tensors("real", real), tensors("fake", fake)
    shapes = [[tuple(x.shape) for x in side] for side in (reals, fakes)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"real and fake must have the same shapes, got {shapes[0]} and {shapes[1]}"
        )
    alpha = _alpha(alpha, reals[0], generator)
    with torch.no_grad():
        return [f + _fitting(alpha, r) * (r - f) for r, f in zip(reals, fakes, strict=True)]


def _fitting(alpha: Tensor | float, x: Tensor) -> Tensor | float:
    """Alpha of a shape that fits x; one number for each sample fits inputs of any dimension."""
    if not isinstance(alpha, Tensor):
        return alpha
    of_samples = alpha.numel() == alpha.shape[:1].numel()
    fitted = alpha.reshape(-1, *(1,) * (x.dim() - 1)).to(x.dtype) if of_samples else alpha
    missing = x.dim() - fitted.dim()
    sizes = (1,) * missing + tuple(fitted.shape)
    if missing < 0 or any(n not in (1, m) for n, m in zip(sizes, x.shape, strict=True)):
        raise ValueError(
            f"alpha must have one number for each of the {x.shape[0]} samples, or a shape that "
            f"broadcasts to theirs, {tuple(x.shape)}, got {tuple(alpha.shape)}"
        )
    return fitted


def _mixed(
    phi: str,
    discriminator: Discriminator,
    real: Inputs | None,
    fake: Inputs | None,
    weight: float,
    a: float,
    options: MixedOptions,
    eps: float = 0.0,
) -> Tensor:
    points = mixed_points(
        real,
        fake,
        mode=options.get("mode", "mixed"),
        alpha=options.get("alpha"),
        generator=options.get("generator"),
    )
    return penalty_at(discriminator, points, phi, weight, a, options, eps)


@strict
def wgan_gp(
    discriminator: Discriminator,
    real: Inputs | None,
    fake: Inputs | None,
    *,
    weight: float = 10.0,
    center: float = 1.0,
    eps: float = 0.0,
    **options: Unpack[MixedOptions],
) -> Tensor:
    r"""Gradient penalty of WGAN-GP (Gulrajani et al. 2017, arXiv:1704.00028).

    .. math:: \lambda \, \frac{1}{B} \sum_b (\|g_b\| - c)^2

    Args:
        discriminator: D, any callable.
        real: real samples (N, ...), or one tensor for each input of D.
        fake: fake samples of the same shapes.
        weight: lambda.
        center: c.
        eps: added to the squared norm under the root.
        **options: points as :func:`mixed_points`, and the options of all exact penalties.

    Returns:
        Scalar; float64 for float64 samples, else float32.
    """
    return _mixed("centred", discriminator, real, fake, weight, center, options, eps)


@strict
def wgan_lp(
    discriminator: Discriminator,
    real: Inputs | None,
    fake: Inputs | None,
    *,
    weight: float = 10.0,
    center: float = 1.0,
    eps: float = 0.0,
    **options: Unpack[MixedOptions],
) -> Tensor:
    r"""One-sided penalty of WGAN-LP (Petzka et al. 2018, arXiv:1709.08894).

    .. math:: \lambda \, \frac{1}{B} \sum_b \max(\|g_b\| - c, 0)^2

    Arguments as :func:`wgan_gp`.
    """
    return _mixed("one_sided", discriminator, real, fake, weight, center, options, eps)


@strict
def zero_centered(
    discriminator: Discriminator,
    real: Inputs | None,
    fake: Inputs | None,
    *,
    weight: float = 10.0,
    **options: Unpack[MixedOptions],
) -> Tensor:
    r"""Zero-centered penalty, GP-0 (Thanh-Tung et al. 2019, arXiv:1902.03984).

    .. math:: \lambda \, \frac{1}{B} \sum_b \|g_b\|^2

    Arguments as :func:`wgan_gp`; no half is taken.
    """
    return _mixed("square", discriminator, real, fake, weight, 0.0, options)


@strict
def max_gp(
    discriminator: Discriminator,
    real: Inputs | None,
    fake: Inputs | None,
    *,
    weight: float = 1.0,
    **options: Unpack[MixedOptions],
) -> Tensor:
    r"""Penalty of the largest gradient, MaxGP (Zhou et al. 2019, arXiv:1902.05687).

    .. math:: \lambda \, \max_b \|g_b\|^2

    Arguments as :func:`wgan_gp`; ``norm`` cannot be ``"pixel"``.
    """
    return _mixed("maximum", discriminator, real, fake, weight, 0.0, options)


@strict
def wgan_div(
    discriminator: Discriminator,
    real: Inputs | None,
    fake: Inputs | None,
    *,
    k: float = 2.0,
    p: float = 6.0,
    mode: Literal["both", "mixed", "real", "fake"] = "both",
    alpha: Tensor | float | None = None,
    generator: torch.Generator | None = None,
    **options: Unpack[ExactOptions],
) -> Tensor:
    r"""Penalty of WGAN-div (Wu et al. 2018, arXiv:1712.01026).

    .. math:: k \, \frac{1}{B} \sum_b \|g_b\|^p

    at mixed, real or fake points; with ``"both"`` half of it at the real and half at the fake ones.
    Other arguments as :func:`wgan_gp`.
    """
    if mode == "both":
        halves = [
            penalty_at(discriminator, tensors(name, x), "power", k / 2, p / 2, options)
            for name, x in (("real", real), ("fake", fake))
        ]
        return halves[0] + halves[1]
    points = mixed_points(real, fake, mode=mode, alpha=alpha, generator=generator)
    return penalty_at(discriminator, points, "power", k, p / 2, options)


def dragan_points(
    real: Inputs,
    *,
    scale: float = 0.5,
    alpha: Tensor | float | None = None,
    centred_noise: bool = False,
    clip: tuple[float, float] | None = None,
    generator: torch.Generator | None = None,
) -> list[Tensor]:
    r"""Points around real samples: :math:`x + \alpha \, s \, \mathrm{std}(x) \, u`.

    Args:
        real: samples (N, ...), or one tensor for each input of the discriminator.
        scale: s.
        alpha: as :func:`mixed_points`.
        centred_noise: draw u from [-1/2, 1/2) and not from [0, 1).
        clip: least and largest value of the points.
        generator: draws alpha and u.
    """
    reals = tensors("real", real)
    alpha = _alpha(alpha, reals[0], generator)
    points = []
    with torch.no_grad():
        for x in reals:
            noise = torch.rand(x.shape, device=x.device, dtype=x.dtype, generator=generator)
            if centred_noise:
                noise = noise - 0.5
            point = x + _fitting(alpha, x) * scale * x.std() * noise
            points.append(point if clip is None else point.clamp(*clip))
    return points


@strict
def dragan(
    discriminator: Discriminator,
    real: Inputs,
    *,
    weight: float = 10.0,
    center: float = 1.0,
    scale: float = 0.5,
    alpha: Tensor | float | None = None,
    centred_noise: bool = False,
    clip: tuple[float, float] | None = None,
    generator: torch.Generator | None = None,
    eps: float = 0.0,
    **options: Unpack[ExactOptions],
) -> Tensor:
    r"""Gradient penalty of DRAGAN (Kodali et al. 2017, arXiv:1705.07215).

    .. math:: \lambda \, \frac{1}{B} \sum_b (\|g_b\| - c)^2

    at the points of :func:`dragan_points`, which also explains the arguments.
    """
    points = dragan_points(
        real,
        scale=scale,
        alpha=alpha,
        centred_noise=centred_noise,
        clip=clip,
        generator=generator,
    )
    return penalty_at(discriminator, points, "centred", weight, center, options, eps)


@strict
def r1(
    discriminator: Discriminator,
    real: Inputs,
    *,
    gamma: float = 10.0,
    half: bool = True,
    **options: Unpack[ExactOptions],
) -> Tensor:
    r"""R1 regularization (Mescheder et al. 2018, arXiv:1801.04406).

    .. math:: \frac{\gamma}{2} \, \frac{1}{B} \sum_b \|g_b\|^2

    Args:
        discriminator: D, any callable.
        real: real samples (N, ...), or one tensor for each input of D.
        gamma: strength.
        half: take the half; without it the penalty is twice as large.
        **options: the options of all exact penalties.

    Returns:
        Scalar; float64 for float64 samples, else float32.
    """
    return penalty_at(
        discriminator, tensors("real", real), "square", _strength(gamma, half), 0.0, options
    )


@strict
def r2(
    discriminator: Discriminator,
    fake: Inputs,
    *,
    gamma: float = 10.0,
    half: bool = True,
    **options: Unpack[ExactOptions],
) -> Tensor:
    """R2 regularization: :func:`r1` at fake samples, which are taken as constants."""
    return penalty_at(
        discriminator, tensors("fake", fake), "square", _strength(gamma, half), 0.0, options
    )


def _strength(gamma: float, half: bool) -> float:
    return gamma / 2 if half else gamma


@strict
def r1_from_logits(
    real_logits: Inputs,
    real: Inputs,
    *,
    gamma: float = 10.0,
    half: bool = True,
    **options: Unpack[NormOptions],
) -> Tensor:
    """R1 from logits that are there: one forward of D serves the loss and the penalty.

    Args:
        real_logits: D(real), a tensor or a list of maps.
        real: the samples, which required gradients when D was called with them.
        gamma: strength.
        half: take the half.
        **options: norm, mask and scaler.

    Raises:
        ValueError: real does not require gradients.
    """
    return penalty_of("real", real_logits, real, "square", _strength(gamma, half), 0.0, options)


@strict
def r2_from_logits(
    fake_logits: Inputs,
    fake: Inputs,
    *,
    gamma: float = 10.0,
    half: bool = True,
    **options: Unpack[NormOptions],
) -> Tensor:
    """R2 from logits that are there: see :func:`r1_from_logits`."""
    return penalty_of("fake", fake_logits, fake, "square", _strength(gamma, half), 0.0, options)


@strict
def wgan_gp_from_logits(
    logits: Inputs,
    points: Inputs,
    *,
    weight: float = 10.0,
    center: float = 1.0,
    eps: float = 0.0,
    **options: Unpack[NormOptions],
) -> Tensor:
    """:func:`wgan_gp` from logits at given points, which required gradients when D was called."""
    return penalty_of("points", logits, points, "centred", weight, center, options, eps)


def squared_norms(logits: Inputs, points: Inputs, *, scaler: GradScaler | None = None) -> Tensor:
    r"""Squared norm of each sample's gradient, :math:`\|g_b\|^2`, what R1 and R2 are the mean of.

    Args:
        logits: D(points), a tensor or a list of maps.
        points: samples (N, ...), or a list of inputs, which required gradients when D was called.
        scaler: as of the exact penalties.

    Returns:
        (N,), differentiable; float64 for float64 samples, else float32.

    Raises:
        ValueError: the points do not require gradients.
    """
    g = gradients_of("points", logits, points, scaler)
    squares = [compute_dtype(gk).square().flatten(1).sum(1) for gk in g]
    return sum(squares[1:], squares[0])
