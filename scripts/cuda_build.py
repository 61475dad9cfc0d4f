"""Compile and link the extension against a CUDA build of torch, and run the tests against it.

The environment, the copy of the sources and the objects are kept in a cache folder, so that the
next run installs and compiles only what has changed. Without nvcc it says so and succeeds.

    python scripts/cuda_build.py CACHE_FOLDER TORCH_REQUIREMENT
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def toolkit(nvcc: str) -> Path:
    """The folder that holds bin/nvcc; `nvcc` itself may be a link or a script that leads there."""
    run = subprocess.run([nvcc, "--dryrun", "-c", "x.cu"], capture_output=True, text=True)
    top = re.search(r"^#\$ TOP=(.*)$", run.stderr, re.MULTILINE)
    if top is None:
        sys.exit(f"cuda-build: {nvcc} does not say where its toolkit is:\n{run.stderr}")
    return Path(top[1].strip()).resolve()


def environment(folder: Path, torch: str, source: Path) -> Path:
    """A virtual environment with that torch and what the tests need; its Python."""
    python = folder / "bin/python"
    stamp = folder / "installed.txt"
    wanted = f"{torch}\n{(ROOT / 'pyproject.toml').read_text()}"
    if not stamp.exists() or stamp.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        pip = [python, "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, torch, "setuptools>=77", "wheel", "ninja"], check=True)
        nothing = {**os.environ, "GANFAST_BUILD": "none"}
        install = [*pip, "--no-build-isolation", f"{source}[test,bench]"]
        subprocess.run(install, check=True, env=nothing)  # for its dependencies
        uninstall = [python, "-m", "pip", "uninstall", "--quiet", "--yes", "ganfast"]
        subprocess.run(uninstall, check=True)
        stamp.write_text(wanted)
    return python


def mirror(target: Path) -> None:
    """Make `target` hold the files of the checkout, touching only those that differ."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    names = {name for name in listed.split("\0") if name and (ROOT / name).is_file()}
    for name in names:
        source, copy = ROOT / name, target / name
        if not copy.exists() or copy.read_bytes() != source.read_bytes():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, copy)
    for folder in ("csrc", "ganfast", "tests", "bench"):
        for copy in (target / folder).rglob("*.*"):
            kept = copy.suffix in (".so", ".pyc") or copy.name == "_build.json"
            if copy.is_file() and not kept and str(copy.relative_to(target)) not in names:
                copy.unlink()


def main(cache: Path, torch: str) -> None:
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        print("cuda-build: no nvcc on this machine, nothing was built")
        return
    source = cache / "cuda-source"
    mirror(source)  # the checkout keeps its own build
    python = environment(cache / "cuda-env", torch, source)
    variables = {
        **os.environ,
        "GANFAST_BUILD": "cuda",
        "CUDA_HOME": str(toolkit(nvcc)),
        "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(source),  # for the programs that tests start
    }
    build = [python, "setup.py", "--quiet", "build_ext", "--inplace"]
    subprocess.run(build, cwd=source, env=variables, check=True)
    subprocess.run([python, "-m", "ganfast", "info"], cwd=source, env=variables, check=True)
    subprocess.run([python, "-m", "pytest", "-q"], cwd=source, env=variables, check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
