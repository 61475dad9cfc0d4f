"""Sampling of images at given places, twice differentiable on every torch."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ganfast.stylegan._arguments import check_floating, check_images


def grid_sample(input: Tensor, grid: Tensor) -> Tensor:
    r"""Interpolate images linearly at given places; outside of the image are zeros.

    As :func:`torch.nn.functional.grid_sample` with ``mode="bilinear"``, ``padding_mode="zeros"``
    and ``align_corners=False``. Where this torch does not differentiate that function twice, the
    second derivatives are those with respect to the images only.

    Args:
        input: images, (N, C, H, W).
        grid: places (x, y) from -1 to 1, (N, height, width, 2), in the dtype of the images.

    Returns:
        (N, C, height, width).

    Raises:
        TypeError: a tensor is not a floating-point tensor.
        ValueError: shapes do not fit, or the grid requires gradients and this torch does not
            differentiate twice.
    """
    check_images("input", input)
    check_floating("grid", grid)
    if grid.dim() != 4 or grid.shape[0] != input.shape[0] or grid.shape[3] != 2:
        raise ValueError(
            f"grid must have shape (N, height, width, 2) with N = {input.shape[0]}, "
            f"got {list(grid.shape)}"
        )
    if _torch_differentiates_twice():
        return F.grid_sample(input, grid, align_corners=False)
    if grid.requires_grad:
        raise ValueError("grid must be constant with this torch, got requires_grad=True")
    return _sample(input, grid)


@cache
def _torch_differentiates_twice() -> bool:
    with torch.enable_grad(), torch.autocast("cpu", enabled=False):
        x = torch.zeros(1, 1, 1, 1, requires_grad=True)
        dy = torch.ones(1, 1, 1, 1, requires_grad=True)
        y = F.grid_sample(x, torch.zeros(1, 1, 1, 2), align_corners=False)
        (dx,) = torch.autograd.grad(y, x, dy, create_graph=True)
        try:
            torch.autograd.grad(dx.sum(), dy)
        except RuntimeError:
            return False
    return True


class _GridSample(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, grid: Tensor) -> Tensor:
        ctx.save_for_backward(x, grid)
        return F.grid_sample(x, grid, align_corners=False)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None]:
        x, grid = ctx.saved_tensors
        return _gradient(dy, x.detach(), grid), None


class _GridSampleGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, dy: Tensor, x: Tensor, grid: Tensor) -> Tensor:
        """Compute the gradient of images; only their shape matters."""
        ctx.save_for_backward(grid)
        dx: Tensor = torch.ops.aten.grid_sampler_2d_backward(
            dy, x, grid, 0, 0, False, [True, False]
        )[0]
        return dx

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:
        (grid,) = ctx.saved_tensors
        return _sample(g, grid), None, None


_sample: Callable[..., Tensor] = _GridSample.apply
_gradient: Callable[..., Tensor] = _GridSampleGradient.apply
