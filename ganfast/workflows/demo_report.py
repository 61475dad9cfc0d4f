"""The demo's result as a printed table and as a page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ganfast.reporting import environment, plot, report
from ganfast.train.log import Record

if TYPE_CHECKING:
    from ganfast.workflows.demo import Result

_FD = "FD (digits)"
_OVER_TIME = 8  # small sheets in the report


def rows(result: "Result") -> list[tuple[str, str]]:
    """What was measured, in words."""
    counts = result.class_counts
    missing = [str(digit) for digit, count in enumerate(counts) if count == 0]
    ratio = result.loss_us_plain / result.loss_us_fused
    return [
        (f"{_FD}, untrained generator (start)", f"{result.fd_untrained:.1f}"),
        (
            f"{_FD}, after {result.step} steps",
            f"{result.fd_end:.1f} ({result.fd_end / result.fd_untrained:.1%} of untrained)",
        ),
        (f"{_FD}, real vs real (two halves)", f"{result.fd_real:.1f}"),
        ("training speed", f"{result.images_per_s:.0f} images/s"),
        (f"digits 0-9 among {sum(counts)} samples", " ".join(map(str, counts))),
        ("digits missing", ", ".join(missing) or "none"),
        (
            "discriminator loss, forward + backward",
            f"fused {result.loss_us_fused:.0f} us, plain PyTorch {result.loss_us_plain:.0f} us: "
            f"{ratio:.2f} x as fast",
        ),
        ("time in all", f"{result.seconds // 60:.0f}:{result.seconds % 60:02.0f} min"),
    ]


def as_text(result: "Result") -> str:
    """The table for a terminal."""
    lines = rows(result)
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in lines)


def write(
    out: Path, result: "Result", records: Sequence[Record], settings: Mapping[str, object]
) -> None:
    """Write ``curves.png`` and ``report.html``."""
    picture = plot.write(plot.curves(records, _FD, result.fd_real), out / "curves.png")
    sheets = sorted((out / "samples").glob("step_*.png"))
    ended = "finished" if result.finished else f"stopped early, of {settings['steps']}"
    content = report.page(
        "ganfast demo: a DCGAN on 5,000 digits",
        f"{result.step} steps ({ended}). {_FD}: {result.fd_untrained:.1f} untrained, "
        f"{result.fd_end:.1f} now, {result.fd_real:.1f} between real halves.",
        report.section("Result", report.table(rows(result)), report.text(_SCALE)),
        report.section(
            "Samples",
            report.figure(
                sheets[-1].read_bytes(),
                f"{_step(sheets[-1])}: the generator's moving average on 64 fixed latents",
            ),
        ),
        report.section(
            "Over time",
            report.row(*(report.figure(s.read_bytes(), _step(s)) for s in _spread(sheets))),
            report.figure(picture, "Losses, the discriminator's probabilities, and the distance"),
        ),
        report.section(
            "Settings", report.table([(name, str(value)) for name, value in settings.items()])
        ),
        report.section("Machine and versions", report.table(environment.facts())),
    )
    report.write(out / "report.html", content)


_SCALE = (
    "FD (digits) is the Fréchet distance between 5,000 real images and 5,000 samples on the "
    "features of the digit classifier that comes with ganfast; it is not comparable with FID. "
    "An untrained generator and real against real (2,500 images each, which puts the distance up) "
    "are the two ends of the scale. The loss is timed alone at the demo's batch size, in turn with "
    "two BCE-with-logits calls on fresh label tensors."
)


def _spread(sheets: Sequence[Path]) -> list[Path]:
    """First, last, and some in between: steps that double, since most happens early."""
    last = len(sheets) - 1
    picked = {0, last} | {last >> k for k in range(_OVER_TIME - 1)}
    return [sheets[i] for i in sorted(picked)]


def _step(sheet: Path) -> str:
    return f"step {int(sheet.stem.removeprefix('step_'))}"
