"""Checks of the list ops, whose errors use the caller's names of the arguments.

The kernels check only for memory safety. If they refuse a call, or if the reference runs instead,
these functions find the argument at fault.
"""

from collections.abc import Callable, Sequence
from functools import reduce

import torch
from torch import Tensor

from ganfast.reference import FUNCTORS

#: The caller's name of an argument's k-th tensor, such as ``real[0]`` for ``("x", 0)``.
Name = Callable[[str, int], str]

FLOATING = frozenset({torch.float64, torch.float32, torch.float16, torch.bfloat16})
_COMPLEX = frozenset({torch.complex128, torch.complex64, torch.complex32})
_DOUBLE = frozenset({torch.float64, torch.complex128})
_DTYPES = "float64, float32, float16 or bfloat16"

#: Functors that also apply to differences of x and y.
DIFFERENCES = ("softplus", "square", "hinge", "squared_hinge", "l1")
PHIS = ("centred", "one_sided", "square", "power", "maximum")


def place(argument: str, k: int) -> str:
    """The op's own name of an argument's k-th tensor."""
    return f"{argument}[{k}]"


def loss_dtype(*x: Tensor) -> torch.dtype:
    """The dtype of a loss over tensors: float64 if one of them is float64, else float32."""
    return torch.float64 if any(xk.dtype in _DOUBLE for xk in x) else torch.float32


def in_one_dtype(*lists: Sequence[Tensor]) -> Sequence[Sequence[Tensor]]:
    """Return lists of tensors as one kernel takes them: in float32 or better if dtypes differ.

    Autograd gives the gradient of each tensor its own dtype. Lists with dtypes that no kernel takes
    are returned as they are.
    """
    dtypes = {x.dtype for part in lists for x in part}
    if len(dtypes) < 2 or not dtypes <= FLOATING | _COMPLEX:
        return lists
    wide = reduce(torch.promote_types, dtypes, torch.float32)
    return [[x.to(wide) for x in part] for part in lists]


def check_list(x: Sequence[Tensor], name: Name = place, complex_too: bool = False) -> None:
    """Raise unless one launch can take the tensors together.

    Raises:
        TypeError: an entry is not a floating-point tensor, or with ``complex_too`` a complex one.
        ValueError: the list or a tensor is empty, or devices differ.
    """
    if not x:
        raise ValueError("x must hold at least one tensor, got an empty list")
    _check_tensors(name, "x", x)
    for k, xk in enumerate(x):
        what, first = name("x", k), name("x", 0)
        check_dtype(what, xk, complex_too)
        if xk.device != x[0].device:
            raise ValueError(
                f"{what} must have the device of {first}, {x[0].device}, got {xk.device}"
            )
        if xk.numel() == 0:
            raise ValueError(f"{what} must hold at least one element, got shape {list(xk.shape)}")


def check_dtype(what: str, x: Tensor, complex_too: bool = False) -> None:
    """Raise TypeError unless the kernels take the tensor's dtype."""
    if x.dtype not in FLOATING and not (complex_too and x.dtype in _COMPLEX):
        raise TypeError(f"{what} must have dtype {_DTYPES}, got {x.dtype}")


def _check_parameters(
    x: Sequence[Tensor],
    y: Sequence[Tensor],
    f: str,
    weight: Sequence[float],
    a: Sequence[float],
    b: Sequence[float],
) -> None:
    if f not in FUNCTORS:
        raise ValueError(f"f must be one of {' '.join(FUNCTORS)}, got {f}")
    if y and f not in DIFFERENCES:
        raise ValueError(f"f must be one of {' '.join(DIFFERENCES)} with a y, got {f}")
    if not len(weight) == len(a) == len(b) == len(x):
        raise ValueError(
            f"weight, a and b must have one number for each of the {len(x)} tensors, "
            f"got {len(weight)}, {len(a)} and {len(b)}"
        )


def _check_tensors(name: Name, argument: str, x: Sequence[Tensor]) -> None:
    for k, xk in enumerate(x):
        if not isinstance(xk, Tensor):
            raise TypeError(f"{name(argument, k)} must be a tensor, got {type(xk).__name__}")


def repeats(x: Tensor, y: Tensor) -> bool:
    """Whether y is one number or one sample that broadcasts to x."""
    sample = x.shape[1:]
    return y.numel() == 1 or (x.dim() > 0 and y.shape in (sample, torch.Size([1, *sample])))


def _check_partners(
    name: Name,
    x: Sequence[Tensor],
    y: Sequence[Tensor],
    complex_too: bool = False,
    broadcast: bool = False,
) -> None:
    """Raise unless y is empty, or each y has the device and shape of its x or broadcasts to it."""
    if y and len(y) != len(x):
        raise ValueError(f"y must be empty or have one for each of the {len(x)}, got {len(y)}")
    _check_tensors(name, "y", y)
    for k, (xk, yk) in enumerate(zip(x, y, strict=False)):
        partner, own = name("y", k), name("x", k)
        check_dtype(partner, yk, complex_too)
        if yk.device != xk.device:
            raise ValueError(
                f"{partner} must have the device of {own}, {xk.device}, got {yk.device}"
            )
        if yk.shape != xk.shape and not (broadcast and repeats(xk, yk)):
            or_else = "or be one number or one sample of it, got shape" if broadcast else "got"
            raise ValueError(
                f"{partner} must have the shape of {own}, {list(xk.shape)}, "
                f"{or_else} {list(yk.shape)}"
            )


def check_flat(
    x: Sequence[Tensor],
    y: Sequence[Tensor],
    f: str,
    weight: Sequence[float],
    a: Sequence[float],
    b: Sequence[float],
    name: Name = place,
    broadcast: bool = True,
) -> None:
    """Raise the errors of :func:`ganfast.ops.flat`."""
    of_moduli = f == "l1"
    check_list(x, name, complex_too=of_moduli)
    _check_parameters(x, y, f, weight, a, b)
    _check_partners(name, x, y, of_moduli, broadcast)


def _check_numbers(
    argument: str, numbers: Sequence[Tensor | None], x: Sequence[Tensor], name: Name
) -> None:
    """Raise unless the per-sample numbers fit x."""
    if numbers and len(numbers) != len(x):
        raise ValueError(
            f"{argument} must be empty or have one entry for each of the {len(x)} tensors, "
            f"got {len(numbers)}"
        )
    dtype, device = loss_dtype(*x), x[0].device
    for k, s in enumerate(numbers):
        if s is None:
            continue
        if s.dtype != dtype:
            raise TypeError(f"{name(argument, k)} must have dtype {dtype}, got {s.dtype}")
        if s.device != device or s.shape != x[0].shape[:1]:
            raise ValueError(
                f"{name(argument, k)} must be on {device} with one entry for each of the "
                f"{x[0].shape[0]} samples, got shape {list(s.shape)} on {s.device}"
            )


def check_samples(x: Sequence[Tensor], name: Name = place, pixel: bool = False) -> None:
    """Raise unless the tensors have equally many samples, and with ``pixel`` the same pixels."""
    check_list(x, name)
    axes = "axes of samples and channels" if pixel else "an axis of samples"
    for k, xk in enumerate(x):
        shape, first = list(xk.shape), list(x[0].shape)
        if len(shape) < (2 if pixel else 1):
            raise ValueError(f"{name('x', k)} must have {axes}, got shape {shape}")
        if shape[0] != first[0]:
            raise ValueError(
                f"{name('x', k)} must have as many samples as {name('x', 0)}, {first[0]}, "
                f"got {shape[0]}"
            )
        if pixel and shape[2:] != first[2:]:
            raise ValueError(
                f"{name('x', k)} must have the shape of {name('x', 0)} except for the channels, "
                f"{first}, got {shape}"
            )


def check_rows(
    x: Sequence[Tensor],
    y: Sequence[Tensor],
    f: str,
    weight: Sequence[float],
    a: Sequence[float],
    b: Sequence[float],
    sample_weight: Sequence[Tensor | None],
    sample_a: Sequence[Tensor | None],
    name: Name = place,
) -> None:
    """Raise the errors of :func:`ganfast.ops.rows`."""
    check_samples(x, name)
    _check_parameters(x, y, f, weight, a, b)
    _check_partners(name, x, y)
    _check_numbers("sample_weight", sample_weight, x, name)
    _check_numbers("sample_a", sample_a, x, name)


def check_norms(x: Sequence[Tensor], phi: str, pixel: bool, name: Name = place) -> None:
    """Raise the errors of :func:`ganfast.ops.norms`."""
    check_samples(x, name, pixel)
    if phi not in PHIS:
        raise ValueError(f"phi must be one of {' '.join(PHIS)}, got {phi}")
    if pixel and phi == "maximum":
        raise ValueError("pixel must be False for maximum, which is over samples, got True")
