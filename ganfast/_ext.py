"""Finds the compiled kernels, and says what was built or why nothing was."""

import importlib
import json
import warnings
from pathlib import Path
from typing import Any

import torch


def _decision() -> dict[str, Any]:
    """What setup.py decided when this copy was installed."""
    path = Path(__file__).with_name("_build.json")
    if not path.exists():
        return {"kind": "none", "reason": "this copy was never installed: run pip install"}
    decision: dict[str, Any] = json.loads(path.read_text())
    return decision


def _release(version: str) -> list[str]:
    return version.split(".")[:2]


def _load() -> dict[str, Any]:
    info = _decision()
    if info["kind"] == "none":
        return info
    running = torch.__version__
    try:
        # The library would load beside some other releases, and then crash.
        if _release(info["torch"]) != _release(running):
            raise ImportError(f"they were compiled for torch {info['torch']}")
        library = importlib.import_module("ganfast._C")
    except ImportError as error:
        info["reason"] = (
            f"the {info['kind']} kernels do not load beside torch {running}: {error}; "
            "reinstall ganfast in this environment"
        )
        info["kind"] = "none"
        warnings.warn(f"ganfast runs on plain PyTorch: {info['reason']}", stacklevel=2)
        return info
    facts: dict[str, str] = library.build_info()
    return info | facts


_INFO = _load()

#: Device types that the compiled kernels serve.
DEVICES: frozenset[str] = {
    "none": frozenset[str](),
    "cpu": frozenset({"cpu"}),
    "cuda": frozenset({"cpu", "cuda"}),
}[_INFO["kind"]]


def build_info() -> dict[str, Any]:
    """Say what was built.

    Returns:
        ``kind`` (``"cuda"``, ``"cpu"`` or ``"none"``), ``reason`` (why that kind) and, where
        kernels are loaded, ``torch`` (the version that they were compiled for), ``compiler`` and
        ``cuda_archs``.
    """
    return dict(_INFO)
