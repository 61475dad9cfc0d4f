"""One thin typed function per op: the compiled kernel where it serves, else the reference twin."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd import forward_ad

from ganfast import _ext, reference

_FLOATING = frozenset({torch.float64, torch.float32, torch.float16, torch.bfloat16})

# The overloads, looked up once: a lookup by name costs as much as a small kernel.
if _ext.DEVICES:
    _unary_reduce = torch.ops.ganfast.unary_reduce.default
    _norm_reduce = torch.ops.ganfast.norm_reduce.default


def _compiled(x: Sequence[Tensor]) -> bool:
    """Say whether the compiled kernels serve this call.

    They do not under torch.func and forward-mode differentiation, which C++ autograd functions do
    not take part in, nor under torch.compile, which fuses the reference's formula with what is
    around it.
    """
    return (
        x[0].device.type in _ext.DEVICES
        and not torch.compiler.is_compiling()
        and not torch._C._are_functorch_transforms_active()
        and forward_ad._current_level < 0
    )


def _check_list(op: str, name: str, x: Sequence[Tensor]) -> None:
    """Refuse what the kernels refuse, in the same words."""
    for k, xk in enumerate(x):
        if xk.dtype not in _FLOATING:
            floating = "float64, float32, float16 or bfloat16"
            raise TypeError(f"{op}: {name}[{k}] must have dtype {floating}, got {xk.dtype}")
        for what, got, first, error in (
            ("dtype", xk.dtype, x[0].dtype, TypeError),
            ("device", xk.device, x[0].device, ValueError),
        ):
            if got != first:
                raise error(
                    f"{op}: {name}[{k}] must have the {what} of {name}[0], {first}, got {got}"
                )
        if xk.numel() == 0:
            shape = list(xk.shape)
            raise ValueError(f"{op}: {name}[{k}] must hold at least one element, got shape {shape}")


def unary_reduce(
    x: Sequence[Tensor],
    f: str,
    weight: Sequence[float],
    a: Sequence[float],
    b: Sequence[float],
) -> Tensor:
    r"""Weighted sum of the means of a function over each tensor of a list.

    .. math:: L = \sum_k w_k \, \frac{1}{n_k} \sum_i f(x_{ki}; a_k, b_k)

    Args:
        x: tensors of any shapes and strides; float64, float32, float16 or bfloat16, all of one
            dtype and device.
        f: ``softplus`` log(1 + exp(a x)), ``bce_with_logits`` with target a, ``bce`` on
            probabilities with target a, ``square`` (x - a)^2, ``identity`` x, or ``hinge``
            relu(b + a x).
        weight: w_k, one number for each tensor.
        a: first parameter of f for each tensor.
        b: second parameter of f for each tensor.

    Returns:
        Scalar; float64 for float64 tensors, else float32. Differentiable twice; gradients have the
        dtype of x.

    Raises:
        TypeError: a tensor is not floating point, or the dtypes differ.
        ValueError: the list or a tensor is empty, devices or lengths differ, or f is unknown.
        NotImplementedError: a derivative of the third order is asked for.
    """
    if not x:
        raise ValueError("unary_reduce: x must hold at least one tensor, got an empty list")
    if _compiled(x):
        loss: Tensor = _unary_reduce(x, f, weight, a, b)
        return loss
    _check_list("unary_reduce", "x", x)
    return reference.unary_reduce(x, f, weight, a, b)


_NORM_FUNCTORS = ("centred", "one_sided", "square", "power", "maximum")
_MAX_NORM_TERMS = 64


def _check_norm_reduce(g: Sequence[Tensor], phi: str, pixel: bool) -> None:
    """Refuse what the kernels refuse, in the same words."""
    _check_list("norm_reduce", "g", g)
    if len(g) > _MAX_NORM_TERMS:
        raise ValueError(
            f"norm_reduce: g must hold at most {_MAX_NORM_TERMS} tensors, got {len(g)}"
        )
    least, meaning = (2, "samples and channels") if pixel else (1, "the first of samples")
    what = "shape of g[0] but for the channels," if pixel else "samples of g[0], of shape"
    for k, gk in enumerate(g):
        shape, first = list(gk.shape), list(g[0].shape)
        if len(shape) < least:
            raise ValueError(
                f"norm_reduce: g[{k}] must have at least {least} dimensions, {meaning}, "
                f"got shape {shape}"
            )
        if shape[0] != first[0] or (pixel and shape[2:] != first[2:]):
            raise ValueError(f"norm_reduce: g[{k}] must have the {what} {first}, got shape {shape}")
    if phi not in _NORM_FUNCTORS:
        raise ValueError(f"norm_reduce: phi must be one of {' '.join(_NORM_FUNCTORS)}, got {phi}")
    if pixel and phi == "maximum":
        raise ValueError("norm_reduce: pixel must be False for maximum, which is over samples")


def norm_reduce(
    g: Sequence[Tensor],
    phi: str,
    weight: float = 1.0,
    a: float = 0.0,
    b: float = 0.0,
    pixel: bool = False,
) -> Tensor:
    r"""Weighted mean over samples, or over pixels, of a function of the squared gradient norm.

    .. math:: L = w \, \frac{1}{B} \sum_b \varphi(s_b; a, b), \quad s_b = \sum_k \sum_j g_{kbj}^2

    Args:
        g: gradients with respect to one or several inputs, of any strides; float64, float32,
            float16 or bfloat16, all of one dtype and device. Their first dimension is the samples';
            with ``pixel`` the second is the channels', and all others agree.
        phi: with n = sqrt(s + b): ``centred`` (n - a)^2, ``one_sided`` relu(n - a)^2; ``square`` s,
            ``power`` s^a, or ``maximum``: L = w max_b s_b, its gradient shared by equal maxima.
        weight: w.
        a: first parameter of phi.
        b: second parameter of phi.
        pixel: sum over the channels of each pixel alone, and take the mean over all pixels.

    Returns:
        Scalar; float64 for float64 tensors, else float32. Differentiable twice; gradients have the
        dtype of g, and are 0 where a norm is 0.

    Raises:
        TypeError: a tensor is not floating point, or the dtypes differ.
        ValueError: the list or a tensor is empty, the list holds more than 64 tensors, devices or
            shapes do not agree, phi is unknown, or ``maximum`` with ``pixel``.
        NotImplementedError: a derivative of the third order is asked for.
    """
    if not g:
        raise ValueError("norm_reduce: g must hold at least one tensor, got an empty list")
    if _compiled(g):
        loss: Tensor = _norm_reduce(g, phi, weight, a, b, pixel)[0]
        return loss
    _check_norm_reduce(g, phi, pixel)
    return reference.norm_reduce(g, phi, weight, a, b, pixel)
