"""Plots in one style."""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ganfast._files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


# Plots are transparent, and their lines and words can be read on white and on a dark page.
INK = "#77828f"


def panels(width: float, height: float, count: int = 1) -> "tuple[Figure, list[Axes]]":
    """Make a figure of a size in inches with panels below each other on a shared x axis."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    axes = list(figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0])
    for axis in axes:
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def logarithmic(axis: "Axes") -> None:
    """Give an axis a logarithmic scale upwards, with plain numbers where they have room."""
    from matplotlib.ticker import LogFormatter

    axis.set_yscale("log")
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter(LogFormatter())


def png(figure: "Figure") -> bytes:
    """Return a figure as PNG."""
    from matplotlib.text import Text

    for axis in figure.axes:
        axis.tick_params(which="both", colors=INK)
        for spine in axis.spines.values():
            spine.set_edgecolor(INK)
    for text in figure.findobj(Text):
        text.set_color(INK)
    file = io.BytesIO()
    figure.savefig(file, format="png", transparent=True)
    return file.getvalue()


def error_bars(
    axis: "Axes", x: Sequence[float], points: Sequence[tuple[float, float]], label: str
) -> None:
    """Draw a line through means with bars of standard deviations; NaN draws no bar."""
    bars = [0.0 if math.isnan(std) else std for _, std in points]
    means = [mean for mean, _ in points]
    axis.errorbar(x, means, bars, label=label, marker="o", capsize=3, lw=1.4)


def write(figure: "Figure", path: Path) -> bytes:
    """Write a figure as PNG, atomically, and return the PNG."""
    picture = png(figure)
    with atomic_write(path) as file:
        file.write(picture)
    return picture


def curves(
    records: Sequence[Mapping[str, float]],
    score: tuple[str, str],
    floor: float,
    probabilities: bool = True,
) -> "Figure":
    """Draw losses, the discriminator's outputs and the score over the steps.

    Args:
        records: the log of a run.
        score: name of the score in the log, and in the figure.
        floor: score of real images, drawn as the low end of the scale.
        probabilities: the discriminator's outputs are probabilities, not those of a critic.
    """
    name, label = score
    shown = (
        ("loss", {"loss_d": "discriminator", "loss_g": "generator"}),
        (
            "mean probability" if probabilities else "mean output of the critic",
            {"d_real": "D(x), real", "d_fake": "D(G(z)), fake"},
        ),
        (label, {name: label}),
    )
    figure, axes = panels(8.6, 7.6, len(shown))
    for axis, (words, series) in zip(axes, shown, strict=True):
        for (key, line), colour in zip(series.items(), ("#3b82d0", "#d97a32"), strict=False):
            points = [(r["step"], r[key]) for r in records if key in r]
            marker = "o" if key == name else None
            axis.plot(*zip(*points, strict=True), label=line, color=colour, lw=1.4, marker=marker)
        axis.set_ylabel(words)
    if probabilities:
        axes[1].set_ylim(0, 1)
    axes[2].axhline(floor, color=INK, lw=1, ls="--", label="real vs real")
    logarithmic(axes[2])
    for axis in axes:  # above the panel, away from the curves
        axis.legend(frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 0.97))
    axes[2].set_xlabel("step")
    return figure
