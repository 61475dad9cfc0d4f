"""Which precisions a device is made for, and which one float32 products have."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


def is_fast(precision: str, device: torch.device) -> bool:
    """Whether a device has instructions for fp32, bf16 or fp16; a CPU without is very slow."""
    if precision == "fp32" or device.type != "cpu":
        return True
    supported: bool = getattr(torch.ops.mkldnn, f"_is_mkldnn_{precision}_supported")()
    return supported


def warn_if_slow(precision: str, device: torch.device) -> None:
    """Warn where the device has no instructions for the precision."""
    if not is_fast(precision, device):
        warnings.warn(
            f"{precision} is far slower than float32 here: this CPU has no instructions for it",
            stacklevel=3,
        )


def _backends() -> tuple[Any, Any]:
    mkldnn: Any = torch.backends.mkldnn  # its stub has no matmul
    return torch.backends.cuda.matmul, mkldnn.matmul


@contextmanager
def exact_products() -> Iterator[None]:
    """Keep float32 products from TF32 and bfloat16, whichever of torch's settings allows them.

    They are read and set per backend: ``torch.get_float32_matmul_precision`` raises once a setting
    of another name was used.
    """
    before = [backend.fp32_precision for backend in _backends()]
    try:
        for backend in _backends():
            backend.fp32_precision = "ieee"
        yield
    finally:
        for backend, precision in zip(_backends(), before, strict=True):
            backend.fp32_precision = precision


def has_exact_products(device: torch.device) -> bool:
    """Say whether float32 products on a device keep all their bits."""
    cuda, other = _backends()
    backend = cuda if device.type == "cuda" else other
    return backend.fp32_precision in ("none", "ieee")
