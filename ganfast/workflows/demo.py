"""Train a DCGAN on the embedded digits, score it, and write a report."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path

from ganfast.train.log import read_records
from ganfast.workflows import demo_report, gan
from ganfast.workflows.digit_scores import FrechetScore
from ganfast.workflows.timing import loss_times
from ganfast.workflows.train import clear, trainer_of

STEPS = 2000
BATCH = 64
_COUNTED = 1000  # samples that are sorted into classes


def options(steps: int, seed: int) -> gan.Config:
    """The demo's settings."""
    return gan.Config(
        steps=steps,
        seed=seed,
        batch_size=BATCH,
        lr_g=2e-3,
        lr_d=1e-3,
        betas_g=(0.5, 0.999),
        betas_d=(0.5, 0.999),
        sample_every=100,
    )


@dataclass(frozen=True)
class Result:
    """What the demo ends with; distances are "FD (digits)"."""

    finished: bool
    step: int
    fd_untrained: float
    fd_end: float
    fd_real: float
    images_per_s: float
    class_counts: list[int]
    loss_us_fused: float
    loss_us_plain: float
    seconds: float


def demo(
    out: Path,
    steps: int = STEPS,
    seed: int = 0,
    device: str = "cpu",
    resume: bool = False,
    overwrite: bool = False,
) -> Result:
    """Train, and write pictures, curves, log, checkpoint and ``report.html`` to ``out``.

    Stopped by Ctrl-C it writes them all the same, and a later call with ``resume`` goes on.

    Raises:
        FileExistsError: ``out`` holds a run, and neither ``resume`` nor ``overwrite`` is set.
        FileNotFoundError: ``resume`` is set and there is no run.
        ValueError: the run to be resumed has other settings.
    """
    start = time.perf_counter()
    trainer = trainer_of(options(steps, seed), out, device)
    score = trainer.score
    assert isinstance(score, FrechetScore)
    if resume:
        trainer.resume()
    else:
        clear(out, overwrite)
    finished = trainer.run()

    records = read_records(out / "metrics.jsonl")
    scores = [record["fd"] for record in records if "fd" in record]
    fused, plain = loss_times(BATCH, device)
    result = Result(
        finished=finished,
        step=trainer.step,
        fd_untrained=scores[0],
        fd_end=scores[-1] if finished else score(trainer.ema)["fd"],
        fd_real=score.real_against_real(),
        images_per_s=trainer.images / trainer.seconds if trainer.step else 0.0,
        class_counts=score.class_counts(trainer.ema, _COUNTED),
        loss_us_fused=fused,
        loss_us_plain=plain,
        seconds=time.perf_counter() - start,
    )
    demo_report.write(out, result, records, {**asdict(trainer.options), "device": device})
    return result
