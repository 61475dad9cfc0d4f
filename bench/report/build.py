"""The part that compiles the kernels, and what compiles those of another tree."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.report.child import Context, Missing

ROOT = Path(__file__).parents[2]
_FACTS = """
import json, sys, ganfast
from bench import machine
print(json.dumps([machine.facts(sys.argv[1]), ganfast.build_info()]))
"""


def run(context: Context) -> None:
    """Compile what is not current, and say what the kernels are then."""
    device = context.settings.device
    reason = outdated(ROOT, device)
    context.note(reason or "nothing: the kernels are current", "built")
    if reason and not context.settings.small:
        build(ROOT, device)
    facts, info = _facts(device)
    context.tell("facts", facts)
    if reason and context.settings.small:
        raise Missing(f"a small run builds nothing, and {reason}")
    if info["kind"] != device:
        raise RuntimeError(f"the kernels are {info['kind']}: {info['reason']}")


def outdated(tree: Path, kind: str) -> str | None:
    """Why the kernels of a source tree are to be built for a device, or nothing."""
    import torch

    libraries = list((tree / "ganfast").glob("_C*.so"))
    decision = tree / "ganfast" / "_build.json"
    if not libraries or not decision.exists():
        return "there are no compiled kernels"
    built = json.loads(decision.read_text())
    if built["kind"] != kind:
        return f"the kernels were built for {built['kind']}"
    if built["torch"] != torch.__version__:
        return f"the kernels were built for torch {built['torch']}, here is {torch.__version__}"
    date = min(library.stat().st_mtime for library in libraries)
    sources = [tree / "setup.py", *(path for path in (tree / "csrc").rglob("*") if path.is_file())]
    newer = [source.relative_to(tree) for source in sources if source.stat().st_mtime > date]
    return f"{newer[0]} is newer than the kernels" if newer else None


def build(tree: Path, kind: str) -> None:
    """Compile a source tree in place. Raises RuntimeError with the compiler's first error."""
    done = subprocess.run(
        [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"],
        cwd=tree,
        env={**os.environ, "GANFAST_BUILD": kind},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode != 0:
        print(done.stdout, flush=True)
        lines = [line for line in done.stdout.splitlines() if line.strip()] or ["no output"]
        errors = [line for line in lines if re.search(r"\berror\b", line)]
        raise RuntimeError(f"the build failed: {(errors or lines[-1:])[0].strip()}")


def _facts(device: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Facts of the machine and the build, by a process that loads what is built now."""
    done = subprocess.run(
        [sys.executable, "-c", _FACTS, device],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    facts, info = json.loads(done.stdout)
    return facts, info
