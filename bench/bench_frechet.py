"""The Fréchet distance against the usual formulas, and the moments against a plain product."""

import warnings
from collections.abc import Callable
from functools import lru_cache, partial

import numpy as np
import scipy.linalg
import torch
from torch import Tensor

from bench import memory
from bench.kit import SUBJECT, Case
from ganfast.metrics import (
    FrechetStatistics,
    frechet_distance,
    frechet_distance_from_features,
    frechet_distance_infinity,
)


def cases() -> list[Case]:
    """From moments at the sizes of common features, with fewer samples than dimensions, on a GPU.

    Then what the distance is made from, and what is made from it.
    """
    return [
        *(_from_moments(f"d = {d}", 2 * d + 10, d) for d in (64, 512)),
        _from_moments("d = 2048", 4106, 2048, once=("sqrtm",)),  # about 10 s a call
        _from_moments("d = 512, rank 299", 300, 512),
        _case("d = 512, from 300 features", partial(_features, 300, 512), _from_features, _svd),
        _case("d = 2048, from 300 features", partial(_features, 300, 2048), _large_features, _svd),
        *(_on_a_gpu(f"d = {d}, GPU", d, 1) for d in (2048, 4096)),
        _on_a_gpu("d = 512, batch of 100, GPU", 512, 100),
        _case("moments of 20,000 x 2048", _many, _moment_providers, _trace_of_moments),
        _case("extrapolation, 15 points", _two, _extrapolations, _last_distance,
              ("sqrtm", SUBJECT)),
    ]  # fmt: skip


def _case(
    name: str,
    make: Callable[[], list[Tensor]],
    providers: dict[str, Callable[[list[Tensor]], float]],
    reference: Callable[[list[Tensor]], float],
    once: tuple[str, ...] = (),
    devices: tuple[str, ...] = ("cpu",),
) -> Case:
    return Case(
        "frechet", name, make, providers, ("forward",), reference, once, devices,
        memory.process_peak,
    )  # fmt: skip


def _on_a_gpu(name: str, d: int, batch: int) -> Case:
    def make() -> list[Tensor]:
        moments = [m for x in _features(2 * d + 10, d) for m in _moments(x)]
        return [m.expand(batch, *m.shape).contiguous() for m in moments]

    def by_eigenvalues(m: list[Tensor]) -> float:
        return float(frechet_distance(m[0], m[1], m[2], m[3], method="eigenvalues").sum())

    def eigvals(m: list[Tensor]) -> float:
        return sum(_eigvals(*pair) for pair in zip(*m, strict=True))

    def ganfast(m: list[Tensor]) -> float:
        return float(frechet_distance(m[0], m[1], m[2], m[3]).sum())

    providers: dict[str, Callable[[list[Tensor]], float]] = {
        "eigvals": eigvals,
        "eigvalsh": by_eigenvalues,
        SUBJECT: ganfast,
    }
    return _case(name, make, providers, by_eigenvalues, ("eigvals",), ("cuda",))


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
    x = x.double()
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


# sqrtm of 2048 dimensions takes ten seconds and is measured above.
_large_features = {name: f for name, f in _from_features.items() if name != "sqrtm"}


def _many() -> list[Tensor]:
    return [torch.randn(20_000, 2048, generator=torch.Generator().manual_seed(0)) + 1]


def _streamed(x: list[Tensor]) -> float:
    statistics = FrechetStatistics(x[0].shape[1])
    statistics.update(x[0])
    return float(statistics.covariance().trace() + statistics.mean.sum())


def _numpy_moments(x: list[Tensor]) -> float:
    features = x[0].numpy().astype(np.float64)
    return float(np.trace(np.cov(features, rowvar=False)) + features.mean(axis=0).sum())


def _product(x: list[Tensor]) -> float:
    """The moments as one float64 product and nothing else: the rate to compare with."""
    features = x[0].double()
    n, mean = len(features), features.mean(dim=0)
    product = features.T @ features
    return float((product.trace() - n * mean.square().sum()) / (n - 1) + mean.sum())


def _trace_of_moments(x: list[Tensor]) -> float:
    features = x[0].double()
    return float(features.var(dim=0).sum() + features.mean(dim=0).sum())


_moment_providers: dict[str, Callable[[list[Tensor]], float]] = {
    "numpy.cov": _numpy_moments,
    "float64 product": _product,
    SUBJECT: _streamed,
}


def _two() -> list[Tensor]:
    """Features of a reference, and 15,000 of 2048 dimensions."""
    generator = torch.Generator().manual_seed(0)
    scale = torch.arange(1, 2049) ** -0.5
    return [torch.randn(n, 2048, generator=generator) * scale for n in (4106, 15_000)]


def _extrapolated(x: list[Tensor]) -> float:
    """The last of the 15 distances, which is the one of all features."""
    reference = FrechetStatistics(x[0].shape[1])
    reference.update(x[0])
    return frechet_distance_infinity(reference, x[1]).distances[-1]


def _last_distance(x: list[Tensor]) -> float:
    return float(frechet_distance_from_features(x[0], x[1]))


# One root of a product is what other tools take at each of the 15 points.
_extrapolations: dict[str, Callable[[list[Tensor]], float]] = {
    "sqrtm": _from_features["sqrtm"],
    SUBJECT: _extrapolated,
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
