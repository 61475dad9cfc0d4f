"""Feature nets: what a distance between image distributions is measured on."""

import torch
from torch import Tensor, nn

from ganfast.data import to_float
from ganfast.features.digits import DigitsFeatures, digits
from ganfast.features.encoder import Encoder
from ganfast.features.registry import NAMES, load

__all__ = ["NAMES", "DigitsFeatures", "Encoder", "digits", "extract", "load"]


def extract(net: nn.Module, images: Tensor, batch_size: int = 256) -> Tensor:
    """Features (N, D) of images (N, C, H, W), ``batch_size`` at a time and without gradients.

    ``images`` are what ``net`` takes, floats in [-1, 1], or uint8 in [0, 255], turned to floats
    batch by batch; they and ``net`` are on one device. Raises ValueError for no images, a batch
    size below 1, or a net in training mode, whose features would depend on the batch.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size: expected 1 or more, got {batch_size}")
    if len(images) == 0:
        raise ValueError("images: expected at least 1, got 0")
    if net.training:
        raise ValueError("net: expected eval mode, got training mode; call net.eval()")
    features = []
    with torch.inference_mode():
        for start in range(0, len(images), batch_size):
            batch = images[start : start + batch_size]
            features.append(net(to_float(batch) if batch.dtype == torch.uint8 else batch))
    return torch.cat(features)
