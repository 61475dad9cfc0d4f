"""Parts that models share: image sizes, input checks, initialization."""

import torch
from torch import Tensor, nn

# Side of the images -> side of the smallest maps and number of doublings.
SIZES = {28: (7, 2), 32: (4, 3), 64: (4, 4), 128: (4, 5), 256: (4, 6)}


def stages(size: int) -> tuple[int, int]:
    """Return the side of the smallest maps and the number of doublings from there to ``size``."""
    if size not in SIZES:
        raise ValueError(f"size must be one of {', '.join(map(str, SIZES))}, got {size}")
    return SIZES[size]


def wrong_shape(name: str, x: Tensor, *shape: int) -> ValueError:
    """Return the error for inputs that are not (N, *shape)."""
    expected = ", ".join(map(str, shape))
    return ValueError(f"{name} must have shape (N, {expected}), got {tuple(x.shape)}")


def check_labels(labels: Tensor | None, count: int) -> Tensor:
    """Return the labels. Raises TypeError unless they are int64, ValueError unless (count,)."""
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64:
        kind = labels.dtype if isinstance(labels, Tensor) else type(labels).__name__
        raise TypeError(f"labels must be an int64 tensor, got {kind}")
    if labels.shape != (count,):
        raise ValueError(f"labels must have shape ({count},), got {tuple(labels.shape)}")
    return labels


@torch.no_grad()
def start_dcgan(module: nn.Module) -> None:
    """Initialize as DCGAN: weights N(0, 0.02), batch-norm scales N(1, 0.02), biases 0."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, 0.0, 0.02)
        bias = getattr(module, "bias", None)
        if bias is not None:
            nn.init.zeros_(bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
