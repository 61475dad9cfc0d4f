"""``ganfast finetune``."""

from pathlib import Path
from typing import Annotated

import typer

from ganfast.commands import options
from ganfast.commands.options import Device, Overwrite, Set, Settings, Threads


def finetune(
    settings: Settings = None,
    set_: Set = None,
    out: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("runs/finetune"),
    device: Device = None,
    threads: Threads = None,
    overwrite: Overwrite = False,
) -> None:
    """Train a classifier on real, synthetic and both, and say whether the GAN helped."""
    from ganfast.train import config
    from ganfast.workflows import finetune as recipe

    device = options.prepare(device, threads)
    wanted = config.read(recipe.Settings, settings, set_ or [])
    result = recipe.finetune(wanted, out, device, overwrite, on_result=print)
    options.print_table(recipe.header(wanted), result.rows(wanted))
    print(f"report: {out / 'report.html'}")
