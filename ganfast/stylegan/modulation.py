"""The convolution of StyleGAN2's generator, whose weights depend on the style."""

from typing import SupportsIndex

import torch
from torch import Tensor

from ganfast.reference import compute_dtype
from ganfast.stylegan._arguments import Padding, check_convolution, check_floating
from ganfast.stylegan.resampled_convolution import conv2d_resample


def modulated_conv2d(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    noise: Tensor | None = None,
    up: SupportsIndex = 1,
    down: SupportsIndex = 1,
    padding: Padding = 0,
    resample_filter: Tensor | None = None,
    demodulate: bool = True,
    flip_weight: bool = True,
) -> Tensor:
    r"""Convolve each sample with its own weights, and resample.

    .. math:: w'_{nockl} = s_{nc} \, w_{ockl}, \qquad
        w''_{nockl} = w'_{nockl} \Big/ \sqrt{\sum_{ckl} w'^2_{nockl} + 10^{-8}}

    The images are scaled instead of the weights, which gives the same result with one convolution
    for the batch. In float16 and bfloat16, styles and weights are first divided by their maxima,
    which the demodulation cancels, so that nothing overflows.

    Args:
        x: images, (N, C, H, W).
        weight: w, (O, C, height, width).
        styles: s, (N, C).
        noise: added to the result, of a shape that broadcasts to it.
        up, down, padding: as in :func:`ganfast.stylegan.conv2d_resample`.
        resample_filter: filter for up and down.
        demodulate: use w'' instead of w'.
        flip_weight: correlate with the weights, as torch's convolutions do.

    Returns:
        (N, O, ., .), in the dtype of x.

    Raises:
        TypeError: a tensor is not of floating point.
        ValueError: shapes do not fit.

    Source: Karras et al. 2020, arXiv:1912.04958, section 2.
    """
    check_convolution("x", x, weight, 1, 1)
    check_floating("styles", styles)
    if styles.shape != x.shape[:2]:
        raise ValueError(
            f"styles must have shape (N, C), {list(x.shape[:2])}, got {list(styles.shape)}"
        )
    scales = None
    if demodulate:
        weight, styles = compute_dtype(weight), compute_dtype(styles)
        if x.dtype in (torch.float16, torch.bfloat16):
            weight = weight / weight.abs().amax((1, 2, 3), keepdim=True)
            weight = weight / weight[0].numel() ** 0.5
            styles = styles / styles.abs().amax(1, keepdim=True)
        squares = styles.square() @ weight.square().sum((2, 3)).t()
        scales = (squares + 1e-8).rsqrt().to(x.dtype)[:, :, None, None]
    y = conv2d_resample(
        x * styles.to(x.dtype)[:, :, None, None],
        weight.to(x.dtype),
        f=resample_filter,
        up=up,
        down=down,
        padding=padding,
        flip_weight=flip_weight,
    )
    noise = None if noise is None else noise.to(y.dtype)
    if scales is None:
        return y if noise is None else y + noise
    scales = scales.to(y.dtype)
    return y * scales if noise is None else fma(y, scales, noise)


def fma(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    r"""Return :math:`a b + c`, with broadcasting, in one pass.

    Args:
        a, b, c: of one dtype, and of shapes that broadcast with each other.
    """
    return torch.addcmul(c, a, b)
