"""What projects' own files gave, and the inputs: see test_peer_numbers.py."""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

NUMBERS: dict[str, list[float]] = json.loads(
    Path(__file__).with_name("peer_numbers.json").read_text()
)


def noise(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    """Normal numbers, float32."""
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(shape, generator=generator, dtype=torch.float64)).float()


def signals(channels: int = 1) -> tuple[Tensor, Tensor]:
    """Estimates and references, (2, channels, 6000)."""
    return noise(2, channels, 6000, seed=1, scale=0.1), noise(2, channels, 6000, seed=2, scale=0.1)


def numbers_of(loss: Callable[..., Tensor], *inputs: Tensor) -> list[float]:
    """The loss's entries, then the gradient's norm and its product with a wave, of each input."""
    leaves = [x.clone().requires_grad_() for x in inputs]
    value = loss(*leaves)
    found = value.detach().double().flatten().tolist()
    for gradient in torch.autograd.grad(value.sum(), leaves, allow_unused=True):
        if gradient is not None:
            g = gradient.double().flatten()
            wave = torch.arange(len(g), dtype=torch.float64).sin()
            found += [g.norm().item(), (g @ wave).item()]
    return found
