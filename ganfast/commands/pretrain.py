"""``ganfast pretrain``."""

from pathlib import Path
from typing import Annotated

import typer

from ganfast.commands import options
from ganfast.commands.options import Device, Overwrite, Set, Settings, Threads


def pretrain(
    settings: Settings = None,
    set_: Set = None,
    out: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("runs/pretrain"),
    device: Device = None,
    threads: Threads = None,
    overwrite: Overwrite = False,
) -> None:
    """Train G or D before the GAN, and compare with a GAN from scratch at an equal budget."""
    from ganfast.train import config
    from ganfast.workflows import pretrain as recipe

    device = options.prepare(device, threads)
    wanted = config.read(recipe.Settings, settings, set_ or [])
    result = recipe.pretrain(wanted, out, device, overwrite)
    options.print_table(["network", "weight", ""], recipe.taken(result))
    rows = recipe.rows(wanted, result)
    options.print_rows([*rows, ("report", str(out / "report.html"))])
