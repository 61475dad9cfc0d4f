"""The ``ganfast`` command: thin doors to the workflows, imported where they are used."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from ganfast.commands import evaluate, finetune, options, pretrain, rank, synthesize, train
from ganfast.commands.options import Device, Overwrite, Resume, Threads

app = typer.Typer(
    help="Fused losses, distribution distances and workflows for adversarial models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command; a user's error is one sentence on stderr and exit code 1."""
    # Taken out here so that it may stand before or after the command's name.
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        app(arguments, prog_name="ganfast")
    except (TypeError, ValueError, OSError, ImportError, FloatingPointError) as error:
        if len(arguments) < len(sys.argv) - 1:
            raise
        print(f"ganfast: {_sentence(error)}", file=sys.stderr)
        sys.exit(1)


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
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print it, stop."),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; stands anywhere.")
    ] = False,
) -> None:
    pass


for command in (
    train.train,
    synthesize.synthesize,
    pretrain.pretrain,
    finetune.finetune,
    rank.rank,
    evaluate.fid,
    evaluate.stats,
    evaluate.weights,
):
    app.command()(command)
app.command("eval")(evaluate.evaluate)


@app.command()
def info() -> None:
    """Say what was built and for what, and what else is found here."""
    from ganfast.reporting import environment

    options.print_rows([*environment.facts(), *environment.embedded()])


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("runs/demo"),
    steps: Annotated[int | None, typer.Option(help="Rounds of training.  [default: 2000]")] = None,
    seed: Annotated[int, typer.Option(help="Of weights, latents and the order of the data.")] = 0,
    threads: Threads = None,
    device: Device = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Train a DCGAN on the embedded digits: about two minutes on two cores, ends with a report."""
    from ganfast.workflows import demo as recipe

    if resume and overwrite:
        raise ValueError("--resume and --overwrite exclude each other")
    steps = recipe.STEPS if steps is None else steps
    device = options.prepare(device, threads)
    result = recipe.demo(out, steps, seed, device, resume, overwrite)
    options.print_rows(recipe.rows(result))
    print(f"report: {out / 'report.html'}")
    if not result.finished:
        again = f"ganfast demo --out {out} --steps {steps} --seed {seed} --device {device} --resume"
        if threads is not None:
            again += f" --threads {threads}"
        options.interrupted(f"stopped at step {result.step} of {steps}; to go on: {again}")
