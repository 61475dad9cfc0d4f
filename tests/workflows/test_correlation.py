"""Rank correlations, calibration and agreement against their definitions."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ganfast.workflows import correlation

pairs = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=12).filter(
    lambda p: len({a for a, _ in p}) > 1 and len({b for _, b in p}) > 1
)


@given(pairs)
def test_correlations_are_scipys(values):
    x, y = torch.tensor(values, dtype=torch.float64).T
    assert correlation.spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)
    assert correlation.kendall(x, y) == pytest.approx(stats.kendalltau(x, y).statistic)


def test_calibration_error_is_that_of_plain_bins():
    random = np.random.default_rng(0)
    p = random.dirichlet(np.ones(4) * 0.5, 300)
    labels = random.integers(0, 4, 300)
    confidence, right = p.max(1), p.argmax(1) == labels
    expected = 0.0
    for k in range(15):
        inside = (confidence > k / 15) & (confidence <= (k + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    found = correlation.calibration_error(torch.tensor(p), torch.tensor(labels))
    assert found == pytest.approx(expected)
    sure = torch.eye(3, dtype=torch.float64)
    assert correlation.calibration_error(sure, torch.arange(3)) == 0
    assert correlation.calibration_error(sure, torch.zeros(3).long()) == pytest.approx(2 / 3)


def test_agreement_counts_images():
    read = torch.tensor([[0, 1, 2, 3], [0, 1, 0, 0], [3, 2, 1, 0]])
    expected = [[1, 0.5, 0], [0.5, 1, 0.25], [0, 0.25, 1]]
    assert correlation.agreement(read).tolist() == expected


def test_the_interval_covers_and_narrows():
    random = torch.Generator().manual_seed(0)
    share = torch.linspace(0.5, 0.95, 6)[:, None]
    widths = []
    for n in (100, 4000):
        right = [torch.rand(6, n, generator=random) < share for _ in range(2)]
        spearman, kendall = correlation.bootstrap(*right, draws=200)
        assert spearman.low <= spearman.value <= spearman.high <= 1
        assert kendall.low <= kendall.value <= kendall.high <= 1
        widths.append(spearman.high - spearman.low)
    assert widths[1] < widths[0]
    assert spearman.value == 1.0  # with so many images the order is plain
    again = correlation.bootstrap(*right, draws=200)
    assert again == (spearman, kendall)
