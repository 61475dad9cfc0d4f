"""The log of a run: a JSONL file, a progress bar, and the user's own log."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ganfast._files import atomic_write

Record = dict[str, float]


def read_records(path: str | os.PathLike[str]) -> list[Record]:
    """Read a JSONL log, without a last line that a crash has cut short.

    Raises:
        ValueError: a line before the last is not a JSON object with a step.
    """
    lines = Path(path).read_bytes().split(b"\n")
    records = []
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            record = json.loads(line)
            record["step"] = int(record["step"])
        except (ValueError, KeyError, TypeError):
            if number == len(lines):  # no newline follows: the write was cut short
                break
            raise ValueError(f"{path}: line {number} is not a record with a step") from None
        records.append(record)
    return records


class Journal:
    """The log of a run: a JSONL file, the progress display, and the user's own log.

    Records are written unbuffered. A terminal gets a bar, with the step of each value that is not
    of the newest record. Other output gets a line for each record.

    Args:
        path: the JSONL file.
        kept: last step whose old records stay in the file.
        step, steps: current and last step of the run.
        on_record: called with every record.
    """

    def __init__(
        self,
        path: Path,
        kept: int,
        step: int,
        steps: int,
        on_record: Callable[[Record], None] | None = None,
    ) -> None:
        old = [r for r in read_records(path) if r["step"] <= kept] if path.exists() else []
        with atomic_write(path) as file:
            file.writelines(json.dumps(record).encode() + b"\n" for record in old)
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115 - closed by __exit__
        self._steps, self._on_record = steps, on_record
        self._values: dict[str, tuple[float, float]] = {}  # step and value by name
        self.bar: Any = None  # without a terminal
        if sys.stderr.isatty():
            from tqdm import tqdm

            self.bar = tqdm(total=steps, initial=step, unit="step", dynamic_ncols=True)

    def write(self, record: Record) -> None:
        self._file.write(json.dumps(record).encode() + b"\n")
        self._show(record)
        if self._on_record is not None:
            self._on_record(record)

    def _show(self, record: Record) -> None:
        now, values = record["step"], {k: v for k, v in record.items() if k != "step"}
        if self.bar is None:
            text = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
            print(f"step {now}/{self._steps}: {text}", file=sys.stderr, flush=True)
            return
        self._values.update({name: (now, value) for name, value in values.items()})
        self.bar.set_postfix_str(
            ", ".join(
                f"{name} {value:.4g}" if step == now else f"{name} {value:.4g} (step {step})"
                for name, (step, value) in self._values.items()
            )
        )

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()
        self._file.close()
