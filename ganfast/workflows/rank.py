"""Rank classifiers on synthetic images, and compare with their ranking on real images."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ganfast import data
from ganfast._numbers import check_whole
from ganfast.models.classifier import Classifier
from ganfast.reporting import plot, report
from ganfast.workflows import classifiers, correlation
from ganfast.workflows.classifiers import Fit, Labelled
from ganfast.workflows.correlation import Correlation
from ganfast.workflows.gan import gan_config, images_of
from ganfast.workflows.run_folder import claim, one_writer
from ganfast.workflows.sampler import shuffled_labels, trained_sampler
from ganfast.workflows.synthesize import load_dataset

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_TEST = 1000

# Numbers of images and widths of the default classifiers, from poor to good.
_DEFAULT_SIZES = (
    (30, 2),
    (60, 4),
    (120, 4),
    (250, 8),
    (500, 8),
    (1000, 16),
    (2000, 16),
    (4000, 16),
)


@dataclass(frozen=True)
class Settings:
    """Settings of the workflow.

    Attributes:
        models: classifiers, as files or ``module:callable``; or architectures as ``timm/resnet18``
            or ``torchvision/resnet18``, where these are installed, which are trained on all images
            that are not held out. If empty, eight small ones are trained on more and more images.
        data: images with labels, as for ``ganfast train``; ``size`` and the like are settings of
            ``gan``.
        test: number of held-out real images. By default a fifth of the images, at most 1,000.
        synthetic: number of generated images, in equal shares of the classes.
        gan: settings of ``ganfast train`` for a class-conditional GAN, which is trained on all
            images that are not held out.
        dataset: folder or npz of ``ganfast synthesize`` to use instead of the GAN.
        draws: resamplings of the bootstrap.
        seed: seed of classifiers and bootstrap.
        fit: how classifiers are trained.
    """

    models: tuple[str, ...] = ()
    data: str = "digits"
    test: int = 0
    synthetic: int = 2000
    gan: tuple[str, ...] = ("model=cdcgan", "steps=1500", "lr_g=2e-3", "lr_d=1e-3", "score_every=0")
    dataset: str = ""
    draws: int = 1000
    seed: int = 0
    fit: Fit = field(default_factory=Fit)

    def __post_init__(self) -> None:
        if len(self.models) == 1:
            raise ValueError(f"models must be two or more to be ranked, got {self.models}")
        for name in ("synthetic", "draws"):
            check_whole(name, getattr(self, name), minimum=1)
        check_whole("test", self.test, minimum=0)


class Standing(NamedTuple):
    """The figures of one classifier on one set of images."""

    accuracy: float
    confidence: float
    calibration_error: float


@dataclass(frozen=True)
class Result:
    """Standings (synthetic, real) by name, correlations of the two rankings, and agreements."""

    standings: dict[str, tuple[Standing, Standing]]
    spearman: Correlation
    kendall: Correlation
    agreement_synthetic: Tensor
    agreement_real: Tensor

    def as_json(self) -> dict[str, object]:
        """Return the figures of each classifier on both kinds of images, and the correlations."""
        standings = {
            name: {"synthetic": synthetic._asdict(), "real": real._asdict()}
            for name, (synthetic, real) in self.standings.items()
        }
        correlations = {"spearman": self.spearman._asdict(), "kendall": self.kendall._asdict()}
        return {"standings": standings, **correlations}

    def rows(self) -> list[list[str]]:
        """Return a row for each classifier, the best on synthetic images first."""
        ordered = sorted(self.standings.items(), key=lambda item: -item[1][0].accuracy)
        return [
            [
                name,
                *(f"{100 * of.accuracy:.2f}" for of in pair),
                *(f"{100 * of.confidence:.1f}" for of in pair),
                *(f"{of.calibration_error:.3f}" for of in pair),
            ]
            for name, pair in ordered
        ]


@one_writer
def rank(
    settings: Settings,
    out: Path,
    device: str = "cpu",
    overwrite: bool = False,
    on_note: Callable[[str], None] | None = None,
) -> Result:
    """Train what is needed and write ``report.html``; a later call continues a stopped run.

    Args:
        settings: the settings.
        out, device, overwrite, on_note: as for :func:`ganfast.workflows.train.train`.

    Raises:
        FileExistsError: ``out`` holds a run with other settings.
        FileNotFoundError: a model or the data do not exist.
        ValueError: models, data and settings do not fit.
    """
    notes: list[str] = []
    data_set = images_of(settings.data, settings.gan, notes.append)
    settings = replace(settings, test=settings.test or min(_TEST, len(data_set) // 5))
    pool, real = classifiers.split(data_set, settings.test, seed=0)
    nets = {
        name: classifiers.classifier(name)
        for name in settings.models
        if not classifiers.is_library_model(name)
    }
    for name, net in nets.items():
        found = _probabilities(name, net, real[0][:2]).shape[1]
        if found < data_set.classes:
            raise ValueError(
                f"models must tell {data_set.classes} classes apart, as {data_set.name} has, "
                f"got {found} in {name}"
            )
    if settings.dataset:
        load_dataset(Path(settings.dataset), like=pool[0])
    elif not gan_config(settings.gan, data_set, settings.data).classes:
        raise ValueError("gan must be class-conditional, such as model=cdcgan")
    if on_note is not None:
        on_note(*notes)
    claim(out / "settings.json", asdict(settings), overwrite)
    nets = {**nets, **_trained_classifiers(settings, pool, out, overwrite)}
    nets = {name: nets[name] for name in settings.models or nets}
    synthetic = _synthetic(settings, pool, out, device, overwrite)
    standings: list[list[Standing]] = []
    predicted: list[Tensor] = []
    for images, labels in (synthetic, real):
        probabilities = [_probabilities(name, net, images) for name, net in nets.items()]
        standings.append([_standing(p, labels) for p in probabilities])
        predicted.append(torch.stack([p.argmax(1) for p in probabilities]))
    spearman, kendall = correlation.bootstrap(
        predicted[0] == synthetic[1], predicted[1] == real[1], settings.draws, settings.seed
    )
    result = Result(
        dict(zip(nets, zip(*standings, strict=True), strict=True)),
        spearman,
        kendall,
        correlation.agreement(predicted[0]),
        correlation.agreement(predicted[1]),
    )
    write_report(out, settings, result)
    return result


def _trained_classifiers(
    settings: Settings, pool: Labelled, out: Path, overwrite: bool
) -> dict[str, nn.Module]:
    """Read the classifiers that are trained here from their files, or train and write them.

    They are the named architectures of timm and torchvision, or by default small ones of increasing
    quality.
    """
    nets: dict[str, nn.Module] = {}
    held = min(200, len(pool[0]) // 5)
    left = len(pool[0]) - held
    classes = int(pool[1].max()) + 1

    def trained(net: nn.Module, file: str, count: int) -> nn.Module:
        path = out / "classifiers" / f"{file}.safetensors"
        if path.exists() and not overwrite:
            if isinstance(net, Classifier):
                return classifiers.classifier(str(path))
            net.load_state_dict(load_file(path))
            return net
        validation, train = (
            (pool[0][part], pool[1][part]) for part in (slice(held), slice(held, held + count))
        )
        classifiers.fit(net, train, validation, settings.fit, settings.seed)
        classifiers.save_classifier(net, path)
        return net

    for name in filter(classifiers.is_library_model, settings.models):
        net = classifiers.library_model(name, classes, pool[0].shape[1])
        _probabilities(name, net, pool[0][:2])
        nets[name] = trained(net, name.replace("/", "-"), left)
    # Fewer images than the last but one would have are shared out alike.
    scale = 1.0 if left > _DEFAULT_SIZES[-2][0] else left / _DEFAULT_SIZES[-1][0]
    for size, width in () if settings.models else _DEFAULT_SIZES:
        n = min(max(1, round(size * scale)), left)
        small = classifiers.small_classifier(classes, pool[0], settings.seed, width)
        nets[f"{n} images, width {width}"] = trained(small, f"{n}-{width}", n)
    return nets


def _synthetic(
    settings: Settings, pool: Labelled, out: Path, device: str, overwrite: bool
) -> Labelled:
    if settings.dataset:
        images, labels = load_dataset(Path(settings.dataset), like=pool[0])
        return images[: settings.synthetic], labels[: settings.synthetic]
    real = data.ImageData(*pool, name=f"{len(pool[0])} of {settings.data}")
    words = (f"labels={int(pool[1].max()) + 1}", *settings.gan)
    sampler = trained_sampler(words, real, settings.data, out / "gan", device, overwrite)
    labels = shuffled_labels(settings.synthetic, [1.0] * sampler.classes, settings.seed)
    return sampler.draw(labels, (settings.seed, 2)), labels


def _probabilities(name: str, net: nn.Module, images: Tensor) -> Tensor:
    try:
        return classifiers.probabilities(net, images)
    except RuntimeError as error:
        shape = tuple(images.shape)
        raise ValueError(f"{name} must take images of shape {shape}, got: {error}") from error


def _standing(probabilities: Tensor, labels: Tensor) -> Standing:
    confidence, predicted = probabilities.max(1)
    return Standing(
        float((predicted == labels).double().mean()),
        float(confidence.mean()),
        correlation.calibration_error(probabilities, labels),
    )


HEADER = [
    "classifier",
    "synthetic accuracy, %",
    "real accuracy, %",
    "synthetic confidence, %",
    "real confidence, %",
    "synthetic ECE",
    "real ECE",
]


def correlations(result: Result) -> list[tuple[str, str]]:
    """Return names and values of the rank correlations and agreements, formatted."""
    return [
        ("Spearman's rank correlation [95 %]", str(result.spearman)),
        ("Kendall's tau-b [95 %]", str(result.kendall)),
        ("pairs that agree, synthetic", f"{_off_diagonal(result.agreement_synthetic):.1%}"),
        ("pairs that agree, real", f"{_off_diagonal(result.agreement_real):.1%}"),
    ]


def write_report(out: Path, settings: Settings, result: Result) -> None:
    """Write ``rankings.png`` and ``report.html``."""
    picture = plot.write(_plot(result), out / "rankings.png")
    numbered = _numbered(result)
    rows = [[numbered[name], *figures] for name, *figures in result.rows()]
    accuracies = [synthetic.accuracy for synthetic, _ in result.standings.values()]
    # What two standard errors of an accuracy hide is no ranking.
    apart = max(accuracies) - min(accuracies) > 2 * math.sqrt(0.25 / settings.synthetic)
    alike = apart and result.spearman.low > 0
    verdict = "rank the classifiers alike" if alike else "cannot be said to rank them alike"
    if not apart:
        verdict += ", as synthetic images hardly tell them apart"
    content = report.page(
        "ganfast rank: classifiers on synthetic images",
        f"Synthetic and real images {verdict}: Spearman {result.spearman}.",
        report.section("Standings", report.table(rows, header=HEADER), report.text(_HOW)),
        report.section(
            "Two rankings",
            report.table(correlations(result)),
            report.figure(picture, "each classifier's accuracy on both kinds of images"),
        ),
        report.section(
            "Agreement on synthetic images, %", _matrix(result, result.agreement_synthetic)
        ),
        report.section("Agreement on real images, %", _matrix(result, result.agreement_real)),
        settings=asdict(settings),
    )
    report.write(out / "report.html", content)


_HOW = (
    "No classifier and no GAN was trained on these real images. ECE is the expected calibration "
    "error, from 0 to 1, over 15 bins of confidence. Intervals come from resampling both sets of "
    "images."
)


def _off_diagonal(matrix: Tensor) -> float:
    n = len(matrix)
    return float((matrix.sum() - matrix.trace()) / (n * (n - 1)))


def _numbered(result: Result) -> dict[str, str]:
    """Return the classifiers in the order of the table, with their numbers on the whole page."""
    names = [name for name, *_ in result.rows()]
    return {name: f"{place}.\N{NO-BREAK SPACE}{name}" for place, name in enumerate(names, 1)}


def _matrix(result: Result, matrix: Tensor) -> str:
    """Return a table of a matrix over ``result.standings``, in the order of the standings table."""
    names, numbered = list(result.standings), _numbered(result)
    order = [names.index(name) for name in numbered]
    shares = (100 * matrix[order][:, order]).tolist()
    rows = [
        [name, *(f"{share:.1f}" for share in row)]
        for name, row in zip(numbered.values(), shares, strict=True)
    ]
    return report.table(rows, header=["classifier", *(str(i + 1) for i in range(len(order)))])


def _plot(result: Result) -> "Figure":
    names = _numbered(result)
    figure, (axis,) = plot.panels(6.4, 4.6 + 0.22 * len(names))
    for place, (name, label) in enumerate(names.items(), 1):
        synthetic, real = result.standings[name]
        point = (100 * synthetic.accuracy, 100 * real.accuracy)
        axis.plot(*point, "o", label=label)
        axis.annotate(str(place), point, textcoords="offset points", xytext=(6, -12))
    axis.set_xlabel("accuracy on synthetic images, %")
    axis.set_ylabel("accuracy on real images, %")
    figure.legend(frameon=False, fontsize="small", loc="outside lower left")  # covers no point
    return figure
