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
from ganfast.workflows import gan
from ganfast.workflows.digit_scores import FD
from ganfast.workflows.gan import Config
from ganfast.workflows.run_folder import one_writer, run_or_resume

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Result:
    """The outcome of a run.

    Attributes:
        finished: True unless the run was stopped early.
        step: the last round.
        images_per_s: training speed.
        scores: rounds and their Fréchet distances.
        real_against_real: distance between two halves of the real images, if the run is scored.
    """

    finished: bool
    step: int
    images_per_s: float
    scores: list[tuple[int, float]]
    real_against_real: float | None

    @property
    def best(self) -> float | None:
        return min((fd for _, fd in self.scores), default=None)


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
        config: the settings.
        out: folder of the run.
        device: device of the networks.
        real: images to train on instead of the config's data.
        pair: networks to train instead of new ones.

    Raises:
        FileNotFoundError: the data or the checkpoint ``start`` do not exist.
        ValueError: data, model and config do not fit, for example if a batch needs more images.
    """
    real = real or gan.real_images(config)
    if config.classes and real.labels is None:
        raise ValueError(f"data must have labels for {config.model!r}, got none in {real.name}")
    pair = pair or gan.make(config)
    processes, samples = Processes(), out / "samples"

    def keep(step: int, pictures: Tensor) -> None:
        sheet = images.grid(pictures, columns=10 if config.classes else None, scale=2)
        images.write_png(sheet, samples / f"step_{step:06d}.png")

    return Trainer(
        pair.generator.to(device),
        pair.discriminator.to(device),
        data.BatchStream(real, config.batch_size, config.seed, (processes.rank, processes.count)),
        config.make_loss(),
        config,
        out,
        score=gan.make_score(config, real, device),
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
) -> Result:
    """Train, and write samples, curves, log, checkpoints and ``report.html`` to ``out``.

    Args:
        config: the settings.
        out: folder of the run.
        device: ``cpu`` or ``cuda``.
        resume: continue the run in ``out``.
        overwrite: start again if ``out`` holds a run.
        resume_from: continue from this checkpoint instead of the newest.

    Raises:
        FileExistsError: ``out`` holds a run, and neither ``resume`` nor ``overwrite`` is set.
        FileNotFoundError: there is no run to resume, or the data do not exist.
        ValueError: the settings do not fit each other, the data or the run to resume.
    """
    trainer = make_trainer(config, out, device)
    finished = run_or_resume(trainer, overwrite, resume, resume_from)
    records = read_records(out / "metrics.jsonl")
    result = Result(
        finished=finished,
        step=trainer.step,
        images_per_s=trainer.images_per_s,
        scores=[(int(r["step"]), r["fd"]) for r in records if "fd" in r],
        real_against_real=trainer.score.real_against_real() if trainer.score else None,  # type: ignore[attr-defined]
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
            (f"{FD}, step {step}", f"{last:.2f}"),
            (f"{FD}, best", f"{result.best:.2f}"),
            (f"{FD}, step {result.scores[0][0]}", f"{result.scores[0][1]:.2f}"),
            (f"{FD}, real vs real (two halves)", f"{result.real_against_real:.2f}"),
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


def _write(out: Path, config: Config, result: Result, records: list[dict[str, float]]) -> None:
    sections = [report.section("Result", report.table(rows(result)))]
    sheets = sorted((out / "samples").glob("step_*.png"))
    pictures = [(sheets[-1], "the generator's moving average")] if sheets else []
    for path, caption in (*pictures, (out / "interpolation.png", "from one latent to another")):
        sections.append(report.section(path.stem, report.figure(path.read_bytes(), caption)))
    if result.scores:
        floor = result.real_against_real or 0.0
        picture = plot.write(plot.curves(records, FD, floor), out / "curves.png")
        sections.append(report.section("Over time", report.figure(picture, "losses and scores")))
    ended = "finished" if result.finished else f"stopped early, of {config.steps}"
    lead = f"{config.model} on {config.data}: {result.step} steps ({ended})."
    title = f"ganfast train: {config.model}"
    content = report.page(title, lead, *sections, settings=asdict(config))
    report.write(out / "report.html", content)
