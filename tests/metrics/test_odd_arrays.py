"""Arrays of any layout and values of any size are taken rightly or refused in one sentence."""

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ganfast import metrics
from ganfast.metrics import FrechetStatistics, WindowStatistics

N, D = 24, 4
DRAW = np.random.default_rng(5)
X, Y = DRAW.normal(size=(2, N, D))


def statistics(x: Any) -> FrechetStatistics:
    found = FrechetStatistics(D)
    found.update(x)
    return found


def moments(x: Any) -> tuple[Any, Any]:
    """Mean and covariance in the layout of x."""
    plain = np.asarray(x)
    like: Callable[[Any], Any] = type(x) if isinstance(x, np.ma.MaskedArray) else np.asarray
    mean, covariance = plain.mean(0), np.cov(plain.T)
    return like(mean.astype(x.dtype)), like(covariance.astype(x.dtype))


def window(x: Any) -> torch.Tensor:
    found = WindowStatistics(D, 5)
    found.update(x)
    return found.moments.covariance


LABELS = np.arange(N) % 2
OF_FEATURES: dict[str, Callable[[Any, Any], Any]] = {
    "kid": lambda x, y: metrics.kid(x, y, subsets=2, subset_size=12),
    "rbf": lambda x, y: metrics.kid(x, y, subsets=2, subset_size=12, kernel="rbf"),
    "cmmd": metrics.cmmd,
    "prdc": lambda x, y: metrics.prdc(x, y, k=3),
    "realism": metrics.realism,
    "mifid": metrics.mifid,
    "mind": metrics.mind,
    "sliced_wasserstein": metrics.sliced_wasserstein,
    "inception_score": lambda x, y: metrics.inception_score(x, splits=2),
    "from_features": metrics.frechet_distance_from_features,
    "infinity": lambda x, y: metrics.frechet_distance_infinity(statistics(x), y),
    "jackknife": lambda x, y: metrics.jackknife_interval(statistics(x), y, groups=3),
    "intra": lambda x, y: list(metrics.intra_frechet_distance(x, LABELS, y, LABELS).values()),
    "statistics": lambda x, y: statistics(x).covariance(),
    "window": lambda x, y: window(x),
    "loss": lambda x, y: metrics.FrechetLoss(statistics(x).moments)(y),
}
OF_MOMENTS: dict[str, Callable[[Any, Any], Any]] = {
    "frechet_distance": lambda x, y: metrics.frechet_distance(*moments(x), *moments(y)),
    "trace": lambda x, y: metrics.trace_sqrt_product(moments(x)[1], moments(y)[1]),
    "bounds": lambda x, y: metrics.trace_sqrt_product_with_bounds(moments(x)[1], moments(y)[1]),
    "sqrtm": lambda x, y: metrics.sqrtm_psd(moments(x)[1]),
    "inv_sqrtm": lambda x, y: metrics.inv_sqrtm_psd(moments(x)[1]),
    "polar": lambda x, y: metrics.polar_factor(x),
}
EVERY = {**OF_FEATURES, **OF_MOMENTS}


def numbers(found: Any) -> np.ndarray:
    """All numbers of a result in one array."""
    if isinstance(found, torch.Tensor):
        return found.detach().numpy().ravel()
    if isinstance(found, (list, tuple)):
        return np.concatenate([numbers(part) for part in found])
    return np.array([found], dtype=np.float64)


def read_only(x: np.ndarray) -> np.ndarray:
    copy = x.copy()
    copy.setflags(write=False)
    return copy


SAME_VALUES: dict[str, Callable[[np.ndarray], Any]] = {
    "big-endian": lambda x: x.astype(">f8"),
    "Fortran": np.asfortranarray,
    "reversed twice": lambda x: x[::-1].copy()[::-1],
    "a field of records": lambda x: fields(x),
    "read-only": read_only,
    "without a mask": np.ma.masked_array,
}


def fields(x: np.ndarray) -> Any:
    records = np.zeros(x.shape, [("odd", "i1"), ("value", "f8")])
    records["value"] = x
    return records["value"]


@pytest.mark.parametrize("layout", SAME_VALUES)
@pytest.mark.parametrize("name", EVERY)
def test_a_layout_in_memory_changes_nothing(name: str, layout: str) -> None:
    if layout == "a field of records" and name in OF_MOMENTS:
        pytest.skip("moments are computed, and have no such layout")
    expected = numbers(EVERY[name](X, Y))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = numbers(EVERY[name](SAME_VALUES[layout](X), SAME_VALUES[layout](Y)))
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


NO_NUMBERS: dict[str, tuple[Any, str]] = {
    "objects": (X.astype(object), "must hold numbers of up to 64 bits, got dtype object"),
    "texts": (np.full((N, D), "a"), "must hold numbers"),
    "records": (np.zeros((N, D), [("a", "f4")]), "must hold numbers"),
    "dates": (np.zeros((N, D), "M8[s]"), "must hold numbers"),
    "long doubles": (X.astype(np.longdouble), "must hold numbers of up to 64 bits"),
    "masked": (np.ma.masked_greater(X, 1.0), r"must have no masked entries, got \d+"),
    "a number": (np.array(1.0), "must have shape"),
    "sparse": (torch.tensor(X).to_sparse(), "must be a dense tensor, got torch.sparse_coo"),
    "without values": (torch.zeros(N, D, device="meta"), "must be a dense tensor"),
    "a list": (X.tolist(), "must be a torch tensor or numpy array, got <class 'list'>"),
}


@pytest.mark.parametrize("kind", NO_NUMBERS)
@pytest.mark.parametrize("name", OF_FEATURES)
def test_what_numpy_does_not_mean_as_numbers_is_one_sentence(name: str, kind: str) -> None:
    value, words = NO_NUMBERS[kind]
    with pytest.raises((TypeError, ValueError), match=rf"^(x|y|features|logits) {words}"):
        OF_FEATURES[name](value, Y)


SCALE_FREE = ("cmmd", "prdc", "realism")


@pytest.mark.parametrize("scale", [1e-300, 1e-200, 1e-100, 1e-40, 1e30])
@pytest.mark.parametrize("name", SCALE_FREE)
def test_metrics_without_a_unit_are_the_same_at_every_scale(name: str, scale: float) -> None:
    expected = numbers(OF_FEATURES[name](X, Y))
    np.testing.assert_allclose(numbers(OF_FEATURES[name](X * scale, Y * scale)), expected, 1e-9)


@pytest.mark.parametrize("scale", [0.0, 1e-300, 1e-160, 1e-40, 1e37, 1e60, 1e120, 1e200, 1e307])
@pytest.mark.parametrize("name", EVERY)
def test_numbers_of_any_size_are_finite_or_one_sentence(name: str, scale: float) -> None:
    try:
        found = numbers(EVERY[name](X * scale, Y * scale))
    except ValueError as error:
        words = str(error)
        small = scale < 1 and any(part in words for part in ("singular", "norm 0", "equal radii"))
        assert small or "finite" in words or "in size" in words, words
    else:
        assert np.isfinite(found).all() or (name == "realism" and (found > 0).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_kernel_that_overflows_is_no_score(dtype: torch.dtype) -> None:
    x, y = (torch.tensor(side * (1e30 if dtype == torch.float32 else 1e55), dtype=dtype)
            for side in (X, Y))  # fmt: skip
    with pytest.raises(ValueError, match="x and y must be small enough for a finite KID"):
        metrics.kid(x, y, subsets=2, subset_size=12)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", OF_FEATURES)
def test_one_value_that_is_not_finite_is_one_sentence(name: str, wrong: float) -> None:
    x = X.copy()
    x[3, 2] = wrong
    with pytest.raises(ValueError, match="must be finite, got NaN or infinity"):
        OF_FEATURES[name](x, Y)


def test_a_reference_of_equal_samples_has_no_trace_term() -> None:
    """The distance is then |mu - mu_ref|^2 + tr Sigma."""
    reference = statistics(np.ones((N, D)))
    expected = ((Y.mean(0) - 1) ** 2).sum() + np.trace(np.cov(Y.T))
    assert metrics.jackknife_interval(reference, Y, groups=3).value == pytest.approx(expected)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([-50.0, 50.0], "got -50"),
        ([math.nan, 1.0], "got nan"),
        ([math.inf, 1.0], "got inf"),
        ([1e-200, 1.0], "got 1e-200"),
        ([1e200, 1.0], "got 1e"),
    ],
)
def test_weights_out_of_range_change_nothing(weights: list[float], words: str) -> None:
    found = FrechetStatistics(D)
    with pytest.raises(ValueError, match=f"weights must be 0 or from 1e-70 to 1e.70, {words}"):
        found.update(X[:2], np.array(weights))
    assert found.n == 0


def test_weights_of_zero_alone_are_named() -> None:
    found = FrechetStatistics(D)
    found.update(X, np.zeros(N))
    with pytest.raises(ValueError, match="at least 1 sample, got 24, all of weight 0"):
        _ = found.mean
    with pytest.raises(ValueError, match="of which at most 1 has a weight above 0"):
        found.covariance()


def test_weights_of_any_layout_are_those_of_numpy() -> None:
    w = DRAW.random(N)
    found = FrechetStatistics(D)
    found.update(X, w.astype(">f4")[::-1])
    expected = np.cov(X.T, aweights=w[::-1].astype("f4"))
    np.testing.assert_allclose(found.covariance().numpy(), expected, rtol=1e-9)
    with pytest.raises(TypeError, match="weights must be real"):
        found.update(X, w + 0j)


@pytest.mark.parametrize(
    "sums", [[-50.0, 50.0], [0.0, 0.0], [math.nan, 1.0], [1e200, 1.0], [2.0, -1.0]]
)
def test_weights_in_a_file_that_no_weights_sum_to(sums: list[float], tmp_path: Path) -> None:
    path = tmp_path / "moments.npz"
    np.savez(path, mu=X.mean(0), sigma=np.cov(X.T), n=np.array(N), weights=np.array(sums))
    with pytest.raises(ValueError, match="weights must be the sums of w and w"):
        FrechetStatistics.load(path)


def test_moments_in_a_file_of_another_byte_order(tmp_path: Path) -> None:
    path = tmp_path / "moments.npz"
    np.savez(
        path, mu=X.mean(0).astype(">f8"), sigma=np.asfortranarray(np.cov(X.T).astype(">f8")),
        n=np.array(N, ">i8"), weights=np.array([N, N], ">f8"),
    )  # fmt: skip
    found = FrechetStatistics.load(path)
    np.testing.assert_allclose(found.covariance().numpy(), np.cov(X.T), rtol=1e-12)
    assert found.n == N


@pytest.mark.parametrize("counts", [[-1.0, 1, 1], [2.5, 2, 2], [2, -2, 2], [2, math.nan, 1]])
def test_a_state_of_no_statistics_is_refused(counts: list[float]) -> None:
    state = statistics(X).state_dict()
    state["counts"] = torch.tensor(counts, dtype=torch.float64)
    with pytest.raises(ValueError, match="state must"):
        FrechetStatistics(D).load_state_dict(state)
