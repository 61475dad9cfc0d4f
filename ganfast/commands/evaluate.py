"""The commands ``eval``, ``fid``, ``stats`` and ``weights``.

Exit codes: 0 all is well, 1 an input cannot be used (one sentence on stderr says which and why),
2 the command line is wrong, 130 stopped by Ctrl-C.
"""

import functools
import inspect
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ganfast._files import check_writable
from ganfast.commands.options import INTERRUPTED, Device, Threads, prepare

if TYPE_CHECKING:
    from ganfast.evaluation import Settings

Real = Annotated[str, typer.Argument(metavar="REAL", help="Images or statistics, see docs.")]
Fake = Annotated[str, typer.Argument(metavar="FAKE", help="Images or a generator, see docs.")]
Features = Annotated[
    str, typer.Option(help="inception, digits, dinov2_*, clip_*, module:callable or a .pt file.")
]
Resize = Annotated[
    str | None, typer.Option(help="clean (unless given), tf1, torch, antialias or none.")
]
Dims = Annotated[int, typer.Option(help="Inception's layer: 64, 192, 768 or 2048.")]
Weights = Annotated[str | None, typer.Option(help="A file of Inception's weights.")]
Sha256 = Annotated[str | None, typer.Option(help="Of --weights, if they are not the public ones.")]
Dtype = Annotated[str, typer.Option(help="float32 or bf16, inside the net.")]
Batch = Annotated[int, typer.Option("--batch-size", min=1, help="Images at a time.")]
Samples = Annotated[
    int | None, typer.Option(min=2, help="Of a generator; as many as REAL unless given.")
]
OnError = Annotated[str, typer.Option(help="stop or skip, at images that cannot be used.")]
State = Annotated[
    Path | None, typer.Option(help="Folder of finished features, to go on from and to use again.")
]
Compile = Annotated[bool, typer.Option("--compile", help="torch.compile, the first batch is slow.")]
Graphs = Annotated[bool, typer.Option("--graphs", help="CUDA graphs of inception and digits.")]
Download = Annotated[bool, typer.Option("--download", help="Let missing weights be fetched.")]
Seed = Annotated[int, typer.Option(min=0, help="Of generators, subsets and shuffles.")]
Ddof = Annotated[int, typer.Option(min=0, max=1, help="Covariances over N - ddof; StyleGAN: 0.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _settings(
    features: Features = "inception",
    resize: Resize = None,
    dims: Dims = 2048,
    weights: Weights = None,
    sha256: Sha256 = None,
    dtype: Dtype = "float32",
    device: Device = None,
    batch_size: Batch = 32,
    samples: Samples = None,
    seed: Seed = 2020,
    on_error: OnError = "stop",
    state: State = None,
    compile: Compile = False,
    graphs: Graphs = False,
    download: Download = False,
    threads: Threads = None,
) -> "Settings":
    """What `eval`, `fid` and `stats` take alike."""
    from ganfast.evaluation import Options, Settings

    if on_error not in ("stop", "skip"):
        raise ValueError(f"on-error: expected stop or skip, got {on_error!r}")
    mode: Any = resize  # checked where the feature net is loaded
    return Settings(
        features=features, resize=mode, dims=dims, weights=weights, sha256=sha256, dtype=dtype,
        device=prepare(device, threads), batch_size=batch_size, samples=samples,
        on_error="skip" if on_error == "skip" else "stop", state=state, compile=compile,
        graphs=graphs, download=download, options=Options(seed=seed),
    )  # fmt: skip


def _with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the options of `_settings` in place of its parameter ``settings``."""
    shared = inspect.signature(_settings).parameters
    own = inspect.signature(command).parameters

    @functools.wraps(command)
    def run(**given: Any) -> None:
        settings = _settings(**{name: given.pop(name) for name in shared})
        command(settings=settings, **given)

    taken = [parameter for name, parameter in own.items() if name != "settings"]
    together = [p.replace(kind=p.KEYWORD_ONLY) for p in (*taken, *shared.values())]
    run.__signature__ = inspect.Signature(together)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in together}
    return run


@_with_settings
def evaluate(
    settings: "Settings",
    real: Real,
    fake: Fake,
    metrics: Annotated[
        str,
        typer.Option(
            help="fid, fid_infinity, fid_intra, sfid, kid, cmmd, is, prdc, realism, mifid, mind, "
            "ppl; with commas."
        ),
    ] = "fid,kid,prdc",
    ddof: Ddof = 1,
    kid_subsets: Annotated[int, typer.Option(min=1)] = 100,
    kid_subset_size: Annotated[int, typer.Option(min=2)] = 1000,
    splits: Annotated[int, typer.Option(min=1, help="Of the Inception score.")] = 10,
    k: Annotated[int, typer.Option(min=1, help="Neighbours of prdc and realism.")] = 5,
    loose: Annotated[
        bool, typer.Option("--loose", help="prdc: on the sphere is inside (torch-fidelity).")
    ] = False,
    as_json: Json = False,
    report: Annotated[Path | None, typer.Option(help="Write an HTML page here.")] = None,
) -> None:
    """Score FAKE images against REAL ones.

    Each is a folder, .zip, .tar or .npz of images, a statistics file (.npz with mu and sigma), an
    embedded data set (digits), a checkpoint of ganfast (.pt), or module:callable.

    Exit codes: 0 all is well, 1 an input cannot be used, 2 the command line is wrong, 130 stopped
    by Ctrl-C.
    """
    from ganfast.evaluation import Options, evaluate, names, page

    wanted = names(metrics)
    options = Options(
        settings.options.seed, ddof, kid_subsets, kid_subset_size, splits, k, not loose
    )
    settings = replace(settings, options=options)
    if report is not None:  # before the work, not after it
        check_writable(report)
    with _processes() as first:
        result = evaluate(real, fake, wanted, settings, pictures=report is not None, quiet=as_json)
        if not first:
            return
        if report is not None:
            from ganfast.reporting import report as pages

            command = shlex.join(["ganfast", *sys.argv[1:]])
            pages.write(report, page.page(result, command))
        print(json.dumps(result.as_json(), indent=2) if as_json else page.as_text(result))
        if report is not None and not as_json:
            print(f"report: {report}")


@_with_settings
def fid(
    settings: "Settings", real: Real, fake: Fake, ddof: Ddof = 1, as_json: Json = False
) -> None:
    """The Fréchet distance alone, which needs no features in memory; see ganfast eval."""
    from ganfast.evaluation import evaluate, page

    settings = replace(settings, options=replace(settings.options, ddof=ddof))
    with _processes() as first:
        result = evaluate(real, fake, ["fid"], settings, quiet=as_json)
        if first:
            print(json.dumps(result.as_json(), indent=2) if as_json else page.as_text(result))


@_with_settings
def stats(
    settings: "Settings",
    images: Annotated[str, typer.Argument(help="A folder, or what else ganfast eval takes.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The .npz file to write.")],
) -> None:
    """Write mean and covariance of features: mu and sigma, as pytorch-fid reads them."""
    from ganfast.evaluation import statistics
    from ganfast.metrics import save_moments

    if out.suffix != ".npz":  # before the work, not after it
        raise ValueError(f"out: expected a name that ends in .npz, got {str(out)!r}")
    check_writable(out)
    with _processes() as first:
        moments, encoder = statistics(images, settings)
        if first:
            save_moments(out, moments, settings=encoder.settings)
            print(f"{out}: {encoder.label}, {moments.n:,} images, {len(moments.mean)} features")


def weights(
    download: Annotated[bool, typer.Option("--download", help="Fetch what is missing.")] = False,
) -> None:
    """Say which weights are here, which are missing, and where to put them."""
    from ganfast.features import weight_files
    from ganfast.features.digits import SHA256

    public = weight_files.INCEPTION
    path = weight_files.find(public)
    if path is None and download:
        path = weight_files.download(public)
    print(f"digits     comes with ganfast, sha256 {SHA256}")
    if path is None:
        print(f"inception  missing, sha256 {public.sha256}, {public.size:,} bytes")
        print(f"           put {public.names[0]}")
        print(f"           (or {public.names[1]}, the same bytes) into one of")
        for folder in weight_files.folders():
            print(f"             {folder}")
        print(f"           from {public.url}")
        print("           or run: ganfast weights --download")
    else:
        weight_files.check(path, public.sha256)
        print(f"inception  {path}, sha256 {public.sha256}, as expected")
    print("dinov2_*, clip_*  in the cache of Hugging Face; --download fetches them when used")


@contextmanager
def _processes() -> Iterator[bool]:
    """Join the processes of torchrun, if it started this one; gives whether this is the first."""
    import torch

    if "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        torch.distributed.init_process_group("gloo")
    try:
        yield not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0
    except KeyboardInterrupt:
        print("stopped; with --state DIR the same command goes on from here", file=sys.stderr)
        sys.exit(INTERRUPTED)
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
