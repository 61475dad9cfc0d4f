"""Convolutions whose derivatives of every order are a few convolutions, with any number of groups.

PyTorch's own second derivative of a grouped convolution runs one convolution per group. Here the
gradients are the same functions again: the input's is a transposed convolution, the weight's is
one call of ``aten::convolution_backward``.

The names and flags are those of ``conv2d_gradfix`` in NVIDIA's projects; the functions read the
flags at each call:

- ``enabled``: if False, the functions are PyTorch's own.
- ``weight_gradients_disabled``: if True, a backward pass gives the weights no gradients. Set it
  with :func:`no_weight_gradients`.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad

from ganfast.stylegan._arguments import Factor, check_convolution, pair

enabled = True
weight_gradients_disabled = False


@contextmanager
def no_weight_gradients(disable: bool = True) -> Iterator[None]:
    """Give weights of convolutions no gradients in backward passes within the block.

    Args:
        disable: False leaves things as they are.
    """
    global weight_gradients_disabled
    before = weight_gradients_disabled
    weight_gradients_disabled = before or disable
    try:
        yield
    finally:
        weight_gradients_disabled = before


class _Geometry(NamedTuple):
    """The arguments of ``aten::convolution`` after the tensors."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    transposed: bool
    output_padding: tuple[int, int]
    groups: int


def _autocasts(x: Tensor) -> bool:
    return x.device.type != "meta" and torch.is_autocast_enabled(x.device.type)


def without_autocast(x: Tensor) -> AbstractContextManager[Any]:
    """Keep the dtypes of what runs on x's device as they are."""
    return torch.autocast(x.device.type, enabled=False) if _autocasts(x) else nullcontext()


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, b: Tensor | None, geometry: _Geometry) -> Tensor:
        ctx.geometry, ctx.size = geometry, x.shape[2:]
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, w)
        with without_autocast(x):  # on CUDA it would cast again, in a backward pass within it too
            return torch.convolution(x, w, b, *geometry)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, w = ctx.saved_tensors
        dx = dw = db = None
        if ctx.needs_input_grad[0]:
            dx = _input_gradient(dy, w, ctx.geometry, ctx.size)
        if ctx.needs_input_grad[1] and not weight_gradients_disabled:
            dw = _weight_gradient(dy, x, w.detach(), ctx.geometry)
        if ctx.needs_input_grad[2]:
            db = dy.sum((0, 2, 3))
        return dx, dw, db, None


class _WeightGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, dy: Tensor, x: Tensor, w: Tensor, geometry: _Geometry) -> Tensor:
        """Compute the gradient of a weight; only its shape and layout matter."""
        ctx.geometry = geometry
        ctx.save_for_backward(dy, x)
        dw: Tensor = torch.ops.aten.convolution_backward(
            dy, x, w, None, *geometry, [False, True, False]
        )[1]
        return dw

    @staticmethod
    def backward(ctx: Any, h: Tensor) -> tuple[Tensor | None, ...]:
        dy, x = ctx.saved_tensors
        ddy = dx = None
        if ctx.needs_input_grad[0]:
            ddy = _convolution(x, h, None, ctx.geometry)
        if ctx.needs_input_grad[1]:
            dx = _input_gradient(dy, h, ctx.geometry, x.shape[2:])
        return ddy, dx, None, None


_convolution: Callable[..., Tensor] = _Convolution.apply
_weight_gradient: Callable[..., Tensor] = _WeightGradient.apply


def _input_gradient(dy: Tensor, w: Tensor, g: _Geometry, size: torch.Size) -> Tensor:
    rest = [0, 0]
    if not g.transposed:
        rest = [
            size[i] - (dy.shape[i + 2] - 1) * g.stride[i] + 2 * g.padding[i]
            - g.dilation[i] * (w.shape[i + 2] - 1) - 1
            for i in (0, 1)
        ]  # fmt: skip
    back = g._replace(transposed=not g.transposed, output_padding=(rest[0], rest[1]))
    dx = _convolution(dy, w, None, back)
    # A transposed convolution whose output padding exceeds its stride has a longer one.
    return dx if dx.shape[2:] == size else dx[:, :, : size[0], : size[1]]


def _served() -> bool:
    """Say whether autograd functions in Python serve this call: not where torch traces it."""
    return (
        enabled
        and not torch.compiler.is_compiling()
        and not torch._C._get_tracing_state()
        and not torch._C._are_functorch_transforms_active()
        and forward_ad._current_level < 0
    )


def _in_one_dtype(x: Tensor, w: Tensor, b: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the tensors as autocast takes them."""
    if _autocasts(x) and torch.float64 not in (x.dtype, w.dtype):
        dtype = torch.get_autocast_dtype(x.device.type)
        return x.to(dtype), w.to(dtype), None if b is None else b.to(dtype)
    if w.dtype != x.dtype:
        raise TypeError(f"weight must have the dtype of input, {x.dtype}, got {w.dtype}")
    return x, w, b


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Factor = 1,
    padding: Factor = 0,
    dilation: Factor = 1,
    groups: int = 1,
) -> Tensor:
    r"""Convolution as :func:`torch.nn.functional.conv2d`, with cheap second derivatives.

    .. math:: y_{noij} = b_o + \sum_{ckl} w_{ockl} \, x_{n, c, s i + d k - p, s j + d l - p}

    In each group. The derivatives of any order are convolutions with the same groups:
    :math:`dx = \mathrm{convT}(dy, w)`, and :math:`dw` is linear in dy and x, so that its own are
    :math:`\mathrm{conv}(x, h)` and :math:`\mathrm{convT}(dy, h)` with the cotangent h of dw.

    Args:
        input: x, (N, C, H, W).
        weight: w, (O, C / groups, height, width), in the dtype of x, or autocast's.
        bias: b, (O).
        stride, padding, dilation: s, p and d, one for both axes or (y, x), as in torch.

    Returns:
        y, (N, O, ., .).

    Raises:
        TypeError: a tensor is not a floating-point tensor, dtypes differ, or a number is no
            integer.
        ValueError: shapes do not fit.
    """
    check_convolution("input", input, weight, groups, 1)
    s, p, d = pair("stride", stride), pair("padding", padding, 0), pair("dilation", dilation)
    if not _served():
        return torch.conv2d(input, weight, bias, s, p, d, groups)
    geometry = _Geometry(s, p, d, False, (0, 0), groups)
    return _convolution(*_in_one_dtype(input, weight, bias), geometry)


def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Factor = 1,
    padding: Factor = 0,
    output_padding: Factor = 0,
    groups: int = 1,
    dilation: Factor = 1,
) -> Tensor:
    r"""Transposed convolution as :func:`torch.nn.functional.conv_transpose2d`; see :func:`conv2d`.

    Args:
        input: (N, C, H, W).
        weight: (C, O / groups, height, width).
        bias: (O).
        stride, padding, output_padding, groups, dilation: as in torch and :func:`conv2d`.

    Returns:
        (N, O, ., .).

    Raises:
        TypeError, ValueError: as :func:`conv2d`.
    """
    check_convolution("input", input, weight, groups, 0)
    s, p, d = pair("stride", stride), pair("padding", padding, 0), pair("dilation", dilation)
    o = pair("output_padding", output_padding, 0)
    if not _served():
        return torch.conv_transpose2d(input, weight, bias, s, p, o, groups, d)
    geometry = _Geometry(s, p, d, True, o, groups)
    return _convolution(*_in_one_dtype(input, weight, bias), geometry)
