"""Train in a child that dies at a random moment, again and again; say what it left each time.

``python killed.py FOLDER TIMES``: every child resumes what the one before left, saves every round,
and is ended by the kernel, as with ``kill -9``, within some milliseconds of a save: SIGALRM is left
to its default. For each child the step of the checkpoint, which has been loaded whole, what it died
of, and how many torn files it left are printed.
"""

import os
import random
import signal
import sys
import tempfile
from pathlib import Path

import torch
import toy

from ganfast.models.checkpoint import load


def child(out: Path, seconds: float) -> None:
    """Train until death."""
    rounds, resumed = [], (out / "checkpoint.pt").exists()

    def arm(step, images):
        rounds.append(step)
        if step >= 2 and len(rounds) == (2 if resumed else 3):  # there has been a save
            signal.setitimer(signal.ITIMER_REAL, seconds)

    trainer = toy.trainer(out, hooks={"on_sample": arm}, steps=100_000, **toy.EVERY_ROUND)
    if resumed:
        trainer.resume()
    trainer.run()


def main() -> None:
    out, times = Path(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    # What torch imports when it is first used is here before the children are.
    with tempfile.TemporaryDirectory() as folder:
        toy.trainer(Path(folder), steps=2).run()
    draw = random.Random(0)
    for _ in range(times):
        # From within the first save to some rounds later.
        seconds = draw.uniform(1e-5, 0.03)
        number = os.fork()
        if number == 0:
            devnull = os.open(os.devnull, os.O_WRONLY)
            os.dup2(devnull, 2)
            child(out, seconds)
            os._exit(1)
        _, status = os.waitpid(number, 0)
        torn = len(list(out.glob(".*.tmp")))
        print(load(out / "checkpoint.pt")["step"], os.WTERMSIG(status), torn, flush=True)


if __name__ == "__main__":
    main()
