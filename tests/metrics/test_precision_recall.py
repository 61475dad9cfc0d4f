"""Precision, recall, density, coverage and realism against a search through all pairs."""

import numpy as np
import pytest
import scipy.spatial.distance
import torch
from hypothesis import given
from hypothesis import strategies as st

from ganfast.metrics import neighbours, prdc, realism
from tests.numerics import SEEDS, generator


def features(n, d, seed, shift=0.0, dtype=torch.float32):
    return (torch.randn(n, d, generator=generator(seed)) + shift).to(dtype)


def distances(a, b):
    return scipy.spatial.distance.cdist(a.double().numpy(), b.double().numpy())


def radii(a, k):
    return np.sort(distances(a, a), axis=1)[:, k]  # the first is the sample itself


def brute_force(real, fake, k, inclusive):
    d, of_real, of_fake = distances(real, fake), radii(real, k)[:, None], radii(fake, k)[None]
    in_real = d <= of_real if inclusive else d < of_real
    in_fake = d <= of_fake if inclusive else d < of_fake
    return (
        in_real.any(0).mean(),
        in_fake.any(1).mean(),
        in_real.sum() / (k * len(fake)),
        in_real.any(1).mean(),
    )


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch):
    monkeypatch.setattr(neighbours, "TILE", 16)
    monkeypatch.setattr(neighbours, "_PAIRS", 11)


@given(
    n=st.integers(2, 50),
    m=st.integers(2, 50),
    d=st.integers(1, 30),
    shift=st.sampled_from([0.0, 0.5, 1e3]),
    scale=st.sampled_from([1e-20, 1.0, 1e18]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    inclusive=st.booleans(),
    seed=SEEDS,
    data=st.data(),
)
def test_equals_brute_force(n, m, d, shift, scale, dtype, inclusive, seed, data):
    k = data.draw(st.integers(1, min(n, m) - 1))
    real, fake = features(n, d, seed, shift), features(m, d, seed + 1, shift + 0.2)
    found = prdc((real * scale).to(dtype), (fake * scale).to(dtype), k=k, inclusive=inclusive)
    expected = brute_force((real * scale).to(dtype), (fake * scale).to(dtype), k, inclusive)
    assert tuple(found) == pytest.approx(expected, abs=1e-15)


@given(n=st.integers(4, 40), k=st.integers(1, 3), inclusive=st.booleans(), seed=SEEDS)
def test_ties_are_told_apart(n, k, inclusive, seed):
    # Points on a grid: many distances are equal, and a float32 search would decide by rounding.
    draw = generator(seed)
    real = torch.randint(0, 3, (n, 2), generator=draw).double() + 1e6
    fake = torch.randint(0, 3, (n, 2), generator=draw).double() + 1e6
    found = prdc(real, fake, k=k, inclusive=inclusive)
    assert tuple(found) == pytest.approx(brute_force(real, fake, k, inclusive), abs=1e-15)


def test_equal_sets():
    x = features(30, 4, 0)
    inclusive = prdc(x, x, inclusive=True)
    assert inclusive.precision == inclusive.recall == inclusive.coverage == 1
    same = torch.ones(10, 3)
    assert tuple(prdc(same, same, k=3)) == (0, 0, 0, 0)
    assert tuple(prdc(same, same, k=3, inclusive=True)) == (1, 1, 10 / 3, 1)


def test_f_score():
    found = prdc(features(40, 3, 0), features(30, 3, 1, 0.5), k=3)
    mean = 2 / (1 / found.precision + 1 / found.recall)
    assert found.f_score == pytest.approx(mean)


@pytest.mark.parametrize("prune", [True, False])
@given(n=st.integers(6, 40), m=st.integers(1, 40), d=st.integers(1, 20), seed=SEEDS)
def test_realism(prune, n, m, d, seed):
    real, fake = features(n, d, seed), features(m, d, seed + 1, 0.3)
    r = radii(real, 3)
    kept = r < np.median(r) if prune else r >= 0
    expected = (r[kept][:, None] / distances(real, fake)[kept]).max(0)
    assert realism(real, fake, prune=prune).numpy() == pytest.approx(expected, rel=1e-12)


def test_realism_of_a_real_sample():
    real = features(20, 3, 0)
    assert torch.isinf(realism(real, real[:4], prune=False)).all()


def test_neighbours_closer_than_float32_tells():
    # All differ by less than the error of float32: every row has to be searched again.
    a = 1 + 1e-9 * features(40, 6, 0, dtype=torch.float64)
    far = torch.full((1, 6), 1e3, dtype=torch.float64)
    both = torch.cat([a, far])
    (points,) = neighbours.points(both)
    for k in (1, 2, 7):
        found = neighbours.radii(points, k).sqrt().numpy()
        assert found == pytest.approx(np.sort(distances(both, both), 1)[:, k], rel=1e-6)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: prdc(x, x[:3], k=3), "k must be from 1 to 2, the other samples in fake, got 3"),
        (lambda x: prdc(x, x, k=0), "k must be from 1 to 9"),
        (lambda x: prdc(x, x[:, :1]), r"y must have shape \(N, 2\)"),
        (lambda x: realism(torch.ones(9, 2), x), "radii below their median"),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words):
        call(features(10, 2, 0))


@pytest.mark.parametrize("seed", range(3))
def test_many_neighbours_in_many_dimensions(monkeypatch, seed):
    # Rows enough for the fast products, and distances that crowd as those of features do.
    monkeypatch.setattr(neighbours, "TILE", 100)
    real, fake = features(250, 300, seed).relu(), features(200, 300, seed + 9, 0.02).relu()
    assert tuple(prdc(real, fake)) == pytest.approx(
        brute_force(real, fake, 5, inclusive=False), abs=1e-15
    )
