"""Bias, activation, gain and clamp in one function."""

from torch import Tensor

from ganfast import ops, reference
from ganfast._names import check_name
from ganfast.stylegan._arguments import check_bias, check_floating


def bias_act(
    x: Tensor,
    b: Tensor | None = None,
    dim: int = 1,
    act: str = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
) -> Tensor:
    r"""Add a bias, apply an activation, multiply by a gain and clamp.

    .. math:: y = \mathrm{clip}(g \cdot f(x + b; \alpha), -c, c)

    ======== ================================== ============ ============
    act      f(v)                               alpha        gain
    ======== ================================== ============ ============
    linear   v                                               1
    relu     max(v, 0)                                       :math:`√2`
    lrelu    v if v > 0, else alpha v           0.2          :math:`√2`
    tanh     tanh v                                          1
    sigmoid  1 / (1 + exp(-v))                               1
    elu      v if v >= 0, else exp(v) - 1                    1
    selu     1.0507 (v, or 1.6733 (exp(v) - 1))              1
    softplus log(1 + exp v)                                  1
    swish    v / (1 + exp(-v))                               :math:`√2`
    ======== ================================== ============ ============

    float16 and bfloat16 are computed in float32 and rounded once. NaN stays NaN. Where the clamp
    holds a value back, the gradient is 0. linear, relu and lrelu have derivatives of any order, the
    others two where the kernel is compiled.

    Args:
        x: of any shape with an axis ``dim``; float64, float32, float16 or bfloat16.
        b: bias, one number for each index of axis ``dim``.
        dim: the axis of the bias.
        act: name of the activation.
        alpha: slope of lrelu; the default is in the table.
        gain: g; the default is in the table.
        clamp: c >= 0, or None for no clamp.

    Returns:
        y, in the shape, dtype and layout of x.

    Raises:
        TypeError: x or b is no floating-point tensor.
        ValueError: the name is unknown, the bias does not fit x, or the clamp is negative.

    Source: Karras et al. 2020, arXiv:1912.04958 and arXiv:2006.06676.
    """
    check_floating("x", x)
    check_name("act", act, ops.ACTIVATIONS)
    if clamp is not None and not clamp >= 0:
        raise ValueError(f"clamp must be None or at least 0, got {clamp}")
    if b is not None:
        if not -x.dim() <= dim < x.dim():
            raise ValueError(f"dim must be an axis of x, which has {x.dim()}, got {dim}")
        check_bias("b", b, x, dim)
    alpha = ops.ACTIVATIONS[act].alpha if alpha is None else float(alpha)
    gain = ops.ACTIVATIONS[act].gain if gain is None else float(gain)
    clamp = None if clamp is None else float(clamp)
    dim = dim % x.dim()
    if b is None or b.dtype == x.dtype:
        return ops.bias_act(x, b, dim, act, alpha, gain, clamp)
    # The kernel has one dtype: a float32 bias is added to half images before they are rounded.
    return reference.bias_act(x, b, dim, act, alpha, gain, clamp)
