"""The environment of a run: versions, kernels, devices, data and weights."""

import os
import platform
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

import ganfast


def facts() -> list[tuple[str, str]]:
    """Return names and values of all that affects speed and bits, such as versions and devices."""
    build = ganfast.build_info()
    rows = [
        ("ganfast", ganfast.__version__),
        ("kernels", f"{build['kind']} ({build['reason']})"),
    ]
    for key, name in (("torch", "compiled against torch"), ("compiler", "compiler")):
        if build.get(key):
            rows.append((name, str(build[key])))
    if build["kind"] != "none":
        rows.append(("CUDA architectures", _words(build.get("cuda_archs")) or "none"))
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return [
        *rows,
        ("torch", torch.__version__),
        ("Python", platform.python_version()),
        ("CPU", f"{_cpu()}, {_cores()} cores, {torch.get_num_threads()} threads used"),
        ("GPU", ", ".join(gpus) or "none"),
        ("system", platform.platform()),
    ]


def embedded() -> list[tuple[str, str]]:
    """Return names and states of the data sets and weights that come with the package."""
    from ganfast import data, features

    def images(name: str) -> str:
        count, channels, height, width = data.EMBEDDED[name]().images.shape
        return f"{count} images, {channels} x {height} x {width}, found"

    return [
        *((f"data {name}", _found(partial(images, name))) for name in data.EMBEDDED),
        ("weights digits", _found(lambda: f"{features.digits().dim} features, found")),
    ]


def _found(describe: Callable[[], str]) -> str:
    """Describe what was found, or return the reason why it cannot be used."""
    try:
        return describe()
    except (OSError, ValueError) as error:
        return f"not usable: {error}"


def _words(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value or "")


def _cpu() -> str:
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _cores() -> int:
    """Count the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
