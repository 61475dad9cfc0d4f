"""Train a classifier on real, synthetic and both kinds of images: did the GAN help?"""

import copy
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor, nn

from ganfast import data
from ganfast._names import check_name
from ganfast._numbers import check_between, check_whole
from ganfast.models.classifier import Classifier
from ganfast.reporting import plot, report
from ganfast.workflows import classifiers
from ganfast.workflows.classifiers import Fit, Labelled
from ganfast.workflows.gan import gan_config, images_of
from ganfast.workflows.run_folder import ResultCache, one_writer
from ganfast.workflows.sampler import shuffled_labels, trained_sampler
from ganfast.workflows.seed_statistics import difference, in_words, summary
from ganfast.workflows.synthesize import load_dataset

if TYPE_CHECKING:
    from matplotlib.figure import Figure


Labels = Literal["generator", "teacher"]

MODES = ("real", "synthetic", "both", "pretrained")
_VALIDATION = 0.2  # share of the real images
_FEWEST = 20  # real images that a classifier and a GAN are trained on
_TEST = 1000
_SIZES, _LARGEST = (50, 100, 500), 4000


@dataclass(frozen=True)
class Settings:
    """Settings of the workflow.

    Attributes:
        data: images with labels, as for ``ganfast train``; ``size`` and the like are settings of
            ``gan``.
        sizes: numbers of real images to train with. By default 50, 100, 500 and 4,000 as far as
            there are so many, and all.
        test: number of held-out images to measure accuracy on; no GAN or classifier trains on them.
            By default a fifth of the images, at most 1,000.
        seeds: number of runs of each kind.
        synthetic: number of generated images for each size.
        ratio: synthetic images for each real one when both are used.
        labels: source of the synthetic images' labels: a class-conditional ``generator``, or a
            ``teacher``, the classifier trained on the same real images.
        gan: settings of ``ganfast train`` as ``field=value`` words. The GAN is trained on the same
            real images as the classifier, so that nothing leaks in.
        dataset: folder or npz of ``ganfast synthesize`` to use instead of such GANs.
        classifier: ``module:callable``, called without arguments for each run; empty is a small
            built-in one.
        adapt: also train on real images with features that cannot be told from synthetic ones.
        fit: how classifiers are trained.
    """

    data: str = "digits"
    sizes: tuple[int, ...] = ()
    test: int = 0
    seeds: int = 3
    synthetic: int = 2000
    ratio: float = 1.0
    labels: Labels = "generator"
    gan: tuple[str, ...] = (
        "model=cdcgan",
        "steps=500",
        "lr_g=2e-3",
        "lr_d=1e-3",
        "reuse_fakes=true",
        "score_every=0",
    )
    dataset: str = ""
    classifier: str = ""
    adapt: bool = False
    fit: Fit = field(default_factory=Fit)

    def __post_init__(self) -> None:
        if self.sizes and min(self.sizes) < _FEWEST:
            raise ValueError(f"sizes must be 20 images or more, got {self.sizes}")
        for name in ("seeds", "synthetic"):
            check_whole(name, getattr(self, name), minimum=1)
        check_whole("test", self.test, minimum=0)
        check_between("ratio", self.ratio, math.inf, zero=False)
        check_name("labels", self.labels, get_args(Labels))

    def fitted(self, count: int) -> "Settings":
        """Return the settings with what they leave open chosen for so many images.

        Raises:
            ValueError: there are too few images.
        """
        test = self.test or min(_TEST, count // 5)
        pool = count - test
        if pool < _FEWEST:
            raise ValueError(f"data must have at least {_FEWEST * 5 // 4} images, got {count}")
        sizes = self.sizes or (*(n for n in _SIZES if n < pool), min(pool, _LARGEST))
        return replace(self, test=test, sizes=sizes)

    @property
    def modes(self) -> tuple[str, ...]:
        return (*MODES, "adapted") if self.adapt else MODES


@dataclass(frozen=True)
class Result:
    """Accuracies by (size, mode), one for each seed.

    Attributes:
        settings: the settings, with what the data decided.
        accuracies: shares of held-out images that are recognized.
        by_class: mean share over the seeds of each class, in the order of ``classes``.
        classes: names of the classes.
        counts: held-out images of each class.
    """

    settings: Settings
    accuracies: dict[tuple[int, str], list[float]]
    by_class: dict[tuple[int, str], list[float]]
    classes: list[str]
    counts: list[int]

    def as_json(self) -> dict[str, object]:
        """Return accuracies by size and mode, a list over the seeds, and the means by class."""

        def nested(found: dict[tuple[int, str], list[float]]) -> dict[int, dict[str, list[float]]]:
            modes = self.settings.modes
            return {n: {mode: found[n, mode] for mode in modes} for n in self.settings.sizes}

        by_class = nested(self.by_class)
        return {
            "accuracies": nested(self.accuracies),
            "classes": self.classes,
            "by_class": by_class,
        }

    def percent(self, size: int, mode: str) -> list[float]:
        """Return the accuracies of a size and mode in percent."""
        return [100 * accuracy for accuracy in self.accuracies[size, mode]]

    def class_rows(self, size: int) -> list[list[str]]:
        """Return a row for each class: held-out images, and accuracies in percent."""
        shown = [self.by_class[size, mode] for mode in ("real", "synthetic", "both")]
        return [
            [name, str(count), *(f"{100 * value:.1f}" if count else "-" for value in values)]
            for name, count, *values in zip(self.classes, self.counts, *shown, strict=True)
        ]

    def rows(self) -> list[list[str]]:
        """Return a row for each size: accuracies, and the difference of "both" and "real"."""
        lines = []
        for n in self.settings.sizes:
            cells = [str(summary(self.percent(n, mode))) for mode in self.settings.modes]
            change = difference(self.percent(n, "both"), self.percent(n, "real"))
            lines.append([str(n), *cells, in_words(change)])
        return lines


@one_writer
def finetune(
    settings: Settings,
    out: Path,
    device: str = "cpu",
    overwrite: bool = False,
    on_result: Callable[[str], None] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> Result:
    """Train everything and write ``report.html``; a later call continues a stopped run.

    Args:
        settings, out: the settings, and the folder, where ``rounds.json`` keeps the accuracies.
        on_result: called with a line of text for each accuracy.
        device, overwrite, on_note: as for :func:`ganfast.workflows.train.train`.

    Raises:
        FileExistsError: ``out`` holds a run with other settings.
        ValueError: data, settings and classifier do not fit.
    """
    notes: list[str] = []
    images = images_of(settings.data, settings.gan, notes.append)
    settings = settings.fitted(len(images))
    pool, test = classifiers.split(images, settings.test, seed=0)
    if max(settings.sizes) > len(pool[0]):
        raise ValueError(f"sizes must be at most {len(pool[0])}, got {max(settings.sizes)}")
    _check(settings, pool)
    if on_note is not None:
        on_note(*notes)
    results = ResultCache(out / "rounds.json", asdict(settings), overwrite)
    accuracies: dict[tuple[int, str], list[float]] = {}
    by_class: dict[tuple[int, str], list[list[float]]] = {}
    for n in settings.sizes:
        work = _Size(settings, n, pool, test, out, device, overwrite)
        for seed in range(settings.seeds):
            for mode in settings.modes:
                result = results((n, mode, seed), lambda: work.accuracy(mode, seed))  # noqa: B023
                accuracies.setdefault((n, mode), []).append(result["accuracy"])
                of_each = [result.get(f"class {y}", math.nan) for y in range(images.classes)]
                by_class.setdefault((n, mode), []).append(of_each)
                if on_result is not None:
                    on_result(f"{n} real images, {mode}, seed {seed}: {result['accuracy']:.4f}")
    found = Result(
        settings,
        accuracies,
        {key: torch.tensor(of_seeds).mean(0).tolist() for key, of_seeds in by_class.items()},
        [images.class_name(y) for y in range(images.classes)],
        test[1].bincount(minlength=images.classes).tolist(),
    )
    write_report(out, found)
    return found


def _check(settings: Settings, pool: Labelled) -> None:
    """Raise now for settings that would fail after hours of training."""
    if settings.classifier:
        classifiers.probabilities(classifiers.classifier(settings.classifier), pool[0][:2])
    if settings.dataset:
        load_dataset(Path(settings.dataset), like=pool[0])
        return
    few = data.ImageData(pool[0][: min(settings.sizes)], None, settings.data)
    config = gan_config(settings.gan, few, settings.data)
    if settings.labels == "generator" and not config.classes:
        raise ValueError(f"labels must be teacher for {config.model!r}, got {settings.labels!r}")


class _Size:
    """All runs with one number of real images."""

    def __init__(
        self,
        settings: Settings,
        n: int,
        pool: Labelled,
        test: Labelled,
        out: Path,
        device: str,
        overwrite: bool,
    ) -> None:
        self._settings, self._n, self._test = settings, n, test
        self._out, self._device, self._overwrite = out, device, overwrite
        held = math.ceil(_VALIDATION * n)
        self._validation: Labelled = (pool[0][:held], pool[1][:held])
        self._real: Labelled = (pool[0][held:n], pool[1][held:n])
        self._classes = int(pool[1].max()) + 1
        self._made: Labelled | None = None
        self._nets: dict[str, nn.Module] = {}  # by mode, for the latest seed
        self._seed = -1

    def accuracy(self, mode: str, seed: int) -> dict[str, float]:
        """Train in one of the modes; return the accuracy on held-out images, also by class."""
        net = self._trained(mode, seed)
        if mode == "both" and seed == 0 and isinstance(net, Classifier):
            classifiers.save_classifier(net, self._out / f"both-{self._n}.safetensors")
        return classifiers.accuracies(net, self._test)

    def _trained(self, mode: str, seed: int) -> nn.Module:
        """Return the classifier of a mode; it is trained once and reused by other modes."""
        if seed != self._seed:
            self._nets.clear()
            self._seed = seed
        if mode not in self._nets:
            self._nets[mode] = self._train(mode, seed)
        return self._nets[mode]

    def _train(self, mode: str, seed: int) -> nn.Module:
        if mode == "pretrained":
            net = copy.deepcopy(self._trained("synthetic", seed))
            self._fit(net, self._real, seed)
            return net
        train: Labelled = self._real
        other: Tensor | None = None
        if mode == "synthetic":
            train = self._synthetic(seed)
        elif mode == "both":
            train = self._union(self._synthetic(seed))
        elif mode == "adapted":
            other = self._synthetic(seed)[0]
        net = self._net(seed)
        self._fit(net, train, seed, other)
        return net

    def _fit(self, net: nn.Module, train: Labelled, seed: int, other: Tensor | None = None) -> None:
        classifiers.fit(net, train, self._validation, self._settings.fit, seed, other)

    def _net(self, seed: int) -> nn.Module:
        if self._settings.classifier:
            torch.manual_seed(seed)
            return classifiers.classifier(self._settings.classifier)
        return classifiers.small_classifier(self._classes, self._real[0], seed)

    def _union(self, synthetic: Labelled) -> Labelled:
        """Join both kinds, with real images repeated to have ``ratio`` synthetic ones for each."""
        wanted = len(synthetic[0]) / self._settings.ratio / len(self._real[0])
        times = max(1, round(wanted))
        images = [synthetic[0], *[self._real[0]] * times]
        return torch.cat(images), torch.cat([synthetic[1], *[self._real[1]] * times])

    def _synthetic(self, seed: int) -> Labelled:
        if self._made is None:
            self._made = self._draw()
        images, labels = self._made
        if self._settings.labels == "teacher":
            labels = classifiers.probabilities(self._trained("real", seed), images).argmax(1)
        return images, labels

    def _draw(self) -> Labelled:
        s = self._settings
        if s.dataset:
            images, labels = load_dataset(Path(s.dataset), like=self._real[0])
            return images[: s.synthetic], labels[: s.synthetic]
        real = data.ImageData(*self._real, name=f"{self._n} of {s.data}")
        folder = self._out / f"gan-{self._n}"
        words = (f"labels={self._classes}", *s.gan)
        sampler = trained_sampler(words, real, s.data, folder, self._device, self._overwrite)
        labels = shuffled_labels(s.synthetic, [1.0] * self._classes, 0)
        if s.labels == "generator":
            return sampler.draw(labels, (0, self._n)), labels
        return sampler.natural(s.synthetic, (0, self._n)), labels


def header(settings: Settings) -> list[str]:
    """Return the header of ``Result.rows``."""
    return ["real images", *settings.modes, "both - real, points [95 %]"]


def write_report(out: Path, result: Result) -> None:
    """Write ``accuracy.png`` and ``report.html``."""
    settings = result.settings
    picture = plot.write(_plot(settings, result), out / "accuracy.png")
    rows = result.rows()
    verdicts = "; ".join(f"{row[0]} images: {row[-1]}" for row in rows)
    content = report.page(
        "ganfast finetune: did the GAN help?",
        f"Accuracy on {settings.test} held-out real images. Both against real: {verdicts}.",
        report.section(
            "Accuracy in %, mean ± standard deviation",
            report.table(rows, header=header(settings)),
            report.text(_HOW.format(seeds=settings.seeds)),
        ),
        report.section("Over the number of real images", report.figure(picture, _BARS)),
        report.section(
            f"Accuracy by class in %, {max(settings.sizes)} real images",
            report.table(
                result.class_rows(max(settings.sizes)),
                header=["class", "held-out images", "real", "synthetic", "both"],
            ),
            report.text(_BY_CLASS),
        ),
        settings=asdict(settings),
    )
    report.write(out / "report.html", content)


_HOW = (
    "{seeds} seeds vary the classifier's weights, its order of images and its dropout; each size "
    "has one GAN. A fifth of the real images decides when to stop, the others train classifier and "
    "GAN. The last column is the mean difference, seed by seed, with Student's 95 % interval."
)
_BY_CLASS = (
    "A classifier that was trained on synthetic images alone and recognizes real ones is the "
    "classification accuracy score (Ravuri and Vinyals 2019): a class far below real is one that "
    "the GAN does not show as it is."
)
_BARS = "mean accuracy of each mode; bars are one standard deviation over the seeds"


def _plot(settings: Settings, result: Result) -> "Figure":
    figure, (axis,) = plot.panels(8, 4.6)
    for mode in settings.modes:
        points = [summary(result.percent(n, mode)) for n in settings.sizes]
        plot.error_bars(axis, settings.sizes, [(p.mean, p.std) for p in points], mode)
    axis.set_xscale("log")
    axis.set_xlabel("real images")
    axis.set_ylabel("accuracy, %")
    axis.legend(frameon=False)
    return figure
