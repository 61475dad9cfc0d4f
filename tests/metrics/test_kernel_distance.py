"""KID and CMMD against sums over all pairs, written out in float64."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ganfast.metrics import cmmd, kid, mmd
from tests.numerics import SEEDS, generator


def features(n, d, seed, shift=0.0, dtype=torch.float64):
    return (torch.randn(n, d, generator=generator(seed), dtype=torch.float64) + shift).to(dtype)


def poly(a, b, degree=3, gamma=None, coef0=1.0):
    return (a @ b.T * (1 / a.shape[1] if gamma is None else gamma) + coef0) ** degree


def rbf(a, b, sigma=10.0):
    return np.exp(-((a[:, None] - b[None]) ** 2).sum(-1) / (2 * sigma**2))


def mmd2(a, b, kernel, unbiased=True):
    """The definition, pair by pair."""
    xx, yy, xy = kernel(a, a), kernel(b, b), kernel(a, b)
    if unbiased:
        n, m = len(a), len(b)
        xx_mean = (xx.sum() - np.trace(xx)) / (n * (n - 1))
        yy_mean = (yy.sum() - np.trace(yy)) / (m * (m - 1))
        return xx_mean + yy_mean - 2 * xy.mean()
    return xx.mean() + yy.mean() - 2 * xy.mean()


def draw_numpy(x, y, subsets, size, seed):
    state = np.random.RandomState(seed)
    for _ in range(subsets):
        i = state.choice(len(x), size, replace=False)
        yield x[i], y[state.choice(len(y), size, replace=False)]


@given(
    n=st.integers(2, 40),
    m=st.integers(2, 40),
    d=st.integers(1, 9),
    subsets=st.integers(1, 6),
    unbiased=st.booleans(),
    kernel=st.sampled_from(["poly", "rbf"]),
    seed=SEEDS,
    data=st.data(),
)
def test_equals_the_definition(n, m, d, subsets, unbiased, kernel, seed, data):
    size = data.draw(st.integers(2, min(n, m)))
    x, y = features(n, d, seed).numpy(), features(m, d, seed + 1, 0.3).numpy()
    function = poly if kernel == "poly" else lambda a, b: rbf(a, b, 2.0)
    pairs = draw_numpy(x, y, subsets, size, seed)
    values = [mmd2(a, b, function, unbiased) for a, b in pairs]
    found = kid(
        x, y, subsets=subsets, subset_size=size, kernel=kernel, sigma=2.0, unbiased=unbiased,
        seed=seed,
    )  # fmt: skip
    scale = max(1.0, float(np.abs(poly(x, x)).max())) * 1e-13
    assert found.mean == pytest.approx(np.mean(values), rel=1e-11, abs=scale)
    assert found.std == pytest.approx(np.std(values), rel=1e-9, abs=scale)


@pytest.mark.parametrize("kernel", ["poly", "rbf"])
def test_both_roads_give_the_same(kernel, monkeypatch):
    # Tiles smaller than the subsets, so that corners, edges and mirrored tiles are all there.
    monkeypatch.setattr(mmd, "_TILE", 16)
    monkeypatch.setattr(mmd, "_SUBSET_TILE", 7)
    x, y = features(60, 5, 0), features(50, 5, 1, 0.2)
    pairs = list(draw_numpy(x.numpy(), y.numpy(), 40, 30, 3))
    function = poly if kernel == "poly" else rbf
    all_pairs_once = kid(x, y, subsets=40, subset_size=30, seed=3, kernel=kernel)
    subset_by_subset = kid(x, y, subsets=2, subset_size=30, seed=3, kernel=kernel)
    for found, those in ((all_pairs_once, pairs), (subset_by_subset, pairs[:2])):
        values = [mmd2(a, b, function) for a, b in those]
        assert found.mean == pytest.approx(np.mean(values), rel=1e-11)
        assert found.std == pytest.approx(np.std(values), rel=1e-9)


def test_draws_of_torch():
    x, y = features(30, 4, 0), features(20, 4, 1)
    torch.manual_seed(11)
    values = []
    for _ in range(5):
        i, j = torch.randperm(30)[:10], torch.randperm(20)[:10]
        values.append(mmd2(x[i].numpy(), y[j].numpy(), poly))
    found = kid(x, y, subsets=5, subset_size=10, seed=11, draws="torch")
    assert found.mean == pytest.approx(np.mean(values), rel=1e-12)


def test_float32_features_lose_little():
    x, y = features(400, 64, 0, dtype=torch.float32), features(300, 64, 1, 0.1, torch.float32)
    exact = kid(x.double(), y.double(), subsets=10, subset_size=200)
    found = kid(x, y, subsets=10, subset_size=200)
    assert found.mean == pytest.approx(exact.mean, rel=2e-6)


def test_global_generators_are_left_alone():
    x = features(20, 3, 0)
    before = np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002
    kid(x, x, subsets=2, subset_size=5)
    kid(x, x, subsets=2, subset_size=5, draws="torch")
    after = np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002
    assert before == after


@given(n=st.integers(1, 30), m=st.integers(1, 30), d=st.integers(1, 8), seed=SEEDS)
def test_cmmd_is_the_scaled_v_statistic(n, m, d, seed):
    x, y = features(n, d, seed).numpy(), features(m, d, seed + 1, 0.5).numpy()
    a, b = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x, y))
    exact = 1000 * mmd2(a, b, rbf, unbiased=False)
    assert cmmd(x, y) == pytest.approx(exact, rel=1e-9, abs=1e-10)


def test_cmmd_leaves_its_arguments_alone():
    x = features(5, 3, 0)
    before = x.clone()
    assert cmmd(x, x) == pytest.approx(0, abs=1e-10)
    assert torch.equal(x, before)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: kid(x, x[:, :2], subset_size=4), r"y must have shape \(N, 3\)"),
        (lambda x: kid(x, x), "subset_size from 2 to 8"),
        (lambda x: kid(x, x, subset_size=4, kernel="cosine"), "kernel must be one of"),
        (lambda x: kid(x, x, subset_size=4, draws="dice"), "draws must be one of"),
        (lambda x: kid(x, x, subset_size=4, kernel="rbf", sigma=0), "sigma"),
        (lambda x: kid(x, x / 0, subset_size=4), "y must be finite"),
        (lambda x: cmmd(x, 0 * x), "y must hold embeddings of a norm above 0"),
        (lambda x: cmmd(x[:0], x), "x must hold at least 1 sample"),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words):
        call(features(8, 3, 0))
