r"""Exact gradient penalties, by double backward.

:math:`g_b` is the gradient of the sum of the discriminator's outputs in sample b, over all of its
inputs. The options that the penalties share are explained in :func:`wgan_gp`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.amp.grad_scaler import GradScaler

from ganfast._names import check_name
from ganfast.penalties._calls import (
    Discriminator,
    Inputs,
    Norm,
    Output,
    Phi,
    gradients_of_logits,
    penalty_at,
    reduced,
    tensors,
)
from ganfast.reference import compute_dtype

Mode = Literal["mixed", "real", "fake"]


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
        alpha: a number in [0, 1], or a tensor of numbers, one per sample or of a shape that
            broadcasts to the samples. If None, one number in [0, 1) is drawn per sample on their
            device. A tensor on an accelerator is not read.
        generator: draws alpha.

    Raises:
        TypeError: the samples are not floating-point tensors.
        ValueError: shapes differ, mode is unknown, or alpha does not fit.
    """
    check_name("mode", mode, get_args(Mode))
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


def _alpha(
    alpha: Tensor | float | None, x: Tensor, generator: torch.Generator | None
) -> Tensor | float:
    """Alpha, checked to be in [0, 1] unless that waits for the device, or drawn per sample."""
    if alpha is None:
        shape = (x.shape[0],) + (1,) * (x.dim() - 1)
        return torch.rand(shape, device=x.device, dtype=x.dtype, generator=generator)
    if isinstance(alpha, Tensor):
        inside = alpha.device.type != "cpu" or bool(((alpha >= 0) & (alpha <= 1)).all())
    else:
        inside = 0 <= alpha <= 1
    if not inside:
        raise ValueError(f"alpha must be in [0, 1], got {alpha}")
    return alpha


def _fitting(alpha: Tensor | float, x: Tensor) -> Tensor | float:
    """Alpha in a shape that broadcasts to x; one number per sample fits inputs of any shape."""
    if not isinstance(alpha, Tensor):
        return alpha
    per_sample = alpha.numel() == alpha.shape[:1].numel()
    fitted = alpha.reshape(-1, *(1,) * (x.dim() - 1)).to(x.dtype) if per_sample else alpha
    missing = x.dim() - fitted.dim()
    sizes = (1,) * missing + tuple(fitted.shape)
    if missing < 0 or any(n not in (1, m) for n, m in zip(sizes, x.shape, strict=True)):
        raise ValueError(
            f"alpha must have one number for each of the {x.shape[0]} samples, or a shape that "
            f"broadcasts to theirs, {tuple(x.shape)}, got {tuple(alpha.shape)}"
        )
    return fitted


def wgan_gp(
    discriminator: Discriminator,
    real: Inputs | None,
    fake: Inputs | None,
    *,
    weight: float = 10.0,
    center: float = 1.0,
    eps: float = 0.0,
    mode: Mode = "mixed",
    alpha: Tensor | float | None = None,
    generator: torch.Generator | None = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    output: Output = None,
    norm: Norm = "sample",
    mask: Tensor | None = None,
    scaler: GradScaler | None = None,
) -> Tensor:
    r"""Gradient penalty of WGAN-GP (Gulrajani et al. 2017, arXiv:1704.00028).

    .. math:: \lambda \, \frac{1}{B} \sum_b (\|g_b\| - c)^2

    Args:
        discriminator: D, any callable.
        real: real samples (N, ...), or one tensor for each input of D.
        fake: fake samples of the same shapes.
        weight: lambda.
        center: c.
        eps: added to the squared norm under the root; with 0, a gradient of zero gets no gradient.
        mode, alpha, generator: the points, see :func:`mixed_points`.
        args, kwargs: passed to D after the samples: ``D(*samples, *args, **kwargs)``.
        output: index, key or function that picks the logits from a tuple or dict that D returns.
        norm: ``"sample"``: of each sample; ``"pixel"``: over the channels of each pixel, with the
            mean over pixels; ``"batch"``: over all samples at once.
        mask: multiplies the gradients, and the penalty is divided by its mean; zeros give 0.
        scaler: the ``GradScaler`` of mixed precision, whose scale is used without reading it.

    Returns:
        Scalar; float64 for float64 samples, else float32.

    Raises:
        TypeError: samples or D's outputs are not floating-point tensors.
        ValueError: shapes do not fit, or an option is unknown or out of range.
        RuntimeError: D has no double backward: it is compiled, sharded by FSDP2 or has fused
            attention; the message says what to do instead.
    """
    points = mixed_points(real, fake, mode=mode, alpha=alpha, generator=generator)
    phi = Phi("centred", weight, center, eps)
    return penalty_at(discriminator, points, phi, args, kwargs, output, norm, mask, scaler)


def wgan_lp(
    discriminator: Discriminator,
    real: Inputs | None,
    fake: Inputs | None,
    *,
    weight: float = 10.0,
    center: float = 1.0,
    eps: float = 0.0,
    mode: Mode = "mixed",
    alpha: Tensor | float | None = None,
    generator: torch.Generator | None = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    output: Output = None,
    norm: Norm = "sample",
    mask: Tensor | None = None,
    scaler: GradScaler | None = None,
) -> Tensor:
    r"""One-sided penalty of WGAN-LP (Petzka et al. 2018, arXiv:1709.08894).

    .. math:: \lambda \, \frac{1}{B} \sum_b \max(\|g_b\| - c, 0)^2

    Arguments, result and errors are those of :func:`wgan_gp`.
    """
    points = mixed_points(real, fake, mode=mode, alpha=alpha, generator=generator)
    phi = Phi("one_sided", weight, center, eps)
    return penalty_at(discriminator, points, phi, args, kwargs, output, norm, mask, scaler)


def zero_centered(
    discriminator: Discriminator,
    real: Inputs | None,
    fake: Inputs | None,
    *,
    weight: float = 10.0,
    mode: Mode = "mixed",
    alpha: Tensor | float | None = None,
    generator: torch.Generator | None = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    output: Output = None,
    norm: Norm = "sample",
    mask: Tensor | None = None,
    scaler: GradScaler | None = None,
) -> Tensor:
    r"""Zero-centered penalty, GP-0 (Thanh-Tung et al. 2019, arXiv:1902.03984).

    .. math:: \lambda \, \frac{1}{B} \sum_b \|g_b\|^2

    Without a factor of a half. Arguments, result and errors are those of :func:`wgan_gp`.
    """
    points = mixed_points(real, fake, mode=mode, alpha=alpha, generator=generator)
    phi = Phi("square", weight)
    return penalty_at(discriminator, points, phi, args, kwargs, output, norm, mask, scaler)


def max_gp(
    discriminator: Discriminator,
    real: Inputs | None,
    fake: Inputs | None,
    *,
    weight: float = 1.0,
    mode: Mode = "mixed",
    alpha: Tensor | float | None = None,
    generator: torch.Generator | None = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    output: Output = None,
    norm: Norm = "sample",
    mask: Tensor | None = None,
    scaler: GradScaler | None = None,
) -> Tensor:
    r"""Penalty of the largest gradient, MaxGP (Zhou et al. 2019, arXiv:1902.05687).

    .. math:: \lambda \, \max_b \|g_b\|^2

    ``norm`` cannot be ``"pixel"``. Arguments, result and errors are those of :func:`wgan_gp`.
    """
    points = mixed_points(real, fake, mode=mode, alpha=alpha, generator=generator)
    phi = Phi("maximum", weight)
    return penalty_at(discriminator, points, phi, args, kwargs, output, norm, mask, scaler)


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
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    output: Output = None,
    norm: Norm = "sample",
    mask: Tensor | None = None,
    scaler: GradScaler | None = None,
) -> Tensor:
    r"""Penalty of WGAN-div (Wu et al. 2018, arXiv:1712.01026).

    .. math:: k \, \frac{1}{B} \sum_b \|g_b\|^p

    at mixed, real or fake points, or, with ``"both"``, half of it at the real and half at the fake
    ones. The other arguments, result and errors are those of :func:`wgan_gp`.
    """
    options = (args, kwargs, output, norm, mask, scaler)
    if mode == "both":
        half = Phi("power", k / 2, p / 2)
        at_real = penalty_at(discriminator, tensors("real", real), half, *options)
        return at_real + penalty_at(discriminator, tensors("fake", fake), half, *options)
    points = mixed_points(real, fake, mode=mode, alpha=alpha, generator=generator)
    return penalty_at(discriminator, points, Phi("power", k, p / 2), *options)


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
        alpha: see :func:`mixed_points`.
        centred_noise: draw u from [-1/2, 1/2) instead of [0, 1).
        clip: smallest and largest value of the points.
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


def dragan(
    discriminator: Discriminator,
    real: Inputs,
    *,
    weight: float = 10.0,
    center: float = 1.0,
    eps: float = 0.0,
    scale: float = 0.5,
    alpha: Tensor | float | None = None,
    centred_noise: bool = False,
    clip: tuple[float, float] | None = None,
    generator: torch.Generator | None = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    output: Output = None,
    norm: Norm = "sample",
    mask: Tensor | None = None,
    scaler: GradScaler | None = None,
) -> Tensor:
    r"""Gradient penalty of DRAGAN (Kodali et al. 2017, arXiv:1705.07215).

    .. math:: \lambda \, \frac{1}{B} \sum_b (\|g_b\| - c)^2

    at the points of :func:`dragan_points`, which explains ``scale`` to ``generator``. The other
    arguments, result and errors are those of :func:`wgan_gp`.
    """
    points = dragan_points(
        real,
        scale=scale,
        alpha=alpha,
        centred_noise=centred_noise,
        clip=clip,
        generator=generator,
    )
    phi = Phi("centred", weight, center, eps)
    return penalty_at(discriminator, points, phi, args, kwargs, output, norm, mask, scaler)


def r1(
    discriminator: Discriminator,
    real: Inputs,
    *,
    gamma: float = 10.0,
    half: bool = True,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    output: Output = None,
    norm: Norm = "sample",
    mask: Tensor | None = None,
    scaler: GradScaler | None = None,
) -> Tensor:
    r"""R1 regularization (Mescheder et al. 2018, arXiv:1801.04406).

    .. math:: \frac{\gamma}{2} \, \frac{1}{B} \sum_b \|g_b\|^2

    Without ``half`` the penalty is twice as large. The other arguments, result and errors are those
    of :func:`wgan_gp`.
    """
    points, phi = tensors("real", real), Phi("square", _strength(gamma, half))
    return penalty_at(discriminator, points, phi, args, kwargs, output, norm, mask, scaler)


def r2(
    discriminator: Discriminator,
    fake: Inputs,
    *,
    gamma: float = 10.0,
    half: bool = True,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    output: Output = None,
    norm: Norm = "sample",
    mask: Tensor | None = None,
    scaler: GradScaler | None = None,
) -> Tensor:
    """R2 regularization: :func:`r1` at fake samples, which are taken as constants."""
    points, phi = tensors("fake", fake), Phi("square", _strength(gamma, half))
    return penalty_at(discriminator, points, phi, args, kwargs, output, norm, mask, scaler)


def _strength(gamma: float, half: bool) -> float:
    return gamma / 2 if half else gamma


def r1_from_logits(
    real_logits: Inputs,
    real: Inputs,
    *,
    gamma: float = 10.0,
    half: bool = True,
    norm: Norm = "sample",
    mask: Tensor | None = None,
    scaler: GradScaler | None = None,
) -> Tensor:
    """R1 from existing logits, so that one forward of D serves the loss and the penalty.

    Args:
        real_logits: D(real), a tensor or a list of maps.
        real: the samples, which required gradients when D was called with them.
        gamma, half, norm, mask, scaler: see :func:`r1`.

    Raises:
        ValueError: real does not require gradients.
    """
    g = gradients_of_logits("real", real_logits, real, scaler)
    return reduced(g, Phi("square", _strength(gamma, half)), norm, mask)


def r2_from_logits(
    fake_logits: Inputs,
    fake: Inputs,
    *,
    gamma: float = 10.0,
    half: bool = True,
    norm: Norm = "sample",
    mask: Tensor | None = None,
    scaler: GradScaler | None = None,
) -> Tensor:
    """R2 from existing logits: see :func:`r1_from_logits`."""
    g = gradients_of_logits("fake", fake_logits, fake, scaler)
    return reduced(g, Phi("square", _strength(gamma, half)), norm, mask)


def wgan_gp_from_logits(
    logits: Inputs,
    points: Inputs,
    *,
    weight: float = 10.0,
    center: float = 1.0,
    eps: float = 0.0,
    norm: Norm = "sample",
    mask: Tensor | None = None,
    scaler: GradScaler | None = None,
) -> Tensor:
    """:func:`wgan_gp` from logits at points that required gradients when D was called."""
    g = gradients_of_logits("points", logits, points, scaler)
    return reduced(g, Phi("centred", weight, center, eps), norm, mask)


def squared_norms(logits: Inputs, points: Inputs, *, scaler: GradScaler | None = None) -> Tensor:
    r"""Squared norm of each sample's gradient, :math:`\|g_b\|^2`, whose mean R1 and R2 take.

    Args:
        logits: D(points), a tensor or a list of maps.
        points: samples (N, ...), or a list of inputs, which required gradients when D was called.
        scaler: see :func:`wgan_gp`.

    Returns:
        (N,), differentiable; float64 for float64 samples, else float32.

    Raises:
        ValueError: the points do not require gradients.
    """
    g = gradients_of_logits("points", logits, points, scaler)
    squares = [compute_dtype(gk).square().flatten(1).sum(1) for gk in g]
    return sum(squares[1:], squares[0])
