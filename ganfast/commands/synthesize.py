"""``ganfast synthesize``."""

from pathlib import Path
from typing import Annotated

import typer

from ganfast.commands import options
from ganfast.commands.options import Device, Overwrite, Threads


def synthesize(
    checkpoint: Annotated[Path, typer.Argument(help="Of ganfast train, as runs/train/best.pt.")],
    out: Annotated[Path, typer.Option(help="Folder of the data set.")] = Path("runs/synthetic"),
    samples: Annotated[int, typer.Option(help="How many.")] = 5000,
    shares: Annotated[
        str, typer.Option(help="Of the classes, such as 1,1,2; equal ones unless given.")
    ] = "",
    format_: Annotated[str, typer.Option("--format", help="npz, folder or safetensors.")] = "npz",
    seed: Annotated[int, typer.Option(help="The same seed gives the same data set.")] = 0,
    reject: Annotated[
        float, typer.Option(help="Share left out that the discriminator likes least.")
    ] = 0.0,
    confidence: Annotated[
        float, typer.Option(help="Least probability of its label by the digit classifier.")
    ] = 0.0,
    truncation: Annotated[
        float, typer.Option(help="Latents within so many standard deviations; 0 is off.")
    ] = 0.0,
    device: Device = None,
    threads: Threads = None,
    overwrite: Overwrite = False,
) -> None:
    """Make a labelled data set from a checkpoint, with a card; goes on where it was stopped."""
    from ganfast.workflows import synthesize as recipe
    from ganfast.workflows.sampler import Filters

    device = options.prepare(device, threads)
    weights = tuple(float(share) for share in shares.split(",")) if shares else ()
    filters = Filters(reject, confidence, truncation)
    order = recipe.Order(samples, weights, format_, seed, filters)  # type: ignore[arg-type]
    found = recipe.synthesize(checkpoint, out, order, device, overwrite)
    options.print_rows([*recipe.rows(found), ("card", str(out / "card.html"))])
