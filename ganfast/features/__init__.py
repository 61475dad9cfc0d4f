"""Feature networks, on which distances between distributions of images are measured."""

import torch
from torch import Tensor, nn

from ganfast.data import to_float
from ganfast.features.digit_network import DigitsFeatures, digits
from ganfast.features.encoder import Encoder
from ganfast.features.registry import NAMES, load

__all__ = ["NAMES", "DigitsFeatures", "Encoder", "digits", "extract", "load"]


def extract(net: nn.Module, images: Tensor, batch_size: int = 256) -> Tensor:
    """Compute features (N, D) of images (N, C, H, W) in batches, without gradients.

    Args:
        net: a network in eval mode.
        images: what ``net`` takes, floats in [-1, 1]; uint8 in [0, 255] is converted batch by
            batch. They are on the device of ``net``.
        batch_size: images at a time.

    Raises:
        ValueError: there are no images, the batch size is below 1, or ``net`` is in training mode,
            where features would depend on the batch.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if len(images) == 0:
        raise ValueError("images must hold at least 1 image, got 0")
    if net.training:
        raise ValueError("net must be in eval mode, got training mode; call net.eval()")
    features = []
    with torch.inference_mode():
        for start in range(0, len(images), batch_size):
            batch = images[start : start + batch_size]
            features.append(net(to_float(batch) if batch.dtype == torch.uint8 else batch))
    return torch.cat(features)
