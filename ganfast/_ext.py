"""Finds the compiled kernels, and says what was built or why nothing was."""

import json
import warnings
from pathlib import Path
from typing import Any

import torch


def _read_decision() -> dict[str, Any]:
    """What setup.py decided when this copy was installed."""
    path = Path(__file__).with_name("_build.json")
    if not path.exists():
        return {"kind": "none", "reason": "this copy was never installed: run pip install"}
    decision: dict[str, Any] = json.loads(path.read_text())
    return decision


def _load() -> dict[str, Any]:
    info = _read_decision()
    info["torch_running"] = torch.__version__
    if info["kind"] == "none":
        return info
    try:
        from ganfast import _C
    except ImportError as error:
        built = info["kind"]
        info["kind"] = "none"
        info["reason"] = (
            f"the {built} kernels do not load beside torch {torch.__version__}: {error}; "
            "reinstall ganfast in this environment"
        )
        warnings.warn(f"ganfast runs on plain PyTorch: {info['reason']}", stacklevel=2)
        return info
    return info | _C.build_info()


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
        ``kind`` (``"cuda"``, ``"cpu"`` or ``"none"``), ``reason`` (why that kind), ``torch_running`` and, where
        kernels are loaded, ``torch`` (compiled against), ``compiler`` and ``cuda_archs``.
    """
    return dict(_INFO)
