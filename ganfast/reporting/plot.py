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


def panels(width: float, height: float, count: int = 1) -> "tuple[Figure, list[Axes]]":
    """Make a figure of a size in inches with panels below each other on a shared x axis."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    axes = list(figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0])
    for axis in axes:
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def png(figure: "Figure") -> bytes:
    """Return a figure as PNG."""
    file = io.BytesIO()
    figure.savefig(file, format="png")
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


def curves(records: Sequence[Mapping[str, float]], fd_name: str, fd_real: float) -> "Figure":
    """Draw losses, discriminator probabilities and the Fréchet distance over the steps.

    Args:
        records: the log of a run.
        fd_name: name of the distance.
        fd_real: distance between real images, drawn as the floor.
    """
    shown = (
        ("loss", {"loss_d": "discriminator", "loss_g": "generator"}),
        ("mean probability", {"d_real": "D(x), real", "d_fake": "D(G(z)), fake"}),
        (fd_name, {"fd": fd_name}),
    )
    figure, axes = panels(8.6, 7.6, len(shown))
    for axis, (label, series) in zip(axes, shown, strict=True):
        for (key, name), colour in zip(series.items(), ("#2563a8", "#d2691e"), strict=False):
            points = [(r["step"], r[key]) for r in records if key in r]
            marker = "o" if key == "fd" else None
            axis.plot(*zip(*points, strict=True), label=name, color=colour, lw=1.4, marker=marker)
        axis.set_ylabel(label)
    axes[1].set_ylim(0, 1)
    axes[2].axhline(fd_real, color="#5d6876", lw=1, ls="--", label="real vs real")
    axes[2].set_yscale("log")
    axes[2].yaxis.set_major_formatter("{x:g}")
    for axis in axes:  # above the panel, away from the curves
        axis.legend(frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 0.97))
    axes[2].set_xlabel("step")
    return figure
