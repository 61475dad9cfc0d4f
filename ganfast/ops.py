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
    _polar = torch.ops.ganfast.polar.default


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


def polar(
    a: Tensor, coefficients: Sequence[float], single_steps: int
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Polar factors by a fixed number of matrix products.

    .. math:: X_0 = A / \lambda, \quad X_{k+1} = X_k (a_k I + b_k G_k + c_k G_k^2), \quad
              G_k = X_k^T X_k

    with :math:`\lambda \ge \|A\|_2` taken from A. Nothing waits for the device.

    Args:
        a: matrices (B, m, n) with m >= n >= 1, float64.
        coefficients: a_k, b_k, c_k of each step: those of `ganfast.metrics.polar`.
        single_steps: the first steps that are computed in float32; fewer than all.

    Returns:
        u (B, m, n), the inner products <u, a> (B,), and |a - a u^T u|_F^2 (B,), which is 0 where
        all singular values have come to 1; float64. They carry no gradient.

    Raises:
        TypeError: a is not float64.
        ValueError: a has another shape, or the steps do not fit.
    """
    if _compiled([a]):
        u, inner, residual = _polar(a, coefficients, single_steps)
        return u, inner, residual
    if a.dtype != torch.float64:
        raise TypeError(f"polar: a must have dtype float64, got {a.dtype}")
    if a.ndim != 3 or not a.shape[1] >= a.shape[2] >= 1:
        expected = "(matrices, rows, columns) with rows >= columns >= 1"
        raise ValueError(f"polar: a must have shape {expected}, got {list(a.shape)}")
    if not coefficients or len(coefficients) % 3 or not 0 <= 3 * single_steps < len(coefficients):
        raise ValueError(
            "polar: coefficients must be three for each step and single_steps less than the steps, "
            f"got {len(coefficients)} coefficients and {single_steps}"
        )
    with torch.no_grad():
        return reference.polar(a, coefficients, single_steps)
