"""The result of an evaluation as an HTML page."""

import io
from collections.abc import Sequence

import torch
from torch import Tensor

from ganfast.evaluation.run import Result, count, left_out_in_words
from ganfast.reporting import images, plot, report


def page(result: Result, command: str) -> str:
    """Return the page: scores, samples, nearest neighbours, precision and recall, settings."""
    sections = [
        report.section(
            "Scores",
            report.table(result.cells()),
            report.text(
                f"Real: {result.real.name} ({count(result.real)}). "
                f"Fake: {result.fake.name} ({count(result.fake)}). "
                + ("" if result.label == "FID" else _NOT_FID)
            ),
            *(report.text(f"Note: {note}.") for note in result.notes),
        )
    ]
    samples = [
        report.figure(_sheet(those, 6), f"{name}: the first {len(those)}")
        for name, those in (("Real", result.real_images), ("Fake", result.fake_images))
        if those
    ]
    if samples:
        sections.append(report.section("Samples", *samples))
    if result.neighbours:
        sheet = [image for own, near in result.neighbours for image in (own, *near)]
        columns = 1 + len(result.neighbours[0][1])
        caption = "Each row: a fake image, then the real images nearest to it in feature space"
        sections.append(
            report.section("Nearest neighbours", report.figure(_sheet(sheet, columns), caption))
        )
    if result.curve:
        sections.append(
            report.section(
                "Precision and recall",
                report.figure(
                    _curve(result.curve),
                    "Each ball reaches to the k-th nearest neighbour; the numbers are k",
                ),
            )
        )
    if result.left_out:
        lines = [f"{left_out_in_words(result.left_out, len(result.problems))}.", *result.problems]
        sections.append(report.section("Left out", *map(report.text, lines)))
    settings = {"command": command, **result.settings}
    lead = "; ".join(f"{name}: {value}" for name, value in result.cells()[:3])
    return report.page("ganfast eval", lead, *sections, settings=settings)


_NOT_FID = (
    "The features are not those of the 2015 Inception network: "
    "no number here can be compared with a published FID."
)


def _sheet(pictures: Sequence[Tensor], columns: int) -> bytes:
    """Return a contact sheet of thumbnails (C, H, W) as PNG."""
    file = io.BytesIO()
    images.grid(torch.stack(list(pictures)), columns=columns).save(file, format="PNG")
    return file.getvalue()


def _curve(points: Sequence[tuple[int, float, float]]) -> bytes:
    figure, (axis,) = plot.panels(5.2, 4.8)
    recall, precision = [r for _, _, r in points], [p for _, p, _ in points]
    axis.plot(recall, precision, marker="o", color="#2563a8", lw=1.4)
    for k, p, r in points:
        axis.annotate(str(k), (r, p), textcoords="offset points", xytext=(0, -15), ha="center")
    axis.set(xlabel="recall", ylabel="precision", xlim=(0, 1.05), ylim=(0, 1.05))
    return plot.png(figure)
