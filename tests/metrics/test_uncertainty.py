import numpy as np
import pytest
import torch
from torch import Tensor

from ganfast.metrics import (
    FrechetStatistics,
    Moments,
    frechet_distance,
    frechet_distance_from_features,
    frechet_distance_infinity,
    intra_frechet_distance,
    jackknife_interval,
)


def randn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def of(features: Tensor) -> FrechetStatistics:
    statistics = FrechetStatistics(features.shape[1])
    statistics.update(features)
    return statistics


@pytest.mark.parametrize("dim", [6, 40])  # 40: some subsets have fewer samples than dimensions
def test_infinity_is_the_line_through_the_distances_of_nested_subsets(dim: int) -> None:
    real, fake = randn(500, dim, seed=0), randn(300, dim, seed=1) * 1.3
    found = frechet_distance_infinity(of(real), fake, points=6, smallest=20, seed=3)
    shuffled = fake[torch.randperm(300, generator=torch.Generator().manual_seed(3))]
    assert found.sizes == [20, 76, 132, 188, 244, 300]
    want = [float(frechet_distance_from_features(real, shuffled[:n])) for n in found.sizes]
    np.testing.assert_allclose(found.distances, want, rtol=1e-9)
    # Least squares by the normal equations.
    inverse = np.stack([1 / np.array(found.sizes), np.ones(6)], axis=1)
    slope, value = np.linalg.solve(inverse.T @ inverse, inverse.T @ np.array(want))
    assert found.value == pytest.approx(value, rel=1e-8)
    assert found.slope == pytest.approx(slope, rel=1e-8)


def test_infinity_to_a_singular_reference() -> None:
    real, fake = randn(15, 30, seed=0), randn(100, 30, seed=1) * 1.3
    found = frechet_distance_infinity(of(real), fake, points=3, smallest=12, seed=3)
    shuffled = fake[torch.randperm(100, generator=torch.Generator().manual_seed(3))]
    want = [float(frechet_distance_from_features(real, shuffled[:n])) for n in found.sizes]
    np.testing.assert_allclose(found.distances, want, rtol=1e-9)


def test_infinity_has_less_bias() -> None:
    dim = 20
    exact = Moments(torch.zeros(dim), torch.eye(dim))
    fake = randn(2000, dim, seed=0)  # the distance of the distributions is 0
    found = frechet_distance_infinity(exact, fake)
    assert len(found.sizes) == 15
    assert found.sizes[0] == 200
    assert found.slope > 0
    assert abs(found.value) < 0.2 * found.distances[-1]


def test_jackknife_by_its_definition() -> None:
    real, fake = randn(400, 5, seed=0), randn(203, 5, seed=1) * 1.2 + 0.1
    found = jackknife_interval(of(real), fake, groups=7, z=2.0)
    value = float(frechet_distance_from_features(real, fake))
    keep = torch.arange(203) % 7
    without = np.array(
        [float(frechet_distance_from_features(real, fake[keep != g])) for g in range(7)]
    )
    error = np.sqrt(6 / 7 * ((without - without.mean()) ** 2).sum())
    assert found.value == pytest.approx(value, rel=1e-10)
    assert found.standard_error == pytest.approx(error, rel=1e-7)
    assert (found.low, found.high) == pytest.approx((value - 2 * error, value + 2 * error))
    assert found.unbiased == pytest.approx(7 * value - 6 * without.mean(), rel=1e-8)


def test_jackknife_tells_the_scatter_and_takes_out_the_bias() -> None:
    # Many draws: their scatter is the standard error, their unbiased mean nearly the true distance.
    dim = 4
    exact = Moments(torch.zeros(dim), torch.eye(dim))
    true = float(frechet_distance(torch.full((dim,), 0.3), torch.eye(dim) * 1.44, *exact[:2]))
    draws = [
        jackknife_interval(exact, randn(200, dim, seed=s) * 1.2 + 0.3, groups=10) for s in range(60)
    ]
    values, unbiased = (np.array([getattr(d, n) for d in draws]) for n in ("value", "unbiased"))
    error = np.sqrt(np.mean([d.standard_error**2 for d in draws]))
    assert error == pytest.approx(values.std(), rel=0.3)
    assert abs(unbiased.mean() - true) < 0.5 * abs(values.mean() - true)
    covered = np.mean([d.unbiased - 1.96 * d.standard_error <= true
                       <= d.unbiased + 1.96 * d.standard_error for d in draws])  # fmt: skip
    assert covered > 0.8


def test_fewer_samples_than_dimensions() -> None:
    real, fake = randn(100, 30, seed=0), randn(24, 30, seed=1)
    found = jackknife_interval(of(real), fake, groups=3)
    assert found.value == pytest.approx(float(frechet_distance_from_features(real, fake)), rel=1e-9)


def test_intra() -> None:
    x, y = randn(60, 3, seed=0), randn(90, 3, seed=1) + 1
    of_x, of_y = torch.arange(60) % 3 + 4, np.arange(90) % 3 + 4
    found = intra_frechet_distance(x, of_x, y.numpy(), of_y)
    assert list(found) == [4, 5, 6]
    for k, label in enumerate(found):
        want = float(frechet_distance_from_features(x[k::3], y[k::3]))
        assert found[label] == pytest.approx(want, rel=1e-12)
    # All classes in one call, from their moments.
    means, sigmas = (
        [torch.stack([getattr(of(side[k::3]).moments, name) for k in range(3)]) for side in (x, y)]
        for name in ("mean", "covariance")
    )
    at_once = frechet_distance(means[0], sigmas[0], means[1], sigmas[1])
    np.testing.assert_allclose(at_once, list(found.values()), rtol=1e-10)


def test_what_does_not_fit_is_refused() -> None:
    x = randn(20, 3, seed=0)
    statistics = of(x)
    for points, smallest in ((1, 5), (3, 1), (3, 20)):
        with pytest.raises(ValueError, match="points must be at least 2 and smallest from 2"):
            frechet_distance_infinity(statistics, x, points, smallest)
    for groups in (1, 11):
        with pytest.raises(ValueError, match="groups must be from 2 to half the 20 features"):
            jackknife_interval(statistics, x, groups)
    with pytest.raises(TypeError, match="reference must be FrechetStatistics or Moments"):
        frechet_distance_infinity(x, x)
    with pytest.raises(ValueError, match=r"x_labels must have shape \(20,\), got \(3,\)"):
        intra_frechet_distance(x, torch.arange(3), x, torch.arange(20))
    with pytest.raises(TypeError, match=r"y_labels must hold integers, got torch\.float64"):
        intra_frechet_distance(x, torch.arange(20), x, np.zeros(20))
    with pytest.raises(ValueError, match="label 1 must have at least 2 samples on both sides"):
        intra_frechet_distance(x, torch.arange(20) % 2, x, torch.zeros(20, dtype=torch.int64))


@pytest.mark.parametrize("dim", [1, 2, 4])
def test_features_of_another_dimension_are_refused(dim: int) -> None:
    x = randn(40, dim, seed=0)
    for reference in (of(randn(20, 3, seed=1)), Moments(torch.zeros(3), torch.eye(3))):
        for distance in (frechet_distance_infinity, jackknife_interval):
            message = rf"^features must have shape \(N, 3\), got \(40, {dim}\)"
            with pytest.raises(ValueError, match=message):
                distance(reference, x)
