"""``ganfast train``."""

from pathlib import Path
from typing import Annotated

import typer

from ganfast.commands import options
from ganfast.commands.options import Device, Overwrite, Resume, Set, Settings, Threads


def train(
    settings: Settings = None,
    set_: Set = None,
    out: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("runs/train"),
    device: Device = None,
    threads: Threads = None,
    resume: Resume = False,
    resume_from: Annotated[
        Path | None, typer.Option(help="Go on from this checkpoint of the folder.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Train a GAN on the embedded digits or your images, as a YAML file and --set say."""
    from ganfast.recipes import train as recipe
    from ganfast.recipes.gan import Config
    from ganfast.train import config

    device = options.prepare(device, threads)
    wanted = config.read(Config, settings, set_ or [])
    result = recipe.train(wanted, out, device, resume, overwrite, resume_from)
    options.print_rows([*recipe.rows(result), ("report", str(out / "report.html"))])
    if not result.finished:
        options.interrupted(f"stopped at step {result.step} of {wanted.steps}; --resume goes on")
