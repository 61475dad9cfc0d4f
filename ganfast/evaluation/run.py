"""From two inputs to a table of scores."""

import time
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ganfast import features, metrics
from ganfast.data.image_source import ImageSource
from ganfast.evaluation import inputs
from ganfast.evaluation.collect import OnError, collect
from ganfast.evaluation.generators import GeneratedImages, need_latents, path_length
from ganfast.evaluation.progress import process
from ganfast.evaluation.scores import (
    OF_FAKE_FEATURES,
    TABLE,
    FeatureSet,
    Options,
    Row,
    common_classes,
    need_labels,
)
from ganfast.features import Encoder
from ganfast.features.resize import Mode
from ganfast.metrics import Moments, neighbours

_SHOWN = 24  # fakes on a sheet of the report
_NEIGHBOURS = 5
_FEW = 2048  # images of a side
_DRAWN_KS = (1, 2, 3, 5, 8, 12)
_DRAWN = 5000  # samples of a side that the picture of precision and recall is of


@dataclass(frozen=True)
class Settings:
    """The feature net, and how the images are run through it."""

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
    on_error: OnError = "stop"
    state: Path | None = None
    options: Options = field(default_factory=Options)

    def encoder(self) -> Encoder:
        """The feature net; raises as `features.load` does, and ValueError for a device."""
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ValueError("device: expected cpu, there is no CUDA device here, got 'cuda'")
        try:
            torch.device(self.device)
        except RuntimeError as error:
            raise ValueError(f"device: expected cpu or cuda, got {self.device!r}") from error
        return features.load(
            self.features, device=self.device, resize=self.resize, dims=self.dims,
            weights=self.weights, sha256=self.sha256, dtype=self.dtype, compile=self.compile,
            graphs=self.graphs, download=self.download,
        )  # fmt: skip


@dataclass
class Result:
    """Rows of the table, what they are of, and what the report draws."""

    rows: list[Row]
    label: str
    real: FeatureSet
    fake: FeatureSet
    settings: dict[str, str]
    problems: list[str]
    notes: list[str]
    seconds: float
    images: int  # run through the net
    real_images: list[Tensor] = field(default_factory=list)
    fake_images: list[Tensor] = field(default_factory=list)
    neighbours: list[tuple[Tensor, list[Tensor]]] = field(default_factory=list)
    curve: list[tuple[int, float, float]] = field(default_factory=list)

    def as_json(self) -> dict[str, object]:
        """Everything a machine wants; the spread of a metric is under its key and ``_std``."""
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
            "notes": self.notes,
            "seconds": round(self.seconds, 3),
        }


def evaluate(
    real: str,
    fake: str,
    wanted: list[str],
    settings: Settings,
    *,
    pictures: bool = False,
    quiet: bool = False,
) -> Result:
    """Score FAKE against REAL, each as `inputs` reads it; ``pictures`` also for a report.

    Raises ValueError, FileNotFoundError and ModuleNotFoundError with a sentence for every input
    that cannot be used.
    """
    start = time.perf_counter()
    encoder = settings.encoder()
    layers = tuple(dict.fromkeys(TABLE[name].layer for name in wanted))
    if pictures and "features" not in layers:
        layers = ("features", *layers)
    missing = set(layers) - set(encoder.layers)
    if missing:
        raise ValueError(
            f"metrics: {encoder.label} gives {', '.join(encoder.layers)}, "
            f"and no {' or '.join(sorted(missing))}"
        )
    # Both are opened before the first one is computed: what is wrong with FAKE is said at once.
    one = _open(real, encoder, layers, settings, settings.samples)
    n = one.n if isinstance(one, FeatureSet) else len(one)
    two = _open(fake, encoder, layers, settings, settings.samples or n)
    _refuse_at_once(wanted, one, two, settings.on_error)
    # Of few samples the distance is computed from the features, faster and more exactly.
    few = all(isinstance(source, FeatureSet) or len(source) <= _FEW for source in (one, two))
    keep = few or pictures or any(TABLE[name].features for name in wanted)
    real_side, real_source, problems = _side(one, encoder, layers, keep, settings, quiet)
    fake_side, fake_source, more = _side(two, encoder, layers, keep, settings, quiet)
    _same_dimensions(real_side, fake_side)
    result = Result(
        rows=[],
        label=encoder.label,
        real=real_side,
        fake=fake_side,
        settings=_described(encoder, settings, wanted),
        problems=[*problems, *more],
        notes=_notes(real_source, fake_source),
        seconds=0.0,
        images=sum(len(s) for s in (real_source, fake_source) if s is not None),
    )
    if process()[0] > 0:
        return result
    for name in wanted:
        result.rows += TABLE[name].rows(real_side, fake_side, encoder.label, settings.options)
    if pictures:
        _draw(result, real_source, fake_source, settings.options)
    result.seconds = time.perf_counter() - start
    return result


def statistics(spec: str, settings: Settings, quiet: bool = False) -> tuple[Moments, Encoder]:
    """Moments of the features of images, and the net that gave them."""
    encoder = settings.encoder()
    if inputs.is_statistics(spec):
        raise ValueError(f"{spec}: holds statistics already; expected images")
    source = _open(spec, encoder, ("features",), settings, settings.samples)
    side, _, _ = _side(source, encoder, ("features",), False, settings, quiet)
    found = side.moments["features"]
    return (found if isinstance(found, Moments) else found.moments), encoder


def _open(
    spec: str, encoder: Encoder, layers: tuple[str, ...], settings: Settings, samples: int | None
) -> FeatureSet | ImageSource:
    """Statistics, or images that are still to be computed."""
    if inputs.is_statistics(spec):
        return inputs.moments(spec, layers, encoder)
    device = torch.device(settings.device)
    source = inputs.images(spec, encoder.channels, samples, settings.options.seed, device)
    if len(source) < 2:
        raise ValueError(f"{source.name}: expected at least 2 images, got {len(source)}")
    return source


def _refuse_at_once(
    wanted: list[str],
    real: FeatureSet | ImageSource,
    fake: FeatureSet | ImageSource,
    on_error: OnError,
) -> None:
    """Raise ValueError for metrics that these inputs cannot have."""
    if "ppl" in wanted:
        if not isinstance(fake, GeneratedImages):
            raise ValueError(f"ppl: needs a generator as FAKE, got images: {fake.name}")
        need_latents(fake)
    for side in (real, fake):
        of_features = [
            name
            for name in wanted
            if TABLE[name].features and not (side is real and name in OF_FAKE_FEATURES)
        ]
        if isinstance(side, FeatureSet) and of_features:
            side.need("features", of_features[0])
        if "fid_intra" in wanted:
            need_labels(side)
    if "fid_intra" in wanted and on_error == "stop":
        common_classes(real, fake)


def _side(
    source: FeatureSet | ImageSource,
    encoder: Encoder,
    layers: tuple[str, ...],
    keep: bool,
    settings: Settings,
    quiet: bool,
) -> tuple[FeatureSet, ImageSource | None, list[str]]:
    if isinstance(source, FeatureSet):
        return source, None, []
    found = collect(
        source, encoder, layers, keep=keep, batch_size=settings.batch_size,
        on_error=settings.on_error, state=settings.state, quiet=quiet,
    )  # fmt: skip
    if found.n < 2:
        raise ValueError(f"{source.name}: expected at least 2 images, got {found.n}")
    side = FeatureSet(source.name, found.n, dict(found.statistics), found.features)
    if source.labels is not None:
        side.labels = [y for i, y in enumerate(source.labels) if i not in found.problems]
    if isinstance(source, GeneratedImages):
        side.path_length = partial(path_length, source, encoder, quiet=quiet)
    return side, source, list(found.problems.values())


def _notes(real: ImageSource | None, fake: ImageSource | None) -> list[str]:
    if real is not None and fake is not None and real.key is not None and real.key == fake.key:
        return ["REAL and FAKE are the same images"]
    return []


def _same_dimensions(real: FeatureSet, fake: FeatureSet) -> None:
    for layer in real.moments.keys() & fake.moments.keys():
        one, two = (side.moments[layer].mean.shape[0] for side in (real, fake))
        if one != two:
            raise ValueError(
                f"{real.name} has {one} {layer} and {fake.name} {two}: "
                "statistics of another feature net"
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
    """Samples of both sides, nearest neighbours, and precision over recall for some k."""
    if real is not None:
        result.real_images = real.read(0, min(_SHOWN, len(real)))[0]
    if fake is not None:
        result.fake_images = fake.read(0, min(_SHOWN, len(fake)))[0]
    if real is None or fake is None or result.problems:
        return  # without all images, rows of features have lost their files
    x, y = result.real.features["features"], result.fake.features["features"]
    a, b = neighbours.points(x, y[: _NEIGHBOURS + 3])
    k = min(_NEIGHBOURS, len(x))
    for i, row in enumerate(neighbours.nearest(b, k, a).indices.tolist()):
        own = fake.read(i, i + 1)[0][0]
        result.neighbours.append((own, [real.read(j, j + 1)[0][0] for j in row]))
    for k in _DRAWN_KS:
        if k < min(len(x), len(y)):
            found = metrics.prdc(x[:_DRAWN], y[:_DRAWN], k=k, strict=options.strict)
            result.curve.append((k, found.precision, found.recall))
