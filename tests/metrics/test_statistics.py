import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ganfast.metrics import FrechetStatistics


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def of(features: torch.Tensor) -> FrechetStatistics:
    statistics = FrechetStatistics(features.shape[1])
    statistics.update(features)
    return statistics


def assert_same(a: FrechetStatistics, b: FrechetStatistics) -> None:
    assert a.n == b.n
    scale = a.covariance().diagonal().max()
    assert (a.mean - b.mean).abs().max() <= 1e-12 * (1 + b.mean.abs().max())
    assert (a.covariance() - b.covariance()).abs().max() <= 1e-12 * scale


@given(
    n=st.integers(2, 200),
    dim=st.integers(1, 12),
    offset=st.sampled_from([0.0, 1.0, -50.0]),
    ddof=st.sampled_from([0, 1]),
    seed=st.integers(0, 999),
)
def test_equals_numpy(n: int, dim: int, offset: float, ddof: int, seed: int) -> None:
    features = seeded(n, dim, seed=seed) + offset
    statistics = of(features)
    covariance = np.cov(features.numpy(), rowvar=False, ddof=ddof).reshape(dim, dim)
    np.testing.assert_allclose(statistics.mean, features.numpy().mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(statistics.covariance(ddof), covariance, rtol=1e-12, atol=1e-12)


@given(
    n=st.integers(2, 120),
    cuts=st.lists(st.integers(0, 120), max_size=6),
    offset=st.sampled_from([0.0, 30.0]),
    seed=st.integers(0, 999),
)
def test_does_not_depend_on_how_the_data_is_split(
    n: int, cuts: list[int], offset: float, seed: int
) -> None:
    features = seeded(n, 5, seed=seed) + offset
    parts = torch.tensor_split(features, sorted(min(cut, n) for cut in cuts))
    updated, merged = FrechetStatistics(5), FrechetStatistics(5)
    for part in parts:
        updated.update(part)
        merged.merge(of(part))
    assert_same(updated, of(features))
    assert_same(merged, of(features))


def test_one_update_larger_than_a_block() -> None:
    features = seeded(10_000, 3)
    rows = FrechetStatistics(3)
    for part in features.split(7):
        rows.update(part)
    assert_same(rows, of(features))


def test_a_large_mean_costs_no_accuracy() -> None:
    # 1e6 + k / 4 is exact in float64; the raw second moment would lose 12 of the 16 digits.
    small = torch.randint(-8, 9, (500, 4), generator=torch.Generator().manual_seed(0)).double() / 4
    error = (of(small + 1e6).covariance() - of(small).covariance()).abs().max()
    assert error <= 1e-10 * of(small).covariance().max()


def test_single_precision_features_are_summed_in_double() -> None:
    features = (seeded(3000, 2) + 100).float()
    assert_same(of(features), of(features.double()))
    assert of(features).mean.dtype == torch.float64
    assert of(features).covariance().dtype == torch.float64


def test_numpy_features() -> None:
    features = seeded(20, 3)
    statistics = FrechetStatistics(3)
    statistics.update(features.numpy())
    assert_same(statistics, of(features))


def test_merging_with_itself_counts_everything_twice() -> None:
    features = seeded(30, 4)
    statistics = of(features)
    statistics.merge(statistics)
    assert_same(statistics, of(torch.cat([features, features])))


def test_merging_leaves_the_other_alone() -> None:
    one, other = of(seeded(10, 2)), of(seeded(5, 2, seed=1))
    one.merge(other)
    one.update(seeded(3, 2, seed=2))
    assert_same(other, of(seeded(5, 2, seed=1)))


def test_results_are_copies_and_the_covariance_is_symmetric() -> None:
    statistics = of(seeded(50, 20))
    statistics.mean.zero_()
    statistics.covariance().zero_()
    assert_same(statistics, of(seeded(50, 20)))
    assert torch.equal(statistics.covariance(), statistics.covariance().T)


def test_too_few_samples() -> None:
    statistics = FrechetStatistics(3)
    with pytest.raises(ValueError, match="mean: expected at least 1 sample, got 0"):
        _ = statistics.mean
    statistics.update(torch.zeros(0, 3))
    statistics.merge(FrechetStatistics(3))
    assert statistics.n == 0
    statistics.update(torch.ones(1, 3))
    assert statistics.mean.tolist() == [1, 1, 1]
    for ddof in (0, 1):
        with pytest.raises(ValueError, match="covariance: expected at least 2 samples, got 1"):
            statistics.covariance(ddof)


def test_bad_input_is_refused_and_changes_nothing() -> None:
    statistics = of(seeded(5, 3))
    with pytest.raises(TypeError, match="features: expected a torch tensor or numpy array"):
        statistics.update([[1.0, 2.0, 3.0]])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"features: expected floating point, got torch\.int64"):
        statistics.update(torch.zeros(2, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"features: expected shape \(N, 3\), got \(2, 4\)"):
        statistics.update(torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"features: expected shape \(N, D\), got \(3,\)"):
        statistics.update(torch.zeros(3))
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="features: expected finite numbers"):
            statistics.update(torch.tensor([[0.0, value, 0.0]]))
    with pytest.raises(ValueError, match="other: expected statistics of dim 3, got 2"):
        statistics.merge(FrechetStatistics(2))
    with pytest.raises(ValueError, match="ddof: expected 0 or 1, got 2"):
        statistics.covariance(ddof=2)
    with pytest.raises(ValueError, match="dim: expected 1 or more, got 0"):
        FrechetStatistics(0)
    assert_same(statistics, of(seeded(5, 3)))
