"""Build what is published, install it as users do, use it away from the checkout.

    python scripts/package_check.py FOLDER TORCH_REQUIREMENT

The source distribution is built without torch. pip then builds and installs it in an environment
that holds that torch and nothing of the checkout: once without kernels, once as GANFAST_BUILD says.
Both must give the same numbers. At last the second wheel is installed with transformers, which
`make test` goes without, and the tests of its nets run against it. Of open_clip the tests need the
torchvision that goes with torch, and run where somebody has both.

The second wheel's extension becomes the checkout's own, so that nothing is compiled twice.
"""

import json
import math
import os
import shutil
import subprocess
import sys
import zipfile
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


def use(python: Path, folder: Path) -> dict[str, float]:
    """The numbers that the installed package gives in a new folder."""
    folder.mkdir()
    program = ROOT / "scripts/package_use.py"
    done = run(python, program, cwd=folder, stdout=subprocess.PIPE)
    print(done.stdout, end="", flush=True)
    return json.loads(done.stdout.splitlines()[-1])


def take_extension(wheel: Path) -> None:
    """Make the wheel's extension, if it has one, the checkout's own."""
    for stale in ROOT.glob("ganfast/_C*.so"):
        stale.unlink()
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name == "ganfast/_build.json" or (
                name.startswith("ganfast/_C.") and name.endswith(".so")
            ):
                archive.extract(name, ROOT)


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
    for name, kind in (("plain", "none"), ("fused", os.environ.get("GANFAST_BUILD", "auto"))):
        wheel = built(folder / name, *wheel_of, kind=kind)
        run(*pip, "install", torch, wheel)
        numbers.append(use(python, folder / f"use-{name}"))
        run(*pip, "uninstall", "--yes", "ganfast")
    for name, value in numbers[0].items():
        assert math.isclose(value, numbers[1][name], rel_tol=1e-6), numbers
    take_extension(wheel)

    run(*pip, "install", torch, f"{wheel}[{EXTRAS}]")
    # A copy: beside the checkout's tests its own ganfast would be found first.
    shutil.copytree(ROOT / "tests", folder / "tests", dirs_exist_ok=True)
    tests = "tests/features/test_load_features.py"
    run(python, "-m", "pytest", "-q", "-k", "transformers or without_weights", tests, cwd=folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute(), sys.argv[2])
