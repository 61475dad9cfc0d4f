"""Drop-in for ``torch_utils.ops.conv2d_resample``."""

from ganfast.stylegan import conv2d_resample

__all__ = ["conv2d_resample"]
