"""Writes the README's tables from bench/results/*.json."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.collect import HERE, RESULTS
from bench.kit import BACKWARD_MODES, SUBJECT
from ganfast._files import atomic_write

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"

_LEGEND = f"""\
A cell is {SUBJECT}'s median time, then how many times as long each alternative takes in the same
run on the same inputs; **✗** marks an alternative that is faster. Memory is the most one call holds
beyond its inputs, gradients included; error is the largest relative to float64; both of forward +
backward where there is one, in the order {SUBJECT} / alternatives. n/a: too small to tell, or
not kept."""
_MODES = {
    "forward": "forward",
    "forward_backward": "forward + backward",
    "double_backward": "double backward",
}
_NO_RESULT = "There is no result yet: `python -m bench.collect` writes one."
_NO_CUDA = "There is no CUDA result yet, so no CUDA speed is claimed."

Row = dict[str, Any]


def tables(results: list[dict[str, Any]]) -> str:
    """Markdown of all results: CPUs first, a section for each machine, a table for each family."""
    if not results:
        return _NO_RESULT
    parts = [_LEGEND]
    for result in sorted(results, key=lambda result: (result["device"], result["machine"])):
        parts.append(_head(result))
        for family in _distinct(result["results"], "family"):
            rows = [r for r in result["results"] if r["family"] == family]
            parts += [_table(family, group) for group in _with_equal_providers(rows)]
    if all(result["device"] == "cpu" for result in results):
        parts.append(_NO_CUDA)
    return "\n\n".join(parts)


def updated(readme: str, markdown: str) -> str:
    """The README's text with what stands between the markers replaced."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README: expected {BEGIN} and, after it, {END}")
    return f"{before}{BEGIN}\n\n{markdown}\n\n{END}{after}"


def _head(result: dict[str, Any]) -> str:
    versions = result["versions"]
    compiler = f" by compiler {versions['compiler']}" if versions["compiler"] else ""
    changed = " with changes" if result["dirty"] else ""
    return (
        f"### {result['device_name']}\n\n"
        f"torch {versions['torch']}, Python {versions['python']}, "
        f"ganfast {versions['ganfast']} (kernels: {versions['kernels']}{compiler}), "
        f"{result['threads']} threads, {result['date']}, "
        f"commit {result['commit'] or 'unknown'}{changed}"
    )


def _with_equal_providers(rows: list[Row]) -> list[list[Row]]:
    """The rows of the cases that were measured against the same, one list for each such set."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for case in _distinct(rows, "case"):
        of_case = [row for row in rows if row["case"] == case]
        groups.setdefault(tuple(_distinct(of_case, "provider")), []).extend(of_case)
    return list(groups.values())


def _table(family: str, rows: list[Row]) -> str:
    modes = _distinct(rows, "mode")
    providers = [SUBJECT, *(p for p in _distinct(rows, "provider") if p != SUBJECT)]
    found = {(row["case"], row["mode"], row["provider"]): row for row in rows}
    others = " / ".join(providers[1:])
    heads = [family, *(f"{_MODES[mode]}<br>vs {others}" for mode in modes)]
    lines = [
        _line([*heads, "memory", "error"]),
        _line([":--", *["--:"] * (len(modes) + 2)]),
    ]
    for case in _distinct(rows, "case"):
        cells = [_cell([found.get((case, mode, p)) for p in providers]) for mode in modes]
        both = [m for m in BACKWARD_MODES if (case, m, SUBJECT) in found][-1]
        measured = [found[case, both, p] for p in providers]
        memory = " / ".join(_bytes(row.get("peak_bytes")) for row in measured)
        error = " / ".join(_error(row.get("error")) for row in measured)
        lines.append(_line([case, *cells, memory, error]))
    notes = {
        f"—: {row['provider']}, {_MODES[row['mode']]}: {row['unavailable']}."
        for row in rows
        if "unavailable" in row
    }
    return "\n".join(lines) + "".join(f"\n\n{note}" for note in sorted(notes))


def _cell(rows: list[Row | None]) -> str:
    """The subject's time and the alternatives' ratios; nothing where the case has no such mode."""
    present = [row for row in rows if row is not None]
    if not present:
        return ""
    subject, *others = present
    return f"{_time(subject['median_us'])} · " + " / ".join(_ratio(row) for row in others)


def _ratio(row: Row) -> str:
    if "unavailable" in row:
        return "—"
    ratio = row["ratio"]
    text = f"{ratio:.{0 if ratio >= 10 else 1 if ratio >= 1 else 2}f}x"
    return f"**{text} ✗**" if ratio < 0.995 else text


def _time(microseconds: float) -> str:
    for unit, size in (("s", 1e6), ("ms", 1e3)):
        if microseconds >= size:
            return f"{microseconds / size:.3g} {unit}"
    return f"{microseconds:.3g} µs"


def _bytes(count: int | None) -> str:
    if count is None:
        return "n/a"
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} B"


def _error(error: float | None) -> str:
    return "n/a" if error is None else f"{error:.0e}"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _distinct(rows: list[Row], key: str) -> list[str]:
    return list(dict.fromkeys(row[key] for row in rows))


def main(
    check: Annotated[bool, typer.Option("--check", help="Only fail if it is out of date.")] = False,
    readme: Annotated[Path, typer.Option(help="File with the markers.")] = HERE.parent
    / "README.md",
    results: Annotated[Path, typer.Option(help="Folder of the results files.")] = RESULTS,
) -> None:
    """Write the benchmarks' tables between the README's markers."""
    found = [json.loads(path.read_text()) for path in sorted(results.glob("*.json"))]
    text = readme.read_text(encoding="utf-8")
    new = updated(text, tables(found))
    if check and new != text:
        print(f"{readme.name} is out of date: run python -m bench.render")
        raise typer.Exit(1)
    if not check:
        with atomic_write(readme) as file:
            file.write(new.encode())


if __name__ == "__main__":
    typer.run(main)
