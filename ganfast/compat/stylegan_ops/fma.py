"""Drop-in for ``torch_utils.ops.fma``."""

from ganfast.stylegan import fma

__all__ = ["fma"]
