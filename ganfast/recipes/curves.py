"""Training curves as one picture."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ganfast.recipes import plot
from ganfast.train.log import Record

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def curves(records: Sequence[Record], fd_name: str, fd_real: float) -> "Figure":
    """Losses, discriminator probabilities and the Fréchet distance over the steps.

    ``fd_real``, the distance between real images and real images, is drawn as the floor.
    """
    panels = (
        ("loss", {"loss_d": "discriminator", "loss_g": "generator"}),
        ("mean probability", {"d_real": "D(x), real", "d_fake": "D(G(z)), fake"}),
        (fd_name, {"fd": fd_name}),
    )
    figure, axes = plot.panels(8.6, 7.6, len(panels))
    for axis, (label, series) in zip(axes, panels, strict=True):
        for (key, name), colour in zip(series.items(), ("#2563a8", "#d2691e"), strict=False):
            points = [(r["step"], r[key]) for r in records if key in r]
            marker = "o" if key == "fd" else None
            axis.plot(*zip(*points, strict=True), label=name, color=colour, lw=1.4, marker=marker)
        axis.set_ylabel(label)
    axes[1].set_ylim(0, 1)
    axes[2].axhline(fd_real, color="#5d6876", lw=1, ls="--", label="real vs real")
    axes[2].set_yscale("log")
    axes[2].yaxis.set_major_formatter("{x:g}")
    for axis in axes:  # above the panel, where no curve runs
        axis.legend(frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 0.97))
    axes[2].set_xlabel("step")
    return figure
