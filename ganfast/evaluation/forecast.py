"""How long the metrics will take that compare all images with each other."""

import sys
import time

import torch
from torch import Tensor

from ganfast.data.image_source import Source
from ganfast.evaluation.collect import Work
from ganfast.evaluation.scores import FeatureSet, Options
from ganfast.metrics.neighbours import points, radii

_LONG = 60.0  # seconds from which on a metric is announced
_BOUND = 10_000  # samples that are offered
_TRIAL = 1024  # features that are compared to see how fast that is


def announce(
    wanted: list[str],
    real: FeatureSet | Source,
    fake: FeatureSet | Source,
    work: Work,
    options: Options,
) -> None:
    """Say on stderr which metrics compare so many pairs of features that this takes minutes."""
    counts = [side.n if isinstance(side, FeatureSet) else side.count for side in (real, fake)]
    if None in counts or not {"prdc", "realism", "mifid"} & {*wanted}:
        return
    most_samples = options.neighbour_samples
    known = [count for count in counts if count is not None]
    sizes = known if most_samples is None else [min(count, most_samples) for count in known]
    most = max(pairs(name, *sizes) for name in wanted)
    if most < _LONG * 1e6:  # which no machine takes so long for
        return
    seconds = _seconds_of_a_pair(_dimensions(real, fake, work))
    for name in wanted:
        time_needed = seconds * pairs(name, *sizes)
        if time_needed >= _LONG:
            less = seconds * pairs(name, *(min(size, _BOUND) for size in sizes))
            print(
                f"{name} compares {pairs(name, *sizes):.2g} pairs of features, which takes about "
                f"{_in_words(time_needed)} here; --neighbour-samples {_BOUND} takes "
                f"{_in_words(less)}",
                file=sys.stderr,
                flush=True,
            )


def pairs(name: str, n: int, m: int) -> float:
    """Return how many pairs of ``n`` real and ``m`` fake features a metric compares."""
    return {"prdc": (n * n + m * m) / 2 + n * m, "realism": n * n / 2 + n * m, "mifid": n * m}.get(
        name, 0
    )


def _dimensions(real: FeatureSet | Source, fake: FeatureSet | Source, work: Work) -> int:
    """Return how many features an image has."""
    for side in (real, fake):
        if isinstance(side, FeatureSet) and "features" in side.moments:
            return len(side.moments["features"].mean)
        if not isinstance(side, FeatureSet) and side.is_features:
            return side.shards()[0].open().rows(0, 1).shape[1]
    size = work.encoder.size or 64
    black = torch.zeros(1, work.encoder.channels, size, size, dtype=torch.uint8)
    return work.encoder(black)["features"].shape[1]


def _seconds_of_a_pair(dim: int) -> float:
    """Return how long this machine takes to compare two features; the better of two tries."""
    features: Tensor = torch.randn(_TRIAL, dim, generator=torch.Generator().manual_seed(0))
    (those,) = points(features)
    taken = []
    for _ in range(2):
        start = time.perf_counter()
        radii(those, 5)
        taken.append(time.perf_counter() - start)
    return min(taken) / _TRIAL**2


def _in_words(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
