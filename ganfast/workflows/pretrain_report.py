"""The page of ``ganfast pretrain``."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ganfast.reporting import environment, plot, report
from ganfast.workflows.digit_scores import FD
from ganfast.workflows.seed_statistics import Summary, in_words, summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ganfast.workflows.pretrain import Curve, Result, Settings


def rows(settings: "Settings", result: "Result") -> list[tuple[str, str]]:
    """What was found, in words."""
    scratch, pretrained, change = result.last
    return [
        (f"{FD} from scratch, {result.scratch[0][-1][0]} rounds", str(scratch)),
        (f"{FD} after {settings.method}, {result.pretrained[0][-1][0]} rounds", str(pretrained)),
        ("difference [95 %]", in_words(change, better="lower")),
    ]


def taken(result: "Result") -> list[list[str]]:
    """A line for each weight: network, name, and whether it was taken."""
    return [[part, row.name, row.status] for part, lines in result.taken.items() for row in lines]


def write(out: Path, settings: "Settings", result: "Result") -> None:
    """Write ``distances.png`` and ``report.html``."""
    picture = plot.write(_plot(settings, result), out / "distances.png")
    found = rows(settings, result)
    content = report.page(
        f"ganfast pretrain: {settings.method}",
        f"{found[-1][0]}, pre-trained less from scratch: {found[-1][1]}.",
        report.section(
            "Result", report.table(found), report.text(_HOW.format(seeds=settings.seeds))
        ),
        report.section("Over the budget", report.figure(picture, _BARS)),
        report.section(
            "What was taken", report.table(taken(result), header=["network", "weight", "status"])
        ),
        report.section(
            "Settings", report.table([(k, str(v)) for k, v in asdict(settings).items()])
        ),
        report.section("Machine and versions", report.table(environment.facts())),
    )
    report.write(out / "report.html", content)


_HOW = (
    "{seeds} seeds. Both kinds have the same budget: a step of the first training counts as a "
    "round of the GAN, though it costs less. The difference is taken seed by seed, with "
    "Student's 95 % interval; below 0 pre-training helped."
)
_BARS = f"mean {FD} of both kinds; bars are one standard deviation over the seeds"


def _plot(settings: "Settings", result: "Result") -> "Figure":
    figure, (axis,) = plot.panels(8, 4.6)
    for name, curves, shift in (
        ("from scratch", result.scratch, 0),
        (f"after {settings.method}", result.pretrained, settings.extra),
    ):
        steps, points = _over_seeds(curves)
        spread = [0.0 if p.n == 1 else p.std for p in points]
        at = [step + shift for step in steps]
        axis.errorbar(at, [p.mean for p in points], spread, label=name, marker="o", capsize=3)
    axis.set_xlabel("budget: rounds of the GAN, and steps of the first training")
    axis.set_ylabel(FD)
    axis.set_yscale("log")
    axis.yaxis.set_major_formatter("{x:g}")
    axis.legend(frameon=False)
    return figure


def _over_seeds(curves: "list[Curve]") -> tuple[list[int], list[Summary]]:
    steps = [step for step, _ in curves[0]]
    return steps, [summary([curve[i][1] for curve in curves]) for i in range(len(steps))]
