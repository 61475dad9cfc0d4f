"""Compile every kernel for each architecture; fail on a warning, a register spill or a stack frame.

Needs nvcc alone: the kernels include no header of torch. Without nvcc it says so and succeeds. The
host's side of a file is the same for every architecture and takes as long as the device's, so that
it is compiled once.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ARCHS = ("80", "90", "100", "120")
FLAGS = ("-std=c++20", "-O3", "-Xptxas=-v", "-Werror=all-warnings")
ROOT = Path(__file__).parent.parent

ENTRY = re.compile(r"Compiling entry function '(\w+)'")
FRAME = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
REGISTERS = re.compile(r"Used (\d+) registers")


def check(nvcc: str, source: Path, arch: str) -> bool:
    """Compile one file for one architecture, print a line on it, and say whether it is clean."""
    with tempfile.TemporaryDirectory() as folder:
        target = f"-gencode=arch=compute_{arch},code=sm_{arch}"
        sides = "-c" if arch == ARCHS[0] else "-cubin"
        output = Path(folder) / "kernel.o"
        run = subprocess.run(
            [nvcc, *FLAGS, target, sides, str(source), "-o", str(output)],
            capture_output=True,
            text=True,
        )
    report = run.stdout + run.stderr
    name = f"{source.relative_to(ROOT)} sm_{arch}"
    if run.returncode != 0:
        print(f"{name}: nvcc failed\n{report}")
        return False
    kernels = ENTRY.findall(report)
    frames = [tuple(map(int, frame)) for frame in FRAME.findall(report)]
    if not kernels or len(frames) < len(kernels):
        print(f"{name}: the compiler's report names no kernels\n{report}")
        return False
    registers = max(map(int, REGISTERS.findall(report)))
    dirty = sum(any(frame) for frame in frames)
    print(f"{name}: {len(kernels)} kernels, {registers} registers at most, {dirty} with spills")
    return dirty == 0


def main() -> int:
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        print("cuda-check: no nvcc on this machine, nothing was compiled")
        return 0
    sources = sorted((ROOT / "csrc/cuda").glob("*.cu"))
    with ThreadPoolExecutor(os.cpu_count()) as workers:
        jobs = [(source, arch) for source in sources for arch in ARCHS]
        results = list(workers.map(lambda job: check(nvcc, *job), jobs))
    print(f"cuda-check: {results.count(True)} passed, {results.count(False)} failed")
    return 0 if results and all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
