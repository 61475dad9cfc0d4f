"""Train a CycleGAN between two unpaired sets of images and write a report."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from ganfast import data
from ganfast._numbers import check_between, check_whole
from ganfast.losses import AdversarialLoss
from ganfast.models import cyclegan
from ganfast.reporting import images, report
from ganfast.train import TrainOptions
from ganfast.train.cyclegan import CycleTrainer, Discriminators, Generators, PairStream
from ganfast.train.journal import Record, read_records
from ganfast.workflows.run_folder import one_writer, run_or_resume

CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "inverted": lambda x: 255 - x,
    "rotated": lambda x: x.rot90(1, (2, 3)),
}
_HELD = 500  # images of each domain that are scored and not trained on
_SHOWN = 10


@dataclass(frozen=True)
class CycleConfig(TrainOptions):
    """All settings of a run.

    Attributes:
        model: ``cyclegan``.
        a, b: image folders, or embedded data sets by name, or ``digits:inverted`` or
            ``digits:rotated`` (by a quarter turn). Two domains of the same data set share no image.
        size, channels: side (a multiple of 4) and channels of the images.
        batch_size: images of each domain in a batch.
        width: width of generators and discriminators.
        blocks: residual blocks of the generators.
        depth: strided layers of the discriminators.
        cycle, identity: weights of the cycle and the identity loss.
        pool: number of earlier fakes that each discriminator may see again.
    """

    steps: int = 600
    model: str = "cyclegan"
    a: str = "digits"
    b: str = "digits:inverted"
    size: int = 28
    channels: int = 1
    batch_size: int = 16
    width: int = 12
    blocks: int = 2
    depth: int = 2
    cycle: float = 10.0
    identity: float = 0.0
    pool: int = 50
    lr_g: float = 1e-3
    lr_d: float = 5e-4
    ema: float = 0.99
    best_by: str = "cycle_error"
    log_every: int = 25
    score_every: int = 100
    sample_every: int = 100
    checkpoint_every: int = 100
    samples: int = field(init=False, default=_SHOWN)
    latent_dim: int | tuple[int, ...] = field(init=False, default=1)  # not used
    classes: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("size", "channels", "batch_size", "width", "blocks", "depth"):
            check_whole(name, getattr(self, name), minimum=1)
        check_whole("pool", self.pool, minimum=0)
        for name in ("cycle", "identity"):
            check_between(name, getattr(self, name), float("inf"))
        if self.size % 4:
            raise ValueError(f"size must be a multiple of 4, got {self.size}")


@dataclass(frozen=True)
class Result:
    """The outcome of a run; errors are mean absolute differences of images in [-1, 1].

    Attributes:
        finished: True unless the run was stopped early.
        step: the last round.
        images_per_s: training speed, images of each domain.
        errors: rounds and their cycle errors.
        translation_error: error of the translations from A to B, if the right ones are known.
        untranslated: error of the images of A without translation, for comparison.
    """

    finished: bool
    step: int
    images_per_s: float
    errors: list[tuple[int, float]]
    translation_error: float | None
    untranslated: float | None


class CycleScore:
    """Cycle error of held-out pairs; with a known change also the error of the translations."""

    def __init__(self, pairs: Tensor, change: Callable[[Tensor], Tensor] | None) -> None:
        self._pairs, self._change = pairs, change

    @torch.no_grad()
    def __call__(self, generators: nn.Module) -> Record:
        made = generators(self._pairs)
        cycled = generators(made)
        record = {"cycle_error": float((cycled - self._pairs).abs().mean())}
        if self._change is not None:
            right = data.to_float(self._change(data.to_uint8(self._pairs[:, 0])))
            record["translation_error"] = float((made[:, 1] - right).abs().mean())
            record["untranslated"] = float((self._pairs[:, 0] - right).abs().mean())
        return record


def domains(config: CycleConfig) -> tuple[data.ImageData, data.ImageData]:
    """Load both sets of images.

    Raises:
        FileNotFoundError: the images do not exist.
        ValueError: the images do not fit the settings, or the change is unknown.
    """
    a = _domain(config.a, config)
    b = _domain(config.b, config)
    if config.b.partition(":")[0] == config.a.partition(":")[0]:  # both share no image
        order = torch.randperm(len(a), generator=torch.Generator().manual_seed(0))
        half = len(a) // 2
        a = replace(a, images=a.images[order[:half]], labels=None)
        b = replace(b, images=b.images[order[half:]], labels=None)
    return a, b


@one_writer
def cycle(
    config: CycleConfig,
    out: Path,
    device: str = "cpu",
    resume: bool = False,
    overwrite: bool = False,
    resume_from: Path | None = None,
) -> Result:
    """Train, and write samples, log, checkpoints and ``report.html`` to ``out``.

    Args:
        config: the settings.
        out, device, resume, overwrite, resume_from: as for
            :func:`ganfast.workflows.train.train`.

    Raises:
        FileExistsError: ``out`` holds a run, and neither ``resume`` nor ``overwrite`` is set.
        FileNotFoundError: there is no run to resume, or the images do not exist.
        ValueError: the settings do not fit each other, the images or the run to resume.
    """
    a, b = domains(config)
    held = min(_HELD, len(a) // 5, len(b) // 5)
    if held < 1:
        raise ValueError(f"a and b must have 5 images or more, got {len(a)} and {len(b)}")
    pairs = torch.stack([data.to_float(x.images[:held]) for x in (a, b)], 1).to(device)
    rest = [replace(x, images=x.images[held:], labels=None) for x in (a, b)]
    torch.manual_seed(config.seed)
    c, width = config.channels, config.width
    nets = [cyclegan.Generator(c, c, width, config.blocks) for _ in range(2)]
    critics = [cyclegan.Discriminator(c, width, config.depth) for _ in range(2)]
    source, _, change = config.b.partition(":")
    known = CHANGES.get(change) if source == config.a else None  # B is a changed version of A

    def keep(step: int, made: Tensor) -> None:
        sheet = torch.cat([shown[:, 0], made[:, 1], shown[:, 1], made[:, 0]])
        picture = images.grid(sheet, columns=len(shown), scale=2)
        images.write_png(picture, out / "samples" / f"step_{step:06d}.png")

    shown = pairs[:_SHOWN]
    trainer = CycleTrainer(
        Generators(*nets).to(device),
        Discriminators(*critics).to(device),
        PairStream(rest[0], rest[1], config.batch_size, config.seed),
        AdversarialLoss("least_squares"),
        config,
        out,
        score=CycleScore(pairs, known),
        on_sample=keep,
        cycle=config.cycle,
        identity=config.identity,
        pool=config.pool,
        shown=shown,
    )
    finished = run_or_resume(trainer, overwrite, resume, resume_from)
    scored = [r for r in read_records(out / "metrics.jsonl") if "cycle_error" in r]
    result = Result(
        finished=finished,
        step=trainer.step,
        images_per_s=trainer.images_per_s,
        errors=[(int(r["step"]), r["cycle_error"]) for r in scored],
        translation_error=scored[-1].get("translation_error"),
        untranslated=scored[-1].get("untranslated"),
    )
    _write(out, config, result)
    return result


def rows(result: Result) -> list[tuple[str, str]]:
    """Return names and values of the result, formatted."""
    step, last = result.errors[-1]
    lines = [
        ("training speed", f"{result.images_per_s:.0f} images/s of each domain"),
        ("cycle error, untrained", f"{result.errors[0][1]:.3f}"),
        (f"cycle error, step {step}", f"{last:.3f}"),
    ]
    if result.translation_error is not None:
        lines += [
            ("translation error, A to B", f"{result.translation_error:.3f}"),
            ("error of A untranslated", f"{result.untranslated:.3f}"),
        ]
    return lines


def _domain(name: str, config: CycleConfig) -> data.ImageData:
    source, _, change = name.partition(":")
    if source not in data.EMBEDDED:
        return data.load(name, size=config.size, channels=config.channels)
    if change and change not in CHANGES:
        raise ValueError(f"change must be one of {', '.join(CHANGES)}, got {change!r}")
    found = data.load(source, size=config.size, channels=config.channels)
    return replace(found, images=CHANGES[change](found.images)) if change else found


def _write(out: Path, config: CycleConfig, result: Result) -> None:
    sheets = sorted((out / "samples").glob("step_*.png"))
    caption = "from above: A, A as B, B, B as A"
    content = report.page(
        "ganfast train: cyclegan",
        f"{config.a} and {config.b}: {result.step} steps.",
        report.section("Result", report.table(rows(result))),
        *(report.section("Samples", report.figure(s.read_bytes(), caption)) for s in sheets[-1:]),
        settings=asdict(config),
    )
    report.write(out / "report.html", content)
