"""Arguments of the metrics: torch tensors or NumPy arrays, checked and converted to float64.

What does not fit raises TypeError or ValueError, with the caller's ``name`` of the argument.
"""

import math
import warnings

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Array = Tensor | npt.NDArray[np.generic]

#: Largest size of features: squares, products of two covariances and sums then fit.
LARGEST = 1e70
EPS = torch.finfo(torch.float64).eps
_ROUNDING = 16 * EPS
_BLOCK = 256
#: Negative eigenvalues to allow for, relative to the largest, in moments that were float32 once.
SLACK = torch.finfo(torch.float32).eps ** 0.5


def as_features(value: Array, name: str, dim: int | None = None) -> Tensor:
    """Return a floating-point tensor (N, D), with D >= 1 or as given, of values up to LARGEST."""
    features = as_tensor(value, name)
    if not features.is_floating_point():
        raise TypeError(f"{name} must be floating-point, got {features.dtype}")
    if features.ndim != 2 or features.shape[1] == 0 or dim not in (None, features.shape[1]):
        expected = "D" if dim is None else dim
        raise ValueError(f"{name} must have shape (N, {expected}), got {tuple(features.shape)}")
    _check_size(features, name, LARGEST)
    return features


def as_mean(value: Array, name: str, largest: float = math.inf) -> Tensor:
    """Return means (..., D) in float64, of finite values up to ``largest``."""
    mean, _ = _as_float64(value, name, largest)
    if mean.ndim == 0 or mean.shape[-1] == 0:
        raise ValueError(f"{name} must have shape (..., D), got {tuple(mean.shape)}")
    return mean


def as_symmetric(
    value: Array, name: str, dim: int | None = None, largest: float = math.inf
) -> tuple[Tensor, float]:
    """Return matrices (..., D, D) in float64, symmetric to rounding, and the rounding to allow for.

    The rounding is relative to the largest eigenvalue: the root of the epsilon of the original
    dtype. Entries are finite and up to ``largest``.
    """
    sigma, slack = _as_float64(value, name, largest)
    shape = tuple(sigma.shape)
    if dim is not None and shape[-2:] != (dim, dim):
        expected = f"(..., {dim}, {dim}) for a mean of {dim} entries"
        raise ValueError(f"{name} must have shape {expected}, got {shape}")
    if len(shape) < 2 or shape[-1] != shape[-2] or 0 in shape:
        raise ValueError(f"{name} must have shape (..., D, D), got {shape}")
    with torch.no_grad():
        difference, size = _asymmetry(sigma), _largest(sigma)
        if (difference > slack * size).any():
            raise ValueError(
                f"{name} must be a symmetric matrix, got entries that differ from their mirror "
                f"image by up to {float(difference.max()):.6g}"
            )
        if (difference <= _ROUNDING * size).all():
            return sigma, slack  # callers read one triangle
    return (sigma + sigma.mT) / 2, slack


def _asymmetry(sigma: Tensor) -> Tensor:
    """Largest difference of matrices (..., D, D) from their transposes."""
    d = sigma.shape[-1]
    block = d if sigma.is_cuda else _BLOCK  # a CPU reads transposed matrices slowly
    parts = []
    for i in range(0, d, block):
        for j in range(0, i + 1, block):
            rows, columns = slice(i, i + block), slice(j, j + block)
            parts.append(_largest(sigma[..., rows, columns] - sigma[..., columns, rows].mT))
    return torch.stack(parts).amax(0)


def _largest(matrices: Tensor) -> Tensor:
    """max |a_ij| of each matrix, or NaN if it holds one."""
    low, high = torch.aminmax(matrices.flatten(-2), dim=-1)
    return torch.maximum(-low, high)


def on_one_device(*tensors: Tensor) -> list[Tensor]:
    """Return the tensors on the GPU of one of them, or else on the CPU."""
    devices = [tensor.device for tensor in tensors if tensor.is_cuda]
    return [tensor.to(devices[0] if devices else "cpu") for tensor in tensors]


def _as_float64(value: Array, name: str, largest: float) -> tuple[Tensor, float]:
    tensor = as_tensor(value, name)
    floating = tensor.dtype in (torch.float32, torch.float64)
    if not floating and (tensor.is_floating_point() or tensor.is_complex()):
        raise TypeError(f"{name} must be float32, float64 or integers, got {tensor.dtype}")
    slack = torch.finfo(tensor.dtype if floating else torch.float64).eps ** 0.5
    tensor = to_float64(tensor)
    _check_size(tensor, name, largest)
    return tensor, slack


def to_float64(tensor: Tensor) -> Tensor:
    """Convert to float64, on the same device if that is a CPU or a CUDA GPU, else on the CPU."""
    device = tensor.device if tensor.device.type in ("cpu", "cuda") else torch.device("cpu")
    return tensor.to(device).to(torch.float64)


def as_tensor(value: Array, name: str) -> Tensor:
    """Return a dense tensor of the numbers in a tensor or array, whatever its layout in memory."""
    if isinstance(value, Tensor):
        if value.layout != torch.strided or value.is_meta:
            raise TypeError(f"{name} must be a dense tensor, got {value.layout} on {value.device}")
        return value
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{name} must be a torch tensor or numpy array, got {type(value)}")
    if np.ma.is_masked(value):
        raise ValueError(
            f"{name} must have no masked entries, got {int(np.ma.getmaskarray(value).sum())}"
        )
    array = np.asarray(value)
    if array.dtype.kind not in "biufc" or array.dtype.itemsize > 8 * (
        1 + (array.dtype.kind == "c")
    ):
        raise TypeError(f"{name} must hold numbers of up to 64 bits, got dtype {array.dtype}")
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if any(stride < 0 or stride % array.itemsize for stride in array.strides):
        array = array.copy()  # torch has no such strides
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # only read
        return torch.from_numpy(array)


def finite(value: float, names: str, name: str) -> float:
    """Return a score. Raises ValueError, with the names of the features, if it has overflowed."""
    if not math.isfinite(value):
        raise ValueError(f"{names} must be small enough for a finite {name}, got {value}")
    return value


def directions(features: Tensor) -> Tensor:
    """Divide rows (N, D) by their norms, in float64; rows of zeros become NaN."""
    x = to_float64(features)
    x = x / x.abs().amax(1, keepdim=True)  # squares of tiny values would be 0
    unit: Tensor = x / torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return unit


def _check_size(tensor: Tensor, name: str, largest: float) -> None:
    # One pass: NaN and infinity survive a maximum.
    if not tensor.numel():
        return
    bounds = torch.stack(torch.aminmax(tensor.detach()))
    if not bounds.isfinite().all():
        raise ValueError(f"{name} must be finite, got NaN or infinity")
    if not (bounds.abs() <= largest).all():
        found = float(bounds.abs().max())
        raise ValueError(f"{name} must be at most {largest:g} in size, got {found:g}")
