"""Fused losses, distribution distances and workflows for adversarial models in PyTorch."""

from ganfast import losses, penalties, regularizers
from ganfast._ext import build_info

__version__ = "0.1.0"

__all__ = ["__version__", "build_info", "losses", "penalties", "regularizers"]
