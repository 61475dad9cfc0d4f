"""Peak memory of a piece of Python in a process of its own."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
_END = "\nimport resource; print('PEAK', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)"


def peak(program: str, folder: Path, *arguments: object) -> tuple[int, str]:
    """Run a program in a folder; return its peak in MiB and what it printed."""
    run = subprocess.run(
        [sys.executable, "-c", program + _END, *map(str, arguments)],
        cwd=folder, capture_output=True, text=True, timeout=300, check=True,
        env={"PYTHONPATH": f"{ROOT}:{folder}", "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "2"},
    )  # fmt: skip
    printed, _, found = run.stdout.rpartition("PEAK ")
    return int(found), printed + run.stderr
