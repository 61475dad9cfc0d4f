"""Kill commands at random moments, run them again, and compare with undisturbed runs.

    python scripts/kill_runs.py [MOMENTS] [SEED]

Run it from the root of the checkout; it needs fork. Each command is a process that is ended as by
``kill -9``, some times over in one folder, and then left to finish. With two processes, as torchrun
starts them, one is killed and the other one is told to stop, as torchrun does. The result must be
that of an undisturbed run, with no temporary file and no lock left.
"""

import json
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np
import torch
from PIL import Image

from ganfast import cli
from ganfast.data import image_source
from ganfast.data.idx import digits
from ganfast.models.checkpoint import load
from ganfast.workflows import synthesize as making

_KILLS = 4  # in one folder, before a run may finish
_HANGS = 120.0  # seconds without an end
_TINY = (
    *("limit=40", "batch_size=8", "steps=12", "model=mlp-128"),
    *("checkpoint_every=2", "log_every=1", "score_every=6", "sample_every=4"),
)


@dataclass
class Job:
    """A command, how it is continued, and what it leaves.

    ``arguments`` gives those for a folder, ``result`` what must be the same in every run.
    """

    name: str
    arguments: Callable[[Path], list[str]]
    result: Callable[[Path], Any]
    processes: int = 1
    kills: int = field(default=0, init=False)
    undisturbed: Any = field(default=None, init=False)
    seconds: float = field(default=0.0, init=False)


def train(out: Path, *more: str) -> list[str]:
    words = [word for setting in (*_TINY, *more) for word in ("--set", setting)]
    again = ["--resume"] if (out / "checkpoint.pt").exists() else []
    return ["train", "--out", str(out), *words, *again]


def trained(out: Path) -> Any:
    """Weights, log and pictures of a run; times are left out."""
    state = load(out / "checkpoint.pt")
    weights = {
        f"{part}.{key}": value.numpy().tobytes()
        for part in ("ema", "generator", "discriminator")
        for key, value in state[part].items()
    }
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    log = [{k: v for k, v in record.items() if k != "images_per_s"} for record in records]
    return weights, state["step"], log, sorted(p.name for p in out.rglob("*.p*"))


def scored(out: Path) -> Any:
    return json.loads((out / "printed").read_text())["metrics"], names(out / "state")


def counted(out: Path) -> Any:
    with np.load(out / "stats.npz") as file:
        return {name: file[name].tobytes() for name in file.files}, names(out / "state")


def made(out: Path) -> Any:
    images, labels = making.load_dataset(out)
    shards = {path.name: path.read_bytes() for path in (out / "shards").iterdir()}
    pictures = {path.name for path in (out / "images").rglob("*.png")}
    return images.numpy().tobytes(), labels.tolist(), shards, pictures


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def jobs(root: Path) -> list[Job]:
    real, fake = root / "real", root / "fake"
    for folder, part in ((real, slice(0, 40)), (fake, slice(40, 90))):
        folder.mkdir()
        for i, image in enumerate(digits().images[part]):
            Image.fromarray(image[0].numpy()).save(folder / f"{i:02}.png")
    checkpoint = root / "gan" / "checkpoint.pt"
    gan = Job("gan", lambda out: train(out, "model=cdcgan", "steps=2"), trained)
    refuse(gan, checkpoint.parent, [start(gan, checkpoint.parent)[0].finish()])

    def evaluate(out: Path) -> list[str]:
        return ["eval", str(real), str(fake), "--features", "digits", "--state", str(out / "state"),
                "--json", "--metrics", "fid,kid,prdc"]  # fmt: skip

    def stats(out: Path) -> list[str]:
        return ["stats", str(real), "-o", str(out / "stats.npz"), "--features", "digits",
                "--state", str(out / "state")]  # fmt: skip

    def synthesize(out: Path) -> list[str]:
        return ["synthesize", str(checkpoint), "--out", str(out), "--samples", "60"]

    return [
        Job("train", train, trained),
        Job("eval", evaluate, scored),
        Job("stats", stats, counted),
        Job("synthesize", synthesize, made),
        Job("eval with two processes", evaluate, scored, processes=2),
        Job("train with two processes", train, trained, processes=2),
    ]


class Child:
    """A command in a process of its own; what it prints goes to files in its folder."""

    def __init__(self, arguments: list[str], out: Path, rank: int, count: int, port: int) -> None:
        self.out, self.rank = out, rank
        self.number = os.fork()
        if self.number:
            return
        code = 70
        try:
            code = self._run(arguments, count, port)
        finally:
            os._exit(code)

    def _run(self, arguments: list[str], count: int, port: int) -> int:
        out = "printed" if self.rank == 0 else "printed-1"
        for descriptor, name in ((1, out), (2, "said")):
            file = os.open(self.out / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(file, descriptor)
        torch.set_num_threads(1)
        image_source._SMALLEST, making.SHARD = 8, 10
        os.fsync = slowly(os.fsync)
        if count > 1:
            os.environ |= {
                "TORCHELASTIC_RUN_ID": "1", "RANK": str(self.rank), "WORLD_SIZE": str(count),
                "LOCAL_RANK": str(self.rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
            }  # fmt: skip
        sys.argv = ["ganfast", *arguments]
        try:
            cli.main()
        except SystemExit as end:
            sys.stdout.flush()
            return int(end.code or 0)
        return 0

    def ended(self) -> int | None:
        """Return the exit code, negative for a signal, or None while it runs."""
        number, status = os.waitpid(self.number, os.WNOHANG)
        return None if number == 0 else os.waitstatus_to_exitcode(status)

    def finish(self) -> int:
        """Wait for the end and return the exit code; a process that hangs ends the script."""
        limit = time.monotonic() + _HANGS
        while (code := self.ended()) is None:
            if time.monotonic() > limit:
                os.kill(self.number, signal.SIGKILL)
                sys.exit(f"hangs: {self.out}, process {self.rank}")
            time.sleep(0.002)
        return code


def slowly(sync: Callable[[int], None]) -> Callable[[int], None]:
    """Write as a slow disk does, so that many moments fall within a write."""

    def synced(descriptor: int) -> None:
        time.sleep(0.01)
        sync(descriptor)

    return synced


def start(job: Job, out: Path) -> list[Child]:
    out.mkdir(parents=True, exist_ok=True)
    arguments = job.arguments(out)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [Child(arguments, out, rank, job.processes, port) for rank in range(job.processes)]


def killed(job: Job, out: Path, after: float, victim: int) -> bool:
    """Run a job and kill one of its processes; return False if all ended before."""
    children = start(job, out)
    time.sleep(after)
    codes = [child.ended() for child in children]
    if all(code is not None for code in codes):
        refuse(job, out, codes)
        return False
    for child, code in zip(children, codes, strict=True):
        if code is None:
            os.kill(child.number, signal.SIGKILL if child.rank == victim else signal.SIGTERM)
    for child, code in zip(children, codes, strict=True):
        if code is None:
            child.finish()
    return True


def refuse(job: Job, out: Path, codes: list[int | None]) -> None:
    if any(codes):
        sys.exit(f"{job.name}: exit codes {codes}: {(out / 'said').read_text()[-2000:]}")


def check(job: Job, out: Path) -> None:
    """Compare a finished run with the undisturbed one, and look for what it left behind."""
    found = job.result(out)
    if found != job.undisturbed:
        sys.exit(f"{job.name}: another result than that of an undisturbed run, see {out}")
    left = [str(p) for p in out.rglob(".*") if p.name == ".lock" or p.name.endswith(".tmp")]
    if left:
        sys.exit(f"{job.name}: left behind {left}")


def main(moments: int, seed: int) -> None:
    draw = random.Random(seed)
    root = Path(tempfile.mkdtemp(prefix="kill-runs-"))
    every = jobs(root)
    for job in every:
        out = root / f"{job.name}, undisturbed"
        begun = time.monotonic()
        refuse(job, out, [child.finish() for child in start(job, out)])
        job.seconds, job.undisturbed = time.monotonic() - begun, job.result(out)
        check(job, out)
        print(f"{job.name}: {job.seconds:.1f} s undisturbed", flush=True)
    total, folder = 0, 0
    while total < moments:
        job = every[folder % len(every)]
        out = root / f"{job.name}, {folder}"
        folder += 1
        for _ in range(_KILLS):
            if not killed(job, out, draw.uniform(0, job.seconds), draw.randrange(job.processes)):
                break
            job.kills += 1
            total += 1
        else:
            refuse(job, out, [child.finish() for child in start(job, out)])
        check(job, out)
        shutil.rmtree(out)
    shutil.rmtree(root)
    print("; ".join(f"{job.name} killed {job.kills} times" for job in every))


if __name__ == "__main__":
    main(*(int(word) for word in (*sys.argv[1:], *("120", "0")[len(sys.argv) - 1 :])))
