"""From two inputs to a table of scores."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ganfast import features, metrics
from ganfast.data.image_files import colour
from ganfast.data.image_source import ImageSource
from ganfast.distributed import is_first
from ganfast.evaluation import inputs
from ganfast.evaluation.collect import OnError, collect, feature_key
from ganfast.evaluation.problems import Problems
from ganfast.evaluation.scores import (
    OF_FAKE_FEATURES,
    TABLE,
    FeatureSet,
    Options,
    Row,
    common_classes,
    need_labels,
)
from ganfast.evaluation.thumbnails import thumbnail
from ganfast.features import Encoder
from ganfast.features.resize import Mode
from ganfast.features.weight_files import INCEPTION
from ganfast.metrics import Moments
from ganfast.metrics.moments import load_settings

_SHOWN = 24  # images of each side on a sheet of the report
_ROWS, _NEIGHBOURS = 8, 5  # fake images, and the real ones nearest to each
_FEW = 2048  # up to so many images on both sides, the distance is computed from the features
_CURVE_KS = (1, 2, 3, 5, 8, 12)
_CURVE_SAMPLES = 5000  # of each side, for the curve of precision and recall


@dataclass(frozen=True)
class Settings:
    """The feature network, and how the images are run through it.

    Attributes:
        features, resize, dims, weights, sha256, dtype, compile, graphs, download, device: as
            `ganfast.features.load` takes them.
        batch_size: images that go through the network at once.
        samples: images that a generator makes; as many as the other side has by default.
        background: colour on which transparency is composed, as ``ganfast train`` does, which also
            turns images upright. By default the stored pixels are taken, as other tools do.
        on_error: ``"stop"`` at images that cannot be used, or ``"skip"`` them.
        state: folder of finished features, to resume from and to use again.
        options: of the metrics.
    """

    features: str = "inception"
    resize: Mode | None = None
    dims: int = 2048
    weights: str | None = None
    sha256: str | None = None
    dtype: str = "float32"
    compile: bool = False
    graphs: bool = False
    download: bool = False
    device: str = "cpu"
    batch_size: int = 32
    samples: int | None = None
    background: str | None = None
    on_error: OnError = "stop"
    state: Path | None = None
    options: Options = field(default_factory=Options)

    def encoder(self) -> Encoder:
        """Load the feature network.

        Raises:
            FileNotFoundError, ModuleNotFoundError, ValueError: as `ganfast.features.load`, and for
                a device that is not there.
        """
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ValueError("device must be cpu, as there is no CUDA device here, got 'cuda'")
        try:
            torch.device(self.device)
        except RuntimeError as error:
            raise ValueError(f"device must be cpu or cuda, got {self.device!r}") from error
        encoder = features.load(
            self.features, device=self.device, resize=self.resize, dims=self.dims,
            weights=self.weights, sha256=self.sha256, dtype=self.dtype, compile=self.compile,
            graphs=self.graphs, download=self.download,
        )  # fmt: skip
        if self.background is not None:  # one of the settings that change the numbers
            colour(self.background)
            encoder.settings = encoder.settings | {"background": self.background}
        return encoder


@dataclass
class Result:
    """The table of scores, what it was computed from, and what the report draws.

    ``images`` counts those that went through the network, ``left_out`` those that could not be
    used; ``problems`` names the first 100 of these on each side. Pictures are thumbnails.
    """

    rows: list[Row]
    label: str
    real: FeatureSet
    fake: FeatureSet
    settings: dict[str, str]
    problems: list[str]
    left_out: int
    notes: list[str]
    seconds: float
    images: int
    real_images: list[Tensor] = field(default_factory=list)
    fake_images: list[Tensor] = field(default_factory=list)
    neighbours: list[tuple[Tensor, list[Tensor]]] = field(default_factory=list)
    curve: list[tuple[int, float, float]] = field(default_factory=list)

    def cells(self) -> list[tuple[str, str]]:
        """Return the name and the value of each score, as a table shows them."""
        return [
            (r.name, f"{r.value:.6g}" if r.std is None else f"{r.value:.6g} ± {r.std:.2g}")
            for r in self.rows
        ]

    def as_text(self) -> str:
        """Return the table for a terminal."""
        rate = self.images / self.seconds if self.seconds else 0.0
        settings = self.settings
        net = [f"{k} {settings[k][:12]}" for k in ("resize", "dtype", "weights") if k in settings]
        lines = [
            ("real", f"{self.real.name} ({count(self.real)})"),
            ("fake", f"{self.fake.name} ({count(self.fake)})"),
            *self.cells(),
            ("features", ", ".join([settings["features"], *net])),
            ("time", f"{self.seconds:.1f} s, {rate:.0f} images/s"),
        ]
        width = max(len(name) for name, _ in lines)
        text = [f"{name:<{width}}  {value}" for name, value in lines]
        text += _remarks(self.notes, self.problems, self.left_out)
        return "\n".join(text)

    def as_json(self) -> dict[str, object]:
        """Return everything for a machine; the spread of a metric is under its key and ``_std``.

        ``left_out`` names the first images left out, ``left_out_count`` counts all.
        """
        values: dict[str, float] = {}
        for row in self.rows:
            values[row.key] = row.value
            if row.std is not None:
                values[f"{row.key}_std"] = row.std
        return {
            "metrics": values,
            "names": {row.key: row.name for row in self.rows},
            "real": {"name": self.real.name, "n": self.real.n},
            "fake": {"name": self.fake.name, "n": self.fake.n},
            "settings": self.settings,
            "left_out": self.problems,
            "left_out_count": self.left_out,
            "notes": self.notes,
            "seconds": round(self.seconds, 3),
        }


def count(side: FeatureSet) -> str:
    """Return how many images a side has, in words."""
    return "statistics" if side.n is None else f"{side.n:,} images"


def evaluate(
    real: str,
    fake: str,
    wanted: list[str],
    settings: Settings,
    *,
    pictures: bool = False,
    quiet: bool = False,
) -> Result:
    """Score FAKE against REAL.

    Args:
        real, fake: a folder, an archive, an array or statistics file, a checkpoint, or
            ``module:callable``.
        wanted: the metrics, by their names in `TABLE`.
        settings: the feature network and how to run it.
        pictures: also collect what the report draws.
        quiet: show no progress bar.

    Raises:
        FileNotFoundError, ModuleNotFoundError, ValueError: an input cannot be used, or a metric
            does not fit the inputs.
    """
    start = time.perf_counter()
    for spec in (real, fake):
        inputs.refuse_missing(spec)
    of_moments = not pictures and not any(TABLE[name].needs_features for name in wanted)
    if of_moments and inputs.is_statistics(real) and inputs.is_statistics(fake):
        return _between_statistics(real, fake, wanted, settings)
    encoder = settings.encoder()
    layers = tuple(dict.fromkeys(TABLE[name].layer for name in wanted))
    if pictures and "features" not in layers:
        layers = ("features", *layers)
    missing = set(layers) - set(encoder.layers)
    if missing:
        raise ValueError(
            f"metrics must fit the layers of {encoder.label}, {', '.join(encoder.layers)}; "
            f"it has no {' or '.join(sorted(missing))}"
        )
    # Both are opened before any features are computed, so that a mistake in FAKE shows at once.
    of_features = {name for name in wanted if TABLE[name].needs_features}
    of_real = of_features - set(OF_FAKE_FEATURES)
    one = _open(real, encoder, layers, settings, settings.samples, images=bool(of_real))
    n = one.n if isinstance(one, FeatureSet) else len(one)
    two = _open(fake, encoder, layers, settings, settings.samples or n, images=bool(of_features))
    _refuse_at_once(wanted, one, two, settings.on_error)
    # For few samples the distance from the features themselves is faster and more accurate.
    few = all(isinstance(side, FeatureSet) or len(side) <= _FEW for side in (one, two))
    keep = few or pictures or any(TABLE[name].needs_features for name in wanted)
    real_side, real_source, problems = _collect(one, encoder, layers, keep, settings, quiet)
    fake_side, fake_source, more = _collect(two, encoder, layers, keep, settings, quiet)
    _check_dimensions(real_side, fake_side)
    result = Result(
        rows=[],
        label=encoder.label,
        real=real_side,
        fake=fake_side,
        settings=_described(encoder, settings, wanted),
        problems=[*problems.words, *more.words],
        left_out=len(problems) + len(more),
        notes=_notes(
            [real_side, fake_side],
            [source for source in (real_source, fake_source) if source is not None],
            wanted,
            encoder,
            settings,
        ),
        seconds=0.0,
        images=sum(len(s) for s in (real_source, fake_source) if s is not None),
    )
    if not is_first():
        return result
    if "ppl" in wanted and fake_source is not None:
        from ganfast.evaluation.generators import path_length

        fake_side.path_length = lambda seed: path_length(
            fake_source, encoder, paths=len(fake_source), seed=seed, quiet=quiet
        )
    for name in wanted:
        result.rows += TABLE[name].rows(real_side, fake_side, encoder.label, settings.options)
    if pictures:
        _draw(result, real_source, fake_source, settings.options)
    result.seconds = time.perf_counter() - start
    return result


def _between_statistics(real: str, fake: str, wanted: list[str], settings: Settings) -> Result:
    """Score two statistics files, which needs no network and no weights."""
    start = time.perf_counter()
    found = [load_settings(spec) for spec in (real, fake)]
    # Files of other tools say nothing of their network: it is what the caller says.
    asked = {"features": settings.features, "dims": str(settings.dims)}
    expected = next((s for s in found if s is not None), asked)
    if settings.features not in ("inception", expected["features"]):  # the default or theirs
        raise ValueError(
            f"features must be those of the statistics, {expected['features']!r}, "
            f"got {settings.features!r}"
        )
    public = expected.get("weights", INCEPTION.sha256) == INCEPTION.sha256
    plain = expected["features"] == "inception" and expected.get("dims", "2048") == "2048"
    label = "FID" if plain and public else f"FD ({expected['features']})"
    layers = tuple(dict.fromkeys(TABLE[name].layer for name in wanted))
    one, two = (inputs.load_statistics(spec, layers, expected) for spec in (real, fake))
    _refuse_at_once(wanted, one, two, settings.on_error)
    _check_dimensions(one, two)
    rows = [row for name in wanted for row in TABLE[name].rows(one, two, label, settings.options)]
    described = {"metrics": ",".join(wanted), **expected, "ddof": str(settings.options.ddof)}
    seconds = time.perf_counter() - start
    return Result(rows, label, one, two, described, [], 0, [], seconds, 0)


class Made(NamedTuple):
    """Moments of the features of images.

    Attributes:
        moments: mean, covariance and number of images.
        encoder: the network that made the features.
        remarks: lines about what was not read or could not be used.
    """

    moments: Moments
    encoder: Encoder
    remarks: list[str]


def statistics(spec: str, settings: Settings, quiet: bool = False) -> Made:
    """Compute the moments of the features of images.

    Raises:
        FileNotFoundError, ModuleNotFoundError, ValueError: as `evaluate`, and for a file that
            holds statistics already.
    """
    inputs.refuse_missing(spec)
    encoder = settings.encoder()
    if inputs.is_statistics(spec):
        raise ValueError(f"{spec} must hold images, got statistics")
    opened = _open(spec, encoder, ("features",), settings, settings.samples, images=True)
    side, source, problems = _collect(opened, encoder, ("features",), False, settings, quiet)
    found = side.moments["features"]
    moments = found if isinstance(found, Moments) else found.moments
    sources = [] if source is None else [source]
    notes = _notes([side], sources, (), encoder, settings)
    return Made(moments, encoder, _remarks(notes, problems.words, len(problems)))


def _remarks(notes: Sequence[str], problems: Sequence[str], left_out: int) -> list[str]:
    """Return notes, and what was left out, as lines of a terminal."""
    lines = [f"note: {note}" for note in notes]
    if left_out:
        lines += [f"{left_out_in_words(left_out, len(problems))}:", *(f"  {p}" for p in problems)]
    return lines


def left_out_in_words(count: int, named: int) -> str:
    """Say how many images were left out, and of how many there is more to say."""
    images = "image was" if count == 1 else "images were"
    those = f", of which {named} are named" if named < count else ""
    return f"{count:,} {images} left out{those}"


def _open(
    spec: str,
    encoder: Encoder,
    layers: tuple[str, ...],
    settings: Settings,
    samples: int | None,
    images: bool,
) -> FeatureSet | ImageSource:
    """Load statistics, or open images whose features are still to be computed.

    If a file holds both, its images are opened only if they are needed (``images``).
    """
    statistics = None
    if inputs.is_statistics(spec):
        statistics = inputs.load_statistics(spec, layers, encoder.settings)
        if not (images and inputs.has_images(spec)):
            return statistics
    device = torch.device(settings.device)
    background = None if settings.background is None else colour(settings.background)
    source = inputs.open_source(
        spec, encoder.channels, samples, settings.options.seed, device, background
    )
    _need_two(source.name, len(source))
    if statistics is not None:
        source.moments = statistics.moments
    return source


def _need_two(name: str, n: int) -> None:
    if n < 2:
        raise ValueError(f"{name} must hold at least 2 images, got {n}")


def _refuse_at_once(
    wanted: list[str],
    real: FeatureSet | ImageSource,
    fake: FeatureSet | ImageSource,
    on_error: OnError,
) -> None:
    """Raise ValueError for metrics that these inputs do not allow."""
    if "ppl" in wanted:
        from ganfast.evaluation.generators import need_latents

        need_latents(fake)
    for side in (real, fake):
        of_features = [
            name
            for name in wanted
            if TABLE[name].needs_features and not (side is real and name in OF_FAKE_FEATURES)
        ]
        if isinstance(side, FeatureSet) and of_features:
            side.need("features", of_features[0])
        if "fid_intra" in wanted:
            need_labels(side)
    if "fid_intra" in wanted and on_error == "stop":
        common_classes(real, fake)


def _collect(
    source: FeatureSet | ImageSource,
    encoder: Encoder,
    layers: tuple[str, ...],
    keep: bool,
    settings: Settings,
    quiet: bool,
) -> tuple[FeatureSet, ImageSource | None, Problems]:
    """Return the features of one side, its images and what is wrong with some of them."""
    if isinstance(source, FeatureSet):
        return source, None, Problems()
    found = collect(
        source, encoder, layers, keep=keep, batch_size=settings.batch_size,
        on_error=settings.on_error, state=settings.state, quiet=quiet,
    )  # fmt: skip
    _need_two(source.name, found.n)
    moments = {**found.statistics, **source.moments}
    side = FeatureSet(source.name, found.n, moments, found.features)
    if source.labels is not None:
        used = np.ones(len(source), bool)
        used[np.array(found.problems.numbers, np.int64)] = False
        side.labels = [y for y, kept in zip(source.labels, used, strict=True) if kept]
    return side, source, found.problems


def _notes(
    sides: Sequence[FeatureSet],
    sources: Sequence[ImageSource],
    wanted: Sequence[str],
    encoder: Encoder,
    settings: Settings,
) -> list[str]:
    """Say what a reader of the scores should know."""
    notes = [note for source in sources for note in source.notes]
    options, keys = settings.options, [source.key for source in sources]
    if len(keys) == 2 and keys[0] is not None and keys[0] == keys[1]:
        notes.append("REAL and FAKE are the same images")
    if settings.state is not None:
        unknown = [source.name for source in sources if feature_key(source, encoder) is None]
        notes += [
            f"the features of {name} are not in --state: they may change unseen" for name in unknown
        ]
    if encoder.settings.get("features") == "digits" and any(s.name != "digits" for s in sources):
        notes.append("the digits network reads grey images of 28 x 28 pixels: it is for digits")
    sizes = [side.n for side in sides if side.n is not None]
    few = min(sizes, default=None)
    dims = [s.moments["features"].mean.shape[0] for s in sides if "features" in s.moments]
    if few is not None and "fid" in wanted and dims and few < dims[0]:
        notes.append(
            f"{few} images are fewer than the {dims[0]} features: the Fréchet distance is biased "
            "upwards, compare it only between sets of one size"
        )
    if few is not None and "kid" in wanted and options.kid_subset_size >= few:
        notes.append(
            f"each subset of KID is the whole set of {few} images, so its spread says nothing"
        )
    return notes


def _check_dimensions(real: FeatureSet, fake: FeatureSet) -> None:
    for layer in real.moments.keys() & fake.moments.keys():
        one, two = (side.moments[layer].mean.shape[0] for side in (real, fake))
        if one != two:
            raise ValueError(
                f"{real.name} has {one} {layer} and {fake.name} has {two}: "
                "the statistics are of another feature network"
            )


def _described(encoder: Encoder, settings: Settings, wanted: list[str]) -> dict[str, str]:
    import PIL

    import ganfast

    options = {key: str(value) for key, value in asdict(settings.options).items()}
    return {
        "metrics": ",".join(wanted),
        **encoder.settings,
        "device": settings.device,
        "batch_size": str(settings.batch_size),
        **options,
        "on_error": settings.on_error,
        "ganfast": ganfast.__version__,
        "torch": torch.__version__,
        "pillow": PIL.__version__,
    }


def _draw(
    result: Result, real: ImageSource | None, fake: ImageSource | None, options: Options
) -> None:
    """Collect samples of both sides, nearest neighbours, and precision and recall by k."""
    if real is not None:
        result.real_images = real.read(0, min(_SHOWN, len(real)), thumbnail)[0]
    if fake is not None:
        result.fake_images = fake.read(0, min(_SHOWN, len(fake)), thumbnail)[0]
    if real is None or fake is None or result.left_out:
        return  # with images left out, a row of features no longer tells its file
    x, y = result.real.features["features"], result.fake.features["features"]
    distances = torch.cdist(y[:_ROWS], x, compute_mode="donot_use_mm_for_euclid_dist")
    nearest = distances.topk(min(_NEIGHBOURS, len(x)), largest=False).indices
    for i, row in enumerate(nearest.tolist()):
        own = fake.read(i, i + 1, thumbnail)[0][0]
        result.neighbours.append((own, [real.read(j, j + 1, thumbnail)[0][0] for j in row]))
    for k in _CURVE_KS:
        if k < min(len(x), len(y)):
            part = x[:_CURVE_SAMPLES], y[:_CURVE_SAMPLES]
            found = metrics.prdc(*part, k=k, inclusive=options.inclusive)
            result.curve.append((k, found.precision, found.recall))
