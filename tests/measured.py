"""Peak memory of a piece of Python in a process of its own."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
# Not by `getrusage`, which counts the process of the tests, too, of which it starts as a copy.
_END = """
with open("/proc/self/status") as status:
    print("PEAK", next(int(line.split()[1]) >> 10 for line in status if line.startswith("VmHWM")))
"""


def peak(program: str, folder: Path, *arguments: object) -> tuple[int, str]:
    """Run a program in a folder; return its peak in MiB and what it printed."""
    run = subprocess.run(
        [sys.executable, "-c", program + _END, *map(str, arguments)],
        cwd=folder, capture_output=True, text=True, timeout=300, check=True,
        env={"PYTHONPATH": f"{ROOT}:{folder}", "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "2"},
    )  # fmt: skip
    printed, _, found = run.stdout.rpartition("PEAK ")
    return int(found), printed + run.stderr
