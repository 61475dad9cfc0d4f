"""Write the figures of README.md and the tables of docs/benchmarks.md from bench/results/*.json."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from bench.cells import Row, distinct, duration, error, line, size
from bench.collect import HERE, RESULTS
from bench.kit import BACKWARD_MODES, SUBJECT
from bench.render_steps import steps_table
from ganfast._files import atomic_write

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"

_MODES = {
    "forward": "forward",
    "forward_backward": "forward + backward",
    "double_backward": "double backward",
}
_NO_RESULT = "There is no result yet: `python -m bench.collect` writes one."
_NO_CUDA = "There is no CUDA result yet, so no CUDA speed is claimed."

Result = dict[str, Any]


class Ratio(NamedTuple):
    """How many times as long a provider takes as the subject, in one run."""

    machine: str
    family: str
    case: str
    mode: str
    provider: str
    subject: str = SUBJECT

    def of(self, results: list[Result]) -> str:
        """The ratio in words. Raises ValueError if it was not measured."""
        times = {
            row["provider"]: row["median_us"]
            for result in results
            if result["machine"] == self.machine
            for row in result["results"]
            if (row["family"], row["case"], row["mode"]) == (self.family, self.case, self.mode)
            and "median_us" in row
        }
        if not times.keys() >= {self.provider, self.subject}:
            raise ValueError(f"results must hold what README.md quotes, {self}, got {list(times)}")
        return f"{times[self.provider] / times[self.subject]:.1f} times"


_EPYC, _H100 = "amd-epyc-2-cores", "nvidia-h100-80gb-hbm3"
_ROUND = Ratio(_H100, "train", "DCGAN-64, batch 64", "forward", "tutorial, detached")
_FID = Ratio(_EPYC, "eval", "FID of 2 x 250 files of 256 x 256", "forward", "pytorch-fid")
_HIFI = Ratio(_EPYC, "steps", "HiFi-GAN v3, 2 x 8192 samples", "forward", "own")
_HINGE = Ratio(_H100, "unary_reduce", "hinge D loss, 2 x 8 maps", "forward_backward", "eager")

# What README.md quotes; each {} is the ratio in its place.
HIGHLIGHTS = (
    (
        "**A step of the trainer**, DCGAN of 64 pixels at batch 64, on an H100: {} as fast as the "
        "loop of PyTorch's DCGAN tutorial, and {} with `cuda_graphs=True`.",
        (_ROUND, _ROUND._replace(subject="ganfast graphs")),
    ),
    (
        "**A whole training step of HiFi-GAN** with its losses swapped and D frozen in the "
        "generator's step, on two cores of an AMD EPYC: {} as fast.",
        (_HIFI,),
    ),
    (
        "**FID of two folders**, 250 PNG files of 256 pixels each, on two cores of an AMD EPYC: "
        "{} as fast as pytorch-fid.",
        (_FID,),
    ),
    (
        "**A hinge loss over eight discriminator maps**, forward and backward, on an H100: {} as "
        "fast as the formula in PyTorch, {} as fast as that formula under `torch.compile`.",
        (_HINGE, _HINGE._replace(provider="compile")),
    ),
)


def highlights(results: list[Result]) -> str:
    """The list that README.md quotes."""
    return "\n".join(
        f"- {sentence.format(*(ratio.of(results) for ratio in ratios))}"
        for sentence, ratios in HIGHLIGHTS
    )


def tables(results: list[Result]) -> str:
    """Markdown of all results: CPUs first, a section for each machine, a table for each family."""
    if not results:
        return _NO_RESULT
    parts: list[str] = []
    before = None
    for result in sorted(results, key=lambda result: (result["device"], result["machine"])):
        if result["machine"] != before:
            parts.append(f"## {result['device_name']}")
        before = result["machine"]
        parts.append(_head(result))
        for family in distinct(result["results"], "family"):
            rows = [r for r in result["results"] if r["family"] == family]
            table = steps_table if family == "steps" else _table
            parts += [table(family, group) for group in _with_equal_providers(rows)]
    if all(result["device"] == "cpu" for result in results):
        parts.append(_NO_CUDA)
    return "\n\n".join(parts)


def updated(text: str, markdown: str) -> str:
    """A page's text with the part between the markers replaced."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page must hold {BEGIN} and, after it, {END}")
    return f"{before}{BEGIN}\n\n{markdown}\n\n{END}{after}"


def _head(result: Result) -> str:
    versions = result["versions"]
    compiler = f" by compiler {versions['compiler']}" if versions["compiler"] else ""
    changed = " with changes" if result["dirty"] else ""
    return (
        f"torch {versions['torch']}, Python {versions['python']}, "
        f"ganfast {versions['ganfast']} (kernels: {versions['kernels']}{compiler}), "
        f"{result['threads']} threads, {result['date']}, "
        f"commit {result['commit'] or 'unknown'}{changed}"
    )


def _with_equal_providers(rows: list[Row]) -> list[list[Row]]:
    """The rows of the cases that were measured against the same, one list for each such set."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for case in distinct(rows, "case"):
        of_case = [row for row in rows if row["case"] == case]
        groups.setdefault(tuple(distinct(of_case, "provider")), []).extend(of_case)
    return list(groups.values())


def _table(family: str, rows: list[Row]) -> str:
    modes = distinct(rows, "mode")
    providers = [SUBJECT, *(p for p in distinct(rows, "provider") if p != SUBJECT)]
    found = {(row["case"], row["mode"], row["provider"]): row for row in rows}
    cases = distinct(rows, "case")
    measured = {case: _last_of_both(case, providers, found) for case in cases}
    known = [row for of_case in measured.values() for row in of_case]
    columns = [c for c in _COLUMNS if any(row.get(c.key) is not None for row in known)]
    others = " / ".join(providers[1:])
    heads = [f"{_MODES[mode]}<br>vs {others}" for mode in modes]
    lines = [
        line([family, *heads, *(column.name for column in columns)]),
        line([":--", *["--:"] * (len(modes) + len(columns))]),
    ]
    for case in cases:
        cells = [_cell([found.get((case, mode, p)) for p in providers]) for mode in modes]
        for column in columns:
            values = [row.get(column.key) for row in measured[case]]
            cells.append(" / ".join("n/a" if v is None else column.text(v) for v in values))
        lines.append(line([case, *cells]))
    notes = {
        f"—: {row['provider']}, {_MODES[row['mode']]}: {row['unavailable']}."
        for row in rows
        if "unavailable" in row
    }
    return "\n".join(lines) + "".join(f"\n\n{note}" for note in sorted(notes))


def _last_of_both(
    case: str, providers: list[str], found: dict[tuple[str, str, str], Row]
) -> list[Row]:
    """A case's rows with its backward, or without where it was not measured."""
    modes = [m for m in BACKWARD_MODES if any((case, m, p) in found for p in providers)]
    return [found.get((case, modes[-1], provider), {}) for provider in providers]


def _cell(rows: list[Row | None]) -> str:
    """The subject's time and the alternatives' ratios; nothing where the case has no such mode."""
    subject, *others = rows
    if subject is None:
        return "n/a" if any(others) else ""
    return f"{duration(subject['median_us'])} · " + " / ".join(_ratio(row) for row in others)


def _ratio(row: Row | None) -> str:
    if row is None:
        return "n/a"
    if "unavailable" in row:
        return "—"
    ratio = row["ratio"]
    text = f"{ratio:.{0 if ratio >= 10 else 1 if ratio >= 2 else 2}f}x"
    return f"**{text} ✗**" if ratio < 0.995 else text


class _Column(NamedTuple):
    name: str
    key: str
    text: Callable[[Any], str]


_COLUMNS = (
    _Column("memory", "peak_bytes", size),
    _Column("error", "error", error),
    _Column("kernels", "launches", str),
)


def main(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail if a page is out of date.")
    ] = False,
    root: Annotated[
        Path, typer.Option(help="Folder of README.md and docs/benchmarks.md.")
    ] = HERE.parent,
    results: Annotated[Path, typer.Option(help="Folder of the results files.")] = RESULTS,
) -> None:
    """Write the benchmarks' figures and tables between the markers of both pages."""
    found = [json.loads(path.read_text()) for path in sorted(results.glob("*.json"))]
    pages = {"README.md": highlights(found), "docs/benchmarks.md": tables(found)}
    outdated = []
    for name, markdown in pages.items():
        text = (root / name).read_text(encoding="utf-8")
        new = updated(text, markdown)
        if new != text:
            outdated.append(name)
        if not check:
            with atomic_write(root / name) as file:
                file.write(new.encode())
    if check and outdated:
        print(f"{' and '.join(outdated)} must be written again: run python -m bench.render")
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
