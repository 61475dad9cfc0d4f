"""One part, in a process of its own: a crash, a hang or a lost GPU ends that part alone.

A part's function takes a `Context`, through which it tells what it finds the moment it finds it.
"""

import faulthandler
import multiprocessing
import os
import pkgutil
import signal
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

_PASSES, _PAUSE = 100, 0.02  # of a kill, and seconds between two

Job = tuple[str, Callable[[], object]]


class Part(NamedTuple):
    """A part of the report."""

    name: str
    seconds: float  # its share of a run's time; what it leaves goes to the parts after it
    function: str  # of a Context, as "module:name"
    kernels: bool = True  # whether it needs the compiled kernels


class Settings(NamedTuple):
    """What all parts of a run share."""

    device: str
    out: Path  # the report so far
    folder: Path  # for files that go with the run
    small: bool = False
    old: str | None = None  # commit or folder


class Missing(Exception):
    """What a part or a job of it needs is not here."""


class _Lost(Exception):
    """The GPU takes no more work from this process."""


class Context:
    """What a part is given, and what it reports to."""

    def __init__(
        self, settings: Settings, seconds: float, settled: frozenset[str], reports: Connection
    ) -> None:
        self.settings, self.seconds = settings, seconds
        self._settled, self._reports = settled, reports

    def tell(self, kind: str, *content: object) -> None:
        """Report to the run: see `Record.take`."""
        self._reports.send((kind, *content))

    def note(self, value: object, *path: str) -> None:
        """A fact of the part, under one or more names."""
        self.tell("note", path, value)

    def rows(self, rows: list[dict[str, object]]) -> None:
        """Results, as `kit.measure` gives them."""
        self.tell("rows", rows)

    def go_through(self, jobs: Iterable[Job], plan: Sequence[str] | None = None) -> None:
        """Run jobs in turn. One that fails is told; one that loses the GPU is the last here.

        The run then starts the part again, and jobs that are settled are not run twice. Where
        jobs are not known before they are due, `plan` names them.
        """
        if plan is None:
            jobs = list(jobs)
            plan = [name for name, _ in jobs]
        self.tell("plan", list(plan))
        for name, job in jobs:
            if name in self._settled:
                continue
            self.tell("begin", name)
            try:
                job()
            except Missing as error:
                self.tell("missing", name, str(error))
            except Exception as error:
                print(f"{name}: {sentence(error)}", flush=True)
                lost = self.settings.device == "cuda" and _is_lost()
                self.tell("failed", name, sentence(error), lost)
                if lost:
                    raise _Lost from error
            else:
                self.tell("reached", name)


def main(
    part: Part, settings: Settings, seconds: float, settled: frozenset[str], reports: Connection
) -> None:
    """Run a part to its end, in a session that ends with the run."""
    os.setsid()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    faulthandler.enable()
    os.environ["TMPDIR"] = tempfile.tempdir = str(settings.folder)
    context = Context(settings, seconds, settled, reports)
    try:
        if part.kernels:
            _tell_facts(context)
        pkgutil.resolve_name(part.function)(context)
    except Missing as error:
        context.tell("end", "skipped", str(error))
    except _Lost:
        pass
    except Exception as error:
        traceback.print_exc()
        context.tell("end", "failed", sentence(error))
    else:
        context.tell("end", "done", None)


def sentence(error: BaseException) -> str:
    """The first line of an error."""
    text = str(error).strip().partition("\n")[0]
    return text if type(error) in (Missing, RuntimeError) else f"{type(error).__name__}: {text}"


def _tell_facts(context: Context) -> None:
    """Say what the kernels are; raise where they do not serve the device."""
    import ganfast
    from bench import machine
    from ganfast import _ext

    context.tell("facts", machine.facts(context.settings.device))
    if context.settings.device not in _ext.DEVICES:
        device, reason = context.settings.device, ganfast.build_info()["reason"]
        raise Missing(f"there are no kernels for {device}: {reason}")


def _is_lost() -> bool:
    import torch

    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    end_session(os.getpid())
    os.kill(os.getpid(), signal.SIGKILL)


def end_session(session: int) -> None:
    """Kill the processes of a session but this one.

    Not by process groups: under ninja each compiler has one of its own.
    """
    for _ in range(_PASSES):
        living = [pid for pid in _of_session(session) if pid != os.getpid()]
        if not living:
            return
        for pid in living:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_PAUSE)  # they may have started others, and need a moment to end


def _of_session(session: int) -> Iterator[int]:
    """Processes that have not ended, as Linux lists them."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            state, _, _, found, *_ = path.read_text().rpartition(")")[2].split()
            if state != "Z" and int(found) == session:
                yield int(path.parent.name)
