"""The part that scores generated images by `ganfast fid` and by pytorch-fid, files to number.

Both run as a user runs them, in processes of their own, with the same random weights of Inception.
The statistics that the images are compared with are drawn: what is timed is 10,000 images.
"""

import hashlib
import importlib.util
import json
import re
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from bench.kit import SUBJECT, Row
from bench.report.build import ROOT
from bench.report.child import Context, Job, Missing

_SIDE = 64
_BATCH = 50  # pytorch-fid's
_PEER = "pytorch-fid"


def run(context: Context) -> None:
    """Make the images, then run one tool after the other."""
    cuda, small = context.settings.device == "cuda", context.settings.small
    images, dims = (24, 64) if small else (10_000, 2048)
    case = f"{images:,} images of {_SIDE} x {_SIDE} against statistics"
    folder = context.settings.folder
    arguments = _prepare(folder, images, dims, context.settings.device)
    seconds: dict[str, float] = {}
    values: dict[str, float] = {}

    def score(name: str, command: list[str]) -> None:
        start = time.perf_counter()
        values[name] = _value(command)
        seconds[name] = time.perf_counter() - start
        context.note({"value": values[name], "seconds": round(seconds[name], 2)}, name)
        print(f"{case}: {name} {seconds[name]:.1f} s", flush=True)
        context.rows(_rows(case, seconds, values))

    def ganfast(*options: str) -> list[str]:
        weights = folder / "weights.pth"
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        own = ["--json", "--resize", "torch", "--weights", str(weights), "--sha256", digest]
        return [sys.executable, "-m", "ganfast", "fid", *arguments, *own, *options]

    def peer() -> None:
        module = [sys.executable, "-m", "bench.report.peer_fid", str(folder / "weights.pth")]
        try:
            for package in ("pytorch_fid", "torchvision", "scipy"):
                if importlib.util.find_spec(package) is None:
                    raise Missing(f"{package} is not installed")
            score(_PEER, [*module, *arguments])
        except (Missing, RuntimeError) as error:
            context.rows([{**_key(case, _PEER), "unavailable": str(error)}])
            raise

    jobs: list[Job] = [(SUBJECT, partial(score, SUBJECT, ganfast())), (_PEER, peer)]
    if cuda:
        options = {
            "ganfast graphs": ("--graphs",),
            "ganfast bf16": ("--dtype", "bf16"),
            "ganfast graphs, bf16": ("--graphs", "--dtype", "bf16"),
        }
        jobs += [(name, partial(score, name, ganfast(*each))) for name, each in options.items()]
    context.go_through(jobs)


def _prepare(folder: Path, images: int, dims: int, device: str) -> list[str]:
    """Write weights, statistics and images; the arguments that both tools take."""
    from bench.bench_eval import random_weights

    random_weights().rename(folder / "weights.pth")
    features = np.random.default_rng(0).standard_normal((dims + 100, dims)).clip(0)
    statistics = folder / "real.npz"
    np.savez(statistics, mu=features.mean(axis=0), sigma=np.cov(features, rowvar=False))
    generated = folder / "generated"
    generated.mkdir()
    _generate(generated, images, device)
    options = {"--device": device, "--dims": str(dims), "--batch-size": str(_BATCH)}
    words = [word for option in options.items() for word in option]
    return [str(statistics), str(generated), *words]


@torch.no_grad()
def _generate(folder: Path, count: int, device: str) -> None:
    """Images of a DCGAN with random weights, as PNG files."""
    from ganfast.models import dcgan

    torch.manual_seed(0)
    generator = dcgan.Generator(100, 64, 3, _SIDE).to(device)
    written = 0
    while written < count:
        fakes = generator(torch.randn(min(500, count - written), 100, device=device))
        pixels = fakes.add(1).mul(127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        for picture in pixels:
            path = folder / f"{written:05d}.png"
            Image.fromarray(picture).save(path, compress_level=1)
            written += 1


def _value(command: list[str]) -> float:
    """The distance that a tool prints. Raises RuntimeError with its last line where it fails."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        print(done.stderr, flush=True)
        raise RuntimeError((done.stderr.strip().splitlines() or ["it failed without a word"])[-1])
    printed = re.search(r"FID:\s+(\S+)", done.stdout)
    if printed is not None:  # pytorch-fid
        return float(printed[1])
    found: dict[str, float] = json.loads(done.stdout)["metrics"]
    return found["fid"]


def _key(case: str, name: str) -> Row:
    return {"family": "fid", "case": case, "mode": "forward", "provider": name}


def _rows(case: str, seconds: dict[str, float], values: dict[str, float]) -> list[Row]:
    """A row for each tool so far; errors are relative to pytorch-fid, where it has run."""
    exact = values.get(_PEER)
    rows: list[Row] = []
    for name, value in values.items():
        time_us = float(f"{seconds[name] * 1e6:.4g}")
        row = _key(case, name)
        row |= {"median_us": time_us, "p20_us": time_us, "p80_us": time_us, "rounds": 1}
        if exact is not None:
            row["error"] = float(f"{abs(value - exact) / abs(exact):.4g}")
        if SUBJECT in seconds:
            row["ratio"] = float(f"{seconds[name] / seconds[SUBJECT]:.4g}")
        rows.append(row)
    return rows
