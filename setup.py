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

sys.path.insert(0, str(Path(__file__).parent))
from build_backend import use_target_torch

if not use_target_torch():
    sys.exit("ganfast: building needs torch; install torch first")

import torch
from torch.utils.cpp_extension import (
    CUDA_HOME,
    BuildExtension,
    CppExtension,
    CUDAExtension,
)

# Compiled for when TORCH_CUDA_ARCH_LIST is unset and no GPU is there to ask.
DEFAULT_CUDA_ARCHS = "8.0;8.6;8.9;9.0;10.0;12.0+PTX"

COMMON_FLAGS = ["-O3", "-g0", "-std=c++20", "-Wall"]
# No value changes by these: they say that nobody reads errno or the floating-point status flags.
VECTORIZE_FLAGS = ["-fno-math-errno", "-fno-trapping-math", "-fopenmp", "-fopenmp-simd"]


def decide() -> tuple[str, str]:
    """What to build and why."""
    wanted = os.environ.get("GANFAST_BUILD", "auto")
    if wanted not in ("auto", "cpu", "cuda", "none"):
        sys.exit(f"GANFAST_BUILD must be auto, cpu, cuda or none, got {wanted!r}")
    if wanted == "none":
        return "none", "GANFAST_BUILD=none was set when it was installed"

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
        return "none", "no C++ compiler was found when it was installed"
    if wanted == "cuda" or (wanted == "auto" and no_cuda is None):
        return "cuda", f"torch has CUDA {torch.version.cuda} and nvcc is in {CUDA_HOME}"
    return "cpu", "GANFAST_BUILD=cpu was set" if wanted == "cpu" else no_cuda


def extension(kind: str) -> CppExtension:
    """The one extension module: kernels, ops and build facts."""
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


os.chdir(Path(__file__).parent)
kind, reason = decide()
print(f"ganfast: building {kind} ({reason})", file=sys.stderr)
for stale in glob("ganfast/_C*.so"):
    os.remove(stale)
decision = {"kind": kind, "reason": reason, "torch": torch.__version__}
Path("ganfast/_build.json").write_text(json.dumps(decision) + "\n")

setup(
    ext_modules=[] if kind == "none" else [extension(kind)],
    cmdclass={"build_ext": BuildExtension},
)
