"""Drop-in for the functional losses of torchgan, ``torchgan.losses.functional``.

Import the functions from here instead. For torchgan's loss classes and its trainer, add this before
the losses are made::

    import ganfast.compat.torchgan as losses; losses.install()

Some bugs of the project are fixed. ``mutual_information_penalty`` has a gradient; the project
copies the log-likelihoods to a new tensor, which has none. ``minimax_discriminator_loss`` also
takes real and fake outputs of different shapes, whose labels the project swaps. Both gradient
penalties take the norm of each sample's gradient, as in their papers; the project takes one norm
over the whole batch, as ``norm="batch"`` does here. The pulling-away term is the paper's; the
project normalizes each component over the batch instead of each sample, and pairs samples with
themselves.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ganfast.compat._criterion import formula_of, reduce_sides
from ganfast.losses.formulas import Formula
from ganfast.penalties import squared_norms, wgan_gp_from_logits
from ganfast.reference import FUNCTORS, compute_dtype, powered

__all__ = [
    "auxiliary_classification_loss",
    "boundary_equilibrium_discriminator_loss",
    "boundary_equilibrium_generator_loss",
    "dragan_gradient_penalty",
    "energy_based_discriminator_loss",
    "energy_based_generator_loss",
    "energy_based_pulling_away_term",
    "install",
    "least_squares_discriminator_loss",
    "least_squares_generator_loss",
    "minimax_discriminator_loss",
    "minimax_generator_loss",
    "mutual_information_penalty",
    "wasserstein_discriminator_loss",
    "wasserstein_generator_loss",
    "wasserstein_gradient_penalty",
]

_MODULES = (
    "",
    "functional",
    "auxclassifier",
    "boundaryequilibrium",
    "draganpenalty",
    "energybased",
    "leastsquares",
    "minimax",
    "mutualinfo",
    "wasserstein",
)


def minimax_generator_loss(
    dgz: Tensor, nonsaturating: bool = True, reduction: str = "mean"
) -> Tensor:
    """m[softplus(-f)], or saturating -m[softplus(f)].

    f are logits of fake samples; ``reduction`` is ``mean``, ``sum``, or anything else for one
    number per element.
    """
    formula = formula_of("softplus", nonsaturating)
    return _reduce(reduction, ("dgz", dgz, formula), scale=1.0 if nonsaturating else -1.0)


def minimax_discriminator_loss(
    dx: Tensor, dgz: Tensor, label_smoothing: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """Cross-entropies of real and fake logits with the labels 1 - label_smoothing and 0.

    ``reduction`` is as in :func:`minimax_generator_loss`.
    """
    labels = (0.0, 1.0 - label_smoothing)
    return _reduce(
        reduction,
        ("dx", dx, formula_of("bce_with_logits", True, labels)),
        ("dgz", dgz, formula_of("bce_with_logits", False, labels)),
    )


def least_squares_generator_loss(dgz: Tensor, c: float = 1.0, reduction: str = "mean") -> Tensor:
    """0.5 m[(f - c)^2]; ``reduction`` as in :func:`minimax_generator_loss`."""
    return _reduce(reduction, ("dgz", dgz, Formula("square", 1.0, c)), scale=0.5)


def least_squares_discriminator_loss(
    dx: Tensor, dgz: Tensor, a: float = 0.0, b: float = 1.0, reduction: str = "mean"
) -> Tensor:
    """0.5 (m[(r - b)^2] + m[(f - a)^2]); ``reduction`` as in :func:`minimax_generator_loss`."""
    real, fake = Formula("square", 1.0, b), Formula("square", 1.0, a)
    return _reduce(reduction, ("dx", dx, real), ("dgz", dgz, fake), scale=0.5)


def mutual_information_penalty(
    c_dis: Tensor, c_cont: Tensor, dist_dis: Any, dist_cont: Any, reduction: str = "mean"
) -> Tensor:
    """Minus the mean log-likelihoods of InfoGAN's codes, reduced over both.

    The discriminator predicts the distributions ``dist_dis`` of the discrete and ``dist_cont`` of
    the continuous codes. With a reduction other than ``mean`` and ``sum``: both numbers, (2,).
    """
    codes = ((dist_dis, c_dis), (dist_cont, c_cont))
    nll = -torch.stack([distribution.log_prob(code).mean() for distribution, code in codes])
    if reduction == "mean":
        return nll.mean()
    return nll.sum() if reduction == "sum" else nll


def wasserstein_generator_loss(fgz: Tensor, reduction: str = "mean") -> Tensor:
    """-m[f]; ``reduction`` as in :func:`minimax_generator_loss`."""
    return _reduce(reduction, ("fgz", fgz, formula_of("identity", True)))


def wasserstein_discriminator_loss(fx: Tensor, fgz: Tensor, reduction: str = "mean") -> Tensor:
    """m[f] - m[r]; ``reduction`` as in :func:`minimax_generator_loss`."""
    real, fake = formula_of("identity", True), formula_of("identity", False)
    return _reduce(reduction, ("fx", fx, real), ("fgz", fgz, fake))


def wasserstein_gradient_penalty(
    interpolate: Tensor,
    d_interpolate: Tensor,
    reduction: str = "mean",
    *,
    norm: Literal["sample", "batch"] = "sample",
) -> Tensor:
    """m[(||grad|| - 1)^2] at points between real and fake samples.

    Arguments are those of :func:`dragan_gradient_penalty`.
    """
    return dragan_gradient_penalty(interpolate, d_interpolate, 1.0, reduction, norm=norm)


def dragan_gradient_penalty(
    interpolate: Tensor,
    d_interpolate: Tensor,
    k: float = 1.0,
    reduction: str = "mean",
    *,
    norm: Literal["sample", "batch"] = "sample",
) -> Tensor:
    """m[(||grad|| - k)^2] at points around real samples.

    Args:
        interpolate: the points, which required gradients when the outputs were made.
        d_interpolate: the outputs at the points.
        k: the target norm.
        reduction: see :func:`minimax_generator_loss`, with one number per sample.
        norm: ``batch`` takes one norm over all samples, as the project does.
    """
    if norm == "batch" or reduction in ("mean", "sum"):
        samples = len(interpolate) if norm == "sample" and reduction == "sum" else 1
        return wgan_gp_from_logits(
            d_interpolate, interpolate, weight=float(samples), center=k, norm=norm
        )
    return (powered(squared_norms(d_interpolate, interpolate), 0.5) - k).square()


def auxiliary_classification_loss(
    logits: Tensor, labels: Tensor, reduction: str = "mean"
) -> Tensor:
    """Cross-entropy of the classes; ``reduction`` is that of torch.nn.functional.cross_entropy."""
    return F.cross_entropy(logits, labels, reduction=reduction)


def energy_based_generator_loss(dgz: Tensor, reduction: str = "mean") -> Tensor:
    """m[f]; ``reduction`` as in :func:`minimax_generator_loss`."""
    return _reduce(reduction, ("dgz", dgz, formula_of("identity", False)))


def energy_based_discriminator_loss(
    dx: Tensor, dgz: Tensor, margin: float, reduction: str = "mean"
) -> Tensor:
    """m[r] + m[relu(margin - f)]; ``reduction`` as in :func:`minimax_generator_loss`."""
    return _reduce(reduction, ("dx", dx, formula_of("identity", False))) + _reduce(
        reduction, ("dgz", dgz, Formula("hinge", 1.0, -1.0, margin))
    )


def energy_based_pulling_away_term(d_hid: Tensor) -> Tensor:
    r"""The mean squared cosine of two samples' hidden vectors; scalar.

    .. math:: \frac{1}{N (N - 1)} \sum_{i \ne j} \left( \frac{s_i \cdot s_j}
        {\|s_i\| \|s_j\|} \right)^2

    Args:
        d_hid: s, (N, ...), at least two samples.

    Raises:
        ValueError: there are fewer than two samples.

    Source: Zhao et al. 2017, Energy-based GAN (arXiv:1609.03126).
    """
    n = d_hid.shape[0]
    if n < 2:
        raise ValueError(f"d_hid must hold at least two samples, got {n}")
    s = F.normalize(compute_dtype(d_hid).flatten(1))
    return (s @ s.T).triu(1).square().sum() * (2 / (n * (n - 1)))


boundary_equilibrium_generator_loss = energy_based_generator_loss


def boundary_equilibrium_discriminator_loss(
    dx: Tensor, dgz: Tensor, k: float, reduction: str = "mean"
) -> tuple[Tensor, Tensor, Tensor]:
    """Return m[r] - k m[f], m[r] and m[f]; ``reduction`` as in :func:`minimax_generator_loss`."""
    real, fake = (energy_based_generator_loss(x, reduction) for x in (dx, dgz))
    return real - k * fake, real, fake


def install() -> None:
    """Replace the functions of the same names in all of torchgan's loss modules.

    Raises:
        ModuleNotFoundError: torchgan is not installed.
    """
    for name in _MODULES:
        module = import_module(f"torchgan.losses.{name}".rstrip("."))
        for loss in __all__:
            if hasattr(module, loss):
                setattr(module, loss, globals()[loss])


def _reduce(reduction: str, *sides: tuple[str, Tensor, Formula], scale: float = 1.0) -> Tensor:
    if reduction == "mean":
        return reduce_sides(*sides, scale=scale)
    of_sum = reduction == "sum"
    if of_sum and all(x.numel() for _, x, _ in sides):
        return reduce_sides(
            *((n, x, s._replace(weight=s.weight * x.numel())) for n, x, s in sides), scale=scale
        )
    losses: Sequence[Tensor] = [scale * s.weight * FUNCTORS[s.f](x, s.a, s.b) for _, x, s in sides]
    if of_sum:  # the sum of nothing, which the op has no mean of
        losses = [loss.sum() for loss in losses]
    return losses[0] if len(losses) == 1 else losses[0] + losses[1]
