"""The page of ``ganfast rank``."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ganfast.recipes import machine, plot, report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ganfast.recipes.rank import Result, Settings

HEADER = [
    "classifier",
    "accuracy % synthetic",
    "real",
    "confidence % synthetic",
    "real",
    "calibration error synthetic",
    "real",
]


def correlations(result: "Result") -> list[tuple[str, str]]:
    """The two rank correlations, in words."""
    return [
        ("Spearman's rank correlation [95 %]", str(result.spearman)),
        ("Kendall's tau-b [95 %]", str(result.kendall)),
        ("pairs that agree, synthetic", f"{_off_diagonal(result.agreement_synthetic):.1%}"),
        ("pairs that agree, real", f"{_off_diagonal(result.agreement_real):.1%}"),
    ]


def write(out: Path, settings: "Settings", result: "Result") -> None:
    """Write ``rankings.png`` and ``report.html``."""
    picture = plot.write(_plot(result), out / "rankings.png")
    sure = result.spearman.low > 0
    verdict = "rank the classifiers alike" if sure else "cannot be said to rank them alike"
    content = report.page(
        "ganfast rank: classifiers on synthetic images",
        f"Synthetic and real images {verdict}: Spearman {result.spearman}.",
        report.section("Standings", report.table(result.rows(), header=HEADER), report.text(_HOW)),
        report.section(
            "Two rankings",
            report.table(correlations(result)),
            report.figure(picture, "each classifier's accuracy on both kinds of images"),
        ),
        report.section(
            "Agreement on synthetic images", _matrix(result, result.agreement_synthetic)
        ),
        report.section("Agreement on real images", _matrix(result, result.agreement_real)),
        report.section(
            "Settings", report.table([(k, str(v)) for k, v in asdict(settings).items()])
        ),
        report.section("Machine and versions", report.table(machine.facts())),
    )
    report.write(out / "report.html", content)


_HOW = (
    "Real images were held out from classifiers and GAN. Calibration error is the expected one "
    "over 15 bins of confidence. Intervals are over images drawn anew from both sets."
)


def _off_diagonal(matrix: Tensor) -> float:
    n = len(matrix)
    return float((matrix.sum() - matrix.trace()) / (n * (n - 1)))


def _matrix(result: "Result", matrix: Tensor) -> str:
    names = list(result.standings)
    rows = [
        [name, *(f"{100 * share:.1f}" for share in row)]
        for name, row in zip(names, torch.round(matrix, decimals=3).tolist(), strict=True)
    ]
    return report.table(rows, header=["%", *(str(i + 1) for i in range(len(names)))])


def _plot(result: "Result") -> "Figure":
    figure, (axis,) = plot.panels(6.4, 5)
    for name, (synthetic, real) in result.standings.items():
        axis.scatter([100 * synthetic.accuracy], [100 * real.accuracy], label=name, s=46)
    axis.set_xlabel("accuracy on synthetic images, %")
    axis.set_ylabel("accuracy on real images, %")
    axis.legend(frameon=False, fontsize="small")
    return figure
