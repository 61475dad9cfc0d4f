"""Where a run's records go."""

from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from ganfast.train.log import JsonLog, Record
from ganfast.train.progress import Progress


class Journal:
    """A JSONL file, what a person sees meanwhile, and the user's own log.

    Args:
        path: of the file.
        kept: the last step whose old records stay in it.
        step, steps: where the run is, and where it ends.
        on_record: gets every record, too.
    """

    def __init__(
        self,
        path: Path,
        kept: int,
        step: int,
        steps: int,
        on_record: Callable[[Record], None] | None = None,
    ) -> None:
        self._log, self._progress = JsonLog(path, kept), Progress(steps, step)
        self._on_record = on_record

    def advance(self) -> None:
        """A round is over."""
        self._progress.advance()

    def write(self, record: Record) -> None:
        self._log.write(record)
        self._progress.show(record)
        if self._on_record is not None:
            self._on_record(record)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.close()
        self._log.__exit__(kind, error, trace)


class Silent(Journal):
    """That of a process whose records another one writes."""

    def __init__(self) -> None:
        pass

    def advance(self) -> None:
        pass

    def write(self, record: Record) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass
