"""Build, test and measure everything on a GPU in one run of at most nine minutes.

    python scripts/gpu_report.py                          # all parts, into runs/gpu_report.json
    python scripts/gpu_report.py --parts build,bandwidth
    python scripts/gpu_report.py --old COMMIT             # also times that commit's kernels
    python scripts/gpu_report.py --small --device cpu     # to try it

The file is a results file of bench/results, with the state of each part. It is whole at any
moment: a run that is killed leaves what it has found.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.report import table


def main(
    parts: Annotated[str, typer.Option(help="Names with commas; all where not given.")] = "",
    out: Annotated[Path, typer.Option(help="The file to write, replaced if there.")] = Path(
        "runs/gpu_report.json"
    ),
    seconds: Annotated[
        float | None, typer.Option(min=1, help="For all parts.  [default: 540, or 270 if small]")
    ] = None,
    device: Annotated[str, typer.Option(help="cuda or cpu.")] = "cuda",
    small: Annotated[bool, typer.Option("--small", help="Few cases, once each.")] = False,
    old: Annotated[
        str | None,
        typer.Option(help="A commit or a folder of ganfast: build and time its kernels, too."),
    ] = None,
) -> None:
    """Build, test and measure on a GPU, and write one file with all that is found."""
    known = {part.name: part for part in (*table.PARTS, table.OLD)}
    every = [name for name in known if old is not None or name != table.OLD.name]
    names = [name.strip() for name in parts.split(",")] if parts else every
    unknown = [name for name in names if name not in known]
    if unknown:
        raise typer.BadParameter(
            f"--parts must be some of {', '.join(known)}, got {', '.join(unknown)}"
        )
    if table.OLD.name in names and old is None:
        raise typer.BadParameter("--parts old needs --old, the commit or the folder")
    if device not in ("cpu", "cuda"):
        raise typer.BadParameter(f"--device must be cpu or cuda, got {device!r}")
    import torch

    from bench.report import runner

    if device == "cuda" and not torch.cuda.is_available():
        sys.exit("gpu_report: there is no GPU here; --device cpu tries the report without one")
    chosen = [part for name, part in known.items() if name in names]
    if small:  # it builds nothing, which is most of a run
        chosen = [part._replace(seconds=1) for part in chosen]
    seconds = seconds or (table.SMALL_SECONDS if small else table.SECONDS)
    try:
        code = runner.run(chosen, device=device, out=out, seconds=seconds, small=small, old=old)
    except OSError as error:
        sys.exit(f"gpu_report: the report cannot be written: {error}")
    print(f"written: {out}")
    raise typer.Exit(code)


if __name__ == "__main__":
    typer.run(main)
