"""Plots in one style."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

from ganfast._files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def panels(width: float, height: float, count: int = 1) -> "tuple[Figure, list[Axes]]":
    """A figure of that size in inches, and its panels, one under the other on one x axis."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    axes = list(figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0])
    for axis in axes:
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def png(figure: "Figure") -> bytes:
    """A figure as PNG."""
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def write(figure: "Figure", path: Path) -> bytes:
    """Write a figure as PNG, whole or not at all; the picture, for a page."""
    picture = png(figure)
    with atomic_write(path) as file:
        file.write(picture)
    return picture
