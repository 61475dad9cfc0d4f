"""The page of ``ganfast rank``."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from ganfast.reporting import environment, plot, report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ganfast.workflows.rank import Result, Settings

HEADER = [
    "classifier",
    "synthetic accuracy, %",
    "real accuracy, %",
    "synthetic confidence, %",
    "real confidence, %",
    "synthetic ECE",
    "real ECE",
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
    rows = [
        [name, *figures]
        for name, (_, *figures) in zip(_numbered(result), result.rows(), strict=True)
    ]
    verdict = "rank the classifiers alike" if sure else "cannot be said to rank them alike"
    content = report.page(
        "ganfast rank: classifiers on synthetic images",
        f"Synthetic and real images {verdict}: Spearman {result.spearman}.",
        report.section("Standings", report.table(rows, header=HEADER), report.text(_HOW)),
        report.section(
            "Two rankings",
            report.table(correlations(result)),
            report.figure(picture, "each classifier's accuracy on both kinds of images"),
        ),
        report.section(
            "Agreement on synthetic images, %", _matrix(result, result.agreement_synthetic)
        ),
        report.section("Agreement on real images, %", _matrix(result, result.agreement_real)),
        report.section(
            "Settings", report.table([(k, str(v)) for k, v in asdict(settings).items()])
        ),
        report.section("Machine and versions", report.table(environment.facts())),
    )
    report.write(out / "report.html", content)


_HOW = (
    "Real images were held out from classifiers and GAN. ECE is the expected calibration error, "
    "from 0 to 1, over 15 bins of confidence. Intervals are over images drawn anew from both sets."
)


def _off_diagonal(matrix: Tensor) -> float:
    n = len(matrix)
    return float((matrix.sum() - matrix.trace()) / (n * (n - 1)))


def _order(result: "Result") -> list[str]:
    """Names of the classifiers as they stand; their places number them on the whole page."""
    return [name for name, *_ in result.rows()]


def _numbered(result: "Result") -> list[str]:
    return [f"{place}.\N{NO-BREAK SPACE}{name}" for place, name in enumerate(_order(result), 1)]


def _matrix(result: "Result", matrix: Tensor) -> str:
    """Shares of a matrix over ``result.standings``, in the order of the table."""
    given = list(result.standings)
    order = [given.index(name) for name in _order(result)]
    shares = (100 * matrix[order][:, order]).tolist()
    rows = [
        [name, *(f"{share:.1f}" for share in row)]
        for name, row in zip(_numbered(result), shares, strict=True)
    ]
    return report.table(rows, header=["classifier", *(str(i + 1) for i in range(len(order)))])


def _plot(result: "Result") -> "Figure":
    names = _numbered(result)
    figure, (axis,) = plot.panels(6.4, 4.6 + 0.22 * len(names))
    for place, (name, label) in enumerate(zip(_order(result), names, strict=True), 1):
        synthetic, real = result.standings[name]
        point = (100 * synthetic.accuracy, 100 * real.accuracy)
        axis.plot(*point, "o", label=label)
        axis.annotate(str(place), point, textcoords="offset points", xytext=(6, -12))
    axis.set_xlabel("accuracy on synthetic images, %")
    axis.set_ylabel("accuracy on real images, %")
    figure.legend(frameon=False, fontsize="small", loc="outside lower left")  # covers no point
    return figure
