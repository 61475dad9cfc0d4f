"""The run's record: one JSON object per line."""

import json
import os
from pathlib import Path
from types import TracebackType

from ganfast._files import atomic_write

Record = dict[str, float]


def read_records(path: str | os.PathLike[str]) -> list[Record]:
    """Read a JSONL log; a torn last line, as a crash leaves it, is left out.

    Raises:
        ValueError: a line that is not the last is no JSON object with a step.
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
            if number == len(lines):  # no newline after it: the write was cut short
                break
            raise ValueError(f"{path}: line {number} is not a record with a step") from None
        records.append(record)
    return records


class JsonLog:
    """Append records to a JSONL file, each flushed, keeping old ones up to ``step``."""

    def __init__(self, path: Path, step: int) -> None:
        kept = [r for r in read_records(path) if r["step"] <= step] if path.exists() else []
        with atomic_write(path) as file:
            file.writelines(json.dumps(record).encode() + b"\n" for record in kept)
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115 - closed by __exit__

    def write(self, record: Record) -> None:
        self._file.write(json.dumps(record).encode() + b"\n")

    def __enter__(self) -> "JsonLog":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
