"""``ganfast train``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ganfast.commands import options
from ganfast.commands.options import Device, Overwrite, Resume, Set, Settings, Threads


def train(
    settings: Settings = None,
    set_: Set = None,
    model: Annotated[
        str | None, typer.Option(help="Short for --set model=NAME; also cyclegan and autoencoder.")
    ] = None,
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
    from ganfast.distributed import joined
    from ganfast.train import config

    words = [*(set_ or []), *([f"model={model}"] if model else [])]
    values = config.values_of(settings, words)
    with joined(options.prepare(device, threads)) as own:
        _train(values, out, own, resume, resume_from, overwrite)


def _train(
    values: dict[str, Any],
    out: Path,
    device: str,
    resume: bool,
    resume_from: Path | None,
    overwrite: bool,
) -> None:
    from ganfast.distributed import Processes
    from ganfast.train import config
    from ganfast.workflows import autoencoder, cyclegan, gan
    from ganfast.workflows import train as recipe

    if values.get("model") == "cyclegan":
        both = config.from_mapping(cyclegan.CycleConfig, values)
        done = cyclegan.cycle(both, out, device, resume, overwrite, resume_from)
        rows, finished, steps = cyclegan.rows(done), done.finished, both.steps
    elif values.get("model") in autoencoder.MODELS:
        coder = config.from_mapping(autoencoder.AutoencoderConfig, values)
        coded = autoencoder.autoencode(coder, out, overwrite, device, resume, resume_from)
        if coded is None:
            options.interrupted(_again(coder.steps))
            return
        rows, finished, steps = autoencoder.rows(coded), True, coder.steps
    else:
        one = config.from_mapping(gan.Config, values)
        result = recipe.train(one, out, device, resume, overwrite, resume_from)
        rows, finished, steps = recipe.rows(result), result.finished, one.steps
    if not Processes().first:
        return
    options.print_rows([*rows, ("report", str(out / "report.html"))])
    if not finished:
        options.interrupted(_again(steps))


def _again(steps: int) -> str:
    return f"stopped before step {steps}; the same command with --resume goes on"
