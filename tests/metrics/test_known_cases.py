"""Cases that other implementations of the distance are tested on, stated anew."""

import numpy as np
import pytest
import scipy.linalg
import torch

from ganfast.metrics import (
    FrechetStatistics,
    frechet_distance,
    frechet_distance_from_features,
    trace_sqrt_product,
)


@pytest.mark.parametrize("n", [2, 8, 64, 1024])
@pytest.mark.parametrize("dim", [2, 16, 128])
def test_any_number_of_samples_in_any_dimension(n: int, dim: int) -> None:
    # Against SciPy's root of the product, five decimals, rank-deficient ones included.
    rng = np.random.default_rng(n * 1000 + dim)
    moments = []
    for shift in (0.0, 0.5):
        x = rng.normal(size=(n, dim)) * rng.uniform(0.5, 2, dim) + shift
        moments.append((x.mean(axis=0), np.cov(x, rowvar=False)))
    (mu1, sigma1), (mu2, sigma2) = moments
    root = scipy.linalg.sqrtm(sigma1 @ sigma2)
    want = ((mu1 - mu2) ** 2).sum() + np.trace(sigma1 + sigma2 - 2 * root.real)
    found = float(frechet_distance(mu1, sigma1, mu2, sigma2))
    assert found == pytest.approx(want, abs=1.5e-5, rel=1e-7)


def test_a_product_whose_eigenvalues_would_be_complex_or_nan() -> None:
    # Nearly the same rank-one matrices: rounding makes eigenvalues of the product negative.
    v = np.linspace(1, 2, 50)
    sigma = np.outer(v, v)
    other = np.outer(v + 1e-9, v + 1e-9)
    found = float(frechet_distance(v, sigma, v, other))
    assert 0 <= found < 1e-6


@pytest.mark.parametrize("batches", [1, 7])
def test_online_equals_all_at_once(batches: int) -> None:
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(1000, 10)), rng.normal(size=(1000, 10)) + 0.3
    online = []
    for x in (train, test):
        statistics = FrechetStatistics(10)
        for part in np.array_split(x, batches):
            statistics.update(part)
        online.append(statistics)
    found = frechet_distance(
        online[0].mean, online[0].covariance(), online[1].mean, online[1].covariance()
    )
    sigmas = [np.cov(x, rowvar=False) for x in (train, test)]
    root = scipy.linalg.sqrtm(sigmas[0] @ sigmas[1]).real
    want = ((train.mean(0) - test.mean(0)) ** 2).sum() + np.trace(sum(sigmas) - 2 * root)
    assert float(found) == pytest.approx(want, rel=1e-9)


def test_a_negative_definite_covariance_is_refused() -> None:
    eye = np.eye(4)
    with pytest.raises(ValueError, match="sigma2 must be a positive semi-definite matrix"):
        frechet_distance(np.zeros(4), eye, np.zeros(4), -eye)


def test_three_points_in_two_dimensions() -> None:
    x = torch.tensor([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0]])
    y = torch.tensor([[2.0, 2.0], [1.0, 2.0], [1.0, 2.0]])
    assert float(frechet_distance_from_features(x, y)) == pytest.approx(4 / 9, abs=1e-15)


def test_the_root_of_diag_4_9() -> None:
    assert float(trace_sqrt_product(torch.diag(torch.tensor([4, 9])), torch.eye(2))) == 5


def test_equal_covariances_leave_the_means() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(90, 12))
    sigma = np.cov(x, rowvar=False)
    mu1, mu2 = rng.integers(-9, 9, (2, 12))
    assert float(frechet_distance(mu1, sigma, mu2, sigma)) == ((mu1 - mu2) ** 2).sum()


def test_the_same_features_have_no_distance() -> None:
    x = np.random.default_rng(0).normal(size=(30, 64)).astype(np.float32)
    assert frechet_distance_from_features(x, x) == 0


def test_ddof() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 6)), rng.normal(size=(40, 6))
    moments = [m for z in (x, y) for m in (z.mean(0), np.cov(z, rowvar=False, ddof=0))]
    for few in (slice(None), slice(5)):  # also where the features are fewer than the dimensions
        a, b = x[few], y[few]
        moments = [m for z in (a, b) for m in (z.mean(0), np.cov(z, rowvar=False, ddof=0))]
        found = float(frechet_distance_from_features(a, b, ddof=0))
        assert found == pytest.approx(float(frechet_distance(*moments)), rel=1e-9)
