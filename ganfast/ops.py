"""One thin typed function per op: the compiled kernel where it serves, else the reference twin."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.autograd import forward_ad

from ganfast import _ext, reference

_FLOATING = frozenset({torch.float64, torch.float32, torch.float16, torch.bfloat16})

_compiling = torch.compiler.is_compiling
_transforming = torch._C._are_functorch_transforms_active

# The bare functions, looked up once: what torch.ops puts around them costs as much as a kernel.
# Those that are called on few numbers go without boxes, too.
if _ext.DEVICES:
    from ganfast._C import pair_reduce as _pair_reduce
    from ganfast._C import unary_reduce as _unary_reduce
    from ganfast._C import unary_reduce_stats as _unary_reduce_stats
    from ganfast._C import unary_rows as _unary_rows
    from ganfast._C import unary_rows_stats as _unary_rows_stats

    _polar = torch.ops.ganfast.polar.default._op
    _norm_reduce = torch.ops.ganfast.norm_reduce.default._op
    _augment = torch.ops.ganfast.augment.default._op
    _convolution_ = torch.ops.ganfast.convolution_.default._op


def _compiled(x: Sequence[Tensor]) -> bool:
    """Say whether the compiled kernels serve this call.

    They do not under torch.func and forward-mode differentiation, which C++ autograd functions do
    not take part in, nor under torch.compile, which fuses the reference's formula with what is
    around it.
    """
    return (
        ("cpu" if x[0].is_cpu else x[0].device.type) in _ext.DEVICES  # is_cpu is quicker
        and not _compiling()
        and not _transforming()
        and forward_ad._current_level < 0
    )


def _check_not_empty(op: str, name: str, x: Sequence[Tensor]) -> None:
    if not x:
        raise ValueError(f"{op}: {name} must hold at least one tensor, got an empty list")


def _check_list(op: str, name: str, x: Sequence[Tensor]) -> None:
    """Refuse the tensors that the kernels refuse."""
    dtype, device = x[0].dtype, x[0].device
    for k, xk in enumerate(x):
        if xk.dtype == dtype and dtype in _FLOATING and xk.device == device and xk.numel():
            continue
        if xk.dtype not in _FLOATING:
            floating = "float64, float32, float16 or bfloat16"
            raise TypeError(f"{op}: {name}[{k}] must have dtype {floating}, got {xk.dtype}")
        for what, got, first, error in (
            ("dtype", xk.dtype, dtype, TypeError),
            ("device", xk.device, device, ValueError),
        ):
            if got != first:
                raise error(
                    f"{op}: {name}[{k}] must have the {what} of {name}[0], {first}, got {got}"
                )
        if xk.numel() == 0:
            shape = list(xk.shape)
            raise ValueError(f"{op}: {name}[{k}] must hold at least one element, got shape {shape}")


def _check_parameters(
    op: str,
    argument: Literal["f", "h"],
    f: str,
    terms: int,
    weight: Sequence[float],
    a: Sequence[float],
    b: Sequence[float],
) -> None:
    """Refuse the parameters that the kernels refuse."""
    functors = reference.UNARY_FUNCTORS if argument == "f" else reference.PAIR_FUNCTORS
    if f not in functors:
        raise ValueError(f"{op}: {argument} must be one of {' '.join(functors)}, got {f}")
    if not len(weight) == len(a) == len(b) == terms:
        raise ValueError(
            f"{op}: weight, a and b must have one number for each of the {terms} tensors, "
            f"got {len(weight)}, {len(a)} and {len(b)}"
        )


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
            probabilities with target a, ``square`` (x - a)^2, ``identity`` x, ``hinge``
            relu(b + a x), or ``squared_hinge`` relu(b + a x)^2.
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
    _check_not_empty("unary_reduce", "x", x)
    if _compiled(x):
        loss: Tensor = _unary_reduce(x, f, weight, a, b)
        return loss
    _check_list("unary_reduce", "x", x)
    _check_parameters("unary_reduce", "f", f, len(x), weight, a, b)
    return reference.unary_reduce(x, f, weight, a, b)


def unary_reduce_stats(
    x: Sequence[Tensor],
    f: str,
    weight: Sequence[float],
    a: Sequence[float],
    b: Sequence[float],
    threshold: float,
) -> tuple[Tensor, Tensor]:
    """Weighted sum of the means of a function, as :func:`unary_reduce`, and statistics of x.

    Args:
        x, f, weight, a, b: as in :func:`unary_reduce`.
        threshold: what the elements are compared with.

    Returns:
        The scalar of :func:`unary_reduce`, and from the same launch a tensor (K, 4) of the scalar's
        dtype, not differentiable. Its rows are the terms w_k mean f(x_k), which add up to the
        scalar, the means of x_k, and the shares of the elements of x_k above and below the
        threshold.

    Raises:
        TypeError, ValueError, NotImplementedError: as :func:`unary_reduce`.
    """
    _check_not_empty("unary_reduce", "x", x)
    if _compiled(x):
        loss, stats = _unary_reduce_stats(x, f, weight, a, b, threshold)
        return loss, stats
    _check_list("unary_reduce", "x", x)
    _check_parameters("unary_reduce", "f", f, len(x), weight, a, b)
    return reference.unary_reduce_stats(x, f, weight, a, b, threshold)


def _check_rows(
    x: Sequence[Tensor],
    sample_weight: Sequence[Tensor | None],
    sample_a: Sequence[Tensor | None],
) -> None:
    """Refuse the samples that the kernels refuse."""
    op = "unary_rows"
    _check_list(op, "x", x)
    for k, xk in enumerate(x):
        if xk.dim() == 0:
            raise ValueError(f"{op}: x[{k}] must have an axis of samples, got a scalar")
        if xk.shape[0] != x[0].shape[0]:
            raise ValueError(
                f"{op}: x[{k}] must have as many samples as x[0], {x[0].shape[0]}, "
                f"got {xk.shape[0]}"
            )
    dtype, device = reference.compute_dtype(x[0]).dtype, x[0].device
    for name, numbers in (("sample_weight", sample_weight), ("sample_a", sample_a)):
        if numbers and len(numbers) != len(x):
            raise ValueError(
                f"{op}: {name} must be empty or have one entry for each of the {len(x)} tensors, "
                f"got {len(numbers)}"
            )
        for k, s in enumerate(numbers):
            if s is None:
                continue
            if s.dtype != dtype:
                raise TypeError(f"{op}: {name}[{k}] must have dtype {dtype}, got {s.dtype}")
            if s.device != device or s.shape != x[0].shape[:1]:
                raise ValueError(
                    f"{op}: {name}[{k}] must be on {device} with one entry for each of the "
                    f"{x[0].shape[0]} samples, got shape {list(s.shape)} on {s.device}"
                )


def _rows_compiled(
    x: Sequence[Tensor],
    sample_weight: Sequence[Tensor | None],
    sample_a: Sequence[Tensor | None],
) -> bool:
    """Say whether the kernels serve this call; else, refuse the samples that they refuse."""
    _check_not_empty("unary_rows", "x", x)
    constant = not any(s is not None and s.requires_grad for s in (*sample_weight, *sample_a))
    if constant and _compiled(x):
        return True
    _check_rows(x, sample_weight, sample_a)
    return False


def unary_rows(
    x: Sequence[Tensor],
    f: str,
    weight: Sequence[float],
    a: Sequence[float],
    b: Sequence[float],
    sample_weight: Sequence[Tensor | None] = (),
    sample_a: Sequence[Tensor | None] = (),
    normalize: bool = False,
) -> Tensor:
    r"""Weighted sum of the means of a function over each sample of the tensors of a list.

    .. math:: L_b = \sum_k w_k \, s_{kb} \frac{1}{m_k} \sum_j f(x_{kbj}; a_k, b_k)

    Args:
        x: tensors (B, ...) of any strides; float64, float32, float16 or bfloat16, all of one dtype
            and device and with as many samples. A sample of tensor k has m_k elements.
        f, weight, a, b: as in :func:`unary_reduce`.
        sample_weight: s_k (B,), or None for ones, for each tensor; nothing where all are ones.
        sample_a: (B,) in place of a_k, or None, for each tensor; nothing where there are none.
        normalize: divide the s_k by their mean, where a sum of 0 counts as 1.

    Returns:
        (B,); float64 for float64 tensors, else float32, which is the dtype of ``sample_weight`` and
        ``sample_a``, too. Differentiable twice in x; gradients have its dtype. Where a
        ``sample_weight`` or a ``sample_a`` requires a gradient, this is the reference twin.

    Raises:
        TypeError: a tensor is not floating point, or dtypes differ.
        ValueError: the list or a tensor is empty, or without an axis of samples; samples, devices
            or lengths differ, or f is unknown.
        NotImplementedError: a derivative of the third order is asked for.
    """
    if _rows_compiled(x, sample_weight, sample_a):
        rows: Tensor = _unary_rows(x, sample_weight, sample_a, f, weight, a, b, normalize)
        return rows
    _check_parameters("unary_rows", "f", f, len(x), weight, a, b)
    return reference.unary_rows(x, f, weight, a, b, sample_weight, sample_a, normalize)


def unary_rows_stats(
    x: Sequence[Tensor],
    f: str,
    weight: Sequence[float],
    a: Sequence[float],
    b: Sequence[float],
    sample_weight: Sequence[Tensor | None],
    sample_a: Sequence[Tensor | None],
    normalize: bool,
    threshold: float,
) -> tuple[Tensor, Tensor]:
    """What :func:`unary_rows` returns, and statistics of x.

    Args:
        x, f, weight, a, b, sample_weight, sample_a, normalize: as in :func:`unary_rows`.
        threshold: what the elements are compared with.

    Returns:
        The (B,) of :func:`unary_rows`, and from the same launch a tensor (K, 4) of its dtype, not
        differentiable. Its rows are the terms sum_b w_k s_kb mean_j f(x_kbj), which add up to the
        sum over the samples, the means of x_k, and the shares of the elements of x_k above and
        below the threshold; these three without the weights of samples.

    Raises:
        TypeError, ValueError, NotImplementedError: as :func:`unary_rows`.
    """
    if _rows_compiled(x, sample_weight, sample_a):
        rows, stats = _unary_rows_stats(
            x, sample_weight, sample_a, f, weight, a, b, normalize, threshold
        )
        return rows, stats
    _check_parameters("unary_rows", "f", f, len(x), weight, a, b)
    return reference.unary_rows_stats(
        x, f, weight, a, b, sample_weight, sample_a, normalize, threshold
    )


def _check_pairs(op: str, x: Sequence[Tensor], y: Sequence[Tensor]) -> None:
    """Refuse the pairs that the kernels refuse."""
    _check_list(op, "x", x)
    if len(x) != len(y):
        raise ValueError(
            f"{op}: x and y must have the same number of tensors, got {len(x)} and {len(y)}"
        )
    for k, (xk, yk) in enumerate(zip(x, y, strict=True)):
        for what, wanted, got, error in (
            ("dtype", xk.dtype, yk.dtype, TypeError),
            ("device", xk.device, yk.device, ValueError),
            ("shape", list(xk.shape), list(yk.shape), ValueError),
        ):
            if got != wanted:
                raise error(f"{op}: y[{k}] must have the {what} of x[{k}], {wanted}, got {got}")


def pair_reduce(
    x: Sequence[Tensor],
    y: Sequence[Tensor],
    h: str,
    weight: Sequence[float],
    a: Sequence[float],
    b: Sequence[float],
    per_pair: bool = False,
) -> Tensor:
    r"""Weighted sum of the means of a function over each pair of tensors of two lists.

    .. math:: L = \sum_k w_k \, \frac{1}{n_k} \sum_i h(x_{ki}, y_{ki}; a_k, b_k)

    Every h is a function of the difference d = x - y. A pair is never broadcast.

    Args:
        x: tensors of any shapes and strides; float64, float32, float16 or bfloat16, all of one
            dtype and device.
        y: as many tensors, each of the shape, dtype and device of its partner. Where the strides
            are its partner's, too, nothing is copied.
        h: ``l1`` abs(d), ``square`` (d - a)^2, ``softplus`` log(1 + exp(a d)), or ``hinge``
            relu(b + a d).
        weight: w_k, one number for each pair.
        a: first parameter of h for each pair.
        b: second parameter of h for each pair.
        per_pair: return the terms of the sum instead of the sum.

    Returns:
        Scalar, or with ``per_pair`` one number for each pair, (K,); float64 for float64 tensors,
        else float32. Differentiable twice; gradients have the dtype of x, and are computed for
        those tensors alone that want one.

    Raises:
        TypeError: a tensor is not floating point, or the dtypes differ.
        ValueError: a list or a tensor is empty, shapes, devices or lengths differ, or h is unknown.
        NotImplementedError: a derivative of the third order is asked for.
    """
    _check_not_empty("pair_reduce", "x", x)
    if _compiled(x):
        loss: Tensor = _pair_reduce(x, y, h, weight, a, b, per_pair)
        return loss
    _check_pairs("pair_reduce", x, y)
    _check_parameters("pair_reduce", "h", h, len(x), weight, a, b)
    return reference.pair_reduce(x, y, h, weight, a, b, per_pair)


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
    _check_not_empty("norm_reduce", "g", g)
    if _compiled(g):
        loss: Tensor = _norm_reduce(g, phi, weight, a, b, pixel)[0]
        return loss
    _check_norm_reduce(g, phi, pixel)
    return reference.norm_reduce(g, phi, weight, a, b, pixel)


def _check_augment(x: Tensor, u: Tensor) -> None:
    """Refuse what the kernels refuse, in the same words."""
    if x.dtype not in _FLOATING:
        floating = "float64, float32, float16 or bfloat16"
        raise TypeError(f"augment: x must have dtype {floating}, got {x.dtype}")
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
    if _compiled([x]):
        y: Tensor = _augment(x, u, color, translation, cutout)
        return y
    _check_augment(x, u)
    return reference.augment(x, u, color, translation, cutout)


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
