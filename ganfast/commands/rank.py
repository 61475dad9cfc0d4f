"""``ganfast rank``."""

from pathlib import Path
from typing import Annotated

import typer

from ganfast.commands import options
from ganfast.commands.options import Device, Overwrite, Set, Settings, Threads


def rank(
    settings: Settings = None,
    set_: Set = None,
    model: Annotated[
        list[str] | None, typer.Option(help="A classifier: file or module:callable; repeatable.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("runs/rank"),
    device: Device = None,
    threads: Threads = None,
    overwrite: Overwrite = False,
) -> None:
    """Rank classifiers on synthetic images, and compare with the ranking by real ones."""
    from dataclasses import replace

    from ganfast.train import config
    from ganfast.workflows import rank as recipe

    device = options.prepare(device, threads)
    wanted = config.read(recipe.Settings, settings, set_ or [])
    if model:
        wanted = replace(wanted, models=tuple(model))
    result = recipe.rank(wanted, out, device, overwrite)
    options.print_table(recipe.HEADER, result.rows())
    options.print_rows([*recipe.correlations(result), ("report", str(out / "report.html"))])
