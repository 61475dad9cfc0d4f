"""Train a GAN by its settings and write a report."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ganfast import data, models
from ganfast.distributed import Processes
from ganfast.reporting import images, plot, report
from ganfast.train import Trainer
from ganfast.train.journal import Record, read_records
from ganfast.train.loggers import tensorboard, wandb
from ganfast.train.objective import gives_probabilities
from ganfast.workflows import gan
from ganfast.workflows.gan import Config
from ganfast.workflows.run_folder import one_writer, refuse_no_run, run_or_resume
from ganfast.workflows.training_scores import Score

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Result:
    """The outcome of a run.

    Attributes:
        finished: True unless the run was stopped early.
        step: the last round.
        images_per_s: training speed.
        scores: rounds and their scores.
        score: what the scores are called; empty if the run has none.
        real_against_real: distance between two halves of the real images, if the run is scored.
    """

    finished: bool
    step: int
    images_per_s: float
    scores: list[tuple[int, float]]
    score: str
    real_against_real: float | None

    @property
    def best(self) -> float | None:
        return min((value for _, value in self.scores), default=None)


def make_trainer(
    config: Config,
    out: Path,
    device: str,
    real: data.ImageData | None = None,
    pair: models.Gan | None = None,
) -> Trainer:
    """Make the trainer of a config, with its samples, scores and logs.

    Each of several processes takes its share of every batch.

    Args:
        config: the settings, which leave nothing open.
        out, device: folder of the run, and device of the networks.
        real, pair: images to train on instead of the config's data, and networks instead of new
            ones.

    Raises:
        FileNotFoundError: the data or the checkpoint ``start`` do not exist.
        ValueError: data, model and config do not fit, for example if a batch needs more images.
    """
    real = real or gan.real_images(config)
    if config.classes and real.labels is None:
        raise ValueError(f"data must have labels for {config.model!r}, got none in {real.name}")
    if config.classes and real.classes > config.classes:
        raise ValueError(
            f"labels must be at least {real.classes}, the classes of {real.name}, "
            f"got {config.labels}"
        )
    pair = pair or gan.make(config)
    processes, samples = Processes(), out / "samples"

    def keep(step: int, pictures: Tensor) -> None:
        each = len(pictures) // config.classes if config.classes else 0
        if each:  # their labels cycle through the classes: one class a row
            order = torch.arange(each * config.classes).view(each, config.classes).T.flatten()
            pictures = pictures[order]
        sheet = images.grid(pictures, columns=each or None, scale=2)
        images.write_png(sheet, samples / f"step_{step:06d}.png")

    return Trainer(
        pair.generator.to(device),
        pair.discriminator.to(device),
        data.BatchStream(
            real,
            config.batch_size,
            config.seed,
            (processes.rank, processes.count),
            config.mirror,
        ),
        config.make_loss(),
        config,
        out,
        score=gan.score_of(config, real, device),
        on_sample=keep,
        on_record=_logs(config, out) if processes.first else None,
        augment=gan.augmentation(config, distributed=processes.count > 1),
    )


def _logs(config: Config, out: Path) -> Callable[[Record], None] | None:
    """Make the function that sends every record to TensorBoard and Weights & Biases."""
    logs = [tensorboard(out)] if config.tensorboard else []
    if config.wandb:
        logs.append(wandb(config.wandb, out, asdict(config)))

    def write(record: Record) -> None:
        for log in logs:
            log(record)

    return write if logs else None


@one_writer
def train(
    config: Config,
    out: Path,
    device: str = "cpu",
    resume: bool = False,
    overwrite: bool = False,
    resume_from: Path | None = None,
    on_note: Callable[[str], None] | None = None,
) -> Result:
    """Train, and write samples, curves, log, checkpoints and ``report.html`` to ``out``.

    ``config.yaml`` in ``out`` holds all settings, also those that were chosen by the data.

    Args:
        config: the settings.
        out: folder of the run.
        device: ``cpu`` or ``cuda``.
        resume: continue the run in ``out``.
        overwrite: start again if ``out`` holds a run.
        resume_from: continue from this checkpoint instead of the newest.
        on_note: called with a line that says what is trained on what.

    Raises:
        FileExistsError: ``out`` holds a run, and neither ``resume`` nor ``overwrite`` is set.
        FileNotFoundError: there is no run to resume, or the data do not exist.
        ValueError: the settings do not fit each other, the data or the run to resume.
    """
    if resume:
        refuse_no_run(out)
    config = gan.fitted(config, on_note)
    trainer = make_trainer(config, out, device)
    score = trainer.score if isinstance(trainer.score, Score) else None
    finished = run_or_resume(trainer, overwrite, resume, resume_from, config)
    records = read_records(out / "metrics.jsonl")
    name = score.name if score else ""
    result = Result(
        finished=finished,
        step=trainer.step,
        images_per_s=trainer.images_per_s,
        scores=[(int(r["step"]), r[name]) for r in records if name in r],
        score=score.label if score else "",
        real_against_real=score.real_against_real() if score else None,
    )
    if trainer.writes:
        images.write_png(interpolation(trainer.ema, config, device), out / "interpolation.png")
        _write(out, config, result, records)
    return result


def rows(result: Result) -> list[tuple[str, str]]:
    """Return names and values of the result, formatted."""
    lines = [("training speed", f"{result.images_per_s:.0f} images/s")]
    if result.scores:
        step, last = result.scores[-1]
        lines += [
            (f"{result.score}, step {step}", f"{last:.2f}"),
            (f"{result.score}, best", f"{result.best:.2f}"),
            (f"{result.score}, step {result.scores[0][0]}", f"{result.scores[0][1]:.2f}"),
            (f"{result.score}, real vs real (two halves)", f"{result.real_against_real:.2f}"),
        ]
    return lines


@torch.no_grad()
def interpolation(generator: nn.Module, config: Config, device: str, side: int = 8) -> "Image":
    """Draw a sheet whose rows go from one latent to another along a great circle."""
    random = torch.Generator().manual_seed(config.seed)
    ends = torch.randn(2, side, *config.latent_shape, generator=random)
    angle = torch.linspace(0, torch.pi / 2, side).view(1, side, *(1 for _ in config.latent_shape))
    latents = (ends[0, :, None] * angle.cos() + ends[1, :, None] * angle.sin()).flatten(0, 1)
    labels: tuple[Tensor, ...] = ()
    if config.classes:
        labels = ((torch.arange(side) % config.classes).repeat_interleave(side).to(device),)
    return images.grid(generator(latents.to(device), *labels), columns=side, scale=2)


_SCALE = (
    "Lower is better. The dashed line is the distance between two halves of the real images, the "
    "low end of the scale: fewer images in a comparison raise the distance."
)


def _write(out: Path, config: Config, result: Result, records: list[dict[str, float]]) -> None:
    sections = [report.section("Result", report.table(rows(result)))]

    def show(heading: str, path: Path, caption: str) -> None:
        sections.append(report.section(heading, report.figure(path.read_bytes(), caption)))

    rows_of = ", one class a row in the order of the labels" if config.classes else ""
    for sheet in sorted((out / "samples").glob("step_*.png"))[-1:]:
        step = int(sheet.stem.removeprefix("step_"))
        show(f"Samples, step {step}", sheet, f"the generator's moving average{rows_of}")
    show("Interpolation", out / "interpolation.png", "each row goes from one latent to another")
    if result.scores:
        curves = plot.curves(
            records,
            score=("swd" if config.score == "swd" else "fd", result.score),
            floor=result.real_against_real or 0.0,
            probabilities=gives_probabilities(config.make_loss()),
        )
        picture = plot.write(curves, out / "curves.png")
        sections.append(
            report.section(
                "Over time", report.figure(picture, "losses and scores"), report.text(_SCALE)
            )
        )
    ended = "finished" if result.finished else f"stopped early, of {config.steps}"
    lead = f"{config.model} on {config.data}: {result.step} steps ({ended})."
    title = f"ganfast train: {config.model}"
    content = report.page(title, lead, *sections, settings=asdict(config))
    report.write(out / "report.html", content)
