"""MiFID, sliced Wasserstein, MIND, and the perceptual path length."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ganfast.metrics import (
    frechet_distance_from_features,
    mifid,
    mind,
    perceptual_path_length,
    sliced_wasserstein,
)
from ganfast.metrics.ppl import interpolate
from tests.numerics import SEEDS, generator


def features(n, d, seed, shift=0.0):
    return torch.randn(n, d, generator=generator(seed), dtype=torch.float64) + shift


@given(n=st.integers(3, 30), m=st.integers(3, 30), d=st.integers(1, 6), seed=SEEDS)
def test_mifid(n, m, d, seed):
    real, fake = features(n, d, seed), features(m, d, seed + 1, 0.5)
    real[0] = 0  # has no direction, and is left out
    a, b = (x.numpy() / np.linalg.norm(x.numpy(), axis=1)[:, None] for x in (real[1:], fake))
    closest = (1 - np.abs(a @ b.T)).min(1).mean()
    distance = float(frechet_distance_from_features(real, fake))
    for threshold in (1e-9, 1.0):
        m_term = closest if closest < threshold else 1.0
        found = mifid(real, fake, threshold=threshold)
        assert found == pytest.approx(distance / (m_term + 1e-14), rel=1e-9, abs=1e-6)


def test_mifid_of_equal_sets_is_0():
    x = features(20, 3, 0)
    assert mifid(x, x) == 0


@given(n=st.integers(1, 50), seed=SEEDS)
def test_in_one_dimension_every_projection_is_the_same(n, seed):
    x, y = features(n, 1, seed), features(n, 1, seed + 1, 2.0)
    exact = float((x.sort(0).values - y.sort(0).values).square().mean())
    # A direction is a float32 number over its norm: 1 but for rounding.
    assert sliced_wasserstein(x, y, projections=7) == pytest.approx(exact, rel=1e-6)
    assert mind(x, y, projections=7) == pytest.approx(3 * exact, rel=1e-6)


@given(n=st.integers(1, 30), m=st.integers(1, 30), d=st.integers(1, 9), seed=SEEDS)
def test_sliced_wasserstein_direction_by_direction(n, m, d, seed):
    x, y = features(n, d, seed).numpy(), features(m, d, seed + 1, 0.5).numpy()
    draw = torch.Generator().manual_seed(seed)
    if n > m:
        x = x[torch.randperm(n, generator=draw)[:m].numpy()]
    if m > n:
        y = y[torch.randperm(m, generator=draw)[:n].numpy()]
    u = torch.randn(150, d, generator=draw).double().numpy()
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    exact = np.mean([np.mean((np.sort(x @ v) - np.sort(y @ v)) ** 2) for v in u])
    all_x, all_y = features(n, d, seed), features(m, d, seed + 1, 0.5)
    found = sliced_wasserstein(all_x, all_y, projections=150, seed=seed)
    assert found == pytest.approx(exact, rel=1e-5)


def test_mind_of_shifted_sets():
    x = features(500, 4, 0)
    shift = torch.tensor([1.0, -2.0, 0.5, 0.0], dtype=torch.float64)
    # E (u shift)^2 = |shift|^2 / d exactly; 20,000 directions come within a few per cent.
    assert mind(x, x + shift, projections=20_000) == pytest.approx(3 * 5.25, rel=0.05)
    assert mind(x, x) == 0


@pytest.mark.parametrize("interpolation", ["lerp", "slerp", "slerp_unit"])
def test_path_length_of_a_linear_generator(interpolation):
    weights = features(5, 7, 0)
    starts, ends = features(200, 5, 1), features(200, 5, 2)
    eps = 1e-3

    def squared(a, b):
        return (a - b).square().sum(1)

    moved = interpolate(starts, ends, eps, interpolation)
    exact = (((moved - starts) @ weights).square().sum(1) / eps**2).numpy()
    every = perceptual_path_length(
        lambda z: z @ weights, squared, starts, ends, eps=eps, discard=None, batch_size=64,
        interpolation=interpolation,
    )  # fmt: skip
    assert every.mean == pytest.approx(exact.mean(), rel=1e-9)
    assert every.std == pytest.approx(exact.std(), rel=1e-9)
    kept = np.sort(exact)[1:199]  # ranks 1.99 down and 197.01 up
    most = perceptual_path_length(
        lambda z: z @ weights, squared, starts, ends, eps=eps, interpolation=interpolation
    )
    assert most.mean == pytest.approx(kept.mean(), rel=1e-9)


@given(t=st.floats(0, 1), seed=SEEDS)
def test_slerp_stays_on_the_arc(t, seed):
    a, b = features(3, 6, seed), features(3, 6, seed + 1)
    a, b = a / a.norm(dim=1, keepdim=True), b / b.norm(dim=1, keepdim=True)
    there = interpolate(a, b, t, "slerp")
    assert there.norm(dim=1).numpy() == pytest.approx(1, rel=1e-9)
    angle = (a * b).sum(1).acos()
    assert (a * there).sum(1).clamp(-1, 1).acos().numpy() == pytest.approx(
        (t * angle).numpy(), abs=1e-7
    )


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: mifid(x, x, threshold=0), "threshold"),
        (lambda x: mifid(x, 0 * x), "fake must hold features whose sum is not 0"),
        (lambda x: mind(x, x, projections=0), "projection"),
        (
            lambda x: perceptual_path_length(None, None, x, x[:2]),
            "starts and ends must have one shape",
        ),
        (lambda x: perceptual_path_length(None, None, x, x, eps=0), "eps"),
        (lambda x: interpolate(x, x, 0.5, "jump"), "interpolation"),
        (
            lambda x: perceptual_path_length(lambda z: z, lambda a, b: a - b, x, x),
            r"distance must return shape \(5,\)",
        ),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words):
        call(features(5, 3, 0))
