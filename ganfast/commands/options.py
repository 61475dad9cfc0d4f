"""Options that several commands share."""

import sys
from pathlib import Path
from typing import Annotated

import typer

Device = Annotated[str | None, typer.Option(help="cpu or cuda.  [default: cuda if there is a GPU]")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where it stopped.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Start again in a folder that holds a run.")
]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="A setting; repeatable.")
]
Settings = Annotated[Path | None, typer.Argument(help="YAML file of settings.")]

INTERRUPTED = 130


def prepare(device: str | None, threads: int | None) -> str:
    """Set the threads, and give the device: the one asked for, or the best there is."""
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    if device is not None and device not in devices:
        cause = (
            f"torch {torch.__version__} is no CUDA build"
            if torch.version.cuda is None and device.startswith("cuda")
            else "torch finds no such device"
        )
        raise ValueError(f"device must be {' or '.join(devices)} here, got {device!r}: {cause}")
    return device or devices[-1]


def print_rows(rows: list[tuple[str, str]]) -> None:
    """A table of two columns for a terminal."""
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:<{width}}  {value}")


def print_table(header: list[str], rows: list[list[str]]) -> None:
    """A table with a line of names for a terminal."""
    lines = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(f"{cell:<{w}}" for cell, w in zip(line, widths, strict=True)).rstrip())


def interrupted(words: str) -> None:
    """Say how to go on, and end with the code of Ctrl-C."""
    print(words, file=sys.stderr)
    sys.exit(INTERRUPTED)
