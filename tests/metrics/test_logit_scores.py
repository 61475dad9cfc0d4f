"""The Inception score against its definition, split by split."""

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from ganfast.metrics import inception_score
from tests.numerics import SEEDS, generator


def logits(n, classes, seed):
    return 3 * torch.randn(n, classes, generator=generator(seed), dtype=torch.float64)


def score(part):
    """exp of the mean divergence, by SciPy."""
    p = np.exp(part) / np.exp(part).sum(1, keepdims=True)
    return np.exp(np.mean([scipy.stats.entropy(row, p.mean(0)) for row in p]))


@given(
    n=st.integers(2, 40),
    classes=st.integers(1, 12),
    chunks=st.sampled_from(["even", "ceil", "floor"]),
    draws=st.sampled_from(["numpy", "torch", None]),
    seed=SEEDS,
    data=st.data(),
)
def test_equals_the_definition(n, classes, chunks, draws, seed, data):
    splits = data.draw(st.integers(2, n))
    x = logits(n, classes, seed)
    shuffled = x.numpy()
    if draws == "numpy":
        shuffled = shuffled[np.random.RandomState(seed).permutation(n)]
    elif draws == "torch":
        torch.manual_seed(seed)
        shuffled = shuffled[torch.randperm(n).numpy()]
    parts = {
        "even": [shuffled[i * n // splits : (i + 1) * n // splits] for i in range(splits)],
        "ceil": [part.numpy() for part in torch.from_numpy(shuffled).chunk(splits)],
        "floor": np.split(shuffled[: n // splits * splits], splits),
    }[chunks]
    exact = [score(part) for part in parts]
    ddof = data.draw(st.integers(0, 1)) if len(exact) > 1 else 0
    found = inception_score(
        x, splits=splits, chunks=chunks, ddof=ddof,
        seed=None if draws is None else seed, draws=draws or "numpy",
    )  # fmt: skip
    assert found.mean == pytest.approx(np.mean(exact), rel=1e-12)
    assert found.std == pytest.approx(np.std(exact, ddof=ddof), rel=1e-9, abs=1e-13)


def test_the_ends_of_the_scale():
    sure = 1e4 * torch.eye(10, dtype=torch.float64).repeat(20, 1)
    assert inception_score(sure, splits=1, seed=None).mean == pytest.approx(10, rel=1e-12)
    assert inception_score(0 * sure, splits=1).mean == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"splits": 6}, "splits must be from 1 to 5"),
        ({"splits": 1, "ddof": 1}, "ddof"),
        ({"splits": 2, "chunks": "odd"}, "chunks must be 'even'"),
    ],
)
def test_bad_input(options, words):
    with pytest.raises(ValueError, match=words):
        inception_score(logits(5, 3, 0), **options)


def test_integers_are_no_logits():
    with pytest.raises(TypeError, match="logits must be floating-point"):
        inception_score(torch.ones(20, 3, dtype=torch.int64))
