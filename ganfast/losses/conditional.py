"""Losses of class-conditional discriminators, and of codes that a generator should preserve.

All run in plain torch, in float32 or better, also under autocast. Masks are made on the labels'
device, and nothing waits for it.
"""

import math
from collections.abc import Callable
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor

from ganfast.distributed import gather
from ganfast.losses.formulas import Formula
from ganfast.losses.reduction import Reduction, reduce_samples
from ganfast.reference import compute_dtype

# The wrapper in torch.nn.functional costs a tenth of the loss; autocast runs this in float32, too.
_cross_entropy: Callable[..., Tensor] = torch._C._nn.cross_entropy_loss
_NONE, _MEAN = 0, 1  # torch's codes of the reductions
_NO_LABEL = -100


def _check_scores(name: str, scores: Tensor, labels: Tensor) -> None:
    if not scores.is_floating_point():
        raise TypeError(f"{name} must be floating point, got {scores.dtype}")
    if scores.dim() != 2:
        raise ValueError(f"{name} must have shape (B, n), got {list(scores.shape)}")
    if scores.shape[0] == 0:
        raise ValueError(f"{name} must hold at least one sample, got shape {list(scores.shape)}")
    if labels.dtype != torch.int64:
        raise TypeError(f"labels must have dtype int64, got {labels.dtype}")
    if labels.dim() != 1 or labels.shape[0] != scores.shape[0]:
        raise ValueError(
            f"labels must have one entry for each of the {scores.shape[0]} rows of {name}, "
            f"got shape {list(labels.shape)}"
        )


def crammer_singer_loss(
    scores: Tensor,
    labels: Tensor,
    *,
    margin: float = 1.0,
    reduction: Reduction = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    r"""Multi-class hinge of a discriminator with K classes of real samples and one of fakes.

    .. math:: \frac{1}{B} \sum_i \mathrm{relu}(1 + \max_{j \ne y_i} s_{ij} - s_{i y_i})

    MHingeGAN's discriminator uses it on real samples with their classes and on fakes with class K,
    its generator on fakes with the classes they were made for.

    Args:
        scores: s, (B, K + 1), at least two columns.
        labels: y, (B,) of int64.
        margin: the 1 in the formula.
        reduction: the ``mean`` or the ``sum`` over the samples, or ``none``: (B,), the share of
            each sample, whose mean is the ``mean``.
        weight: of each sample, (B,): the mean becomes sum(w l) / sum(w), or 0 if all weights are 0.

    Returns:
        Scalar, or (B,) for ``reduction="none"``; float64 for float64 scores, else float32.
        Differentiable twice.

    Raises:
        TypeError: scores are not floating point, or labels are not int64.
        ValueError: shapes do not fit, or the reduction is unknown.

    Sources: Crammer and Singer 2001; Kavalerov et al. 2019, cGANs with multi-hinge loss.
    """
    _check_scores("scores", scores, labels)
    if scores.shape[1] < 2:
        raise ValueError(f"scores must have at least two columns, got {scores.shape[1]}")
    scores = compute_dtype(scores)
    index = labels.unsqueeze(1)
    highest = scores.scatter(1, index, -math.inf).max(1).values
    wrong_by = highest - scores.gather(1, index).squeeze(1)
    return reduce_samples(wrong_by, reduction, weight, Formula("hinge", 1.0, 1.0, margin))


def auxiliary_classifier_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of an auxiliary classifier, for AC-GAN and for InfoGAN's discrete codes.

    .. math:: -\\frac{1}{B} \\sum_i \\log \\mathrm{softmax}(s_i)_{y_i}

    Args:
        logits: s, (B, K).
        labels: y, (B,) of int64: classes, or the codes of the samples.
        label_smoothing: share of the target spread over all classes, as in
            :func:`torch.nn.functional.cross_entropy`.
        reduction, weight: see :func:`crammer_singer_loss`.

    Result and errors are those of :func:`crammer_singer_loss`.

    Sources: Odena et al. 2017, AC-GAN; Chen et al. 2016, InfoGAN.
    """
    _check_scores("logits", logits, labels)
    plain = reduction == "mean" and weight is None
    over = _MEAN if plain else _NONE
    # Default arguments that are left out cost nothing.
    smoothing = (_NO_LABEL, label_smoothing) if label_smoothing else ()
    values = _cross_entropy(compute_dtype(logits), labels, None, over, *smoothing)
    if plain:
        return values
    return reduce_samples(values, reduction, weight)


def gaussian_code_loss(
    codes: Tensor,
    mu: Tensor,
    var: Tensor,
    *,
    reduction: Reduction = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    r"""Negative log-likelihood of InfoGAN's continuous codes under the predicted normals.

    .. math:: \frac{1}{B} \sum_{i,j} \tfrac{1}{2} \log(2 \pi v_{ij})
        + \frac{(c_{ij} - \mu_{ij})^2}{2 v_{ij}}

    Args:
        codes: c, (B, n), the codes of the samples.
        mu: (B, n), predicted means.
        var: v, (B, n), predicted variances, positive.
        reduction, weight: see :func:`crammer_singer_loss`.

    Returns:
        Scalar, or (B,) for ``reduction="none"``; float64 for float64 mu, else float32.

    Raises:
        ValueError: the shapes differ, or the reduction is unknown.

    Source: Chen et al. 2016, InfoGAN.
    """
    if not codes.shape == mu.shape == var.shape:
        raise ValueError(
            f"codes, mu and var must have one shape, got {list(codes.shape)}, {list(mu.shape)} "
            f"and {list(var.shape)}"
        )
    codes, mu, var = compute_dtype(codes), compute_dtype(mu), compute_dtype(var)
    nll = 0.5 * torch.log(2 * math.pi * var) + (codes - mu).square() / (2 * var)
    return reduce_samples(nll.sum(1), reduction, weight)


def _reduced(
    values: Tensor, reduction: Reduction, weight: Tensor | None, distributed: bool
) -> Tensor:
    if distributed and weight is not None:
        weight = gather(weight)
    return reduce_samples(values, reduction, weight)


def _check_temperature(temperature: float) -> None:
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be positive and finite, got {temperature}")


def _similarities(
    embeddings: Tensor, proxies: Tensor, labels: Tensor, distributed: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Cosines (B,) with the proxies and (B, B) between embeddings, and a mask of equal classes."""
    _check_scores("embeddings", embeddings, labels)
    if proxies.shape != embeddings.shape:
        raise ValueError(
            f"proxies must have the shape of embeddings, {list(embeddings.shape)}, "
            f"got {list(proxies.shape)}"
        )
    h = F.normalize(compute_dtype(embeddings))
    p = F.normalize(compute_dtype(proxies))
    if distributed:
        h, p, labels = gather(h), gather(p), gather(labels)
    autocast = torch._C._is_any_autocast_enabled()
    with torch.autocast(h.device.type, enabled=False) if autocast else nullcontext():
        return (h * p).sum(1), h @ h.T, labels.unsqueeze(1) == labels


def conditional_contrastive_loss(
    embeddings: Tensor,
    proxies: Tensor,
    labels: Tensor,
    *,
    temperature: float = 1.0,
    distributed: bool = False,
    reduction: Reduction = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    r"""ContraGAN's 2C loss: pulls embeddings to the proxy and to the other samples of their class.

    With :math:`s_{ij}` the cosine of embeddings i and j, :math:`s_{ip}` that of i and its proxy:

    .. math:: -\frac{1}{B} \sum_i \log \frac{e^{s_{ip}/\tau} + \sum_{j \ne i, y_j = y_i}
        e^{s_{ij}/\tau}}{e^{s_{ip}/\tau} + \sum_{j \ne i} e^{s_{ij}/\tau}}

    Args:
        embeddings: (B, n), which need not be normalized.
        proxies: (B, n), the proxy of each sample's class.
        labels: y, (B,) of int64.
        temperature: tau, positive.
        distributed: contrast with the samples of all processes of torch.distributed, with equal
            batches and with gradients. Every process then returns the loss of all samples, for
            ``none`` in the order of the processes.
        reduction, weight: see :func:`crammer_singer_loss`.

    Returns:
        Scalar, or (B,) for ``reduction="none"``; float64 for float64 embeddings, else float32.

    Raises:
        TypeError: embeddings are not floating point, or labels are not int64.
        ValueError: shapes do not fit, the temperature is not positive, or the reduction is unknown.

    Source: Kang and Park 2020, ContraGAN.
    """
    _check_temperature(temperature)
    to_proxy, similar, same = _similarities(embeddings, proxies, labels, distributed)
    # A sample's similarity with itself does not count, so the proxy's takes its place.
    log_p = torch.log_softmax(similar.diagonal_scatter(to_proxy) / temperature, 1)
    nll = -torch.logsumexp(log_p.masked_fill(~same, -math.inf), 1)
    return _reduced(nll, reduction, weight, distributed)


def data_to_data_cross_entropy_loss(
    embeddings: Tensor,
    proxies: Tensor,
    labels: Tensor,
    *,
    temperature: float = 0.5,
    positive_margin: float = 0.98,
    negative_margin: float | None = None,
    distributed: bool = False,
    reduction: Reduction = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    r"""ReACGAN's D2D-CE: pulls embeddings to their proxy, and away from samples of other classes.

    With :math:`s_{ij}` the cosine of embeddings i and j, :math:`s_{ip}` that of i and its proxy,
    :math:`[t]_- = \min(t, 0)` and :math:`[t]_+ = \max(t, 0)`:

    .. math:: -\frac{1}{B} \sum_i \log \frac{e^{[s_{ip} - m_p]_-/\tau}}{e^{[s_{ip} - m_p]_-/\tau}
        + \sum_{j: y_j \ne y_i} e^{[s_{ij} - m_n]_+/\tau}}

    Args:
        embeddings, proxies, labels, temperature, distributed: see
            :func:`conditional_contrastive_loss`, whose result and errors these are.
        positive_margin: m_p, in [-1, 1].
        negative_margin: m_n; 1 - m_p if None.
        reduction, weight: see :func:`crammer_singer_loss`.

    Source: Kang et al. 2021, ReACGAN.
    """
    _check_temperature(temperature)
    to_proxy, similar, same = _similarities(embeddings, proxies, labels, distributed)
    if negative_margin is None:
        negative_margin = 1 - positive_margin
    positive = -F.relu(positive_margin - to_proxy) / temperature
    negative = F.relu(similar - negative_margin) / temperature
    # The diagonal is masked, since a sample is of its own class; the proxy takes its place.
    negative = negative.masked_fill(same, -math.inf).diagonal_scatter(positive)
    return _reduced(torch.logsumexp(negative, 1) - positive, reduction, weight, distributed)
