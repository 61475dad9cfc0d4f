"""Options, tables and endings that several commands share."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

Device = Annotated[
    str | None,
    typer.Option(help="cpu, cuda, cuda:1 or mps.", show_default="cuda if there is a GPU"),
]
Threads = Annotated[int | None, typer.Option(min=1, max=1024, help="CPU threads.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue where the run stopped.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Start again in a folder that holds a run.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Out = Annotated[Path, typer.Option(help="Folder of the run.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="A setting; repeatable.")
]
Source = Annotated[
    str | None,
    typer.Argument(
        metavar="[PATH]",
        help="A folder, .zip, .tar, .npz or other images that ganfast eval takes; or a .yaml file.",
        show_default="the embedded digits",
    ),
]
PrintConfig = Annotated[
    bool, typer.Option("--print-config", help="List all settings with their meaning, and exit.")
]

INTERRUPTED = 130


class UsageError(ValueError):
    """The command line is wrong: exit code 2."""


@contextmanager
def usage(wrong: bool = True) -> Iterator[None]:
    """Turn an error within the block into one of the command line, if ``wrong`` is true."""
    try:
        yield
    except (TypeError, ValueError) as error:
        if not wrong:
            raise
        raise UsageError(str(error)) from error


def prepare(device: str | None, threads: int | None) -> str:
    """Set the number of threads, and return the device: the one asked for, or the best there is.

    Raises:
        UsageError: this machine has no such device.
    """
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    devices = ["cpu", *(["mps"] if torch.backends.mps.is_available() else [])]
    devices += ["cuda", *(f"cuda:{i}" for i in range(gpus))] if gpus else []
    if device is not None and device not in devices:
        cause = (
            f"torch {torch.__version__} is no CUDA build"
            if torch.version.cuda is None and device.startswith("cuda")
            else "torch finds no such device"
        )
        raise UsageError(f"device must be {' or '.join(devices)} here, got {device!r}: {cause}")
    return device or ("cuda" if gpus else "cpu")


def is_settings(path: str) -> bool:
    """Say whether a path is a file of settings, by its name."""
    return Path(path).suffix.lower() in (".yaml", ".yml")


def print_fields(kind: type[Any], values: Mapping[str, Any]) -> None:
    """Print the settings as YAML: each with its value or default, and its meaning in a comment."""
    from ganfast.train import config

    print(config.documented(config.from_mapping(kind, values)), end="")


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip())


def say(words: str) -> None:
    """Print what is not a result."""
    print(words, file=sys.stderr, flush=True)


def interrupted(words: str) -> NoReturn:
    """Say how to continue, and exit with the code of Ctrl-C."""
    say(words)
    sys.exit(INTERRUPTED)
