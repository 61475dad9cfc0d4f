"""Folders of images that scripts/peer_paths.py and its test both write."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image


def write(folder: Path, seed: int, n: int, sizes: tuple[tuple[int, int], ...]) -> None:
    """Smooth noisy pictures 00.png, 01.png, ..., and files that count for some projects only."""
    draw = np.random.RandomState(seed)
    (folder / "deep").mkdir(parents=True)
    for number in range(n + 2):
        height, width = sizes[number % len(sizes)]
        y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
        phase = draw.rand(3, 3, 1, 1) * 9
        waves = np.sin(phase[:, 0] * x + 2) * np.cos(phase[:, 1] * y + phase[:, 2])
        noise = draw.rand(3, height, width)
        pixels = (255 * (0.4 + (0.25 + 0.1 * seed) * waves + 0.2 * noise)).clip(0, 255)
        name = {n: "deep/extra.png", n + 1: "upper.PNG"}.get(number, f"{number:02}.png")
        Image.fromarray(pixels.astype(np.uint8).transpose(1, 2, 0)).save(folder / name, "PNG")
    (folder / "notes.txt").write_text("no image")


def folders(root: Path, n: int = 80, sizes: tuple[tuple[int, int], ...] = ((40, 48),)) -> list[str]:
    """A real and a fake folder."""
    for seed, name in enumerate(("real", "fake")):
        write(root / name, seed, n - 8 * seed, sizes)
    return [str(root / "real"), str(root / "fake")]


def blocks(x: torch.Tensor) -> torch.Tensor:
    """Features (N, 48) of floats in [0, 255]: means over 4 x 4 blocks, and their squares."""
    means = torch.nn.functional.adaptive_avg_pool2d(x.float(), (4, 4)).flatten(1) / 255
    return torch.cat([means, means[:, ::2] ** 2], 1)


class Generator(torch.nn.Module):
    """Images in [0, 255] (N, 3, 32, 24) of latents (N, 6), a little random from the first one."""

    def __init__(self, byte: bool) -> None:
        super().__init__()
        draw = np.random.RandomState(5)
        self.weight = torch.from_numpy(draw.randn(6, 3 * 8 * 6)).float()
        self.byte = byte

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        small = (z @ self.weight).tanh().view(-1, 3, 8, 6) * 100 + 128
        images = torch.nn.functional.interpolate(small, scale_factor=4.0, mode="nearest")
        return images.round().to(torch.uint8) if self.byte else images
