"""Builds ganfast._C. The metadata is in pyproject.toml.

GANFAST_BUILD = auto | cpu | cuda | none says what to build; auto takes CUDA where torch is a CUDA
build and nvcc is found, else the CPU where a C++ compiler is found, else nothing. What was decided
is printed and kept in ganfast/_build.json. A compile error is an error.
"""

import json
import os
import shutil
import sys
from glob import glob
from pathlib import Path

from setuptools import setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.extension import Extension

sys.path.insert(0, str(Path(__file__).parent))
from build_backend import use_target_torch

# Compiled for when TORCH_CUDA_ARCH_LIST is unset and no GPU is there to ask.
DEFAULT_CUDA_ARCHS = "8.0;8.6;8.9;9.0;10.0;12.0+PTX"

COMMON_FLAGS = ["-O3", "-g0", "-std=c++20", "-Wall"]
# No value changes by these: they say that nobody reads errno or the floating-point status flags.
VECTORIZE_FLAGS = ["-fno-math-errno", "-fno-trapping-math", "-fopenmp", "-fopenmp-simd"]

# These read and write metadata alone, and need no torch.
METADATA_COMMANDS = {"egg_info", "dist_info", "sdist"}


def decide() -> dict[str, str]:
    """Say what to build and why, and for which torch where there is something to compile."""
    wanted = os.environ.get("GANFAST_BUILD", "auto")
    if wanted not in ("auto", "cpu", "cuda", "none"):
        sys.exit(f"GANFAST_BUILD must be auto, cpu, cuda or none, got {wanted!r}")
    if wanted == "none":
        return {"kind": "none", "reason": "GANFAST_BUILD=none was set when it was installed"}
    if not use_target_torch():
        sys.exit("ganfast: compiling needs torch: install torch first, or set GANFAST_BUILD=none")

    import torch
    from torch.utils.cpp_extension import CUDA_HOME

    no_cuda = (
        f"torch {torch.__version__} is not a CUDA build"
        if torch.version.cuda is None
        else "no CUDA compiler was found: set CUDA_HOME to the toolkit that holds bin/nvcc"
        if CUDA_HOME is None or not (Path(CUDA_HOME) / "bin" / "nvcc").exists()
        else None
    )
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if wanted == "cuda" and no_cuda:
        sys.exit(f"GANFAST_BUILD=cuda, but {no_cuda}")
    if wanted in ("cpu", "cuda") and compiler is None:
        sys.exit(f"GANFAST_BUILD={wanted}, but no C++ compiler was found: install one or set CXX")
    if compiler is None:
        return {"kind": "none", "reason": "no C++ compiler was found when it was installed"}
    if wanted == "cuda" or (wanted == "auto" and no_cuda is None):
        kind, reason = "cuda", f"torch has CUDA {torch.version.cuda} and nvcc is in {CUDA_HOME}"
    else:
        kind, reason = "cpu", "GANFAST_BUILD=cpu was set" if wanted == "cpu" else str(no_cuda)
    return {"kind": kind, "reason": reason, "torch": torch.__version__}


def extension(kind: str) -> Extension:
    """The one extension module: kernels, ops and build facts."""
    import torch
    from torch.utils.cpp_extension import CppExtension, CUDAExtension

    sources = ["csrc/ops.cpp", *sorted(glob("csrc/cpu/*.cpp") + glob("csrc/ops/*.cpp"))]
    compile_args = {"cxx": COMMON_FLAGS + VECTORIZE_FLAGS}
    if kind == "cpu":
        return CppExtension("ganfast._C", sources, extra_compile_args=compile_args)

    if not torch.cuda.is_available():
        os.environ.setdefault("TORCH_CUDA_ARCH_LIST", DEFAULT_CUDA_ARCHS)
    archs = os.environ.get("TORCH_CUDA_ARCH_LIST", "the GPU of the machine that built it")
    compile_args["nvcc"] = ["-O3", "-std=c++20", "-lineinfo"]
    return CUDAExtension(
        "ganfast._C",
        sources + sorted(glob("csrc/cuda/*.cu")),
        define_macros=[("GANFAST_CUDA", None), ("GANFAST_CUDA_ARCHS", f'"{archs}"')],
        extra_compile_args=compile_args,
    )


def commands(decision: dict[str, str]) -> dict[str, type]:
    """The build commands, made to write the decision beside the modules that they build."""

    def record(package: Path) -> None:
        for stale in package.glob("_C*.so"):
            stale.unlink()
        (package / "_build.json").write_text(json.dumps(decision) + "\n")

    class BuildPy(build_py):
        def run(self) -> None:
            super().run()
            record(Path("ganfast") if self.editable_mode else Path(self.build_lib, "ganfast"))

    if decision["kind"] == "none":
        base = build_ext
    else:
        from torch.utils.cpp_extension import BuildExtension as base

    class BuildExt(base):
        def run(self) -> None:
            if self.inplace:
                record(Path("ganfast"))
            super().run()

    return {"build_py": BuildPy, "build_ext": BuildExt}


os.chdir(Path(__file__).parent)
if METADATA_COMMANDS.isdisjoint(sys.argv):
    decision = decide()
    kind = decision["kind"]
    print(f"ganfast: building {kind} ({decision['reason']})", file=sys.stderr)
    setup(
        ext_modules=[] if kind == "none" else [extension(kind)],
        cmdclass=commands(decision),
    )
else:
    setup()
