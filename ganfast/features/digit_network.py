"""The ``digits`` feature network, a small classifier of MNIST digits; weights included."""

import hashlib
from pathlib import Path

from torch import Tensor, nn

WEIGHTS = Path(__file__).parent / "weights" / "digits.safetensors"
SHA256 = "effc82f40e8a44a13c27f03d1bae127db0395830e1c7cd4bcc2348501a185260"


class DigitsFeatures(nn.Module):
    """Maps images (N, 1, 28, 28) in [-1, 1] to features (N, 64) or logits (N, 10).

    Three convolutions and a linear layer, each with batch normalisation and SiLU, make the
    features; the logits are linear in them. Both have the dtype of the weights.

    Raises:
        TypeError: the images have another dtype than the weights.
        ValueError: the images have another shape.
    """

    name = "digits"
    dim = 64

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_convolution(1, 24, stride=2),
            *_convolution(24, 48),
            nn.MaxPool2d(2),
            *_convolution(48, 64),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(64 * 3 * 3, self.dim, bias=False),
            nn.BatchNorm1d(self.dim),
            nn.SiLU(),
        )
        self.head = nn.Linear(self.dim, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Return features (N, 64)."""
        if images.dtype != self.head.weight.dtype:
            raise TypeError(f"images must be {self.head.weight.dtype}, got {images.dtype}")
        if images.ndim != 4 or images.shape[1:] != (1, 28, 28):
            raise ValueError(f"images must have shape (N, 1, 28, 28), got {tuple(images.shape)}")
        features: Tensor = self.body(images)
        return features

    def classify(self, images: Tensor) -> Tensor:
        """Return logits (N, 10), one per digit."""
        logits: Tensor = self.head(self(images))
        return logits


def digits(weights: Path = WEIGHTS) -> DigitsFeatures:
    """Return the trained network on the CPU, frozen and in eval mode.

    A distance on its features is "FD (digits)".

    Raises:
        FileNotFoundError: the weights are missing.
        ValueError: their sha256 is not that of this release.
    """
    from safetensors.torch import load

    raw = weights.read_bytes()
    found = hashlib.sha256(raw).hexdigest()
    if found != SHA256:
        raise ValueError(f"{weights} must have sha256 {SHA256}, got {found}; reinstall ganfast")
    net = DigitsFeatures()
    net.load_state_dict(load(raw))
    return net.eval().requires_grad_(False)


def _convolution(channels: int, out: int, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(channels, out, kernel_size=3, stride=stride, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(out), nn.SiLU()]
