"""Drop-in for ``torch_utils.ops.grid_sample_gradfix``."""

from ganfast.stylegan import grid_sample

__all__ = ["enabled", "grid_sample"]

#: Trainers set it; the function is always twice differentiable.
enabled = False
