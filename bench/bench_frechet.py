"""The Fréchet distance against the two usual formulas, from moments and from features."""

import warnings
from collections.abc import Callable
from functools import lru_cache, partial

import numpy as np
import scipy.linalg
import torch
from torch import Tensor

from bench import memory
from bench.kit import SUBJECT, Case
from ganfast.metrics import frechet_distance, frechet_distance_from_features


def cases() -> list[Case]:
    """From moments at the sizes of common features, then with fewer samples than dimensions."""
    return [
        *(_from_moments(f"d = {d}", 2 * d + 10, d) for d in (64, 512)),
        _from_moments("d = 2048", 4106, 2048, once=("sqrtm",)),  # about 10 s a call
        _from_moments("d = 512, rank 299", 300, 512),
        _case("d = 512, from 300 features", partial(_features, 300, 512), _from_features, _svd),
    ]


def _case(
    name: str,
    make: Callable[[], list[Tensor]],
    providers: dict[str, Callable[[list[Tensor]], float]],
    reference: Callable[[list[Tensor]], float],
    once: tuple[str, ...] = (),
) -> Case:
    # On the CPU alone: frechet_distance computes there, wherever its arguments are.
    return Case(
        "frechet", name, make, providers, ("forward",), reference, once, ("cpu",),
        memory.process_peak,
    )  # fmt: skip


def _from_moments(name: str, n: int, d: int, once: tuple[str, ...] = ()) -> Case:
    def make() -> list[Tensor]:
        x, y = _features(n, d)
        return [*_moments(x), *_moments(y)]

    providers = {
        "sqrtm": lambda m: _sqrtm(*(t.numpy() for t in m)),
        "eigvals": lambda m: _eigvals(*m),
        SUBJECT: lambda m: float(frechet_distance(*m)),
    }
    return _case(name, make, providers, lambda _: _svd(_features(n, d)), once)


@lru_cache(maxsize=1)
def _features(n: int, d: int) -> list[Tensor]:
    """Two sets (n, d) of correlated float64 features with different spectra and means."""
    generator = torch.Generator().manual_seed(0)

    def draw(power: float, shift: float) -> Tensor:
        scale = torch.arange(1, d + 1, dtype=torch.float64) ** -power
        mix: Tensor = torch.linalg.qr(torch.randn(d, d, dtype=torch.float64, generator=generator)).Q
        noise = torch.randn(n, d, dtype=torch.float64, generator=generator)
        return (noise * scale) @ mix + shift

    return [draw(0.5, 0.0), draw(0.6, 0.1)]


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.mean(dim=0), x.T.cov()


def _sqrtm(mu1: np.ndarray, sigma1: np.ndarray, mu2: np.ndarray, sigma2: np.ndarray) -> float:
    """The definition by SciPy's root of the product, with the usual care where it is singular."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a singular matrix: the next lines are for it
        root = scipy.linalg.sqrtm(sigma1 @ sigma2)
        if not np.isfinite(root).all():
            offset = 1e-6 * np.eye(len(mu1))
            root = scipy.linalg.sqrtm((sigma1 + offset) @ (sigma2 + offset))
    difference = mu1 - mu2
    traces = np.trace(sigma1) + np.trace(sigma2) - 2 * np.trace(root.real)
    return float(difference @ difference + traces)


def _eigvals(mu1: Tensor, sigma1: Tensor, mu2: Tensor, sigma2: Tensor) -> float:
    """The definition by the eigenvalues of the product."""
    root_trace = torch.linalg.eigvals(sigma1 @ sigma2).sqrt().real.sum()
    distance = (mu1 - mu2).square().sum() + sigma1.trace() + sigma2.trace() - 2 * root_trace
    return float(distance)


_from_features: dict[str, Callable[[list[Tensor]], float]] = {
    "sqrtm": lambda x: _sqrtm(*(t.numpy() for y in x for t in _moments(y))),
    "eigvals": lambda x: _eigvals(*_moments(x[0]), *_moments(x[1])),
    SUBJECT: lambda x: float(frechet_distance_from_features(x[0], x[1])),
}


def _svd(features: list[Tensor]) -> float:
    r"""The exact road: no product of covariances, which squares the condition number.

    With centred features X = Q R over sqrt(n - 1), Sigma = R^T R and tr (Sigma1 Sigma2)^(1/2) is
    the nuclear norm of R1 R2^T.
    """
    means, roots = [], []
    for x in features:
        mean = x.mean(dim=0)
        means.append(mean)
        roots.append(torch.linalg.qr((x - mean) / (len(x) - 1) ** 0.5, mode="r").R)
    nuclear = torch.linalg.svdvals(roots[0] @ roots[1].T).sum()
    traces = roots[0].square().sum() + roots[1].square().sum()
    return float((means[0] - means[1]).square().sum() + traces - 2 * nuclear)
