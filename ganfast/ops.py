"""One thin typed function per op: the compiled kernel where it serves, else the reference twin."""

import math
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor
from torch.autograd import forward_ad

from ganfast import _ext, reference
from ganfast._checks import (
    PHIS,
    Name,
    check_dtype,
    check_flat,
    check_norms,
    check_rows,
    in_one_dtype,
    loss_dtype,
    place,
)

_compiling = torch.compiler.is_compiling
_transforming = torch._C._are_functorch_transforms_active

# The bare functions, looked up once: what torch.ops puts around them costs as much as a kernel.
# Those that are called on few numbers go without boxes, too.
if _ext.DEVICES:
    from ganfast._C import flat as _flat
    from ganfast._C import rows as _rows

    _augment = torch.ops.ganfast.augment.default._op
    _bias_act = torch.ops.ganfast.bias_act.default._op
    _upfirdn2d = torch.ops.ganfast.upfirdn2d.default._op
    _lrelu_mask = torch.ops.ganfast.lrelu_mask.default._op
    _convolution_ = torch.ops.ganfast.convolution_.default._op


def _compiled(x: Sequence[Tensor]) -> bool:
    """Say whether the compiled kernels serve this call, unless :func:`_plain` says otherwise.

    They do not under torch.func and forward-mode differentiation, which C++ autograd functions do
    not take part in, nor under torch.compile, which fuses the reference's formula with what is
    around it.
    """
    return (
        bool(x)
        and ("cpu" if x[0].is_cpu else x[0].device.type) in _ext.DEVICES  # is_cpu is quicker
        and not _compiling()
        and not _transforming()
        and forward_ad._current_level < 0
    )


_PLAIN = frozenset({Tensor, torch.nn.Parameter})


def _plain(*lists: Sequence[Tensor | None]) -> bool:
    """Say whether the kernels take tensors of these types: none is complex, or of a subclass.

    Subclasses, such as DTensor, define what the operations of torch mean. The kernels themselves
    refuse them, so this is only asked after a refusal, and where a call costs more than the answer.
    """
    tensors = [x for part in lists for x in part if x is not None]
    return all(type(x) in _PLAIN and not x.is_complex() for x in tensors)


def _in_one_shape(
    x: Sequence[Tensor], y: Sequence[Tensor]
) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """Return lists as the kernels take them: each y is like its x, or each y is one number.

    Both are in the dtype of the loss, as numbers and samples may be means.
    """
    if all(xk.shape == yk.shape for xk, yk in zip(x, y, strict=False)):
        return x, y
    wide = loss_dtype(*x)
    if all(yk.numel() == 1 for yk in y):
        return x, [yk.to(wide) for yk in y]
    # Expanded in double, in which their gradients are then summed.
    doubles = [(yk if yk.numel() > 1 else yk.reshape(())).double() for yk in y]
    x = [xk.to(wide) for xk in x]
    return x, [yk.expand_as(xk).to(wide) for xk, yk in zip(x, doubles, strict=True)]


def flat(
    x: Sequence[Tensor],
    f: str,
    weight: Sequence[float],
    a: Sequence[float],
    b: Sequence[float],
    y: Sequence[Tensor] = (),
    *,
    per_term: bool = False,
    broadcast: bool = True,
    name: Name = place,
) -> Tensor:
    r"""Weighted sum of the means of a function over the tensors of a list, or over differences.

    .. math:: L = \sum_k w_k \, \frac{1}{n_k} \sum_i f(x_{ki} - y_{ki}; a_k, b_k)

    Args:
        x: tensors of any shapes and strides on one device; float64, float32, float16 or bfloat16,
            or for ``l1`` complex. Where dtypes differ, all are widened, to float32 or better.
        f: of d = x - y, or of d = x where there is no y: ``softplus`` log(1 + exp(a d)),
            ``square`` (d - a)^2, ``hinge`` relu(b + a d), ``squared_hinge`` relu(b + a d)^2,
            ``l1`` abs(d). Of x alone also: ``bce_with_logits`` with target a, ``bce`` on
            probabilities with target a, ``identity`` x.
        weight: w_k, one number for each tensor.
        a: first parameter of f for each tensor.
        b: second parameter of f for each tensor.
        y: nothing; or for each x a tensor of its shape; or for each x one number, or one sample
            that is subtracted from all of its samples. No copy is made of tensors with x's shape,
            dtype and strides, nor of numbers of the result's dtype; a sample is expanded to a copy.
        per_term: return the terms of the sum instead of the sum.
        broadcast: let a y be one number or one sample; else each must have x's shape.
        name: the caller's name of a tensor, for errors.

    Returns:
        Scalar, or with ``per_term`` one number for each tensor, (K,); float64 for float64 tensors,
        else float32. Differentiable twice; gradients have the dtypes of x and y, and are computed
        for those tensors alone that want one.

    Raises:
        TypeError: a tensor is not floating point.
        ValueError: the list or a tensor is empty; shapes, devices or lengths do not fit; f is
            unknown or takes no y.
        NotImplementedError: a derivative of the third order is asked for.
    """
    compiled = _compiled(x)
    if compiled:
        try:
            loss: Tensor = _flat(x, y, f, weight, a, b, per_term, None, broadcast)
        except (TypeError, ValueError):
            pass  # unfit, of several dtypes, or of types that the kernel does not take
        else:
            return loss
    check_flat(x, y, f, weight, a, b, name, broadcast)
    x, y = in_one_dtype(x, y)
    if compiled and _plain(x, y):
        x, y = _in_one_shape(x, y)
        return cast(Tensor, _flat(x, y, f, weight, a, b, per_term, None, broadcast))
    return reference.flat(x, f, weight, a, b, y, per_term)


def flat_with_stats(
    x: Sequence[Tensor],
    f: str,
    weight: Sequence[float],
    a: Sequence[float],
    b: Sequence[float],
    threshold: float,
    *,
    name: Name = place,
) -> tuple[Tensor, Tensor]:
    """The sum of :func:`flat` without a y, and statistics of x from the same launch.

    Args:
        x, f, weight, a, b, name: as in :func:`flat`.
        threshold: what the elements are compared with.

    Returns:
        The scalar of :func:`flat`, and a tensor (K, 4) of its dtype, not differentiable: the terms
        w_k mean f(x_k), the means of x_k, and the shares of the elements of x_k above and below the
        threshold.

    Raises:
        TypeError, ValueError, NotImplementedError: as :func:`flat`.
    """
    compiled = _compiled(x)
    if compiled:
        try:
            loss, stats = _flat(x, (), f, weight, a, b, False, threshold, False)
        except (TypeError, ValueError):
            pass  # unfit, of several dtypes, or of types that the kernel does not take
        else:
            return loss, stats
    check_flat(x, (), f, weight, a, b, name)
    (x,) = in_one_dtype(x)
    if compiled and _plain(x):
        loss, stats = _flat(x, (), f, weight, a, b, False, threshold, False)
        return loss, stats
    return reference.flat_with_stats(x, f, weight, a, b, threshold)


def _constant(*numbers: Sequence[Tensor | None]) -> bool:
    """Say whether no numbers of samples want a gradient, which the kernels do not give."""
    for part in numbers:
        for s in part:
            if s is not None and s.requires_grad:
                return False
    return True


def rows(
    x: Sequence[Tensor],
    f: str,
    weight: Sequence[float],
    a: Sequence[float],
    b: Sequence[float],
    y: Sequence[Tensor] = (),
    *,
    sample_weight: Sequence[Tensor | None] = (),
    sample_a: Sequence[Tensor | None] = (),
    normalize: bool = False,
    name: Name = place,
) -> Tensor:
    r"""Weighted sum of the means of a function over each sample of the tensors of a list.

    .. math:: L_b = \sum_k w_k \, s_{kb} \frac{1}{m_k} \sum_j f(x_{kbj} - y_{kbj}; a_k, b_k)

    Args:
        x: tensors (B, ...) of any strides on one device, with as many samples; float64, float32,
            float16 or bfloat16, see :func:`flat`. A sample of tensor k has m_k elements.
        f, weight, a, b, name: as in :func:`flat`.
        y: nothing, or for each x a tensor of its shape.
        sample_weight: s_k (B,), or None for ones, for each tensor; nothing where all are ones.
        sample_a: (B,) in place of a_k, or None, for each tensor; nothing where there are none.
        normalize: divide the s_k by their mean, where a sum of 0 counts as 1.

    Returns:
        (B,); float64 for float64 tensors, else float32, which is the dtype of ``sample_weight`` and
        ``sample_a``, too. Differentiable twice in x and y; gradients have their dtype. Where a
        ``sample_weight`` or a ``sample_a`` requires a gradient, this is the reference twin.

    Raises:
        TypeError: a tensor is not floating point, or numbers of samples have another dtype.
        ValueError: the list or a tensor is empty, or without an axis of samples; samples, shapes,
            devices or lengths do not fit; f is unknown or takes no y.
        NotImplementedError: a derivative of the third order is asked for.
    """
    compiled = _constant(sample_weight, sample_a) and _compiled(x)
    numbers = sample_weight, sample_a, f, weight, a, b, normalize, False, "identity", ()
    if compiled:
        try:
            result: Tensor = _rows(x, y, *numbers)
        except (TypeError, ValueError):
            pass  # unfit, of several dtypes, or of types that the kernel does not take
        else:
            return result
    check_rows(x, y, f, weight, a, b, sample_weight, sample_a, name)
    x, y = in_one_dtype(x, y)
    if compiled and _plain(x, y, sample_weight, sample_a):
        return cast(Tensor, _rows(x, y, *numbers))
    return reference.rows(x, f, weight, a, b, y, sample_weight, sample_a, normalize)


def norms(
    x: Sequence[Tensor],
    phi: str,
    weight: float = 1.0,
    a: float = 0.0,
    b: float = 0.0,
    pixel: bool = False,
    *,
    name: Name = place,
) -> Tensor:
    r"""Weighted mean over samples, or over pixels, of a function of their squared norms.

    .. math:: L = w \, \frac{1}{P} \sum_p \varphi(s_p; a, b), \quad s_p = \sum_k \sum_j x_{kpj}^2

    It is the op :func:`rows` with the square and a phi; torch takes the ``maximum`` of what it
    returns.

    Args:
        x: tensors of any strides on one device, such as the gradients with respect to one or
            several inputs; float64, float32, float16 or bfloat16, see :func:`flat`. The first axis
            is the samples'; with ``pixel`` the second is the channels', and all others agree.
        phi: with n = sqrt(s + b): ``centred`` (n - a)^2, ``one_sided`` relu(n - a)^2; ``square`` s,
            ``power`` s^a, or ``maximum``: L = w max_p s_p, its gradient shared by equal maxima.
        weight: w.
        a: first parameter of phi.
        b: second parameter of phi.
        pixel: sum over the channels of each pixel alone, and take the mean over all pixels.
        name: the caller's name of a tensor, for errors.

    Returns:
        Scalar; float64 for float64 tensors, else float32. Differentiable twice; gradients have the
        dtype of x, and are 0 where a norm is 0.

    Raises:
        TypeError: a tensor is not floating point.
        ValueError: the list or a tensor is empty, devices or shapes do not agree, phi is unknown,
            or ``maximum`` with ``pixel``.
        NotImplementedError: a derivative of the third order is asked for.
    """
    compiled = _compiled(x) and phi in PHIS and not (phi == "maximum" and pixel)
    if compiled:
        try:
            return _norms(x, phi, weight, a, b, pixel)
        except (AttributeError, IndexError, TypeError, ValueError, ZeroDivisionError):
            pass  # unfit, of several dtypes, or of types that the kernel does not take
    check_norms(x, phi, pixel, name)
    (x,) = in_one_dtype(x)
    if compiled and _plain(x):
        return _norms(x, phi, weight, a, b, pixel)
    return reference.norms(x, phi, weight, a, b, pixel)


def _norms(x: Sequence[Tensor], phi: str, weight: float, a: float, b: float, pixel: bool) -> Tensor:
    """:func:`norms` by the kernel."""
    maximum = phi == "maximum"
    # Sums instead of means: each mean is multiplied by what it divides by.
    sums = [float(xk.shape[1] if pixel else xk.numel() // xk.shape[0]) for xk in x]
    zeros = [0.0] * len(x)
    of_phi = "identity" if maximum else phi, (weight, a, b)
    made = _rows(x, (), (), (), "square", sums, zeros, zeros, False, pixel, *of_phi)
    loss: Tensor = weight * made.amax() if maximum else made[0]
    return loss


def _check_augment(x: Tensor, u: Tensor) -> None:
    """Say what the kernels refuse, and refuse it where they do not serve."""
    check_dtype("augment: x", x)
    if x.ndim != 4 or x.numel() == 0:
        expected = "(samples, channels, height, width), none of them 0"
        raise ValueError(f"augment: x must have shape {expected}, got {list(x.shape)}")
    if u.dtype != torch.float32:
        raise TypeError(f"augment: u must have dtype float32, got {u.dtype}")
    if u.ndim != 2 or u.shape[0] != x.shape[0] or u.shape[1] not in (7, 8):
        n = x.shape[0]
        raise ValueError(f"augment: u must have shape ({n}, 7) or ({n}, 8), got {list(u.shape)}")
    if u.device != x.device:
        raise ValueError(f"augment: u must be on the device of x, {x.device}, got {u.device}")


def augment(x: Tensor, u: Tensor, color: bool, translation: bool, cutout: bool) -> Tensor:
    r"""Differentiable augmentation of each sample: colors, then a shift, then a box cut out.

    With u_0 to u_6 drawn for a sample, x is taken through

    .. math:: x + (u_0 - \tfrac12), \quad \mu_{hw} + 2 u_1 (x_{chw} - \mu_{hw}), \quad
              \mu + (u_2 + \tfrac12)(x - \mu),

    with the mean of each pixel's channels and the mean of the sample as they are by then; shifted
    by up to an eighth of its height (u_3) and width (u_4), with zeros from outside; and set to zero
    in a box of half its height and width, centred anywhere (u_5, u_6). These are the three
    policies of DiffAugment (Zhao et al. 2020, arXiv:2006.10738).

    Args:
        x: images (N, C, H, W), contiguous or channels_last (others are copied); float64, float32,
            float16 or bfloat16.
        u: float32 (N, 7), uniform in [0, 1). With an eighth column, samples where that is not
            negative are left as they are.
        color: change brightness, saturation and contrast.
        translation: shift.
        cutout: cut out.

    Returns:
        As x. Differentiable in x, to any order.

    Raises:
        TypeError: x is not floating point, or u not float32.
        ValueError: x or u has another shape, or they are on different devices.
    """
    if _compiled([x]) and _plain([x, u]):
        try:
            return cast(Tensor, _augment(x, u, color, translation, cutout))
        except ValueError:
            _check_augment(x, u)
            raise
    _check_augment(x, u)
    return reference.augment(x, u, color, translation, cutout)


class Activation(NamedTuple):
    """What :func:`bias_act` takes where a call names no alpha or gain."""

    alpha: float
    gain: float


#: The activations of :func:`bias_act`; gains as StyleGAN has them.
ACTIVATIONS = {
    "linear": Activation(0.0, 1.0),
    "relu": Activation(0.0, math.sqrt(2)),
    "lrelu": Activation(0.2, math.sqrt(2)),
    "tanh": Activation(0.0, 1.0),
    "sigmoid": Activation(0.0, 1.0),
    "elu": Activation(0.0, 1.0),
    "selu": Activation(0.0, 1.0),
    "softplus": Activation(0.0, 1.0),
    "swish": Activation(0.0, math.sqrt(2)),
}


def _check_bias_act(x: Tensor, b: Tensor | None, dim: int, act: str, clamp: float | None) -> None:
    """Say what the kernels refuse, and refuse it where they do not serve."""
    if act not in ACTIVATIONS:
        *first, last = ACTIVATIONS
        raise ValueError(f"bias_act: act must be {', '.join(first)} or {last}, got {act}")
    if clamp is not None and not clamp >= 0:
        raise ValueError(f"bias_act: clamp must be None or >= 0, got {clamp}")
    check_dtype("bias_act: x", x)
    if b is None:
        return
    if not 0 <= dim < x.ndim:
        raise ValueError(f"bias_act: dim must be one of the {x.ndim} dimensions of x, got {dim}")
    if b.dtype != x.dtype:
        raise TypeError(f"bias_act: b must have the dtype of x, {x.dtype}, got {b.dtype}")
    if b.ndim != 1 or b.shape[0] != x.shape[dim]:
        raise ValueError(f"bias_act: b must have shape ({x.shape[dim]}), got {list(b.shape)}")
    if b.device != x.device:
        raise ValueError(f"bias_act: b must be on the device of x, {x.device}, got {b.device}")


def bias_act(
    x: Tensor,
    b: Tensor | None = None,
    dim: int = 1,
    act: str = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
) -> Tensor:
    r"""Bias, activation, gain and clamp in one pass, as StyleGAN's layers have them.

    .. math:: y = \operatorname{clip}(g \, f(x + b; \alpha), -c, c)

    Half types are computed in float32 and rounded once. NaN stays NaN.

    Args:
        x: of any shape, with elements that fill a block of memory in any order, such as
            channels_last (others are copied); float64, float32, float16 or bfloat16.
        b: one number for each place of dimension dim, (x.shape[dim],), of the dtype of x.
        dim: the dimension of the channels, from 0.
        act: f: ``linear``, ``relu``, ``lrelu``, ``tanh``, ``sigmoid``, ``elu``, ``selu``,
            ``softplus`` or ``swish``.
        alpha: slope of lrelu below 0; 0.2 where it is None. The others have none.
        gain: g; where it is None sqrt(2) for relu, lrelu and swish, else 1.
        clamp: c >= 0, or None. No gradient passes where abs(y) = c.

    Returns:
        As x. Differentiable in x and b: to any order for linear, relu and lrelu, else twice. What
        the graph holds is y, which the next layer holds anyway; for swish, and for a negative
        alpha, it is x and b.

    Raises:
        TypeError: x is not floating point, or b has another dtype.
        ValueError: b has another shape or device; dim, act or clamp is none.
        NotImplementedError: a derivative of the third order is asked for where there is none.
    """
    default = ACTIVATIONS.get(act, ACTIVATIONS["linear"])
    alpha = default.alpha if alpha is None else alpha
    gain = default.gain if gain is None else gain
    if _compiled([x]) and _plain([x, b]):
        try:
            return cast(Tensor, _bias_act(x, b, dim, act, alpha, gain, clamp))
        except ValueError:
            _check_bias_act(x, b, dim, act, clamp)
            raise
    _check_bias_act(x, b, dim, act, clamp)
    return reference.bias_act(x, b, dim, act, alpha, gain, clamp)


def lrelu(x: Tensor, alpha: float, gain: float, clamp: float | None) -> Tensor:
    r"""Leaky ReLU, gain and clamp of images that nothing else keeps.

    The values and gradients of :func:`bias_act`, which keeps y for its derivatives; this keeps two
    bits for each element instead.

    Args:
        x: images, (samples, channels, height, width), in a dtype of :func:`bias_act`.
        alpha: slope of negative elements, at least 0.
        gain: > 0.
        clamp: at least 0, or None.

    Returns:
        y, like x.
    """
    fits = x.ndim == 4 and alpha >= 0 and gain > 0 and (clamp is None or clamp >= 0)
    if torch.is_grad_enabled() and x.requires_grad and fits and _compiled([x]) and _plain([x]):
        y: Tensor = _lrelu_mask(x, alpha, gain, clamp)[0]
        return y
    return bias_act(x, None, act="lrelu", alpha=alpha, gain=gain, clamp=clamp)


def _check_upfirdn2d(
    x: Tensor, f: Tensor, up: Sequence[int], down: Sequence[int], padding: Sequence[int]
) -> None:
    """Say what the kernels refuse, and refuse it where they do not serve."""
    check_dtype("upfirdn2d: x", x)
    if x.ndim != 4:
        expected = "(samples, channels, height, width)"
        raise ValueError(f"upfirdn2d: x must have shape {expected}, got {list(x.shape)}")
    if f.dtype != torch.float32:
        raise TypeError(f"upfirdn2d: f must have dtype float32, got {f.dtype}")
    if f.ndim not in (1, 2) or f.numel() == 0:
        expected = "(taps,) or (height, width), none of them 0"
        raise ValueError(f"upfirdn2d: f must have shape {expected}, got {list(f.shape)}")
    if f.device != x.device:
        raise ValueError(f"upfirdn2d: f must be on the device of x, {x.device}, got {f.device}")
    for name, pair in (("up", up), ("down", down)):
        if len(pair) != 2 or min(pair) < 1:
            raise ValueError(f"upfirdn2d: {name} must be two numbers >= 1, got {list(pair)}")
    if len(padding) != 4:
        expected = "four numbers (left, right, top, bottom)"
        raise ValueError(f"upfirdn2d: padding must be {expected}, got {list(padding)}")
    rows, columns = f.shape[0], f.shape[-1]
    height = x.shape[2] * up[1] + padding[2] + padding[3]
    width = x.shape[3] * up[0] + padding[0] + padding[1]
    if height < rows or width < columns:
        raise ValueError(
            "upfirdn2d: x must be at least as large as f after padding, got "
            f"{height} x {width} for a filter of {rows} x {columns}"
        )


def upfirdn2d(
    x: Tensor,
    f: Tensor,
    up: tuple[int, int] = (1, 1),
    down: tuple[int, int] = (1, 1),
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    flip_filter: bool = False,
    gain: float = 1.0,
) -> Tensor:
    r"""Upsample, pad or crop, filter and downsample images, in one pass.

    .. math:: y_{ij} = g \sum_{kl} F_{kl} \, u_{i d_y + k, \, j d_x + l}

    with F the filter turned by 180 degrees, or with ``flip_filter`` as it is, and with u the images
    with u_x - 1 zeros after each pixel of a row and u_y - 1 rows of zeros after each row, padded
    with zeros. Half types are computed in float32, and rounded once in each pass.

    Args:
        x: images (N, C, H, W), contiguous or channels_last (others are copied); float64, float32,
            float16 or bfloat16.
        f: filter (height, width), or (taps,) for one that is applied along x and then, in a second
            pass, along y; float32.
        up: factors (x, y).
        down: factors (x, y).
        padding: left, right, top, bottom, in pixels of the upsampled image; where it is negative,
            the image is cropped.
        flip_filter: correlate with f, instead of convolving.
        gain: g.

    Returns:
        (N, C, (H u_y + padding - height) // d_y + 1, ...), of the dtype and memory format of x.
        Differentiable in x, to any order.

    Raises:
        TypeError: x is not floating point, or f not float32.
        ValueError: a shape, factor or padding does not fit.
        NotImplementedError: f requires a gradient.
    """
    if _compiled([x]) and _plain([x, f]):
        if f.ndim != 1:
            try:
                return cast(Tensor, _upfirdn2d(x, f, up, down, padding, flip_filter, gain))
            except ValueError:
                _check_upfirdn2d(x, f, up, down, padding)
                raise
        _check_upfirdn2d(x, f, up, down, padding)
        left, right, top, bottom = padding
        along = (up[0], 1), (down[0], 1), (left, right, 0, 0), flip_filter, 1.0
        across = (1, up[1]), (1, down[1]), (0, 0, top, bottom), flip_filter, gain
        return cast(Tensor, _upfirdn2d(_upfirdn2d(x, f[None], *along), f[:, None], *across))
    _check_upfirdn2d(x, f, up, down, padding)
    return reference.upfirdn2d(x, f, up, down, padding, flip_filter, gain)


def upfirdn2d_serves(x: Tensor, f: Tensor) -> bool:
    """Whether the kernel of `upfirdn2d` takes these images and this filter."""
    return f.dtype == torch.float32 and _compiled([x]) and _plain([x, f])


def convolution_serves() -> bool:
    """Whether `convolution_` is compiled, on a CPU with AVX2 and no AVX-512.

    Where there is AVX-512, oneDNN's kernels make use of it and this one does not.
    """
    return "cpu" in _ext.DEVICES and torch.backends.cpu.get_cpu_capability() == "AVX2"


def convolution_(
    out: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    lower: Tensor,
    kernel: tuple[int, int],
    stride: int,
    padding: tuple[int, int],
    tile: tuple[int, ...],
) -> None:
    r"""A convolution of images into given memory, cut off below: with lower 0, its ReLU.

    .. math:: out = \max(w * x + b, lower)

    Args:
        out: (N, O, H', W'), float32 on the CPU, channels_last or a slice of the channels of such.
        x: (N, C, H, W), the same.
        weight: for panels of 16 channels of the result (O / 16, kh kw, C, 16), and with tiles the
            numbers that each w is spread to (n, O / 16, C, 16); see `ganfast.features.packed`.
        bias: by channel, O filled up to a multiple of 16.
        lower: the same; -inf for none.
        kernel: its height and width.
        stride: of both.
        padding: with zeros, above and below, left and right.
        tile: height and width of the tiles that Winograd's minimal filtering computes at once, or
            none for the plain sum.

    No gradients pass through. Raises TypeError for another dtype, ValueError for shapes and
    strides that do not fit.
    """
    _convolution_(out, x, weight, bias, lower, kernel, stride, padding, tile)
