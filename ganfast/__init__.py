"""Fused losses, distribution distances and workflows for adversarial models in PyTorch."""

import importlib
from typing import TYPE_CHECKING, Any

from ganfast._ext import build_info

if TYPE_CHECKING:
    from ganfast import (
        augment,
        compat,
        data,
        evaluation,
        features,
        losses,
        metrics,
        models,
        ops,
        penalties,
        reference,
        regularizers,
        reporting,
        stylegan,
        train,
        workflows,
    )
    from ganfast.augment import DiffAugment
    from ganfast.evaluation.scoring import evaluate

__version__ = "0.1.0"

__all__ = [
    "DiffAugment",
    "__version__",
    "augment",
    "build_info",
    "compat",
    "data",
    "evaluate",
    "evaluation",
    "features",
    "losses",
    "metrics",
    "models",
    "ops",
    "penalties",
    "reference",
    "regularizers",
    "reporting",
    "stylegan",
    "train",
    "workflows",
]


_MODULE_OF = {"DiffAugment": "augment", "evaluate": "evaluation.scoring"}


def __getattr__(name: str) -> Any:
    """Import a part of the package on first use, so that each program loads only what it runs."""
    if name in _MODULE_OF:
        return getattr(importlib.import_module(f"ganfast.{_MODULE_OF[name]}"), name)
    if name in __all__:
        return importlib.import_module(f"ganfast.{name}")
    raise AttributeError(f"module 'ganfast' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
