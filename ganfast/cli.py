"""The ``ganfast`` command."""

import io
import sys
import traceback
from typing import Annotated, NoReturn

import typer

from ganfast._names import UserCodeError
from ganfast.commands import evaluate, workflows
from ganfast.commands.options import UsageError, print_table

app = typer.Typer(
    help="Fused losses, distribution distances and workflows for adversarial models.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run a command; an error of the user is one sentence on stderr.

    The exit code is then 1, or 2 for a wrong command line. Errors inside the user's own module
    come with their traceback.
    """
    # Removed here, so that it may stand before or after the name of the command.
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    for stream in (sys.stdout, sys.stderr):  # names of files may hold what cannot be written
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app(arguments, prog_name="ganfast")
    except (TypeError, ValueError, OSError, ImportError, FloatingPointError) as error:
        if len(arguments) < len(sys.argv) - 1:
            raise
        if isinstance(error, UserCodeError):
            traceback.print_exception(error.__cause__)
        _end(_sentence(error), 2 if isinstance(error, UsageError) else 1)
    except (MemoryError, RuntimeError) as error:
        words = str(error).partition("\n")[0]
        if len(arguments) < len(sys.argv) - 1 or not _of_memory(error, words):
            raise
        _end(f"there is not enough memory; make batches or images smaller: {words}", 1)


def _end(sentence: str, code: int) -> NoReturn:
    print(f"ganfast: {sentence}", file=sys.stderr)
    sys.exit(code)


def _of_memory(error: Exception, words: str) -> bool:
    """Say whether memory ran out; on the CPU torch says so in words alone."""
    return isinstance(error, MemoryError) or "allocate memory" in words or "out of memory" in words


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error)


def _print_version(wanted: bool) -> None:
    if wanted:
        import ganfast

        print(f"ganfast {ganfast.__version__}")
        raise typer.Exit


@app.callback()
def _ganfast(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print it, exit."),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; anywhere on the line.")
    ] = False,
) -> None:
    pass


for command in (
    workflows.demo,
    workflows.train,
    workflows.synthesize,
    workflows.pretrain,
    workflows.finetune,
    workflows.rank,
    evaluate.fid,
    evaluate.stats,
    evaluate.merge,
    evaluate.weights,
):
    app.command()(command)
app.command("eval")(evaluate.evaluate)


@app.command()
def info() -> None:
    """Say what was built, and what this machine has."""
    from ganfast.reporting import environment

    print_table([*environment.facts(), *environment.embedded()])
