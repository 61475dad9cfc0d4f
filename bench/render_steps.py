"""The table of whole steps: how much of what the floor saves the swap saves, too.

The aims, for each trainer: the swap saves 90 % of what the floor saves, or is within 1 % of the
floor's time; and it is 1.15 times as fast as the project where the floor is 1.17 times as fast, and
1.3 times on HiFi-GAN.
"""

from bench.cells import Row, distinct, duration, error, line, size
from bench.kit import SUBJECT

_OWN, _FLOOR = "own", "floor"
_TIMES = ("median_us", "p20_us", "p80_us")


def steps_table(family: str, rows: list[Row]) -> str:
    """Markdown of the steps that were measured in the same ways."""
    ways = [way for way in distinct(rows, "provider") if way != _OWN]
    heads = [_OWN, *(f"{_OWN} / {way}" for way in ways)]
    shown = [(name, key, text) for name, key, text in _COLUMNS if any(row.get(key) for row in rows)]
    heads += [f"{name},<br>{_OWN} / {SUBJECT}" for name, *_ in shown]
    lines = [line([family, *heads, "aims"]), line([":--", *["--:"] * len(heads), ":--"])]
    for case in distinct(rows, "case"):
        of = {row["provider"]: row for row in rows if row["case"] == case}
        own = of[_OWN]
        cells = ["{} ({} to {})".format(*(duration(own[key]) for key in _TIMES))]
        cells += [_ratio(own, of.get(way)) for way in ways]
        for _, key, text in shown:
            values = [of.get(way, {}).get(key) for way in (_OWN, SUBJECT)]
            cells.append(" / ".join("n/a" if value is None else text(value) for value in values))
        lines.append(line([case, *cells, _aims(case, of)]))
    return "\n".join(lines)


_COLUMNS = (
    ("memory", "peak_bytes", size),
    ("error", "error", error),
    ("kernels", "launches", str),
)


def _ratio(own: Row, row: Row | None) -> str:
    """The project's time divided by a way's: of the medians, and of the way's slow and fast."""
    if row is None or "unavailable" in row:
        return "—"
    slow, ratio, fast = (own["median_us"] / row[key] for key in ("p80_us", "median_us", "p20_us"))
    text = f"{ratio:.2f}x ({slow:.2f} to {fast:.2f})"
    return f"**{text} ✗**" if ratio < 0.995 and row["provider"] != _FLOOR else text


def _aims(case: str, of: dict[str, Row]) -> str:
    """Whether a trainer reaches the aims, and which it misses."""
    if not all("median_us" in of.get(way, {}) for way in (_OWN, SUBJECT, _FLOOR)):
        return "n/a"
    own, swap, floor = (of[way]["median_us"] for way in (_OWN, SUBJECT, _FLOOR))
    missed = []
    if own - swap < 0.9 * (own - floor) and swap > 1.01 * floor:
        missed.append(f"{swap / floor - 1:.1%} above the floor")
    least = 1.3 if case.startswith("HiFi-GAN") else 1.15 if own / floor >= 1.17 else 0.0
    if own / swap < least:
        missed.append(f"below {least}x")
    return "missed: " + ", ".join(missed) if missed else "reached"
