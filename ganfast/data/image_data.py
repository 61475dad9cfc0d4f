"""An image data set in memory, and the mapping between bytes and the floats of a network."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class ImageData:
    """Images held in memory, with their class labels if they have any.

    Attributes:
        images: uint8 (N, C, H, W) in [0, 255], with N, C, H, W >= 1.
        labels: int64 (N,), or None.
        name: where the images came from.
        class_names: name of each label, from 0 on; empty means that labels are their own names.

    Raises:
        TypeError: the images or labels have another type or dtype.
        ValueError: they have another shape.
    """

    images: Tensor
    labels: Tensor | None
    name: str
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        if not isinstance(images, Tensor) or images.dtype != torch.uint8:
            raise TypeError(f"images must be a uint8 tensor, got {_kind(images)}")
        if images.ndim != 4 or images.numel() == 0:
            raise ValueError(
                f"images must have shape (N, C, H, W), all at least 1, got {tuple(images.shape)}"
            )
        if labels is None:
            return
        if not isinstance(labels, Tensor) or labels.dtype != torch.int64:
            raise TypeError(f"labels must be an int64 tensor or None, got {_kind(labels)}")
        if labels.shape != images.shape[:1]:
            raise ValueError(
                f"labels must have shape ({len(images)},), one per image, got {tuple(labels.shape)}"
            )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def classes(self) -> int:
        """Number of classes, 0 without labels."""
        if self.labels is None:
            return 0
        return len(self.class_names) or int(self.labels.max()) + 1

    def class_name(self, label: int) -> str:
        return self.class_names[label] if self.class_names else str(label)


def to_float(images: Tensor) -> Tensor:
    """Convert uint8 in [0, 255] to float32 in [-1, 1]: x / 127.5 - 1.

    Raises:
        TypeError: another dtype.
    """
    if images.dtype != torch.uint8:
        raise TypeError(f"images must be uint8 in [0, 255], got {images.dtype}")
    return images.to(torch.float32).div_(127.5).sub_(1.0)


def to_uint8(images: Tensor) -> Tensor:
    """Convert floats in [-1, 1] to uint8 in [0, 255]: (x + 1) * 127.5, rounded and clamped.

    It undoes `to_float` exactly.

    Raises:
        TypeError: the dtype is not floating-point.
        ValueError: there is a NaN.
    """
    if not images.is_floating_point():
        raise TypeError(f"images must be floating-point in [-1, 1], got {images.dtype}")
    if images.isnan().any():
        raise ValueError("images must be in [-1, 1], got NaN")
    # In half precision 127.5 * x has fewer than the 256 levels a byte needs.
    scaled = images.to(torch.promote_types(images.dtype, torch.float32)).add(1.0).mul_(127.5)
    return scaled.round_().clamp_(0, 255).to(torch.uint8)


def check_range(name: str, images: Tensor, low: float, high: float) -> None:
    """Raise ValueError for images that cannot be meant to lie in [low, high].

    Resampling and generators without a last tanh leave values a little past the range, to be
    clamped: a quarter of its width, and a hundredth of the pixels beyond that, are let pass.
    """
    if images.isnan().any():
        raise ValueError(f"{name} must be in [{low:g}, {high:g}], got NaN")
    slack = (high - low) / 4
    beyond = (images < low - slack) | (images > high + slack)
    if float(beyond.float().mean()) > 0.01:
        least, most = (float(x) for x in images.aminmax())
        raise ValueError(
            f"{name} must be in [{low:g}, {high:g}], got values from {least:.4g} to {most:.4g}"
        )


def _kind(value: object) -> str:
    return str(value.dtype) if isinstance(value, Tensor) else type(value).__name__
