"""The metrics of `ganfast eval`: what each needs, and its rows in the table of scores."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor

from ganfast import metrics
from ganfast.data.image_source import Source
from ganfast.metrics import FrechetStatistics, Moments, Spread


@dataclass
class FeatureSet:
    """The real or the fake images as the metrics see them.

    Attributes:
        name: where they came from.
        n: how many there are, if known.
        moments: mean and covariance of each layer.
        features: those of each layer, where they were kept.
        numbers: of the images of these features in their source.
        sampled: what to say of features that are a sample.
        labels: the class of each image, if there are classes.
        path_length: the path length by seed, for generators.
    """

    name: str
    n: int | None
    moments: dict[str, FrechetStatistics | Moments]
    features: dict[str, Tensor] = field(default_factory=dict)
    numbers: list[int] = field(default_factory=list)
    sampled: str = ""
    labels: Sequence[str] | None = None
    path_length: Callable[[int], Spread] | None = None

    def need(self, layer: str, metric: str) -> Tensor:
        """Return the features of a layer.

        Raises:
            ValueError: only moments are known.
        """
        if layer not in self.features:
            raise ValueError(
                f"{metric} needs the images of {self.name}: a statistics file holds moments alone"
            )
        return self.features[layer]


class Row(NamedTuple):
    """One score: a key for machines, a name for people, a value, and its spread if it has one."""

    key: str
    name: str
    value: float
    std: float | None = None


@dataclass(frozen=True)
class Options:
    """Options of the metrics; the defaults are those of torch-fidelity and prdc.

    Attributes:
        seed: of generators, subsets and shuffles.
        ddof: covariances are divided by N - ddof.
        kid_subsets, kid_subset_size: of `kid`.
        splits: of the Inception score.
        k: neighbours of `prdc` and realism.
        inclusive: `prdc` counts a sample on the surface of a ball as inside it.
        neighbour_samples: images of each side, drawn by the seed, that `prdc`, `realism` and
            `mifid` compare; all by default.
    """

    seed: int = 2020
    ddof: int = 1
    kid_subsets: int = 100
    kid_subset_size: int = 1000
    splits: int = 10
    k: int = 5
    inclusive: bool = False
    neighbour_samples: int | None = None


class Metric(NamedTuple):
    """A metric of the table below."""

    layer: str
    needs_features: bool  # moments are not enough
    rows: Callable[[FeatureSet, FeatureSet, str, Options], list[Row]]


def _suffix(label: str) -> str:
    """The features in brackets, or nothing for those of FID."""
    return "" if label == "FID" else label.removeprefix("FD").rstrip()


def _fid(real: FeatureSet, fake: FeatureSet, label: str, options: Options) -> list[Row]:
    return [Row("fid", label, frechet(real, fake, "features", options.ddof))]


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
    (x, y), of = _compared(real, fake, "prdc", options)
    found = metrics.prdc(x, y, k=options.k, inclusive=options.inclusive)
    suffix = f"{_suffix(label)}, k = {options.k}{of}"
    rows = [Row(key, f"{key}{suffix}", value) for key, value in found._asdict().items()]
    return [*rows, Row("f_score", f"F-score{suffix}", found.f_score)]


def _mifid(real: FeatureSet, fake: FeatureSet, label: str, options: Options) -> list[Row]:
    (x, y), of = _compared(real, fake, "mifid", options)
    name = "MiFID" if label == "FID" else f"MiFD{_suffix(label)}"
    return [Row("mifid", f"{name}{of}", metrics.mifid(x, y))]


def _compared(
    real: FeatureSet, fake: FeatureSet, metric: str, options: Options
) -> tuple[list[Tensor], str]:
    """Return the features of both sides that are compared pair by pair, and how many if not all."""
    sides = [side.need("features", metric) for side in (real, fake)]
    limit = options.neighbour_samples
    if limit is None or max(map(len, sides)) <= limit:
        return sides, ""
    draw = torch.Generator().manual_seed(options.seed)
    some = [x[torch.randperm(len(x), generator=draw)[:limit].sort().values] for x in sides]
    return some, f", {' and '.join(f'{len(x):,}' for x in some)} images"


def _mind(real: FeatureSet, fake: FeatureSet, label: str, options: Options) -> list[Row]:
    x, y = fake.need("features", "mind"), real.need("features", "mind")
    return [Row("mind", f"MIND{_suffix(label)}", metrics.mind(x, y, seed=options.seed))]


def _realism(real: FeatureSet, fake: FeatureSet, label: str, options: Options) -> list[Row]:
    (x, y), of = _compared(real, fake, "realism", options)
    found = metrics.realism(x, y, k=options.k)
    return [Row("realism", f"realism{_suffix(label)}, median{of}", median(found.tolist()))]


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
        raise ValueError(f"ppl needs a generator as FAKE, got images: {fake.name}")
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
# Metrics that need the features of FAKE, and at most the moments of REAL.
OF_FAKE_FEATURES = ("fid_infinity", "is")


def need_labels(side: FeatureSet | Source) -> list[str]:
    """Return the class of each image.

    Raises:
        ValueError: there are no classes.
    """
    if side.labels is None:
        raise ValueError(
            f"fid_intra needs classes, but {side.name} has none; use a sub-folder for each class, "
            "labels in the .npz file, or a class-conditional checkpoint"
        )
    return list(side.labels)


def common_classes(
    real: FeatureSet | Source, fake: FeatureSet | Source
) -> tuple[list[str], list[str], list[str]]:
    """Return the names of the classes, and the class of each real and of each fake image.

    Classes are matched by name. A checkpoint numbers its classes: they stand for the sorted names
    of the other side, as they did when it was trained.

    Raises:
        ValueError: one side has no classes, or has classes that the other one lacks.
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
            f"fid_intra needs the same classes on both sides, got {len(names)} and {len(others)}; "
            f"only one side has {', '.join(differ[:5])}{', ...' if len(differ) > 5 else ''}"
        )
    return names, one, two


def frechet(real: FeatureSet, fake: FeatureSet, layer: str, ddof: int) -> float:
    """Return the Fréchet distance: from the features if they are kept and few, else from moments.

    Raises:
        ValueError: ``ddof`` is 0, and a statistics file does not hold its number of samples.
    """
    x, y = real.features.get(layer), fake.features.get(layer)
    # A file may hold moments and some of its images; the moments are then of all images.
    own = all(isinstance(side.moments[layer], FrechetStatistics) for side in (real, fake))
    if own and x is not None and y is not None and min(len(x), len(y)) <= x.shape[1]:
        return float(metrics.frechet_distance_from_features(x, y, ddof))
    arguments = []
    for side in (real, fake):
        moments = side.moments[layer]
        if isinstance(moments, FrechetStatistics):
            arguments += [moments.mean, moments.covariance(ddof)]
        elif ddof == 1:
            arguments += [moments.mean, moments.covariance]
        elif moments.n is not None:
            arguments += [moments.mean, moments.covariance * ((moments.n - 1) / moments.n)]
        else:
            raise ValueError(f"ddof must be 1 for {side.name}, which holds no number of samples")
    return float(metrics.frechet_distance(*arguments))


def names(wanted: str) -> list[str]:
    """Split a list of metrics such as ``fid,kid``.

    Raises:
        ValueError: the list is empty or names an unknown metric.
    """
    found = list(dict.fromkeys(name.strip() for name in wanted.split(",") if name.strip()))
    unknown = [name for name in found if name not in TABLE]
    if unknown or not found:
        raise ValueError(
            f"metrics must be some of {','.join(TABLE)}, got {','.join(unknown) or 'none'}"
        )
    return found
