"""The commands ``eval``, ``fid``, ``stats``, ``merge`` and ``weights``."""

import json
import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ganfast._files import check_writable
from ganfast.commands.options import Device, Json, Threads, UsageError, interrupted, prepare, usage

if TYPE_CHECKING:
    from ganfast import evaluation

Real = Annotated[str, typer.Argument(metavar="REAL", help="Images or statistics, see docs.")]
Fake = Annotated[str, typer.Argument(metavar="FAKE", help="Images or a generator, see docs.")]
Features = Annotated[
    str, typer.Option(help="inception, digits, dinov2_*, clip_*, module:callable or a .pt file.")
]
Resize = Annotated[
    str | None, typer.Option(help="clean, tf1, torch, antialias or none.", show_default="clean")
]
Dims = Annotated[int, typer.Option(help="Layer of Inception: 64, 192, 768 or 2048.")]
Weights = Annotated[str | None, typer.Option(help="File of Inception's weights.")]
Sha256 = Annotated[str | None, typer.Option(help="Of --weights, unless they are the public ones.")]
Dtype = Annotated[str, typer.Option(help="float32 or bf16, inside the network.")]
Batch = Annotated[int, typer.Option("--batch-size", min=1, help="Images at a time.")]
Samples = Annotated[
    int | None, typer.Option(min=2, help="Images of a generator.", show_default="as many as REAL")
]
OnError = Annotated[str, typer.Option(help="stop at images that cannot be used, or skip them.")]
Background = Annotated[
    str | None,
    typer.Option(
        help="Compose transparency on this colour, and turn images upright, as ganfast train does.",
        show_default="the stored pixels, as FID tools take them",
    ),
]
State = Annotated[
    Path | None, typer.Option(help="Folder of finished features, to resume and to use again.")
]
Engine = Annotated[str, typer.Option(help="here (or torchrun's processes), or ray.")]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Of Ray.", show_default="the GPUs, or a quarter of CPUs")
]
Compile = Annotated[
    str, typer.Option(help="Use torch.compile: yes, no, or auto, where it saves time.")
]
Graphs = Annotated[bool, typer.Option("--graphs", help="CUDA graphs of inception and digits.")]
Download = Annotated[bool, typer.Option("--download", help="Download missing weights.")]
Seed = Annotated[
    int, typer.Option(min=0, max=2**32 - 1, help="Of generators, subsets and shuffles.")
]
Ddof = Annotated[
    int, typer.Option(min=0, max=1, help="Divide covariances by N - ddof; StyleGAN: 0.")
]


def evaluate(
    real: Real, fake: Fake,
    metrics: Annotated[
        str,
        typer.Option(
            help="Of fid, fid_infinity, fid_intra, sfid, kid, cmmd, is, prdc, realism, mifid, "
            "mind, ppl; separated by commas."
        ),
    ] = "fid,kid,prdc",
    ddof: Ddof = 1,
    kid_subsets: Annotated[int, typer.Option(min=1, help="Subsets of KID.")] = 100,
    kid_subset_size: Annotated[int, typer.Option(min=2, help="Images of each.")] = 1000,
    splits: Annotated[int, typer.Option(min=1, help="Splits of the Inception score.")] = 10,
    k: Annotated[int, typer.Option(min=1, help="Neighbours of prdc and realism.")] = 5,
    inclusive: Annotated[
        bool,
        typer.Option(
            "--inclusive", help="prdc: the surface of a ball is inside it, as in torch-fidelity."
        ),
    ] = False,
    neighbour_samples: Annotated[
        int | None,
        typer.Option(min=2, help="Images of each side that prdc, realism and mifid compare.",
                     show_default="all"),
    ] = None,
    as_json: Json = False,
    report: Annotated[Path | None, typer.Option(help="Write an HTML page here.")] = None,
    features: Features = "inception", resize: Resize = None, dims: Dims = 2048,
    weights: Weights = None, sha256: Sha256 = None, dtype: Dtype = "float32",
    device: Device = None, batch_size: Batch = 32, samples: Samples = None, seed: Seed = 2020,
    on_error: OnError = "stop", background: Background = None, state: State = None,
    engine: Engine = "here", workers: Workers = None,
    compile: Compile = "auto", graphs: Graphs = False, download: Download = False,
    threads: Threads = None,
) -> None:  # fmt: skip
    """Score FAKE images against REAL ones.

    Each is a folder, archives (.zip, train-{000..099}.tar) or tables (.parquet) of images, arrays
    (.npz, .npy, .pt) of images or of features, a statistics file (.npz with mu and sigma), an
    embedded data set (digits), a checkpoint of ganfast (.pt), or module:callable; by path or URL.

    Exit codes: 0 all is well, 1 an input cannot be used, 2 the command line is wrong, 130 stopped
    by Ctrl-C.
    """
    given = dict(locals())  # the options, by name
    from ganfast.evaluation import names
    from ganfast.evaluation.scoring import evaluate

    with usage():
        wanted = names(metrics)
    settings = _settings(given)
    if report is not None:  # before the work, not after it
        check_writable(report)
    with _processes() as first:
        pictures = report is not None
        result = evaluate(real, fake, wanted, pictures=pictures, progress=not as_json, **settings)
        if not first:
            return
        if report is not None:
            from ganfast.evaluation import page
            from ganfast.reporting import report as pages

            pages.write(report, page.page(result, shlex.join(["ganfast", *sys.argv[1:]])))
        _print(result, as_json)
        if report is not None and not as_json:
            print(f"report: {report}")


def fid(
    real: Real, fake: Fake, ddof: Ddof = 1, as_json: Json = False,
    features: Features = "inception", resize: Resize = None, dims: Dims = 2048,
    weights: Weights = None, sha256: Sha256 = None, dtype: Dtype = "float32",
    device: Device = None, batch_size: Batch = 32, samples: Samples = None, seed: Seed = 2020,
    on_error: OnError = "stop", background: Background = None, state: State = None,
    engine: Engine = "here", workers: Workers = None,
    compile: Compile = "auto", graphs: Graphs = False, download: Download = False,
    threads: Threads = None,
) -> None:  # fmt: skip
    """Compute the Fréchet distance alone, which keeps no features in memory; see ganfast eval."""
    given = dict(locals())  # the options, by name
    from ganfast.evaluation.scoring import evaluate

    settings = _settings(given)
    with _processes() as first:
        result = evaluate(real, fake, "fid", progress=not as_json, **settings)
        if first:
            _print(result, as_json)


def stats(
    images: Annotated[str, typer.Argument(help="A folder, or other images, see ganfast eval.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The .npz file to write, or .state to merge.")
    ],
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="The I-th of N parts, from 0 on; ganfast merge joins all.",
                     show_default="everything"),
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(min=0, help="Features kept for other metrics than Fréchet distances.",
                     show_default="10000 in a .state, none in a .npz"),
    ] = None,
    features: Features = "inception", resize: Resize = None, dims: Dims = 2048,
    weights: Weights = None, sha256: Sha256 = None, dtype: Dtype = "float32",
    device: Device = None, batch_size: Batch = 32, samples: Samples = None, seed: Seed = 2020,
    on_error: OnError = "stop", background: Background = None, state: State = None,
    engine: Engine = "here", workers: Workers = None,
    compile: Compile = "auto", graphs: Graphs = False, download: Download = False,
    threads: Threads = None,
) -> None:  # fmt: skip
    """Write the mean and covariance of features: mu and sigma, as pytorch-fid reads them."""
    given = dict(locals())  # the options, by name
    from ganfast.evaluation import Options, Settings, statistics
    from ganfast.evaluation.parts import SAMPLE

    with usage():
        part = _part(shard)
    if shard is not None and out.suffix != ".state":
        raise UsageError(f"out must end in .state with --shard, got {str(out)!r}")
    _check_out(out)
    settings = _settings(given)
    options = Options(seed=settings.pop("seed"))
    if sample is None:
        sample = SAMPLE if out.suffix == ".state" else 0
    with _processes() as first:
        found, remarks = statistics(
            images, Settings(options=options, **settings), part=part, sample=sample
        )
        if not first:
            return
        _save(out, found, remarks)


def merge(
    states: Annotated[list[Path], typer.Argument(help="The .state files of all parts.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The .npz file to write, or a .state.")],
) -> None:
    """Merge what ganfast stats --shard has written, in any order, to the statistics of all.

    Parts that are missing, damaged, there twice, or of another network are an error.
    """
    from ganfast.evaluation import merge_files

    _check_out(out)
    found, remarks = merge_files(states)
    _save(out, found, remarks)


def _check_out(out: Path) -> None:
    """Raise before the work, not after it."""
    if out.suffix not in (".npz", ".state"):
        raise UsageError(f"out must end in .npz or .state, got {str(out)!r}")
    check_writable(out)


def _part(shard: str | None) -> tuple[int, int]:
    """Return I and N of ``I/N``."""
    if shard is None:
        return 0, 1
    first, _, second = shard.partition("/")
    if first.isdecimal() and second.isdecimal() and int(first) < int(second):
        return int(first), int(second)
    raise ValueError(f"shard must be I/N with I from 0 to N - 1, got {shard!r}")


def _save(out: Path, state: "evaluation.State", remarks: list[str]) -> None:
    """Write statistics, or the state that others are merged with, and say what they are of."""
    from ganfast.evaluation import save_statistics
    from ganfast.evaluation.run import label_of

    if out.suffix == ".state":
        state.save(out)
    else:
        save_statistics(out, state)

    size = next((moments.dim for moments in state.statistics().values()), 0)
    sample = f", a sample of {len(state.numbers):,}" if len(state.numbers) else ""
    print(f"{out}: {label_of(state.settings)}, {state.n:,} images, {size} features{sample}")
    print("\n".join(remarks), end="\n" if remarks else "")


def weights(download: Download = False) -> None:
    """Say which weights are here, which are missing, and where to put them."""
    from ganfast.features import weight_files
    from ganfast.features.digit_network import SHA256

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


def _settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """Check what the parser left unchecked, and return the settings as `ganfast.evaluate` has them.

    Args:
        given: the arguments of a command, by name; ``resize`` is checked with the network.
    """
    from ganfast.data.image_files import colour
    from ganfast.distributed import own_device
    from ganfast.evaluation import Options, Settings

    if given["background"] is not None:
        with usage():
            colour(given["background"])
    for name, known in (
        ("on_error", ("stop", "skip")),
        ("compile", ("yes", "no", "auto")),
        ("engine", ("here", "ray")),
    ):
        if given[name] not in known:
            words = f"{', '.join(known[:-1])} or {known[-1]}"
            raise UsageError(f"{name.replace('_', '-')} must be {words}, got {given[name]!r}")
    names = [field.name for kind in (Settings, Options) for field in fields(kind)]
    return {
        **{name: given[name] for name in names if name in given},
        "device": own_device(prepare(given["device"], given["threads"])),
        "compile": {"yes": True, "no": False}.get(given["compile"], "auto"),
    }


def _print(result: "evaluation.Result", as_json: bool) -> None:
    print(json.dumps(result.as_json(), indent=2) if as_json else result.as_text())


@contextmanager
def _processes() -> Iterator[bool]:
    """Join the processes of torchrun, if it started this one; yield whether this is the first."""
    import torch

    from ganfast.distributed import is_first

    if "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        torch.distributed.init_process_group("gloo")
    try:
        yield is_first()
    except KeyboardInterrupt:
        interrupted("stopped; with --state DIR the same command goes on from here")
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
