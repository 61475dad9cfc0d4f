"""The commands of the workflows, which are imported when they run."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ganfast.commands.options import (
    Device,
    Out,
    Overwrite,
    Resume,
    Set,
    SettingsFile,
    Threads,
    UsageError,
    interrupted,
    prepare,
    print_table,
    usage,
)


def train(
    settings: SettingsFile = None,
    set_: Set = None,
    model: Annotated[
        str | None, typer.Option(help="Short for --set model=NAME; also cyclegan and autoencoder.")
    ] = None,
    out: Out = Path("runs/train"),
    device: Device = None,
    threads: Threads = None,
    resume: Resume = False,
    resume_from: Annotated[
        Path | None, typer.Option(help="Continue from this checkpoint of the folder.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Train a GAN on the embedded digits or your images, as a YAML file and --set say."""
    from ganfast.distributed import joined
    from ganfast.train import config

    words = [*(set_ or []), *([f"model={model}"] if model else [])]
    if overwrite and (resume or resume_from):
        raise UsageError("--resume and --overwrite exclude each other")
    with usage(settings is None):
        values = config.values_of(settings, words)
    with joined(prepare(device, threads)) as own:
        _train(values, settings is None, out, own, resume, resume_from, overwrite)


def _train(
    values: dict[str, Any],
    only_words: bool,
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

    again = "stopped before step {}; the same command with --resume continues"
    if values.get("model") == "cyclegan":
        with usage(only_words):
            both = config.from_mapping(cyclegan.CycleConfig, values)
        done = cyclegan.cycle(both, out, device, resume, overwrite, resume_from)
        rows, finished, steps = cyclegan.rows(done), done.finished, both.steps
    elif values.get("model") in autoencoder.MODELS:
        with usage(only_words):
            coder = config.from_mapping(autoencoder.AutoencoderConfig, values)
        coded = autoencoder.autoencode(coder, out, overwrite, device, resume, resume_from)
        if coded is None:
            interrupted(again.format(coder.steps))
            return
        rows, finished, steps = autoencoder.rows(coded), True, coder.steps
    else:
        with usage(only_words):
            one = config.from_mapping(gan.Config, values)
        result = recipe.train(one, out, device, resume, overwrite, resume_from)
        rows, finished, steps = recipe.rows(result), result.finished, one.steps
    if not Processes().first:
        return
    _print_end(rows, out)
    if not finished:
        interrupted(again.format(steps))


def demo(
    out: Out = Path("runs/demo"),
    steps: Annotated[int | None, typer.Option(help="Training steps.", show_default="2000")] = None,
    seed: Annotated[int, typer.Option(help="Of weights, latents and the order of the data.")] = 0,
    threads: Threads = None,
    device: Device = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Train a DCGAN on the embedded digits, with a report; about two minutes on two cores."""
    from ganfast.workflows import demo as recipe

    if resume and overwrite:
        raise UsageError("--resume and --overwrite exclude each other")
    steps = recipe.STEPS if steps is None else steps
    with usage():
        recipe.options(steps, seed)
    device = prepare(device, threads)
    result = recipe.demo(out, steps, seed, device, resume, overwrite)
    _print_end(recipe.rows(result), out)
    if not result.finished:
        again = f"ganfast demo --out {out} --steps {steps} --seed {seed} --device {device} --resume"
        if threads is not None:
            again += f" --threads {threads}"
        interrupted(f"stopped at step {result.step} of {steps}; to continue: {again}")


def pretrain(
    settings: SettingsFile = None,
    set_: Set = None,
    out: Out = Path("runs/pretrain"),
    device: Device = None,
    threads: Threads = None,
    overwrite: Overwrite = False,
) -> None:
    """Train G or D before the GAN, and compare with a GAN from scratch at an equal budget."""
    from ganfast.train import config
    from ganfast.workflows import pretrain as recipe

    with usage(settings is None):
        wanted = config.read(recipe.Settings, settings, set_ or [])
    result = recipe.pretrain(wanted, out, prepare(device, threads), overwrite)
    print_table([["network", "weight", ""], *recipe.taken(result)])
    _print_end(recipe.rows(wanted, result), out)


def finetune(
    settings: SettingsFile = None,
    set_: Set = None,
    out: Out = Path("runs/finetune"),
    device: Device = None,
    threads: Threads = None,
    overwrite: Overwrite = False,
) -> None:
    """Train a classifier on real, synthetic and both, and say whether the GAN helped."""
    from ganfast.train import config
    from ganfast.workflows import finetune as recipe

    with usage(settings is None):
        wanted = config.read(recipe.Settings, settings, set_ or [])
    result = recipe.finetune(wanted, out, prepare(device, threads), overwrite, on_result=print)
    _print_end([recipe.header(wanted), *result.rows(wanted)], out)


def rank(
    settings: SettingsFile = None,
    set_: Set = None,
    model: Annotated[
        list[str] | None, typer.Option(help="A classifier: file or module:callable; repeatable.")
    ] = None,
    out: Out = Path("runs/rank"),
    device: Device = None,
    threads: Threads = None,
    overwrite: Overwrite = False,
) -> None:
    """Rank classifiers on synthetic images, and compare with the ranking on real ones."""
    from ganfast.train import config
    from ganfast.workflows import rank as recipe

    with usage(settings is None):
        values = config.values_of(settings, set_ or [])
        if model:
            values["models"] = model
        wanted = config.from_mapping(recipe.Settings, values)
    result = recipe.rank(wanted, out, prepare(device, threads), overwrite)
    print_table([recipe.HEADER, *result.rows()])
    _print_end(recipe.correlations(result), out)


def synthesize(
    checkpoint: Annotated[Path, typer.Argument(help="Of ganfast train, as runs/train/best.pt.")],
    out: Annotated[Path, typer.Option(help="Folder of the data set.")] = Path("runs/synthetic"),
    samples: Annotated[int, typer.Option(help="Number of images.")] = 5000,
    shares: Annotated[
        str, typer.Option(help="Of the classes, such as 1,1,2.", show_default="equal")
    ] = "",
    format_: Annotated[str, typer.Option("--format", help="npz, folder or safetensors.")] = "npz",
    seed: Annotated[int, typer.Option(help="The same seed makes the same data set.")] = 0,
    reject: Annotated[
        float, typer.Option(help="Share to leave out, those with the lowest D(x).")
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
    """Make a labelled data set from a checkpoint, with a card; continues where it stopped."""
    from ganfast.workflows import synthesize as recipe
    from ganfast.workflows.sampler import Filters

    device = prepare(device, threads)
    with usage():
        weights = tuple(float(share) for share in shares.split(",")) if shares else ()
        filters = Filters(reject, confidence, truncation)
        order = recipe.Order(samples, weights, format_, seed, filters)  # type: ignore[arg-type]
    found = recipe.synthesize(checkpoint, out, order, device, overwrite)
    print_table(recipe.rows(found))
    print(f"card: {out / 'card.html'}")


def _print_end(rows: list[tuple[str, str]] | list[list[str]], out: Path) -> None:
    print_table(rows)
    print(f"report: {out / 'report.html'}")
