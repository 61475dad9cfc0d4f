"""The kernel inception distance, and CMMD."""

from typing import Literal, get_args

import torch
from torch import Tensor

from ganfast.metrics.mmd import as_pair, gaussian, mmd2, polynomial
from ganfast.metrics.sampling import Draws, Spread, permutations
from ganfast.metrics.validation import Array, directions, finite

KernelName = Literal["poly", "rbf"]


def kid(
    x: Array,
    y: Array,
    *,
    subsets: int = 100,
    subset_size: int = 1000,
    kernel: KernelName = "poly",
    degree: int = 3,
    gamma: float | None = None,
    coef0: float = 1.0,
    sigma: float = 10.0,
    unbiased: bool = True,
    seed: int | None = 2020,
    draws: Draws = "numpy",
) -> Spread:
    """Kernel distance: mean and standard deviation (ddof 0) of MMD^2 over subsets.

    The kernel is (gamma <a, b> + coef0)^degree, or with ``"rbf"`` exp(-|a - b|^2 / (2 sigma^2)). On
    Inception features it is KID (Binkowski et al. 2018). The kernel is computed in the dtype of the
    features (float32 at least), and summed in float64.

    The defaults are those of torch-fidelity, with its input1 as x. torchmetrics: ``draws="torch"``,
    ``seed=None`` or that of ``torch.manual_seed``, real as x. clean-fid and StyleGAN:
    ``subset_size=min(N, M, 1000)``, ``seed=None`` or that of ``numpy.random.seed``, generated as y.
    dgm-eval draws unseeded.

    Args:
        x, y: features (N, D) and (M, D), floating-point.
        subsets: how many.
        subset_size: samples of x, and of y, in each, drawn without replacement, x first.
        kernel: ``"poly"`` or ``"rbf"``.
        degree, gamma, coef0: of ``"poly"``; gamma is 1 / D by default.
        sigma: of ``"rbf"``.
        unbiased: leave out the pairs of a sample with itself.
        seed, draws: the random stream of the subsets, None for the global one; see
            `ganfast.metrics.sampling`.

    Raises:
        TypeError, ValueError: the features do not fit, a subset is larger than a set or smaller
            than 2, an option is unknown, or a kernel overflows.
    """
    one, two = as_pair(x, y)
    most = min(len(one), len(two))
    if subsets < 1 or not 2 <= subset_size <= most:
        raise ValueError(
            f"subsets must be at least 1 and subset_size from 2 to {most}, the smaller set, "
            f"got {subsets} and {subset_size}"
        )
    if kernel not in get_args(KernelName):
        raise ValueError(f"kernel must be one of {get_args(KernelName)}, got {kernel!r}")
    if kernel == "poly":
        function = polynomial(degree, 1 / one.shape[1] if gamma is None else gamma, coef0)
    else:
        function = gaussian(sigma)
    shuffled = permutations(seed, draws)
    chosen = [
        (shuffled(len(one))[:subset_size], shuffled(len(two))[:subset_size]) for _ in range(subsets)
    ]
    values = mmd2(one, two, chosen, function, unbiased)
    mean, std = float(values.mean()), float(values.std(correction=0))
    return Spread(finite(mean, "x and y", "KID"), finite(std, "x and y", "deviation of KID"))


def cmmd(x: Array, y: Array, *, sigma: float = 10.0, scale: float = 1000.0) -> float:
    """CMMD: ``scale`` times the biased MMD^2 of embeddings with a Gaussian kernel.

    The kernel is exp(-|a - b|^2 / (2 sigma^2)) on embeddings divided by their norms, over all
    pairs, those of a sample with itself included (Jayasumana et al. 2024, google-research/cmmd,
    with embeddings of CLIP ViT-L/14 at 336 pixels). It is computed in float64, as 1000 MMD^2 is
    small beside 1.

    Args:
        x, y: embeddings (N, D) and (M, D).
        sigma: of the kernel.
        scale: of the result.

    Raises:
        TypeError, ValueError: the features do not fit, an embedding has norm 0, or sigma is not
            positive.
    """
    kernel = gaussian(sigma)
    one, two = (_unit(side, name) for side, name in zip(as_pair(x, y), "xy", strict=True))
    everything = [(torch.arange(len(one)), torch.arange(len(two)))]
    return scale * float(mmd2(one, two, everything, kernel, unbiased=False)[0])


def _unit(embeddings: Tensor, name: str) -> Tensor:
    if len(embeddings) == 0:
        raise ValueError(f"{name} must hold at least 1 sample, got 0")
    if bool((embeddings == 0).all(1).any()):
        raise ValueError(f"{name} must hold embeddings of a norm above 0, got one of norm 0")
    return directions(embeddings)
