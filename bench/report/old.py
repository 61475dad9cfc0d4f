"""The part that builds another version of ganfast beside this one and times both in turns.

Both run the cases of their own benchmarks, block by block in alternation, each in a process of its
own. Cases are the same where family and name are, by their names of today.
"""

import json
import re
import shutil
import statistics
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from bench.report.build import ROOT, build, outdated
from bench.report.cases import by_value
from bench.report.child import Context, Missing

_ROUNDS = 7
_BLOCK_SECONDS = 5e-3
_MOST_CALLS = 500
_RENAMED = {
    "unary_reduce": "flat",
    "pair_reduce": "flat",
    "unary_rows": "rows",
    "norm_reduce": "rows",
}
_ONE_PAIR = re.compile(r"^(l1|square|softplus|hinge), ")
_LEFT_BEHIND = shutil.ignore_patterns(
    ".git", ".venv", "build", "runs", "__pycache__", ".*_cache", "_C*.so", "_build.json"
)


class Pair(NamedTuple):
    """Family and name of a case in the old tree and in the new one, and their common modes."""

    old: tuple[str, str]
    new: tuple[str, str]
    modes: Sequence[str]


class Process:
    """A tree's `old_worker`; it is started when it is asked something."""

    def __init__(self, label: str, tree: Path, device: str) -> None:
        self._command = [sys.executable, str(Path(__file__).with_name("old_worker.py"))]
        self._command += [str(tree), device]
        self._label, self._tree = label, tree
        self._started: subprocess.Popen[str] | None = None

    def ask(self, name: str, *arguments: object) -> Any:
        """Raises RuntimeError with the worker's error, or where it ended."""
        if self._started is None:
            self._started = subprocess.Popen(
                self._command,
                cwd=self._tree,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        assert self._started.stdin is not None
        assert self._started.stdout is not None
        try:
            print(json.dumps([name, *arguments]), file=self._started.stdin, flush=True)
            line = self._started.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            code, self._started = self._started.wait(), None
            raise RuntimeError(f"the {self._label} process ended with code {code}")
        answer = json.loads(line)
        if "error" in answer:
            self.stop()  # the next case gets a sound one
            raise RuntimeError(f"the {self._label} tree: {answer['error']}")
        return answer["value"]

    def stop(self) -> None:
        """End the process, if there is one."""
        if self._started is not None:
            self._started.kill()
            self._started.wait()
            self._started = None


def run(context: Context) -> None:
    """Report old / new for each case and mode, and the geometric mean of each family."""
    device = context.settings.device
    assert context.settings.old is not None
    tree = context.settings.folder / "old"
    if not tree.exists():
        context.note(unpack(context.settings.old, tree), "tree")
    if outdated(tree, device):
        build(tree, device)
    workers = {name: Process(name, at, device) for name, at in (("old", tree), ("new", ROOT))}
    for name, worker in workers.items():
        info = worker.ask("info")
        context.note(info, "kernels", name)
        if info["kind"] != device:
            raise RuntimeError(f"the {name} kernels are {info['kind']}: {info['reason']}")
    pairs = common(*(worker.ask("cases") for worker in workers.values()))
    ratios: dict[str, list[float]] = {}

    def compare(pair: Pair) -> None:
        for mode in pair.modes:
            found = _compare(workers, pair, mode)
            context.note(found, "cases", _name(pair), mode)
            family = ratios.setdefault(pair.new[0], [])
            family.append(found["ratio"])
            mean = round(statistics.geometric_mean(family), 3)
            context.note(mean, "geometric mean of old / new", pair.new[0])
            print(f"{_name(pair)}, {mode}: old / new {found['ratio']}", flush=True)

    try:
        if context.settings.small:
            pairs = pairs[:2]
        context.go_through([(_name(pair), partial(compare, pair)) for pair in pairs])
    finally:
        for worker in workers.values():
            worker.stop()


def unpack(old: str, tree: Path) -> str:
    """Put the sources of a commit or of a folder into `tree`; what they are of."""
    if Path(old).is_dir():
        shutil.copytree(old, tree, ignore=_LEFT_BEHIND)
        return Path(old).resolve().name
    name = _git("rev-parse", "--verify", "--short", f"{old}^{{commit}}").decode().strip()
    archive = tree.with_suffix(".tar")
    _git("archive", f"--output={archive}", name)
    with tarfile.open(archive) as file:
        file.extractall(tree, filter="data")
    return f"commit {name}"


def _git(*arguments: str) -> bytes:
    try:
        return subprocess.run(
            ["git", *arguments], cwd=ROOT, check=True, stdout=subprocess.PIPE
        ).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise Missing(
            "--old must be a folder, or a commit of the git history here (a copy without .git "
            f"has none), got {arguments[-1].removesuffix('^{commit}')}"
        ) from error


def common(old: list[list[Any]], new: list[list[Any]]) -> list[Pair]:
    """Cases that both trees have, by value."""
    before = {_today(family, name): (family, name, modes) for family, name, modes in old}
    pairs = []
    for family, name, modes in new:
        if (family, name) in before:
            *key, of_old = before[family, name]
            both = [mode for mode in modes if mode in of_old]
            pairs.append(Pair((key[0], key[1]), (family, name), both))
    return by_value(pairs, lambda pair: pair.new[0], lambda pair: pair.new[1])


def _today(family: str, name: str) -> tuple[str, str]:
    """What a case is called now."""
    if family == "pair_reduce":
        name = _ONE_PAIR.sub(r"\1 of differences, ", name)
    return _RENAMED.get(family, family), name


def _compare(workers: dict[str, Process], pair: Pair, mode: str) -> dict[str, float]:
    keys = {"old": pair.old, "new": pair.new}
    single = [worker.ask("prepare", *keys[name], mode) for name, worker in workers.items()]
    calls = min(max(int(_BLOCK_SECONDS / max(single)), 1), _MOST_CALLS)
    times: dict[str, list[float]] = {"old": [], "new": []}
    for index in range(_ROUNDS):
        for name in ("old", "new") if index % 2 else ("new", "old"):
            times[name].append(workers[name].ask("block", calls))
    ratios = [old / new for old, new in zip(times["old"], times["new"], strict=True)]
    return {
        **{f"{name}_us": _rounded(statistics.median(t) * 1e6) for name, t in times.items()},
        "ratio": _rounded(statistics.median(ratios)),
    }


def _rounded(number: float) -> float:
    return float(f"{number:.4g}")


def _name(pair: Pair) -> str:
    return ": ".join(pair.new)
