"""Train a DCGAN on the embedded digits, score it, and write a report."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from ganfast import data, features, images
from ganfast.losses import AdversarialLoss
from ganfast.models import dcgan
from ganfast.recipes import demo_report
from ganfast.recipes.gan import Config
from ganfast.recipes.scores import FrechetScore
from ganfast.recipes.timing import loss_times
from ganfast.recipes.train import clear
from ganfast.train import Trainer
from ganfast.train.log import read_records

STEPS = 2000
BATCH = 64
_COUNTED = 1000  # samples that are sorted into classes


def options(steps: int, seed: int) -> Config:
    """The demo's settings."""
    return Config(
        steps=steps,
        seed=seed,
        lr_g=2e-3,
        lr_d=1e-3,
        betas_g=(0.5, 0.999),
        betas_d=(0.5, 0.999),
        ema=0.995,
        log_every=25,
        score_every=250,
        sample_every=100,
        checkpoint_every=250,
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
        ValueError: the run to be resumed has other settings, or there is no such device.
    """
    start = time.perf_counter()
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    if device not in devices:
        raise ValueError(f"device must be {' or '.join(devices)} here, got {device!r}")
    torch.manual_seed(seed)
    generator = dcgan.Generator(latent_dim=64).to(device)
    discriminator = dcgan.Discriminator().to(device)
    digits = data.digits()
    score = FrechetScore(digits.images, features.digits().to(device))
    samples = out / "samples"

    def keep(step: int, pictures: Tensor) -> None:
        images.write_png(images.grid(pictures, scale=2), samples / f"step_{step:06d}.png")

    trainer = Trainer(
        generator,
        discriminator,
        data.BatchStream(digits, BATCH, seed),
        AdversarialLoss("non_saturating"),
        options(steps, seed),
        out,
        score=score,
        on_sample=keep,
    )
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
    settings = {"images": f"{digits.name}, {len(digits)}", "batch": BATCH, "device": device}
    demo_report.write(out, result, records, {**settings, **asdict(trainer.options)})
    return result
