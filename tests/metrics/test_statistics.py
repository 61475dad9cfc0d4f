from pathlib import Path

import numpy as np
import processes
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ganfast.metrics import EMAStatistics, FrechetStatistics, WindowStatistics


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
    with pytest.raises(ValueError, match="mean must be of at least 1 sample, got 0"):
        _ = statistics.mean
    statistics.update(torch.zeros(0, 3))
    statistics.merge(FrechetStatistics(3))
    assert statistics.n == 0
    statistics.update(torch.ones(1, 3))
    assert statistics.mean.tolist() == [1, 1, 1]
    for ddof in (0, 1):
        with pytest.raises(ValueError, match="covariance must be of at least 2 samples, got 1"):
            statistics.covariance(ddof)


def test_bad_input_is_refused_and_changes_nothing() -> None:
    statistics = of(seeded(5, 3))
    with pytest.raises(TypeError, match="features must be a torch tensor or numpy array"):
        statistics.update([[1.0, 2.0, 3.0]])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"features must be floating-point, got torch\.int64"):
        statistics.update(torch.zeros(2, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"features must have shape \(N, 3\), got \(2, 4\)"):
        statistics.update(torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"features must have shape \(N, 3\), got \(3,\)"):
        statistics.update(torch.zeros(3))
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="features must be finite"):
            statistics.update(torch.tensor([[0.0, value, 0.0]]))
    with pytest.raises(ValueError, match="other must have dim 3, got 2"):
        statistics.merge(FrechetStatistics(2))
    with pytest.raises(ValueError, match="ddof must be 0 or 1, got 2"):
        statistics.covariance(ddof=2)
    with pytest.raises(ValueError, match="dim must be at least 1, got 0"):
        FrechetStatistics(0)
    assert_same(statistics, of(seeded(5, 3)))


@given(n=st.integers(2, 60), seed=st.integers(0, 999), ddof=st.sampled_from([0, 1]))
def test_weights_equal_numpy(n: int, seed: int, ddof: int) -> None:
    features = seeded(n, 4, seed=seed) + 5
    weights = torch.rand(n, generator=torch.Generator().manual_seed(seed)) + 1e-3
    weights[0], weights[-1] = 2, 3
    statistics = FrechetStatistics(4)
    statistics.update(features[: n // 2], weights[: n // 2])
    statistics.update(features[n // 2 :], weights[n // 2 :].numpy())
    covariance = np.cov(features.numpy(), rowvar=False, ddof=ddof, aweights=weights.double())
    np.testing.assert_allclose(statistics.covariance(ddof), covariance, rtol=1e-11, atol=1e-12)
    mean = np.average(features.numpy(), axis=0, weights=weights.double())
    np.testing.assert_allclose(statistics.mean, mean, rtol=1e-13)


def test_a_weight_of_zero_is_a_sample_left_out_and_of_two_one_repeated() -> None:
    features = seeded(30, 4)
    weights = torch.ones(30)
    weights[3], weights[5] = 0, 2
    weighted = FrechetStatistics(4)
    weighted.update(torch.zeros(0, 4), torch.zeros(0))
    weighted.update(features, weights)
    picked = torch.cat([features[:3], features[4:], features[5:6]])
    torch.testing.assert_close(weighted.covariance(0), of(picked).covariance(0), atol=1e-14, rtol=0)
    for bad in (-weights, weights / 0, weights[1:]):
        with pytest.raises(ValueError, match="weights must"):
            weighted.update(features, bad)
    nothing = FrechetStatistics(4)
    nothing.update(features, torch.zeros(30))
    with pytest.raises(ValueError, match="mean must be of at least 1 sample"):
        _ = nothing.mean


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_a_billion_samples_do_not_drift(offset: float) -> None:
    # Thirty doublings of 1,000 samples: the moments over n stay where they were.
    start = of(seeded(1000, 6) + offset)
    statistics = of(seeded(1000, 6) + offset)
    for _ in range(20):
        statistics.merge(statistics)
    assert statistics.n == 1000 * 2**20 > 1e9
    torch.testing.assert_close(statistics.mean, start.mean, rtol=1e-15, atol=0)
    torch.testing.assert_close(statistics.covariance(0), start.covariance(0), rtol=1e-13, atol=0)
    # One batch more, in the billion.
    batch = seeded(500, 6, seed=1) + offset + 100
    statistics.update(batch)
    n, m = 1000 * 2**20, 500
    share = m / (n + m)
    delta = batch.mean(0) - start.mean
    want = start.covariance(0) * (1 - share) + of(batch).covariance(0) * share
    want += torch.outer(delta, delta) * share * (1 - share)
    torch.testing.assert_close(statistics.covariance(0), want, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_features_of_few_bits(dtype: torch.dtype) -> None:
    features = (seeded(5000, 3) * 3 + 100).to(dtype)
    assert_same(of(features), of(features.double()))


def test_large_updates_need_one_block_of_memory() -> None:
    # More rows than a block, and a dimension of more than one block of products.
    features = seeded(4500, 600, seed=1).float()
    want = np.cov(features.double().numpy(), rowvar=False)
    np.testing.assert_allclose(of(features).covariance(), want, atol=1e-13)


def test_without_undoes_merge() -> None:
    a, b = seeded(300, 4) + 9, seeded(40, 4, seed=1) - 2
    together = of(torch.cat([a, b]))
    assert_same(together.without(of(b)), of(a))
    with pytest.raises(ValueError, match="part must hold fewer than 40 samples of dim 4"):
        of(b).without(of(a))


def test_moving_average() -> None:
    batches = [seeded(20, 3, seed=s) * (s + 1) + s for s in range(12)]
    moving = EMAStatistics(3, decay=0.8)
    for batch in batches:
        moving.update(batch)
    weights = torch.cat([torch.full((20,), 0.8 ** (11 - s)) for s in range(12)]).double()
    whole = FrechetStatistics(3)
    whole.update(torch.cat(batches), weights)
    for ddof in (0, 1):
        torch.testing.assert_close(moving.covariance(ddof), whole.covariance(ddof))
    torch.testing.assert_close(moving.mean, whole.mean)
    for decay in (0, 1, float("nan")):
        with pytest.raises(ValueError, match="decay must be between 0 and 1"):
            EMAStatistics(3, decay)


@given(sizes=st.lists(st.integers(0, 9), max_size=8), window=st.integers(2, 7))
def test_window(sizes: list[int], window: int) -> None:
    everything = seeded(sum(sizes), 3)
    found = WindowStatistics(3, window)
    for part in everything.split(sizes) if sizes else ():
        found.update(part)
    last = everything[-window:]
    assert found.n == len(last)
    assert torch.equal(found.features.sort(0).values, last.sort(0).values)
    if found.n >= 2:
        torch.testing.assert_close(found.moments.covariance, of(last).covariance())


def test_a_window_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="dim must be at least 1 and size at least 2, got 3 and 1"):
        WindowStatistics(3, 1)
    with pytest.raises(ValueError, match=r"features must have shape \(N, 3\), got \(2, 4\)"):
        WindowStatistics(3, 5).update(torch.zeros(2, 4))


def _reduced(rank: int, world: int, folder: Path) -> None:
    statistics = FrechetStatistics(7)
    statistics.update((seeded(101, 7) * 2 + 50).tensor_split(world)[rank])
    if rank == world - 1 and world > 1:
        statistics = FrechetStatistics(7)  # a process that has seen nothing
    before = statistics.n
    total = statistics.reduce()
    assert statistics.n == before
    total.save(folder / f"{rank}.npz")


@pytest.mark.parametrize("world", [1, 2, 4])
def test_reduced_over_processes(world: int, tmp_path: Path) -> None:
    processes.run(world, tmp_path, _reduced, world, tmp_path)
    seen = world - 1 if world > 1 else 1
    want = of(torch.cat((seeded(101, 7) * 2 + 50).tensor_split(world)[:seen]))
    for rank in range(world):
        assert_same(FrechetStatistics.load(tmp_path / f"{rank}.npz"), want)


def test_reduced_alone() -> None:
    statistics = of(seeded(10, 3))
    alone = statistics.reduce()
    assert_same(alone, statistics)
    alone.update(seeded(5, 3))
    assert statistics.n == 10
