"""The operations of StyleGAN's family as functions, differentiable to any order.

For the projects' own module names, see :mod:`ganfast.compat.stylegan_ops`,
:mod:`ganfast.compat.rosinality_ops` and :mod:`ganfast.compat.basicsr_ops`.
"""

from ganfast.stylegan.activation import bias_act
from ganfast.stylegan.convolution import conv2d, conv_transpose2d, no_weight_gradients
from ganfast.stylegan.filtered_activation import filtered_lrelu
from ganfast.stylegan.filters import setup_filter
from ganfast.stylegan.grid import grid_sample
from ganfast.stylegan.modulation import fma, modulated_conv2d
from ganfast.stylegan.resampled_convolution import conv2d_resample
from ganfast.stylegan.resampling import downsample2d, filter2d, upfirdn2d, upsample2d

__all__ = [
    "bias_act",
    "conv2d",
    "conv2d_resample",
    "conv_transpose2d",
    "downsample2d",
    "filter2d",
    "filtered_lrelu",
    "fma",
    "grid_sample",
    "modulated_conv2d",
    "no_weight_gradients",
    "setup_filter",
    "upfirdn2d",
    "upsample2d",
]
