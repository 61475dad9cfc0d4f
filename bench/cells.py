"""Parts of Markdown tables, and numbers as they are printed in them."""

from collections.abc import Iterable
from typing import Any

Row = dict[str, Any]


def line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def duration(microseconds: float) -> str:
    for unit, size in (("s", 1e6), ("ms", 1e3)):
        if microseconds >= size:
            return f"{microseconds / size:.3g} {unit}"
    return f"{microseconds:.3g} µs"


def size(count: int) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count} B"


def error(relative: float) -> str:
    return f"{relative:.0e}"


def distinct(rows: list[Row], key: str) -> list[str]:
    """The values of a key, each once, in their order."""
    return list(dict.fromkeys(row[key] for row in rows))
