"""Features, logits and images that scripts/peer_numbers.py and its test both draw."""

import numpy as np


def features(dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Real (700, 48) and fake (600, 48), of full rank and near each other."""
    draw = np.random.RandomState(0)
    real = np.abs(draw.randn(700, 48)) * np.linspace(0.3, 1.5, 48)
    fake = np.abs(draw.randn(600, 48)) * np.linspace(0.35, 1.5, 48) + 0.03
    return real.astype(dtype), fake.astype(dtype)


def logits(dtype: str) -> np.ndarray:
    """(505, 20): no whole number of images to a split."""
    return (2 * np.random.RandomState(1).randn(505, 20)).astype(dtype)


def images() -> np.ndarray:
    """Two smooth pictures (2, 3, 120, 97), uint8."""
    y, x = np.mgrid[0:1:120j, 0:1:97j]
    phase = np.random.RandomState(2).rand(2, 3, 3, 1, 1) * 9
    waves = np.sin(phase[:, :, 0] * x + 2) * np.cos(phase[:, :, 1] * y + phase[:, :, 2])
    noise = np.random.RandomState(3).rand(2, 3, 120, 97)
    return (255 * (0.4 + 0.35 * waves + 0.25 * noise)).clip(0, 255).astype(np.uint8)
