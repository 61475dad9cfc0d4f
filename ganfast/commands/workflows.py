"""The commands of the workflows, which are imported when they run."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from ganfast.commands.options import (
    Device,
    Json,
    Out,
    Overwrite,
    PrintConfig,
    Resume,
    Set,
    Source,
    Threads,
    UsageError,
    interrupted,
    is_settings,
    prepare,
    print_fields,
    print_table,
    say,
    usage,
)

_AGAIN = "stopped before step {}; ganfast train --resume {} continues"


def train(
    path: Annotated[
        str | None,
        typer.Argument(
            metavar="[PATH]",
            help="Images to train on: a folder, .zip, .tar or .npz; or a .yaml file of settings; "
            "with --resume, the folder of a run.",
            show_default="the embedded digits",
        ),
    ] = None,
    set_: Set = None,
    model: Annotated[
        str | None, typer.Option(help="Short for --set model=NAME; also cyclegan and autoencoder.")
    ] = None,
    out: Out = Path("runs/train"),
    device: Device = None,
    threads: Threads = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in PATH, or in --out.")
    ] = False,
    resume_from: Annotated[
        Path | None, typer.Option(help="Continue from this checkpoint of the folder.")
    ] = None,
    overwrite: Overwrite = False,
    print_config: PrintConfig = False,
    as_json: Json = False,
) -> None:
    """Train a GAN on your images, or on the embedded digits.

    Size, channels and model fit the images unless you set them. Settings for --set, which
    --print-config explains:

    data, size, channels, background, mirror, on_error, limit, batch_size; model, labels,
    spectral_norm, sigmoid, start, freeze_d; loss, label_smoothing, penalty, penalty_weight,
    penalty_every, consistency, lecam, lecam_decay; steps, d_steps, g_steps, lr_g, lr_d, betas_g,
    betas_d, lr_decay, lr_decay_start, burn_in_kimg, lr_end, penalty_end, beta2_end, clip_gradients,
    clip_weights, ema, ema_kimg, seed; augment, augment_p, adaptive, adaptive_kimg, adaptive_limit;
    precision, channels_last, compile, cuda_graphs, reuse_fakes, accumulate; score,
    best_by, patience, divergence; log_every, score_every, sample_every, checkpoint_every,
    keep_checkpoints, samples, tensorboard, wandb.
    """
    from ganfast.distributed import Processes, joined
    from ganfast.train import config
    from ganfast.workflows import autoencoder, cyclegan
    from ganfast.workflows import train as recipe
    from ganfast.workflows.run_folder import CONFIG

    words = [*(set_ or []), *([f"model={model}"] if model else [])]
    if overwrite and (resume or resume_from):
        raise UsageError("--resume and --overwrite exclude each other")
    settings, values = None, {}
    is_run = resume and path is not None and any(Path(path).glob("checkpoint*.pt"))
    if path is not None and is_run:
        out = Path(path)
    if resume and (path is None or is_run):
        settings = out / CONFIG if (out / CONFIG).is_file() else None
    elif path is not None and is_settings(path):
        settings = Path(path)
    elif path is not None:
        values["data"] = path
    with usage(settings is None):
        values |= config.values_of(settings, words)
    if print_config:
        print_fields(_kind(values), values)
        return
    with joined(prepare(device, threads)) as own:
        with usage(settings is None):
            wanted = config.from_mapping(_kind(values), values)
        first = Processes().first
        note = say if first else None
        if isinstance(wanted, cyclegan.CycleConfig):
            done = cyclegan.cycle(wanted, out, own, resume, overwrite, resume_from)
            rows, finished, facts = cyclegan.rows(done), done.finished, asdict(done)
        elif isinstance(wanted, autoencoder.AutoencoderConfig):
            coded = autoencoder.autoencode(wanted, out, overwrite, own, resume, resume_from, note)
            if coded is None:
                interrupted(_AGAIN.format(wanted.steps, out))
            rows, finished, facts = autoencoder.rows(coded), True, asdict(coded)
        else:
            result = recipe.train(wanted, out, own, resume, overwrite, resume_from, note)
            rows, finished, facts = recipe.rows(result), result.finished, asdict(result)
        if not first:
            return
        _print_end(rows, out, facts if as_json else None)
        if not finished:
            interrupted(_AGAIN.format(wanted.steps, out))


def _kind(values: dict[str, Any]) -> type[Any]:
    """Return the settings of the model that is named."""
    from ganfast.workflows import autoencoder, cyclegan, gan

    if values.get("model") == "cyclegan":
        return cyclegan.CycleConfig
    is_coder = values.get("model") in autoencoder.MODELS
    return autoencoder.AutoencoderConfig if is_coder else gan.Config


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


def _workflow_settings(
    path: str | None, words: list[str], kind: type[Any], print_config: bool
) -> Any:
    """Read the settings of a workflow from a YAML file and words, or with data at a path.

    Prints them and ends the command if that is what was asked for.
    """
    from ganfast.train import config

    settings = Path(path) if path is not None and is_settings(path) else None
    with usage(settings is None):
        own = {"data": path} if path is not None and settings is None else {}
        values = own | config.values_of(settings, words)
        if print_config:
            print_fields(kind, values)
            raise typer.Exit
        return config.from_mapping(kind, values)


def pretrain(
    path: Source = None,
    set_: Set = None,
    out: Out = Path("runs/pretrain"),
    device: Device = None,
    threads: Threads = None,
    overwrite: Overwrite = False,
    print_config: PrintConfig = False,
    as_json: Json = False,
) -> None:
    """Train G or D before the GAN, and compare with a GAN from scratch at an equal budget."""
    from ganfast.workflows import pretrain as recipe

    wanted = _workflow_settings(path, set_ or [], recipe.Settings, print_config)
    result = recipe.pretrain(wanted, out, prepare(device, threads), overwrite, on_note=say)
    if not as_json:
        print_table([["network", "weight", ""], *recipe.taken(result)])
    _print_end(recipe.rows(wanted, result), out, asdict(result) if as_json else None)


def finetune(
    path: Source = None,
    set_: Set = None,
    out: Out = Path("runs/finetune"),
    device: Device = None,
    threads: Threads = None,
    overwrite: Overwrite = False,
    print_config: PrintConfig = False,
    as_json: Json = False,
) -> None:
    """Train a classifier on real, synthetic and both, and say whether the GAN helped."""
    from ganfast.workflows import finetune as recipe

    wanted = _workflow_settings(path, set_ or [], recipe.Settings, print_config)
    result = recipe.finetune(
        wanted, out, prepare(device, threads), overwrite, on_result=say, on_note=say
    )
    table = [recipe.header(result.settings), *result.rows()]
    _print_end(table, out, result.as_json() if as_json else None)


def rank(
    path: Source = None,
    set_: Set = None,
    model: Annotated[
        list[str] | None, typer.Option(help="A classifier: file or module:callable; repeatable.")
    ] = None,
    out: Out = Path("runs/rank"),
    device: Device = None,
    threads: Threads = None,
    overwrite: Overwrite = False,
    print_config: PrintConfig = False,
    as_json: Json = False,
) -> None:
    """Rank classifiers on synthetic images, and compare with the ranking on real ones."""
    from ganfast.workflows import rank as recipe

    words = [*(set_ or []), *([f"models=[{', '.join(model)}]"] if model else [])]
    wanted = _workflow_settings(path, words, recipe.Settings, print_config)
    result = recipe.rank(wanted, out, prepare(device, threads), overwrite, on_note=say)
    if not as_json:
        print_table([recipe.HEADER, *result.rows()])
    _print_end(recipe.correlations(result), out, result.as_json() if as_json else None)


def synthesize(
    checkpoint: Annotated[Path, typer.Argument(help="Of ganfast train, as runs/train/best.pt.")],
    out: Annotated[Path, typer.Option(help="Folder of the data set.")] = Path("runs/synthetic"),
    samples: Annotated[int, typer.Option(help="Number of images.")] = 5000,
    shares: Annotated[
        str, typer.Option(help="Of the classes, such as 1,1,2.", show_default="equal")
    ] = "",
    format_: Annotated[
        str, typer.Option("--format", help="npz, folder, parquet or safetensors.")
    ] = "npz",
    seed: Annotated[int, typer.Option(help="The same seed makes the same data set.")] = 0,
    reject: Annotated[
        float, typer.Option(help="Share to leave out, those with the lowest D(x).")
    ] = 0.0,
    confidence: Annotated[
        float, typer.Option(help="Least probability of its label by the classifier.")
    ] = 0.0,
    classifier: Annotated[
        str,
        typer.Option(
            help="A file or module:callable that judges the samples.",
            show_default="the digits' own, or one trained on the images",
        ),
    ] = "",
    truncation: Annotated[
        float, typer.Option(help="Latents within so many standard deviations; 0 is off.")
    ] = 0.0,
    device: Device = None,
    threads: Threads = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Make a labelled data set from a checkpoint, with a card; continues where it stopped."""
    from ganfast.workflows import synthesize as recipe
    from ganfast.workflows.sampler import Filters

    device = prepare(device, threads)
    with usage():
        weights = tuple(float(share) for share in shares.split(",")) if shares else ()
        filters = Filters(reject, confidence, truncation)
        order = recipe.Order(samples, weights, format_, seed, filters, classifier)  # type: ignore[arg-type]
    found, judge = recipe.synthesize(checkpoint, out, order, device, overwrite)
    if as_json:
        print((out / "card.json").read_text())
        return
    print_table(found.rows(judge))
    print(f"card: {out / 'card.html'}")


def _print_end(
    rows: list[tuple[str, str]] | list[list[str]], out: Path, facts: dict[str, Any] | None = None
) -> None:
    """Print the result as a table and the path of the report, or the facts as JSON."""
    if facts is not None:
        print(json.dumps({**facts, "report": str(out / "report.html")}, indent=1))
        return
    print_table(rows)
    print(f"report: {out / 'report.html'}")
