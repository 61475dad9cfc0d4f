"""Fused losses, distribution distances and workflows for adversarial models in PyTorch."""

from ganfast import augment, losses, penalties, regularizers
from ganfast._ext import build_info
from ganfast.augment import DiffAugment

__version__ = "0.1.0"

__all__ = [
    "DiffAugment",
    "__version__",
    "augment",
    "build_info",
    "losses",
    "penalties",
    "regularizers",
]
