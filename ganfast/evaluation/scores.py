"""The metrics of `ganfast eval`: what each needs, and its rows in the table."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ganfast import metrics
from ganfast.metrics import FrechetStatistics, Moments, Spread


@dataclass
class FeatureSet:
    """Real or fake: its moments, and its features where they are at hand, by layer.

    ``labels`` names the class of each image; ``path_length`` is there for generators.
    """

    name: str
    n: int | None
    moments: dict[str, FrechetStatistics | Moments]
    features: dict[str, Tensor] = field(default_factory=dict)
    labels: Sequence[str] | None = None
    path_length: Callable[[int], Spread] | None = None

    def need(self, layer: str, metric: str) -> Tensor:
        """Features, or ValueError where only moments are known."""
        if layer not in self.features:
            raise ValueError(
                f"{metric}: needs the images of {self.name}, a statistics file holds moments alone"
            )
        return self.features[layer]


class Row(NamedTuple):
    """A key for machines, a name for people, a value, and the spread where there is one."""

    key: str
    name: str
    value: float
    std: float | None = None


@dataclass(frozen=True)
class Options:
    """What the metrics can be told; the defaults are those of torch-fidelity and prdc."""

    seed: int = 2020
    ddof: int = 1
    kid_subsets: int = 100
    kid_subset_size: int = 1000
    splits: int = 10
    k: int = 5
    strict: bool = True


class Metric(NamedTuple):
    """A row of the table below."""

    layer: str
    features: bool  # whether moments are not enough
    rows: Callable[[FeatureSet, FeatureSet, str, Options], list[Row]]


def _suffix(label: str) -> str:
    """ "" for FID's features, else their name in brackets."""
    return "" if label == "FID" else label.removeprefix("FD").rstrip()


def _fid(real: FeatureSet, fake: FeatureSet, label: str, options: Options) -> list[Row]:
    value = frechet(real, fake, "features", options.ddof)
    return [Row("fid", label, value)]


def _sfid(real: FeatureSet, fake: FeatureSet, label: str, options: Options) -> list[Row]:
    name = "sFID" if label == "FID" else f"sFD{_suffix(label)}"
    return [Row("sfid", name, frechet(real, fake, "spatial", options.ddof))]


def _fid_infinity(real: FeatureSet, fake: FeatureSet, label: str, options: Options) -> list[Row]:
    features = fake.need("features", "fid_infinity")
    found = metrics.frechet_distance_infinity(real.moments["features"], features, seed=options.seed)
    return [Row("fid_infinity", f"{label}, infinitely many samples", found.value)]


def _kid(real: FeatureSet, fake: FeatureSet, label: str, options: Options) -> list[Row]:
    x, y = fake.need("features", "kid"), real.need("features", "kid")
    size = min(options.kid_subset_size, len(x), len(y))
    found = metrics.kid(x, y, subsets=options.kid_subsets, subset_size=size, seed=options.seed)
    name = f"{'KID' if label == 'FID' else 'KD'}{_suffix(label)}, {options.kid_subsets} x {size}"
    return [Row("kid", name, found.mean, found.std)]


def _cmmd(real: FeatureSet, fake: FeatureSet, label: str, options: Options) -> list[Row]:
    value = metrics.cmmd(fake.need("features", "cmmd"), real.need("features", "cmmd"))
    own = label == "FD (clip_vitl14_336)"
    return [Row("cmmd", "CMMD" if own else f"CMMD on other features{_suffix(label)}", value)]


def _is(real: FeatureSet, fake: FeatureSet, label: str, options: Options) -> list[Row]:
    logits = fake.need("logits", "is")
    splits = min(options.splits, len(logits))
    found = metrics.inception_score(logits, splits=splits, seed=options.seed)
    return [Row("is", f"IS{_suffix(label)}, {splits} splits", found.mean, found.std)]


def _prdc(real: FeatureSet, fake: FeatureSet, label: str, options: Options) -> list[Row]:
    found = metrics.prdc(
        real.need("features", "prdc"), fake.need("features", "prdc"), k=options.k,
        strict=options.strict,
    )  # fmt: skip
    suffix = f"{_suffix(label)}, k = {options.k}"
    rows = [Row(key, f"{key}{suffix}", value) for key, value in found._asdict().items()]
    return [*rows, Row("f_score", f"F-score{suffix}", found.f_score)]


def _mifid(real: FeatureSet, fake: FeatureSet, label: str, options: Options) -> list[Row]:
    value = metrics.mifid(real.need("features", "mifid"), fake.need("features", "mifid"))
    return [Row("mifid", "MiFID" if label == "FID" else f"MiFD{_suffix(label)}", value)]


def _mind(real: FeatureSet, fake: FeatureSet, label: str, options: Options) -> list[Row]:
    x, y = fake.need("features", "mind"), real.need("features", "mind")
    value = metrics.mind(x, y, seed=options.seed)
    return [Row("mind", f"MIND{_suffix(label)}", value)]


def _realism(real: FeatureSet, fake: FeatureSet, label: str, options: Options) -> list[Row]:
    found = metrics.realism(
        real.need("features", "realism"), fake.need("features", "realism"), k=options.k
    )
    return [Row("realism", f"realism{_suffix(label)}, median", median(found.tolist()))]


def _fid_intra(real: FeatureSet, fake: FeatureSet, label: str, options: Options) -> list[Row]:
    x, y = (side.need("features", "fid_intra") for side in (real, fake))
    classes, one, two = common_classes(real, fake)
    number = {name: i for i, name in enumerate(classes)}
    of_x, of_y = (torch.tensor([number[name] for name in labels]) for labels in (one, two))
    found = metrics.intra_frechet_distance(x, of_x, y, of_y).values()
    name = f"{label} within classes, mean of {len(found)}"
    return [Row("fid_intra", name, sum(found) / len(found))]


def _ppl(real: FeatureSet, fake: FeatureSet, label: str, options: Options) -> list[Row]:
    if fake.path_length is None:
        raise ValueError(f"ppl: needs a generator as FAKE, got images: {fake.name}")
    found = fake.path_length(options.seed)
    net = "inception 2048" if label == "FID" else label.removeprefix("FD (").removesuffix(")")
    return [Row("ppl", f"PPL by features of {net}", found.mean, found.std)]


TABLE = {
    "fid": Metric("features", False, _fid),
    "fid_infinity": Metric("features", True, _fid_infinity),
    "sfid": Metric("spatial", False, _sfid),
    "kid": Metric("features", True, _kid),
    "cmmd": Metric("features", True, _cmmd),
    "is": Metric("logits", True, _is),
    "prdc": Metric("features", True, _prdc),
    "realism": Metric("features", True, _realism),
    "mifid": Metric("features", True, _mifid),
    "mind": Metric("features", True, _mind),
    "fid_intra": Metric("features", True, _fid_intra),
    "ppl": Metric("features", False, _ppl),
}
# Metrics that need the features of FAKE, and of REAL the moments or nothing.
OF_FAKE_FEATURES = ("fid_infinity", "is")


class Labelled(Protocol):
    """A name, and the class of each image where there are classes."""

    name: str
    labels: Sequence[str] | None


def need_labels(side: Labelled) -> list[str]:
    """The class of each image, or ValueError where there are none."""
    if side.labels is None:
        raise ValueError(
            f"fid_intra: {side.name} has no classes; expected a sub-folder for each, labels in the "
            ".npz file, or a class-conditional checkpoint"
        )
    return list(side.labels)


def common_classes(real: Labelled, fake: Labelled) -> tuple[list[str], list[str], list[str]]:
    """The classes' names, then the class of each real and of each fake image among them.

    Classes are the same by name. Those of a checkpoint are numbers, which count the sorted names of
    the other side, as they did when it was trained.

    Raises:
        ValueError: a side has no classes, or classes that the other one does not have.
    """
    one, two = need_labels(real), need_labels(fake)
    names, others = sorted(set(one)), sorted(set(two))
    if names != others and set(others) == set(map(str, range(len(names)))):
        two = [names[int(number)] for number in two]
    elif names != others and set(names) == set(map(str, range(len(others)))):
        one, names = [others[int(number)] for number in one], others
    elif names != others:
        differ = sorted(set(names) ^ set(others))
        raise ValueError(
            f"fid_intra: expected the same classes on both sides, {len(names)} and {len(others)}; "
            f"only one side has {', '.join(differ[:5])}{', ...' if len(differ) > 5 else ''}"
        )
    return names, one, two


def frechet(real: FeatureSet, fake: FeatureSet, layer: str, ddof: int) -> float:
    """Fréchet distance: from the features where they are few and at hand, else from moments."""
    x, y = real.features.get(layer), fake.features.get(layer)
    if x is not None and y is not None and min(len(x), len(y)) <= x.shape[1]:
        return float(metrics.frechet_distance_from_features(x, y, ddof))
    sides = []
    for side in (real, fake):
        moments = side.moments[layer]
        if isinstance(moments, FrechetStatistics):
            sides += [moments.mean, moments.covariance(ddof)]
        elif ddof == 1:
            sides += [moments.mean, moments.covariance]
        elif moments.n is not None:
            sides += [moments.mean, moments.covariance * ((moments.n - 1) / moments.n)]
        else:
            raise ValueError(f"ddof: {side.name} does not say how many samples it is of")
    return float(metrics.frechet_distance(*sides))


def names(wanted: str) -> list[str]:
    """The metrics in a list like ``fid,kid``. Raises ValueError, saying which there are."""
    found = [name.strip() for name in wanted.split(",") if name.strip()]
    unknown = [name for name in found if name not in TABLE]
    if unknown or not found:
        raise ValueError(
            f"metrics: expected some of {','.join(TABLE)}, got {','.join(unknown) or 'none'}"
        )
    return found
