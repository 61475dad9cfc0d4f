"""The part that runs tests/cuda, each file in a process of its own and several at a time."""

import importlib.util
import os
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bench.report.build import ROOT
from bench.report.child import Context, Missing

_SMALL = ("tests/metrics/test_polar_iteration.py",)  # where there is no GPU
_MOST_WORKERS = 4


class Outcome(NamedTuple):
    """What the tests of a file gave; failures by name, with the first line of the message."""

    counts: dict[str, int]
    failures: dict[str, str]


def run(context: Context) -> None:
    """Count what passed, failed and was skipped, and name the failures."""
    if importlib.util.find_spec("pytest") is None:
        raise Missing("pytest is not installed")
    files = [ROOT / name for name in _SMALL]
    if context.settings.device == "cuda":
        files = sorted((ROOT / "tests" / "cuda").glob("test_*.py"))
    totals = {"passed": 0, "failed": 0, "skipped": 0}

    def collect(name: str, outcome: Future[Outcome]) -> None:
        counts, failures = outcome.result()
        for key, count in counts.items():
            totals[key] += count
            context.note(totals[key], key)
        for test, message in failures.items():
            context.note(message, "failures", test)
        if failures:
            raise RuntimeError(f"{len(failures)} of {sum(counts.values())} tests failed")
        print(f"{name}: {counts}", flush=True)

    with ThreadPoolExecutor(_workers()) as pool:
        names = {
            pool.submit(run_file, file, context.settings.folder): str(file.relative_to(ROOT))
            for file in files
        }
        jobs = ((names[done], partial(collect, names[done], done)) for done in as_completed(names))
        context.go_through(jobs, list(names.values()))


def _workers() -> int:
    return min(_MOST_WORKERS, max(1, (os.cpu_count() or 1) // 4))


def run_file(file: Path, folder: Path) -> Outcome:
    """Run the tests of one file. Raises RuntimeError where pytest itself does not end well."""
    report = folder / f"{file.stem}.xml"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider"),
            *(f"--junit-xml={report}", str(file)),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode != 0:
        print(done.stdout, flush=True)
    if done.returncode < 0:
        tests = [line.partition("::")[2] for line in done.stdout.splitlines() if "::" in line]
        where = f" in {tests[-1].split()[0]}" if tests else ""
        raise RuntimeError(f"pytest ended by {signal.Signals(-done.returncode).name}{where}")
    if done.returncode not in (0, 1):  # 1: tests failed
        lines = done.stdout.strip().splitlines() or ["no output"]
        raise RuntimeError(f"pytest ended with code {done.returncode}: {lines[-1]}")
    return _outcome(ElementTree.parse(report).iter("testcase"))


def _outcome(cases: Iterable[ElementTree.Element]) -> Outcome:
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    failures: dict[str, str] = {}
    for case in cases:
        problem = case.find("failure")
        if problem is None:
            problem = case.find("error")
        if problem is not None:
            name = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"
            failures[name] = problem.get("message", "").strip().partition("\n")[0]
            counts["failed"] += 1
        else:
            counts["passed" if case.find("skipped") is None else "skipped"] += 1
    return Outcome(counts, failures)
