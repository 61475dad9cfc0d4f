"""Train a conditional DCGAN on the embedded digits, score it, and write a report."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from ganfast import features
from ganfast.losses import AdversarialLoss
from ganfast.reporting import plot, report
from ganfast.train.journal import Record, read_records
from ganfast.workflows import gan
from ganfast.workflows.run_folder import one_writer, run_or_resume
from ganfast.workflows.train import make_trainer
from ganfast.workflows.training_scores import FrechetScore, encode

STEPS = 2000
BATCH = 64
_COUNTED = 1000  # samples that are classified
_SHOWN = 80  # samples on a sheet, eight of each digit


def options(steps: int, seed: int) -> gan.Config:
    """Return the demo's settings."""
    return gan.Config(
        model="cdcgan",
        steps=steps,
        seed=seed,
        batch_size=BATCH,
        lr_g=2e-3,
        lr_d=1e-3,
        betas_g=(0.5, 0.999),
        betas_d=(0.5, 0.999),
        sample_every=100,
        samples=_SHOWN,
    )


@dataclass(frozen=True)
class Result:
    """The outcome of the demo; distances are "FD (digits)", times are in the units of the names."""

    finished: bool
    step: int
    fd_untrained: float
    fd_end: float
    fd_real: float
    images_per_s: float
    class_shares: list[float]  # of samples of each digit that the digit classifier recognizes
    loss_us_fused: float
    loss_us_plain: float
    seconds: float  # of training, also of earlier calls


@one_writer
def demo(
    out: Path,
    steps: int = STEPS,
    seed: int = 0,
    device: str = "cpu",
    resume: bool = False,
    overwrite: bool = False,
) -> Result:
    """Train, and write samples, curves, log, checkpoint and ``report.html`` to ``out``.

    After Ctrl-C it still writes them all, and a later call with ``resume`` continues.

    Args:
        steps: rounds of training.
        seed: seed of weights, latents and the order of the data.
        out, device, resume, overwrite: as for :func:`ganfast.workflows.train.train`.

    Raises:
        FileExistsError, FileNotFoundError, ValueError: as for that function.
    """
    trainer = make_trainer(options(steps, seed), out, device)
    score = trainer.score
    assert isinstance(score, FrechetScore)
    finished = run_or_resume(trainer, overwrite, resume)
    records = read_records(out / "metrics.jsonl")
    scores = [record["fd"] for record in records if "fd" in record]
    fused, plain = loss_times(BATCH, device)
    result = Result(
        finished=finished,
        step=trainer.step,
        fd_untrained=scores[0],
        fd_end=scores[-1] if finished else score(trainer.ema)["fd"],
        fd_real=score.real_against_real(),
        images_per_s=trainer.images_per_s,
        class_shares=_recognized(score, trainer.ema),
        loss_us_fused=fused,
        loss_us_plain=plain,
        seconds=trainer.seconds,
    )
    write_report(out, result, records, {**asdict(trainer.options), "device": device})
    return result


def _recognized(score: FrechetScore, generator: nn.Module) -> list[float]:
    """Return the share of samples of each digit that the digit classifier recognizes."""
    wanted = torch.arange(_COUNTED) % 10
    images = score.draw(generator, _COUNTED, wanted)
    seen = encode(features.load("digits"), images, ("logits",))["logits"].argmax(1)
    return [float((seen[wanted == digit] == digit).float().mean()) for digit in range(10)]


_FD = "FD (digits)"
_OVER_TIME = 8  # small sheets in the report


def rows(result: Result) -> list[tuple[str, str]]:
    """Return names and values of the result, formatted."""
    shares = result.class_shares
    ratio = result.loss_us_plain / result.loss_us_fused
    return [
        (f"{_FD}, untrained generator (start)", f"{result.fd_untrained:.1f}"),
        (
            f"{_FD}, after {result.step} steps",
            f"{result.fd_end:.1f} ({result.fd_end / result.fd_untrained:.1%} of untrained)",
        ),
        (f"{_FD}, real vs real (two halves)", f"{result.fd_real:.1f}"),
        ("training speed", f"{result.images_per_s:.0f} images/s"),
        ("samples that show their digit", f"{sum(shares) / len(shares):.1%}"),
        ("of each digit 0-9, in %", " ".join(f"{100 * share:.0f}" for share in shares)),
        (
            "discriminator loss, forward + backward",
            f"fused {result.loss_us_fused:.0f} us, plain PyTorch {result.loss_us_plain:.0f} us: "
            f"{ratio:.2f} x as fast",
        ),
        ("training time", f"{result.seconds // 60:.0f}:{result.seconds % 60:02.0f} min"),
    ]


def write_report(
    out: Path, result: Result, records: Sequence[Record], settings: Mapping[str, object]
) -> None:
    """Write ``curves.png`` and ``report.html``."""
    picture = plot.write(plot.curves(records, ("fd", _FD), result.fd_real), out / "curves.png")
    sheets = sorted((out / "samples").glob("step_*.png"))
    ended = "finished" if result.finished else f"stopped early, of {settings['steps']}"
    content = report.page(
        "ganfast demo: a conditional DCGAN on 5,000 digits",
        f"{result.step} steps ({ended}). {_FD}: {result.fd_untrained:.1f} untrained, "
        f"{result.fd_end:.1f} now, {result.fd_real:.1f} between real halves.",
        report.section("Result", report.table(rows(result)), report.text(_SCALE)),
        report.section(
            "Samples",
            report.figure(
                sheets[-1].read_bytes(),
                f"{_step(sheets[-1])}: one digit a row, by the generator's moving average",
            ),
        ),
        report.section(
            "Over time",
            report.row(*(report.figure(s.read_bytes(), _step(s)) for s in _spread(sheets))),
            report.figure(picture, "Losses, the discriminator's probabilities, and the distance"),
        ),
        settings=settings,
    )
    report.write(out / "report.html", content)


_SCALE = (
    "FD (digits) is the Fréchet distance between 5,000 real images and 5,000 samples on the "
    "features of the digit classifier that comes with ganfast; it is not comparable with FID. "
    "The ends of the scale are an untrained generator and real against real images (2,500 each, "
    "which raises the distance). The loss is timed alone at the demo's batch size, taking turns "
    "with two BCE-with-logits calls on fresh label tensors."
)


def _spread(sheets: Sequence[Path]) -> list[Path]:
    """Pick the first and last sheet, and some between at doubling steps: most happens early."""
    last = len(sheets) - 1
    picked = {0, last} | {last >> k for k in range(_OVER_TIME - 1)}
    return [sheets[i] for i in sorted(picked)]


def _step(sheet: Path) -> str:
    return f"step {int(sheet.stem.removeprefix('step_'))}"


def loss_times(batch: int, device: str, repeats: int = 1000) -> tuple[float, float]:
    """Return the median microseconds of a discriminator's loss, forward and backward: fused, plain.

    The plain loss is that of tutorials: two calls of BCE with logits on new label tensors. Both
    take turns, so that other load on the machine affects them alike.
    """
    loss = AdversarialLoss("non_saturating")
    real = torch.randn(batch, device=device, requires_grad=True)
    fake = torch.randn(batch, device=device, requires_grad=True)

    def plain(real: Tensor, fake: Tensor) -> Tensor:
        return binary_cross_entropy_with_logits(
            real, torch.ones_like(real)
        ) + binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))

    def seconds(function: Callable[[Tensor, Tensor], Tensor]) -> float:
        real.grad = fake.grad = None
        start = time.perf_counter()
        torch.autograd.backward(function(real, fake))
        if real.is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - start

    pairs = [(seconds(loss.discriminator), seconds(plain)) for _ in range(repeats)]
    fused, other = (1e6 * statistics.median(times) for times in zip(*pairs, strict=True))
    return fused, other
