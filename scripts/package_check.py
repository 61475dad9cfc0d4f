"""Build what is published, install it as users do, use it away from the checkout.

    python scripts/package_check.py FOLDER TORCH_REQUIREMENT

The source distribution is built without torch. pip then builds and installs it in an environment
that holds that torch and nothing of the checkout: once without kernels, once with the CPU's, whose
wheel stays in FOLDER. Both must give the same numbers. At last the wheel is installed with
transformers, which `make test` goes without, and the tests of its nets run against it. Of open_clip
the tests need the torchvision that goes with torch, and run where somebody has both.
"""

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
EXTRAS = "test,transformers"


def run(*command: str | Path, **options) -> subprocess.CompletedProcess:
    print("package-check:", *command, flush=True)
    return subprocess.run(command, check=True, text=True, **options)


def built(folder: Path, *command: str | Path, kind: str = "none") -> Path:
    """The one file that this command, run by the environment's Python, puts into `folder`."""
    run(*command, folder, env={**os.environ, "GANFAST_BUILD": kind}, stdout=subprocess.DEVNULL)
    (file,) = folder.iterdir()
    return file


def use(python: Path, folder: Path, kind: str) -> dict[str, float]:
    """The numbers that the installed package gives in a new folder."""
    folder.mkdir()
    program = ROOT / "scripts/package_use.py"
    done = run(python, program, kind, cwd=folder, stdout=subprocess.PIPE)
    print(done.stdout, end="", flush=True)
    return json.loads(done.stdout.splitlines()[-1])


def main(folder: Path, torch: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    python = folder / "env/bin/python"
    pip = (python, "-m", "pip", "--quiet")
    run(sys.executable, "-m", "venv", folder / "env")
    run(*pip, "install", torch)

    source = built(folder / "source", sys.executable, "-m", "build", "--sdist", ROOT, "--outdir")
    # Without pip's cache, which would take a wheel of this name for that of any other build.
    wheel_of = (*pip, "wheel", "--no-cache-dir", "--no-deps", source, "--wheel-dir")
    numbers = []
    for kind in ("none", "cpu"):
        wheel = built(folder / kind, *wheel_of, kind=kind)
        run(*pip, "install", torch, wheel)
        numbers.append(use(python, folder / f"use-{kind}", kind))
        run(*pip, "uninstall", "--yes", "ganfast")
    for name, value in numbers[0].items():
        assert math.isclose(value, numbers[1][name], rel_tol=1e-6), numbers

    run(*pip, "install", torch, f"{wheel}[{EXTRAS}]")
    # A copy: beside the checkout's tests its own ganfast would be found first.
    shutil.copytree(ROOT / "tests", folder / "tests", dirs_exist_ok=True)
    tests = "tests/features/test_load_features.py"
    run(python, "-m", "pytest", "-q", "-k", "transformers or without_weights", tests, cwd=folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute(), sys.argv[2])
