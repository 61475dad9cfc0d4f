"""Parts of a report that do what parts may do; run, a report of two of them that waits for its end.

``python report_parts.py OUT FIFO``
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from bench.report import child  # noqa: E402
from bench.report.child import Missing, Part  # noqa: E402

ROW = {"family": "f", "case": "c", "mode": "forward", "provider": "ganfast", "median_us": 2.0}


def part(function, seconds=1.0):
    return Part(function.__name__, seconds, f"report_parts:{function.__name__}", kernels=False)


def quick(context):
    context.rows([ROW])
    context.note(7, "answer")


def failing(context):
    raise ValueError("x must be small, got 7\nmore words")


def missing(context):
    raise Missing("abacus is not installed")


def mixed(context):
    context.go_through(
        [
            ("one", int),
            ("two", lambda: int("x")),
            ("three", lambda: missing(context)),
            ("four", int),
        ]
    )


def crashing(context):
    """The second job ends the process."""
    jobs = {"one": int, "two": lambda: os.kill(os.getpid(), signal.SIGKILL), "three": int}
    _each_with_its_process(context, jobs)


def losing(context):
    """The second job loses the GPU."""
    child._is_lost = lambda: True
    _each_with_its_process(context, {"one": int, "two": lambda: int("x"), "three": int})


def _each_with_its_process(context, jobs):
    def run(name, job):
        context.note(os.getpid(), name)
        job()

    context.go_through([(name, lambda name=name: run(name, jobs[name])) for name in jobs])


def dying(context):
    os.kill(os.getpid(), signal.SIGSEGV)


def waiting(context):
    """Has one job behind it, tells so through FIFO, and waits with a program it has started."""
    # In a group of its own, as compilers under ninja are.
    code = "import os, signal; os.setpgrp(); print(flush=True); signal.pause()"
    holder = [sys.executable, "-c", code]

    def wait():
        # The signal must not come before the run has written what this part has told it.
        while "one" in _parts_of(context)["waiting"].get("not_reached", ["one"]):
            os.sched_yield()
        with open(os.environ["FIFO"], "wb") as fifo:
            subprocess.run(holder, stdout=fifo)

    context.go_through([("one", int), ("two", wait), ("three", int)])


def _parts_of(context):
    return json.loads(context.settings.out.read_text())["parts"]


def main() -> None:
    from bench.report import runner

    os.environ["FIFO"] = sys.argv[2]
    parts = [part(quick), part(waiting), part(failing)]
    sys.exit(runner.run(parts, device="cpu", out=Path(sys.argv[1]), seconds=1000))


if __name__ == "__main__":
    main()
