"""DCGAN's convolutions, halving and doubling maps, with a weight gradient that is fast on a CPU.

Where the smaller maps are 4 x 4 or less, the library takes two to three times as long for the
weights' gradient as one matrix product of the patches with the maps does. The results differ by
rounding alone.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad

_KERNEL, _STRIDE, _PADDING = 4, 2, 1
_PIXELS = 16  # of the smaller maps, at most


class Halving(nn.Conv2d):
    """Convolution 4 x 4 of stride 2 and padding 1, from maps (N, C, 2H, 2W) to (N, D, H, W)."""

    def __init__(self, inner: int, outer: int, bias: bool = True) -> None:
        super().__init__(inner, outer, _KERNEL, _STRIDE, _PADDING, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        if self.bias is not None or not _serves(x, self.weight, 4 * _PIXELS, 2):
            return super().forward(x)
        y: Tensor = _Halved.apply(x, self.weight)  # type: ignore[no-untyped-call]
        return y


class Doubling(nn.ConvTranspose2d):
    """The transpose of :class:`Halving`, from maps (N, C, H, W) to (N, D, 2H, 2W)."""

    def __init__(self, inner: int, outer: int, bias: bool = True) -> None:
        super().__init__(inner, outer, _KERNEL, _STRIDE, _PADDING, bias=bias)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        given = self.bias is not None or output_size is not None
        if given or not _serves(x, self.weight, _PIXELS, 1):
            return super().forward(x, output_size)
        y: Tensor = _Doubled.apply(x, self.weight)  # type: ignore[no-untyped-call]
        return y


class _Halved(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight, None, _STRIDE, _PADDING)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        of_x, of_weight = ctx.needs_input_grad
        return (
            F.conv_transpose2d(grad, weight, None, _STRIDE, _PADDING) if of_x else None,
            _weight_gradient(x, grad) if of_weight else None,
        )


class _Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv_transpose2d(x, weight, None, _STRIDE, _PADDING)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        of_x, of_weight = ctx.needs_input_grad
        return (
            F.conv2d(grad, weight, None, _STRIDE, _PADDING) if of_x else None,
            _weight_gradient(grad, x) if of_weight else None,
        )


def _weight_gradient(large: Tensor, small: Tensor) -> Tensor:
    """(D, C, 4, 4): sum of small (N, D, H, W) times the patches of large (N, C, 2H, 2W)."""
    padded = F.pad(large.permute(0, 2, 3, 1), (0, 0, *(_PADDING,) * 4))
    patches = padded.unfold(1, _KERNEL, _STRIDE).unfold(2, _KERNEL, _STRIDE)  # N, H, W, C, 4, 4
    rows = patches.permute(0, 1, 2, 4, 5, 3).flatten(3).flatten(0, 2)
    products = small.permute(0, 2, 3, 1).flatten(0, 2).T @ rows
    shape = (small.shape[1], _KERNEL, _KERNEL, large.shape[1])
    return products.view(shape).permute(0, 3, 1, 2)


def _serves(x: Tensor, weight: Tensor, pixels: int, multiple: int) -> bool:
    """Whether there are weights to train on small maps, by a CPU's own arithmetic.

    What autocast, torch.compile, torch.func and tracing do is left to them.
    """
    elsewhere = (
        torch.is_autocast_enabled("cpu")
        or torch.compiler.is_compiling()
        or torch._C._get_tracing_state() is not None
        or torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
    )
    if elsewhere or not (torch.is_grad_enabled() and weight.requires_grad and x.dim() == 4):
        return False
    height, width = x.shape[2:]
    small = height * width <= pixels and height % multiple == 0 and width % multiple == 0
    return small and x.dtype in (torch.float32, torch.float64) and x.device.type == "cpu"
