"""Drop-in for ``torch_utils.ops`` of StyleGAN2-ADA, StyleGAN3, EG3D, StyleGAN-XL and R3GAN.

Also of Projected GAN, MAT and other descendants. At the top of the script that trains, generates
or evaluates, before networks are imported or loaded, add ::

    import ganfast.compat.stylegan_ops; ganfast.compat.stylegan_ops.install()

Or change single lines, such as ``from torch_utils.ops import bias_act`` to::

    from ganfast.compat.stylegan_ops import bias_act

Nothing is compiled at run time. Names, signatures and flags are the projects'; ``impl`` is
accepted and chooses between equal results. ``torch_utils.custom_ops`` stays the project's own,
so that its ``verbosity`` and ``get_plugin`` are what other code expects.
"""

import functools
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import Adam
from torch.utils.data import Sampler

from ganfast.compat._modules import serve
from ganfast.compat.stylegan_ops import (
    bias_act,
    conv2d_resample,
    filtered_lrelu,
    fma,
    grid_sample_gradfix,
    upfirdn2d,
)
from ganfast.stylegan import convolution as conv2d_gradfix

__all__ = [
    "bias_act",
    "conv2d_gradfix",
    "conv2d_resample",
    "filtered_lrelu",
    "fma",
    "grid_sample_gradfix",
    "install",
    "upfirdn2d",
]


def install(package: str = "torch_utils", grouped_convolutions: bool = False) -> None:
    """Make ``torch_utils.ops`` consist of these modules, and let the projects run on today's torch.

    The projects' own ``conv2d_gradfix`` and ``grid_sample_gradfix`` import ``pkg_resources``, which
    recent setuptools lack; they are replaced with the rest. Where torch refuses what the projects
    pass, it takes it again: ``torch.utils.data.Sampler`` a data set, ``torch.optim.Adam`` a beta of
    integer 0.

    Args:
        package: where the project's copy of ``torch_utils`` is, such as ``"eg3d.torch_utils"``.
        grouped_convolutions: also make ``torch.nn.functional.conv2d`` and ``conv_transpose2d``, and
            with them torch's modules, take ganfast's convolutions if they have groups. R3GAN's
            networks call these.

    Raises:
        RuntimeError: one of the project's modules is already imported.
    """
    serve(f"{package}.ops", {name: globals()[name] for name in __all__ if name != "install"})
    if Sampler.__init__ is object.__init__:
        Sampler.__init__ = _init_sampler  # type: ignore[method-assign]
    try:
        Adam([torch.zeros(1)], betas=(0, 0))
    except ValueError:
        Adam.__init__ = _with_float_betas(Adam.__init__)  # type: ignore[method-assign]
    if grouped_convolutions:
        F.conv2d = _conv2d  # type: ignore[assignment]
        F.conv_transpose2d = _conv_transpose2d  # type: ignore[assignment]


def _conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    if groups == 1 or input.dim() != 4 or isinstance(padding, str):
        return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)
    return conv2d_gradfix.conv2d(input, weight, bias, stride, padding, dilation, groups)


def _conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    options = (stride, padding, output_padding, groups, dilation)
    if groups == 1 or input.dim() != 4:
        return torch.conv_transpose2d(input, weight, bias, *options)
    return conv2d_gradfix.conv_transpose2d(input, weight, bias, *options)


def _init_sampler(self: object, data_source: object = None) -> None:
    """Take what a sampler took until torch 2.9, and do nothing."""


def _with_float_betas(init: Any) -> Any:
    """Wrap Adam's constructor so that it turns integer betas into floats."""

    @functools.wraps(init)
    def wrapped(
        self: Adam, params: Any, lr: Any = 1e-3, betas: Sequence[Any] = (0.9, 0.999),
        *others: Any, **options: Any,
    ) -> None:  # fmt: skip
        numbers = tuple(float(b) if isinstance(b, int) else b for b in betas)
        init(self, params, lr, numbers, *others, **options)

    return wrapped
