"""Metrics that compare all pairs say beforehand how long they take, and can be bounded."""

import numpy as np
import pytest
import torch

from ganfast import metrics
from ganfast.data.image_source import FeatureArray
from ganfast.evaluation import Options, Settings, forecast, score
from ganfast.evaluation.collect import Work
from ganfast.evaluation.inputs import given_features


def source(count: int, name: str = "x", shift: float = 0) -> FeatureArray:
    draw = torch.Generator().manual_seed(count)
    return FeatureArray(torch.randn(count, 4, generator=draw) + shift, name, None)


def announced(capsys, monkeypatch, wanted: list[str], options: Options) -> str:
    monkeypatch.setattr(forecast, "_seconds_of_a_pair", lambda dim: dim * 1e-7)
    sides = source(68_000), source(50_000)
    forecast.announce(wanted, *sides, Work(given_features()), options)
    return str(capsys.readouterr().err)


def test_what_takes_minutes_is_said(capsys, monkeypatch) -> None:
    said = announced(capsys, monkeypatch, ["fid", "kid", "prdc", "mifid"], Options())
    # 6.962e9 pairs of 0.4 microseconds, and 3.4e9; 2e8 and 1e8 of 10,000 images
    assert said.splitlines() == [
        "prdc compares 7e+09 pairs of features, which takes about 46 min here; "
        "--neighbour-samples 10000 takes 80 s",
        "mifid compares 3.4e+09 pairs of features, which takes about 23 min here; "
        "--neighbour-samples 10000 takes 40 s",
    ]
    assert announced(capsys, monkeypatch, ["fid", "kid"], Options()) == ""
    assert announced(capsys, monkeypatch, ["prdc"], Options(neighbour_samples=5000)) == ""


def test_the_pairs_are_those_that_are_compared(monkeypatch) -> None:
    """Counted tile by tile, where the tiles are single features."""
    compared = [0.0]
    squares_of = metrics.neighbours.squares_of

    def counted(a, rows, b, columns):
        found = squares_of(a, rows, b, columns)
        compared[0] += found.numel()
        return found

    for module in (metrics.neighbours, metrics.precision_recall):
        monkeypatch.setattr(module, "squares_of", counted)
    monkeypatch.setattr(metrics.neighbours, "TILE", 1)
    x, y = torch.randn(60, 3).double(), torch.randn(40, 3).double()
    metrics.prdc(x, y)
    assert compared[0] == pytest.approx(forecast.pairs("prdc", 60, 40), rel=0.02)


def test_bounds(monkeypatch) -> None:
    x, y = source(300, "x"), source(200, "y", shift=0.5)
    options = Options(neighbour_samples=100, seed=5)
    wanted = ["fid", "prdc", "realism"]
    found = score(x, y, wanted, Settings(options=options), quiet=True)
    whole = score(x, y, wanted, Settings(), quiet=True)
    assert found.rows[0].value == whole.rows[0].value
    assert found.rows[1].name == "precision (given features), k = 5, 100 and 100 images"
    draw = torch.Generator().manual_seed(5)
    rows = [
        np.sort(torch.randperm(n, generator=draw)[:100].numpy()) for n in (300, 200)
    ]  # one after the other
    expected = metrics.prdc(x.rows(0, 300)[rows[0]], y.rows(0, 200)[rows[1]])
    assert [row.value for row in found.rows[1:5]] == list(expected)
    assert found.rows[-1].name == "realism (given features), median, 100 and 100 images"
    more = score(x, y, ["prdc"], Settings(options=Options(neighbour_samples=300)), quiet=True)
    assert [row.value for row in more.rows] == [row.value for row in whole.rows[1:6]]
