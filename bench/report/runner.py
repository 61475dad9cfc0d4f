"""Runs the parts of a report one after the other, each in a process with a deadline."""

import multiprocessing
import signal
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import FrameType

from bench.report import child
from bench.report.child import Part, Settings
from bench.report.record import FAILED, STOPPED, Record

_SPAWN = multiprocessing.get_context("spawn")


class _Interrupted(BaseException):
    def __init__(self, number: int) -> None:
        self.number = number


def run(
    parts: Sequence[Part],
    *,
    device: str,
    out: Path,
    seconds: float,
    small: bool = False,
    old: str | None = None,
) -> int:
    """Write the report and return an exit code: 1 where a part failed.

    Each part gets the share of the time left that it has in the parts left.
    """
    facts: dict[str, object] = {"device": device, "small": small, "seconds_allowed": seconds}
    record = Record(out, facts, [part.name for part in parts])
    end = time.monotonic() + seconds
    before = {number: signal.signal(number, _interrupt) for number in _SIGNALS}
    try:
        with tempfile.TemporaryDirectory() as folder:
            settings = Settings(device, out.resolve(), Path(folder), small, old)
            for i, part in enumerate(parts):
                share = part.seconds / sum(p.seconds for p in parts[i:])
                _run_part(part, settings, record, share * (end - time.monotonic()))
    except _Interrupted as stop:
        record.interrupt(f"by {signal.Signals(stop.number).name}")
        return 128 + stop.number
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
    return 1 if record.failed() else 0


_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def _interrupt(number: int, frame: FrameType | None) -> None:
    for each in _SIGNALS:  # what follows is short
        signal.signal(each, signal.SIG_IGN)
    raise _Interrupted(number)


def _run_part(part: Part, settings: Settings, record: Record, seconds: float) -> None:
    print(f"{part.name}: {seconds:.0f} s at most", flush=True)
    record.begin(part.name)
    end = time.monotonic() + seconds
    while _lost_a_process(part, settings, record, end):
        pass
    found = record.parts[part.name]
    reason = f": {found['reason']}" if "reason" in found else ""
    print(f"{part.name}: {found['state']} in {found['seconds']:.1f} s{reason}", flush=True)


def _lost_a_process(part: Part, settings: Settings, record: Record, end: float) -> bool:
    """Run a part; whether its process was lost in a job and the jobs after it are still to run."""
    record.forget_job()
    ours, theirs = _SPAWN.Pipe(duplex=False)
    left = end - time.monotonic()
    process = _SPAWN.Process(
        target=child.main, args=(part, settings, left, record.settled(part.name), theirs)
    )
    process.start()
    theirs.close()
    try:
        while ours.poll(max(0.0, end - time.monotonic())):
            try:
                kind, *content = ours.recv()
            except EOFError:
                break
            if kind == "end":
                record.end(part.name, *content)
                return False
            record.take(part.name, kind, *content)
        else:
            record.end(part.name, STOPPED)
            return False
        process.join(10)  # it has nothing more to say
        code = process.exitcode or 0
        how = f"the process ended {f'by {signal.Signals(-code).name}' if code < 0 else 'early'}"
        if record.job is None:
            record.end(part.name, FAILED, how)
            return False
        if record.job not in record.settled(part.name):
            record.take(part.name, "failed", record.job, how, True)
        return True
    finally:
        _kill(process)


def _kill(process: SpawnProcess) -> None:
    """End a part's process and all that it started."""
    assert process.pid is not None
    process.kill()
    child.end_session(process.pid)
    process.join()
