"""Compare a GAN whose G or D is trained first with a GAN from scratch, at an equal budget."""

import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ganfast._files import atomic_write
from ganfast._names import check_name
from ganfast._numbers import check_whole
from ganfast.data import ImageData
from ganfast.models import Gan
from ganfast.reporting import plot, report
from ganfast.train.config import from_mapping, values_of
from ganfast.train.journal import read_records
from ganfast.workflows import gan, pretext
from ganfast.workflows.gan import Config
from ganfast.workflows.pretext import Method, Weights, pretext_weights
from ganfast.workflows.run_folder import claim, one_writer, run_to_end
from ganfast.workflows.seed_statistics import Summary, difference, in_words, summary
from ganfast.workflows.train import make_trainer
from ganfast.workflows.training_scores import Score

if TYPE_CHECKING:
    from matplotlib.figure import Figure


Curve = list[tuple[int, float]]


@dataclass(frozen=True)
class Settings:
    """Settings of the workflow.

    Attributes:
        data: images, as for ``ganfast train``.
        method: how the networks are trained first.
        source: checkpoint of ``ganfast train`` for ``transfer``.
        pretrain_steps: steps of the first training; ``transfer`` has none.
        gan: settings of ``ganfast train`` as ``field=value`` words. ``steps`` counts the rounds
            after the first training. The GAN from scratch gets ``pretrain_steps`` more rounds, each
            of which costs more than a step of the first training.
        seeds: number of runs of each kind.
    """

    data: str = "digits"
    method: Method = "autoencoder"
    source: str = ""
    pretrain_steps: int = 200
    gan: tuple[str, ...] = ("model=dcgan", "steps=400", "lr_g=2e-3", "lr_d=1e-3", "score_every=100")
    seeds: int = 3

    def __post_init__(self) -> None:
        check_name("method", self.method, get_args(Method))
        if (self.method == "transfer") != bool(self.source):
            needed = "given" if self.method == "transfer" else "empty"
            raise ValueError(f"source must be {needed} for {self.method}, got {self.source!r}")
        for name in ("seeds", "pretrain_steps"):
            check_whole(name, getattr(self, name), minimum=1)

    @property
    def extra(self) -> int:
        """Rounds that only the GAN from scratch gets."""
        return 0 if self.method == "transfer" else self.pretrain_steps

    def config(self, seed: int) -> Config:
        """Return the settings of the GAN after the first training.

        Raises:
            TypeError, ValueError: ``gan`` holds unknown or wrong settings, or no ``score_every``.
        """
        config = from_mapping(Config, {"data": self.data} | values_of(None, self.gan))
        if not config.score_every or config.score == "none":
            raise ValueError("gan must have a score and a score_every above 0, got none")
        return replace(config, seed=seed)


@dataclass(frozen=True)
class Result:
    """Distances over the rounds of each run, and the weights taken from the first training."""

    score: str  # what the distances are called
    scratch: list[Curve]
    pretrained: list[Curve]
    taken: dict[str, list[pretext.TakenWeight]]

    @property
    def last(self) -> tuple[Summary, Summary, Summary]:
        """Last distances from scratch and after pre-training, and second minus first."""
        a, b = ([curve[-1][1] for curve in curves] for curves in (self.scratch, self.pretrained))
        return summary(a), summary(b), difference(b, a)


@one_writer
def pretrain(
    settings: Settings,
    out: Path,
    device: str = "cpu",
    overwrite: bool = False,
    on_note: Callable[[str], None] | None = None,
) -> Result:
    """Train everything and write ``report.html``; a later call continues a stopped run.

    Args:
        settings: the settings.
        out, device, overwrite, on_note: as for :func:`ganfast.workflows.train.train`.

    Raises:
        FileExistsError: ``out`` holds a run with other settings.
        FileNotFoundError: there is no checkpoint ``source``.
        ValueError: source, data and settings do not fit.
    """
    fit = gan.fitted(settings.config(0), on_note)
    real = gan.real_images(fit)
    claim(out / "settings.json", asdict(settings), overwrite)
    result = Result("", [], [], {})
    for seed in range(settings.seeds):
        config = replace(fit, seed=seed)
        weights = _weights(settings, config, real, out / f"pretext-{seed}.safetensors", overwrite)
        result.taken.update(_take(gan.make(config), weights))  # raises before hours of training
        longer = replace(config, steps=config.steps + settings.extra)
        scratch, label = _run(longer, real, out / f"scratch-{seed}", device, overwrite, {})
        folder = out / f"pretrained-{seed}"
        pretrained, _ = _run(config, real, folder, device, overwrite, weights)
        result = replace(result, score=label)
        result.scratch.append(scratch)
        result.pretrained.append(pretrained)
    write_report(out, settings, result)
    return result


def _weights(
    settings: Settings, config: Config, real: ImageData, path: Path, overwrite: bool
) -> dict[str, Weights]:
    """Read the weights of the first training from their file, or train and write them."""
    flat: dict[str, Tensor] = {}
    if path.exists() and not overwrite:
        try:
            flat = load(path.read_bytes())
        except SafetensorError as error:
            warnings.warn(f"{path} is damaged and trained again: {error}", stacklevel=2)
    if not flat:
        found = pretext_weights(
            settings.method, config, real, settings.pretrain_steps, config.seed, settings.source
        )
        flat = {f"{part}/{k}": v.contiguous() for part, w in found.items() for k, v in w.items()}
        with atomic_write(path) as file:
            file.write(save(flat))
    weights: dict[str, Weights] = {}
    for name, value in flat.items():
        part, _, key = name.partition("/")
        weights.setdefault(part, {})[key] = value
    return weights


def _take(pair: Gan, weights: dict[str, Weights]) -> dict[str, list[pretext.TakenWeight]]:
    return {part: pretext.take(getattr(pair, part), w) for part, w in weights.items()}


def _run(
    config: Config,
    real: ImageData,
    folder: Path,
    device: str,
    overwrite: bool,
    weights: dict[str, Weights],
) -> tuple[Curve, str]:
    """Train from weights; return the distances over rounds, and their name."""
    pair = gan.make(config)
    _take(pair, weights)
    trainer = make_trainer(config, folder, device, real, pair)
    run_to_end(trainer, overwrite)
    records, score = read_records(folder / "metrics.jsonl"), trainer.score
    assert isinstance(score, Score)  # config() asks for one
    curve = [(int(r["step"]), r[score.name]) for r in records if score.name in r]
    return curve, score.label


def rows(settings: Settings, result: Result) -> list[tuple[str, str]]:
    """Return names and values of the result, formatted."""
    scratch, pretrained, change = result.last
    return [
        (f"{result.score} from scratch, {result.scratch[0][-1][0]} rounds", str(scratch)),
        (
            f"{result.score} after {settings.method}, {result.pretrained[0][-1][0]} rounds",
            str(pretrained),
        ),
        ("difference [95 %]", in_words(change, better="lower")),
    ]


def taken(result: Result) -> list[list[str]]:
    """Return a row for each weight: network, name and status."""
    return [[part, row.name, row.status] for part, lines in result.taken.items() for row in lines]


def write_report(out: Path, settings: Settings, result: Result) -> None:
    """Write ``distances.png`` and ``report.html``."""
    picture = plot.write(_plot(settings, result), out / "distances.png")
    found = rows(settings, result)
    content = report.page(
        f"ganfast pretrain: {settings.method}",
        f"{found[-1][0]}, pre-trained minus from scratch: {found[-1][1]}.",
        report.section(
            "Result", report.table(found), report.text(_HOW.format(seeds=settings.seeds))
        ),
        report.section("Over the budget", report.figure(picture, _BARS.format(result.score))),
        report.section(
            "Weights", report.table(taken(result), header=["network", "weight", "status"])
        ),
        settings=asdict(settings),
    )
    report.write(out / "report.html", content)


_HOW = (
    "{seeds} seeds. Both kinds have the same budget: a step of the first training counts as a "
    "round of the GAN, although it costs less. The difference is taken seed by seed, with "
    "Student's 95 % interval; below 0, pre-training helped."
)
_BARS = "mean {} of both kinds; bars are one standard deviation over the seeds"


def _plot(settings: Settings, result: Result) -> "Figure":
    figure, (axis,) = plot.panels(8, 4.6)
    for name, curves, shift in (
        ("from scratch", result.scratch, 0),
        (f"after {settings.method}", result.pretrained, settings.extra),
    ):
        x = [step + shift for step, _ in curves[0]]
        points = [summary([fd for _, fd in of_seeds]) for of_seeds in zip(*curves, strict=True)]
        plot.error_bars(axis, x, [(p.mean, p.std) for p in points], name)
    axis.set_xlabel("budget: rounds of the GAN, and steps of the first training")
    axis.set_ylabel(result.score)
    plot.logarithmic(axis)
    axis.legend(frameon=False)
    return figure
