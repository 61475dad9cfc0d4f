"""The page of ``ganfast finetune``."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ganfast.reporting import environment, plot, report
from ganfast.workflows.seed_statistics import summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ganfast.workflows.finetune import Result, Settings


def header(settings: "Settings") -> list[str]:
    """Over ``Result.rows``."""
    return ["real images", *settings.modes, "both - real, points [95 %]"]


def write(out: Path, settings: "Settings", result: "Result") -> None:
    """Write ``accuracy.png`` and ``report.html``."""
    picture = plot.write(_plot(settings, result), out / "accuracy.png")
    rows = result.rows(settings)
    verdicts = "; ".join(f"{row[0]} images: {row[-1]}" for row in rows)
    content = report.page(
        "ganfast finetune: did the GAN help?",
        f"Accuracy on {settings.test} real images held out. Both against real: {verdicts}.",
        report.section(
            "Accuracy in %, mean ± standard deviation",
            report.table(rows, header=header(settings)),
            report.text(_HOW.format(seeds=settings.seeds)),
        ),
        report.section("Over the number of real images", report.figure(picture, _BARS)),
        report.section(
            "Settings", report.table([(k, str(v)) for k, v in asdict(settings).items()])
        ),
        report.section("Machine and versions", report.table(environment.facts())),
    )
    report.write(out / "report.html", content)


_HOW = (
    "{seeds} seeds: of the classifier's weights, its order of images and its dropout; the GAN of "
    "each size is one. Of the real images a fifth says when to stop, the others train classifier "
    "and GAN alike. The last column is the mean difference, seed by seed, with Student's 95 % "
    "interval."
)
_BARS = "mean accuracy of each mode; bars are one standard deviation over the seeds"


def _plot(settings: "Settings", result: "Result") -> "Figure":
    figure, (axis,) = plot.panels(8, 4.6)
    for mode in settings.modes:
        points = [summary([100 * a for a in result.accuracies[n, mode]]) for n in settings.sizes]
        spread = [0.0 if p.n == 1 else p.std for p in points]
        means = [p.mean for p in points]
        axis.errorbar(settings.sizes, means, spread, label=mode, marker="o", capsize=3, lw=1.4)
    axis.set_xscale("log")
    axis.set_xlabel("real images")
    axis.set_ylabel("accuracy, %")
    axis.legend(frameon=False)
    return figure
