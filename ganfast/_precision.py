"""Which precisions a device is made for."""

import warnings

import torch


def is_fast(precision: str, device: torch.device) -> bool:
    """Whether a device has instructions for fp32, bf16 or fp16; a CPU without takes ages."""
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
