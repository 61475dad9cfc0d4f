"""Runs the benchmarks and writes bench/results/<machine>.json, one file for each device."""

import importlib
import json
import re
from pathlib import Path
from typing import Annotated

import torch
import typer

from bench import kit, machine
from ganfast._files import atomic_write

HERE = Path(__file__).parent
RESULTS = HERE / "results"


def all_cases() -> list[kit.Case]:
    """The cases of every bench_<family>.py, in the files' order."""
    names = sorted(path.stem for path in HERE.glob("bench_*.py"))
    return [case for name in names for case in importlib.import_module(f"bench.{name}").cases()]


def collect(cases: list[kit.Case], device: str, budget: float, folder: Path) -> Path:
    """Measure the cases of a device, print a line for each mode, write the file and name it.

    A run that is stopped leaves what it has measured in a file of that name and ``.part``.
    """
    results: list[kit.Row] = []
    facts = machine.facts(device)
    path = folder / f"{facts['machine']}.json"
    part = path.with_name(f"{path.name}.part")
    write(part, facts, results)
    for case in cases:
        if device in case.devices:
            rows = kit.measure(case, device, budget)
            for mode in case.modes:
                print(line([row for row in rows if row["mode"] == mode]), flush=True)
            results += rows
            write(part, facts, results)
    part.replace(path)
    return path


def write(path: Path, facts: dict[str, object], results: list[kit.Row]) -> None:
    head = json.dumps(facts, indent=1).removesuffix("\n}")
    lines = ",\n".join(f"  {json.dumps(row)}" for row in results)  # one a line, for diffs
    with atomic_write(path) as file:
        file.write(f'{head},\n "results": [\n{lines}\n ]\n}}\n'.encode())


def line(rows: list[kit.Row]) -> str:
    times = ", ".join(
        f"{row['provider']} {row['median_us']:.1f} us" if "median_us" in row
        else f"{row['provider']} not available"
        for row in rows
    )  # fmt: skip
    return f"{rows[0]['family']}: {rows[0]['case']}, {rows[0]['mode']}: {times}"


def main(
    only: Annotated[
        str, typer.Option(help="Regular expression: the cases to run, searched in 'family: case'.")
    ] = "",
    device: Annotated[str, typer.Option(help="cpu, cuda, or all that are present.")] = "all",
    seconds: Annotated[
        float, typer.Option(min=0, help="Time for each case, mode and provider.")
    ] = 0.2,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the results; bench/results where not given.")
    ] = None,
) -> None:
    """Measure every case on every device and write one results file for each device."""
    if only and out is None:
        raise typer.BadParameter("a part of the cases would replace the full results: give --out")
    present = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    if device != "all" and device not in present:
        raise typer.BadParameter(f"--device must be all or one of {present}, got {device!r}")
    cases = [case for case in all_cases() if re.search(only, f"{case.family}: {case.name}")]
    if not cases:
        raise typer.BadParameter(f"--only must match at least one case, got {only!r}")
    for name in present if device == "all" else [device]:
        print(f"written: {collect(cases, name, seconds, out or RESULTS)}")


if __name__ == "__main__":
    typer.run(main)
