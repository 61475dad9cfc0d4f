import warnings

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from ganfast.metrics import FrechetStatistics, frechet_distance, frechet_distance_from_features
from ganfast.metrics.matrix import nuclear_norm

Gaussian = tuple[Tensor, Tensor]
SEEDS = st.integers(0, 9999)


def randn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def gaussian(dim: int, seed: int) -> Gaussian:
    """A full-rank Gaussian: the moments of 2 D + 10 samples, each dimension with its own scale."""
    x = randn(2 * dim + 10, dim, seed=seed) * torch.linspace(0.5, 2, dim, dtype=torch.float64)
    return randn(dim, seed=seed + 1), torch.from_numpy(np.cov(x.numpy(), rowvar=False)).view(
        dim, -1
    )


def by_sqrtm(a: Gaussian, b: Gaussian) -> float:
    """The definition, with SciPy's root of the non-symmetric product."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        root = scipy.linalg.sqrtm((a[1] @ b[1]).numpy())
    means = ((a[0] - b[0]) ** 2).sum()
    return float(means + a[1].trace() + b[1].trace() - 2 * np.trace(root).real)


def by_svd_of_features(x: Tensor, y: Tensor) -> float:
    """tr (S1 S2)^(1/2) is the nuclear norm of the product of the centred features, at any rank."""
    a = (x - x.mean(0)) / (len(x) - 1) ** 0.5
    b = (y - y.mean(0)) / (len(y) - 1) ** 0.5
    nuclear = np.linalg.svd((a @ b.T).numpy(), compute_uv=False).sum()
    means = (x.mean(0) - y.mean(0)).square().sum()
    return float(means + a.square().sum() + b.square().sum() - 2 * nuclear)


def moments(x: Tensor) -> Gaussian:
    statistics = FrechetStatistics(x.shape[1])
    statistics.update(x)
    return statistics.mean, statistics.covariance()


@given(dim=st.integers(1, 40), seed=SEEDS)
def test_equals_the_definition_by_scipy(dim: int, seed: int) -> None:
    a, b = gaussian(dim, seed), gaussian(dim, seed + 100_000)
    assert frechet_distance(*a, *b) == pytest.approx(by_sqrtm(a, b), rel=1e-9)


def test_equals_scipy_at_a_larger_size() -> None:
    a, b = gaussian(256, 0), gaussian(256, 5)
    assert frechet_distance(*a, *b) == pytest.approx(by_sqrtm(a, b), rel=1e-11)


@given(
    spread=st.lists(
        st.tuples(st.floats(0, 1e4), st.floats(0, 1e4), st.floats(-9, 9)), min_size=1, max_size=8
    )
)
def test_diagonal_covariances(spread: list[tuple[float, float, float]]) -> None:
    # sum of (mu1 - mu2)^2 + (sd1 - sd2)^2: zero and tiny variances are among those drawn.
    sd1, sd2, mu = torch.tensor(spread, dtype=torch.float64).T
    zero = torch.zeros_like(mu)
    exact = float((mu.square() + (sd1 - sd2).square()).sum())
    found = frechet_distance(mu, sd1.square().diag(), zero, sd2.square().diag())
    # A variance below 32 roundings of the largest counts as 0.
    assert found == pytest.approx(exact, rel=1e-9, abs=3e-7 * float(sd1.max() * sd2.max()))


@given(
    mu1=st.floats(-1e3, 1e3),
    mu2=st.floats(-1e3, 1e3),
    sd1=st.floats(1e-3, 1e3),
    sd2=st.floats(1e-3, 1e3),
)
def test_one_dimension(mu1: float, mu2: float, sd1: float, sd2: float) -> None:
    found = frechet_distance(
        np.array([mu1]), np.array([[sd1**2]]), np.array([mu2]), np.array([[sd2**2]])
    )
    exact = (mu1 - mu2) ** 2 + (sd1 - sd2) ** 2
    assert found == pytest.approx(exact, rel=1e-12, abs=1e-14 * (sd1**2 + sd2**2))


@given(dim=st.integers(1, 30), rank1=st.integers(0, 30), rank2=st.integers(0, 30), seed=SEEDS)
@example(dim=12, rank1=11, rank2=12, seed=7573)  # a null vector with a small last entry
@example(dim=5, rank1=4, rank2=5, seed=7667)
def test_commuting_covariances_of_any_rank(dim: int, rank1: int, rank2: int, seed: int) -> None:
    basis = torch.linalg.qr(randn(dim, dim, seed=seed)).Q
    sd1, sd2 = 0.5 + randn(2, dim, seed=seed + 1).abs()
    sd1[rank1:], sd2[rank2:] = 0, 0
    a, b = ((basis * sd.square()) @ basis.T for sd in (sd1, sd2))
    mu = torch.zeros(dim)
    exact = float((sd1 - sd2).square().sum())
    assert frechet_distance(mu, a, mu, b) == pytest.approx(exact, rel=1e-10, abs=1e-12 * dim)


@given(scale=st.floats(1e-6, 1e6), dim=st.integers(1, 20), seed=SEEDS)
def test_scaled_copies(scale: float, dim: int, seed: int) -> None:
    mu, sigma = gaussian(dim, seed)
    exact = float((scale - 1) ** 2 * (sigma.trace() + mu.square().sum()))
    found = frechet_distance(mu, sigma, scale * mu, scale**2 * sigma)
    size = float((1 + scale**2) * sigma.trace())
    assert found == pytest.approx(exact, rel=1e-11, abs=1e-14 * dim * size)


@pytest.mark.parametrize(
    ("n", "m", "dim"), [(3, 4, 5), (10, 12, 64), (10, 300, 64), (300, 10, 64), (100, 60, 200)]
)
@pytest.mark.parametrize("seed", range(5))
def test_fewer_samples_than_dimensions(n: int, m: int, dim: int, seed: int) -> None:
    x, y = randn(n, dim, seed=seed), randn(m, dim, seed=seed + 50) * 1.5 + 0.2
    exact = by_svd_of_features(x, y)
    assert frechet_distance(*moments(x), *moments(y)) == pytest.approx(exact, rel=1e-11)
    assert frechet_distance_from_features(x, y) == pytest.approx(exact, rel=1e-12)


def test_few_samples_of_inceptions_dimensions() -> None:
    x, y = randn(300, 2048, seed=0), randn(300, 2048, seed=1) * 1.5 + 0.2
    exact = by_svd_of_features(x, y)
    assert frechet_distance(*moments(x), *moments(y)) == pytest.approx(exact, rel=1e-10)
    assert frechet_distance_from_features(x, y) == pytest.approx(exact, rel=1e-12)


@given(n=st.integers(2, 40), m=st.integers(2, 40), dim=st.integers(1, 20), seed=SEEDS)
def test_features_of_any_number(n: int, m: int, dim: int, seed: int) -> None:
    x, y = randn(n, dim, seed=seed) + 3, randn(m, dim, seed=seed + 50_000) * 1.5
    # n = D or D + 1 may leave an all but singular covariance, which only the features resolve.
    assert frechet_distance_from_features(x, y) == pytest.approx(by_svd_of_features(x, y), rel=1e-9)


@pytest.mark.parametrize("decades", [4, 8, 12])
def test_ill_conditioned_covariances(decades: int) -> None:
    # Both covariances known by their factors, so the nuclear norm of the factors' product is exact.
    dim = 60
    spectrum = torch.logspace(0, -decades / 2, dim, dtype=torch.float64)
    root1, root2 = (torch.linalg.qr(randn(dim, dim, seed=s)).Q * spectrum for s in (0, 1))
    exact = root1.square().sum() + root2.square().sum()
    exact -= 2 * np.linalg.svd((root1.T @ root2).numpy(), compute_uv=False).sum()
    mu = torch.zeros(dim)
    found = frechet_distance(mu, root1 @ root1.T, mu, root2 @ root2.T)
    assert found == pytest.approx(float(exact), rel={4: 1e-12, 8: 1e-10, 12: 1e-8}[decades])


@pytest.mark.parametrize("least", [1.0, 1e-2, 1e-4, 1e-6, 1e-8, 1e-12, 0.0])
@pytest.mark.parametrize(("rows", "columns"), [(7, 7), (12, 7), (7, 12)])
def test_nuclear_norm_at_any_condition(least: float, rows: int, columns: int) -> None:
    values = torch.linspace(1, least, 7, dtype=torch.float64)
    values[3:] = least
    left, right = (torch.linalg.qr(randn(size, 7, seed=size)).Q for size in (rows, columns))
    found = nuclear_norm((left * values) @ right.T)
    assert found == pytest.approx(float(values.sum()), rel=1e-11)


def test_variances_of_any_size_count_and_rounding_between_them_does_not() -> None:
    mu, eye = torch.zeros(3), torch.eye(3, dtype=torch.float64)
    for least in (1e-30, 1e-13):
        small = torch.tensor([1.0, 1.0, least], dtype=torch.float64).diag()
        exact = (1 - least**0.5) ** 2
        assert frechet_distance(mu, small, mu, eye) == pytest.approx(exact, rel=1e-13)
    # Two copies of one variable, but for a rounding: rank 1, with the eigenvalue 2.
    copies = torch.ones(2, 2, dtype=torch.float64)
    copies[1, 1] += 2e-15
    exact = 2 + 2 - 2 * 2**0.5
    found = frechet_distance(mu[:2], copies, mu[:2], eye[:2, :2])
    assert found == pytest.approx(exact, rel=1e-13)


def test_a_small_known_case() -> None:
    # x is a point, so all variance of y counts: 1/3, and the means differ by 1/3: 1/3 + 1/9 = 4/9.
    x = torch.tensor([[1.0, 2.0]] * 3)
    y = torch.tensor([[2.0, 2.0], [1.0, 2.0], [1.0, 2.0]])
    assert frechet_distance_from_features(x, y) == pytest.approx(4 / 9, rel=1e-15)
    assert frechet_distance(*moments(x), *moments(y)) == pytest.approx(4 / 9, rel=1e-15)


@given(dim=st.integers(1, 20), n=st.integers(2, 30), seed=SEEDS)
def test_zero_for_equal_and_symmetric_for_others(dim: int, n: int, seed: int) -> None:
    x, y = randn(n, dim, seed=seed), randn(n + 3, dim, seed=seed + 20_000) * 2
    a, b = moments(x), moments(y)
    assert frechet_distance(*a, *a) == 0.0
    assert frechet_distance_from_features(x, x.clone()) == 0.0
    assert frechet_distance(*a, *b) == frechet_distance(*b, *a)
    assert frechet_distance_from_features(x, y) == frechet_distance_from_features(y, x)


@given(dim=st.integers(1, 20), noise=st.sampled_from([1e-16, 1e-14, 1e-12, 1e-9]), seed=SEEDS)
def test_never_negative_however_close(dim: int, noise: float, seed: int) -> None:
    mu, sigma = gaussian(dim, seed)
    other = sigma + noise * torch.eye(dim)
    assert 0 <= frechet_distance(mu, sigma, mu, other) <= 1e-12 * float(sigma.trace())


def test_equal_covariances_leave_the_means_exactly() -> None:
    _, sigma = gaussian(50, 0)
    shift = torch.zeros(50, dtype=torch.float64)
    shift[3] = 0.5
    zero = torch.zeros(50)
    assert frechet_distance(zero, sigma, shift, sigma.clone()) == 0.25


def test_dtypes_and_arrays() -> None:
    mu, sigma = torch.tensor([1, 2]), torch.tensor([[4, 0], [0, 9]])
    zero, eye = np.zeros(2), np.eye(2)
    for value in (lambda t: t, Tensor.float, Tensor.double, Tensor.numpy):
        found = frechet_distance(value(mu), value(sigma), zero, eye)
        assert found.dtype == torch.float64
        assert found.shape == ()
        assert found == pytest.approx(5 + 1 + 4, rel=1e-14)
    with pytest.raises(TypeError, match=r"sigma1 must be float32, float64.*torch\.float16"):
        frechet_distance(mu, sigma.half(), zero, eye)
    with pytest.raises(TypeError, match=r"mu1 must be float32, float64.*torch\.complex64"):
        frechet_distance(mu.to(torch.complex64), sigma, zero, eye)
    with pytest.raises(TypeError, match=r"sigma2 must be a torch tensor or numpy array"):
        frechet_distance(mu, sigma, zero, [[1.0, 0.0], [0.0, 1.0]])  # type: ignore[arg-type]


def test_rounding_of_the_dtype_it_came_in_is_allowed() -> None:
    x = randn(10, 30, seed=0)
    mu, sigma = moments(x)  # rank 9 of 30: in float32 some eigenvalues come out negative
    single = sigma.float()
    assert torch.linalg.eigvalsh(single.double())[0] < -1e-9
    single[0, 1] *= 1 + 1e-6
    found = frechet_distance(mu.float(), single, torch.zeros(30), torch.eye(30))
    exact = frechet_distance(mu, sigma, torch.zeros(30), torch.eye(30))
    assert found == pytest.approx(float(exact), rel=1e-3)


def test_what_is_no_gaussian_is_refused() -> None:
    mu, sigma = torch.zeros(3, dtype=torch.float64), torch.eye(3, dtype=torch.float64)
    good = (mu, sigma)
    with pytest.raises(ValueError, match=r"mu1 must have shape \(\.\.\., D\), got \(\)"):
        frechet_distance(mu[0], sigma, *good)
    with pytest.raises(ValueError, match=r"mu1 must have shape \(\.\.\., D\), got \(0,\)"):
        frechet_distance(mu[:0], sigma[:0, :0], *good)
    with pytest.raises(ValueError, match="mu2 must have 3 entries as in mu1, got 2"):
        frechet_distance(*good, mu[:2], sigma[:2, :2])
    with pytest.raises(ValueError, match=r"sigma2 must have shape \(\.\.\., 3, 3\).* got \(3, 2\)"):
        frechet_distance(*good, mu, sigma[:, :2])
    for value in (float("nan"), float("inf")):
        bad = sigma.clone()
        bad[1, 2] = bad[2, 1] = value
        with pytest.raises(ValueError, match="sigma1 must be finite"):
            frechet_distance(mu, bad, *good)
        with pytest.raises(ValueError, match="mu2 must be finite"):
            frechet_distance(*good, mu + value, sigma)
    skewed = sigma.clone()
    skewed[0, 1] = 1e-6
    with pytest.raises(ValueError, match=r"sigma1 must be a symmetric matrix.* up to 1e-06"):
        frechet_distance(mu, skewed, *good)
    for low in (-1.0, -1e-6):
        indefinite = torch.tensor([2.0, 1.0, low], dtype=torch.float64).diag()
        with pytest.raises(ValueError, match=rf"sigma2 must be a positive.*eigenvalue {low:.6g}"):
            frechet_distance(*good, mu, indefinite)
    with pytest.raises(ValueError, match="sigma1 must be a positive semi-definite matrix"):
        frechet_distance(mu, -sigma, *good)


def test_features_that_do_not_fit() -> None:
    x = randn(10, 3, seed=0)
    with pytest.raises(ValueError, match=r"y must have shape \(N, 3\), got"):
        frechet_distance_from_features(x, x[:, :2])
    with pytest.raises(ValueError, match="y must hold at least 2 samples, got 1"):
        frechet_distance_from_features(x, x[:1])
    with pytest.raises(ValueError, match="x must be finite"):
        frechet_distance_from_features(x / 0, x)
    with pytest.raises(TypeError, match="x must be floating-point"):
        frechet_distance_from_features(x.long(), x)
