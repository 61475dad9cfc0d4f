"""From two inputs to a table of scores."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import torch
from torch import Tensor

from ganfast import metrics
from ganfast.data.image_source import Source, notes_of
from ganfast.distributed import is_first
from ganfast.evaluation import forecast, inputs
from ganfast.evaluation.collect import Engine, OnError, Work, collect, feature_key
from ganfast.evaluation.scores import (
    OF_FAKE_FEATURES,
    TABLE,
    FeatureSet,
    Options,
    Row,
    common_classes,
    need_labels,
)
from ganfast.evaluation.settings import (
    Input,
    Settings,
    compiled_if_it_pays,
    encoder_for,
    need_two,
    open_side,
)
from ganfast.evaluation.state import State
from ganfast.evaluation.thumbnails import thumbnail
from ganfast.features import Encoder
from ganfast.features.weight_files import INCEPTION
from ganfast.metrics.moments import load_settings

_SHOWN = 24  # images of each side on a sheet of the report
_ROWS, _NEIGHBOURS = 8, 5  # fake images, and the real ones nearest to each
#: Up to so many images on both sides, the distance is computed from the features: for few samples
#: that is faster and more accurate.
FEW = 2048
_CURVE_KS = (1, 2, 3, 5, 8, 12)
_CURVE_SAMPLES = 5000  # of each side, for the curve of precision and recall


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
        text += remarks(self.notes, self.problems, self.left_out)
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


def score(
    real: Input,
    fake: Input,
    wanted: list[str],
    settings: Settings,
    *,
    pictures: bool = False,
    quiet: bool = False,
) -> Result:
    """Score FAKE against REAL.

    In several processes the first one returns the scores, and the others a result without rows.

    Args:
        real, fake: by name: a folder, an archive, files of images or features, a statistics file, a
            checkpoint, or ``module:callable``; or an opened `Source`, or features as a
            `FeatureSet`.
        wanted: the metrics, by their names in `TABLE`.
        settings: the feature network and how to run it.
        pictures: also collect what the report draws.
        quiet: show no progress bar.

    Raises:
        FileNotFoundError, ModuleNotFoundError, ValueError: an input cannot be used, or a metric
            does not fit the inputs.
    """
    start = time.perf_counter()
    for side in (real, fake):
        if isinstance(side, str):
            inputs.refuse_missing(side)
        elif settings.engine != "here" and not isinstance(side, FeatureSet):
            raise ValueError(f"engine must be 'here' for an opened source, got {settings.engine!r}")
    needs_features = wanted_features(wanted)
    files = [side for side in (real, fake) if isinstance(side, str) and inputs.is_statistics(side)]
    if len(files) == 2 and not pictures and not needs_features:
        return _between_statistics(files, wanted, settings)
    encoder = encoder_for([real, fake], settings)
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
    samples = settings.samples
    if samples is None and isinstance(fake, str) and inputs.is_generator(fake):
        samples = one.n if isinstance(one, FeatureSet) else len(one)
    two = _open(fake, encoder, layers, settings, samples, images=bool(of_features))
    _refuse_at_once(wanted, one, two, settings.on_error)
    known = sum(side.count or 0 for side in (one, two) if isinstance(side, Source))
    encoder = compiled_if_it_pays(encoder, known, settings)
    work = Work(
        encoder, layers, limit=None if needs_features or pictures else FEW,
        batch_size=settings.batch_size, on_error=settings.on_error, labels="fid_intra" in wanted,
    )  # fmt: skip
    if not quiet and is_first():
        forecast.announce(wanted, one, two, work, settings.options)
    (real_side, real_source, in_real), (fake_side, fake_source, in_fake) = (
        _collect(side, opened, work, replace(settings, samples=samples), quiet)
        for side, opened in ((real, one), (fake, two))
    )
    _check_dimensions(real_side, fake_side)
    states = [state for state in (in_real, in_fake) if state is not None]
    result = Result(
        rows=[],
        label=encoder.label,
        real=real_side,
        fake=fake_side,
        settings=_described(encoder, settings, wanted),
        problems=[words for state in states for words in state.problems.words],
        left_out=sum(len(state.problems) for state in states),
        notes=[],
        seconds=0.0,
        images=sum(state.n + len(state.problems) for state in states),
    )
    if not is_first():
        return result
    sources = [source for source in (real_source, fake_source) if source is not None]
    result.notes = _notes([real_side, fake_side], sources, wanted, work, settings)
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


def _between_statistics(files: Sequence[str], wanted: list[str], settings: Settings) -> Result:
    """Score two statistics files, which needs no network and no weights."""
    start = time.perf_counter()
    found = [load_settings(inputs.here(spec)) for spec in files]
    # Files of other tools say nothing of their network: it is what the caller says.
    asked = {"features": settings.features, "dims": str(settings.dims)}
    expected = next((s for s in found if s is not None), asked)
    if settings.features not in ("inception", expected["features"]):  # the default or theirs
        raise ValueError(
            f"features must be those of the statistics, {expected['features']!r}, "
            f"got {settings.features!r}"
        )
    label = label_of(expected)
    layers = tuple(dict.fromkeys(TABLE[name].layer for name in wanted))
    one, two = (inputs.load_statistics(spec, layers, expected) for spec in files)
    _refuse_at_once(wanted, one, two, settings.on_error)
    _check_dimensions(one, two)
    rows = [row for name in wanted for row in TABLE[name].rows(one, two, label, settings.options)]
    described = {"metrics": ",".join(wanted), **expected, "ddof": str(settings.options.ddof)}
    seconds = time.perf_counter() - start
    return Result(rows, label, one, two, described, [], 0, [], seconds, 0)


def label_of(settings: Mapping[str, str]) -> str:
    """Return what a Fréchet distance on features of these settings is called."""
    public = settings.get("weights", INCEPTION.sha256) == INCEPTION.sha256
    plain = settings["features"] == "inception" and settings.get("dims", "2048") == "2048"
    return "FID" if plain and public else f"FD ({settings['features']})"


def remarks(notes: Sequence[str], problems: Sequence[str], left_out: int) -> list[str]:
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
    side: Input,
    encoder: Encoder,
    layers: tuple[str, ...],
    settings: Settings,
    samples: int | None,
    images: bool,
) -> FeatureSet | Source:
    """Load statistics, or open what features are still to be computed of.

    If a file holds both, its images are opened only if they are needed (``images``).
    """
    if isinstance(side, FeatureSet):
        return side
    statistics = None
    if isinstance(side, str) and inputs.is_statistics(side):
        statistics = inputs.load_statistics(side, layers, encoder.settings)
        if not (images and inputs.has_images(side)):
            return statistics
    source = open_side(side, encoder, settings, samples)
    if statistics is not None:
        source.moments = statistics.moments
    return source


def _refuse_at_once(
    wanted: list[str],
    real: FeatureSet | Source,
    fake: FeatureSet | Source,
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
    known = [side for side in (real, fake) if isinstance(side, FeatureSet) or side.count]
    if "fid_intra" in wanted:
        for side in known:
            need_labels(side)
        if on_error == "stop" and len(known) == 2:
            common_classes(real, fake)


def engine_of(side: Input, settings: Settings, work: Work) -> Engine | None:
    """Return what maps the shards of a named input elsewhere, if that is asked for."""
    if settings.engine == "here" or not isinstance(side, str):
        return None
    from ganfast.evaluation import ray_engine

    return ray_engine.engine(side, settings, work)


def _collect(
    side: Input, source: FeatureSet | Source, work: Work, settings: Settings, quiet: bool
) -> tuple[FeatureSet, Source | None, State | None]:
    """Return what metrics take of one side, its images, and what was found of them.

    Raises:
        ValueError: fewer than two images could be used.
    """
    if isinstance(source, FeatureSet):
        return source, None, None
    engine = engine_of(side, settings, work)
    found = collect(source, work, state=settings.state, engine=engine, quiet=quiet)
    need_two(source.name, found.n)
    moments = {**found.statistics(), **source.moments}
    features = FeatureSet(source.name, found.n, moments, labels=found.labels)
    if found.complete:
        features.features, features.numbers = found.rows, found.numbers.tolist()
    source.unread = {**source.unread, **found.unread}
    return features, source, found


def _notes(
    sides: Sequence[FeatureSet],
    sources: Sequence[Source],
    wanted: Sequence[str],
    work: Work,
    settings: Settings,
) -> list[str]:
    """Say what a reader of the scores should know."""
    notes = [note for source in sources for note in notes_of(source)]
    options, encoder = settings.options, work.encoder
    if len(sources) == 2 and sources[0].count == sources[1].count:
        keys = [source.key for source in sources]
        if keys[0] is not None and keys[0] == keys[1]:
            notes.append("REAL and FAKE are the same images")
    if settings.state is not None:
        unknown = [s.name for s in sources if feature_key(s.key, work) is None]
        notes += [
            f"the features of {name} are not in --state: they may change unseen" for name in unknown
        ]
    if encoder.settings.get("features") == "digits" and any(s.name != "digits" for s in sources):
        notes.append("the digits network reads grey images of 28 x 28 pixels: it is for digits")
    notes += [side.sampled for side in sides if side.sampled and wanted_features(wanted)]
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


def wanted_features(wanted: Sequence[str]) -> bool:
    """Say whether some of the metrics need features, not moments alone."""
    return any(TABLE[name].needs_features for name in wanted)


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


def _draw(result: Result, real: Source | None, fake: Source | None, options: Options) -> None:
    """Collect samples of both sides, nearest neighbours, and precision and recall by k."""
    if real is not None and not real.is_features:
        result.real_images = [real.image(i, thumbnail) for i in result.real.numbers[:_SHOWN]]
    if fake is not None and not fake.is_features:
        result.fake_images = [fake.image(i, thumbnail) for i in result.fake.numbers[:_SHOWN]]
    if real is None or fake is None or real.is_features:
        return
    numbers = result.real.numbers
    x, y = result.real.features["features"], result.fake.features["features"]
    distances = torch.cdist(y[:_ROWS], x, compute_mode="donot_use_mm_for_euclid_dist")
    nearest = distances.topk(min(_NEIGHBOURS, len(x)), largest=False).indices
    for i, row in enumerate(nearest.tolist()):
        own = fake.image(result.fake.numbers[i], thumbnail)
        result.neighbours.append((own, [real.image(numbers[j], thumbnail) for j in row]))
    for k in _CURVE_KS:
        if k < min(len(x), len(y)):
            part = x[:_CURVE_SAMPLES], y[:_CURVE_SAMPLES]
            found = metrics.prdc(*part, k=k, inclusive=options.inclusive)
            result.curve.append((k, found.precision, found.recall))
