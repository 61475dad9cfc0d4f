"""The report's file: facts of the machine, the state and the facts of each part, and results."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench import collect
from bench.kit import Row

WAITING = "not started"
RUNNING = "running"
STOPPED = "stopped by its budget"
FAILED = "failed"
INTERRUPTED = "interrupted"


class Record:
    """All that is known so far; the file is whole after every change."""

    def __init__(self, path: Path, facts: dict[str, object], parts: Iterable[str]) -> None:
        self._path, self._facts = path, facts
        self._rows: dict[tuple[object, ...], Row] = {}
        self.parts: dict[str, dict[str, Any]] = {name: {"state": WAITING} for name in parts}
        self.job: str | None = None  # under way, or lost on the way
        self._plan: list[str] = []  # of the part under way
        self._start = time.monotonic()
        self._write()

    def begin(self, part: str) -> None:
        """Start the clock of a part."""
        self._start = time.monotonic()
        self._plan = []
        self.parts[part] |= {"state": RUNNING, "seconds": 0.0}
        self._write()

    def end(self, part: str, state: str, reason: str | None = None) -> None:
        """Settle a part; with a job that failed it has failed as a whole."""
        found = self.parts[part]
        failures = found.get("failed", {})
        if state == "done" and failures:
            state, reason = FAILED, f"failed: {', '.join(failures)}"
        found["state"] = state
        if not found.get("not_reached"):
            found.pop("not_reached", None)
        if reason is not None:
            found["reason"] = reason
        self._keep_time(part)
        self._write()

    def interrupt(self, reason: str) -> None:
        """Settle the part under way, if there is one."""
        for part, found in self.parts.items():
            if found["state"] == RUNNING:
                self.end(part, INTERRUPTED, reason)

    def failed(self) -> list[str]:
        """Parts that failed, or in which a job did."""
        return [name for name, part in self.parts.items() if FAILED in (part["state"], *part)]

    def forget_job(self) -> None:
        """A new process has no job under way."""
        self.job = None

    def take(self, part: str, kind: str, *content: Any) -> None:
        """What a part's process tells."""
        found = self.parts[part]
        if kind == "begin":
            (self.job,) = content
            return
        if kind == "facts":
            self._facts |= content[0]
        elif kind == "rows":
            for row in content[0]:
                key = tuple(row[name] for name in ("family", "case", "mode", "provider"))
                self._rows[key] = self._rows.get(key, {}) | row
        elif kind == "note":
            _put(found.setdefault("facts", {}), *content)
        elif kind == "plan":
            if not self._plan:  # else it is the same again, by a new process
                (self._plan,) = content
                found["not_reached"] = list(self._plan)
        elif kind == "reached":
            self._settle(found, content[0])
        elif kind == "missing":
            found.setdefault("missing", {})[content[0]] = content[1]
            self._settle(found, content[0])
        elif kind == "failed":
            name, reason, lost = content
            found.setdefault("failed", {})[name] = reason
            self._settle(found, name)
            self.job = name if lost else None
        else:
            raise ValueError(f"kind must be one that a part tells, got {kind!r}")
        self._keep_time(part)
        self._write()

    def settled(self, part: str) -> frozenset[str]:
        """Jobs of the part under way that need no other try."""
        return frozenset(self._plan) - frozenset(self.parts[part].get("not_reached", ()))

    def _settle(self, found: dict[str, Any], job: str) -> None:
        self.job = None
        if job in found["not_reached"]:
            found["not_reached"].remove(job)

    def _keep_time(self, part: str) -> None:
        self.parts[part]["seconds"] = round(time.monotonic() - self._start, 1)

    def _write(self) -> None:
        collect.write(self._path, {**self._facts, "parts": self.parts}, list(self._rows.values()))


def _put(tree: dict[str, Any], path: tuple[str, ...], value: object) -> None:
    *folders, name = path
    for folder in folders:
        tree = tree.setdefault(folder, {})
    tree[name] = value
