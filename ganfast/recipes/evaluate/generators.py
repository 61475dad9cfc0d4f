"""Generators as sources of images: trainer checkpoints and callables."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ganfast.data import to_uint8
from ganfast.data.image_source import ImageSource, as_channels
from ganfast.features.given import import_callable
from ganfast.features.weight_files import sha256_of
from ganfast.recipes import gan


class Generated(ImageSource):
    """``samples`` images of a function of a number; the same whatever part is asked for.

    The function gives images (n, 1 or 3, H, W), uint8 or floats in [-1, 1]. It is called for
    ``batch`` at a time, with torch's generator set from the ``seed`` and the number of the batch.
    """

    batch = 64

    def __init__(
        self,
        function: Callable[[int], Tensor],
        name: str,
        key: str | None,
        samples: int,
        seed: int,
        channels: int,
    ) -> None:
        if samples < 1:
            raise ValueError(f"samples: expected 1 or more, got {samples}")
        self._function, self._samples = function, samples
        self._seed, self._channels, self.name = seed, channels, name
        self._last: tuple[int, Tensor] | None = None  # a batch may be asked for in parts
        self.key = (
            None
            if key is None
            else hashlib.sha256(f"{key} {samples} {seed} {channels}".encode()).hexdigest()
        )

    def __len__(self) -> int:
        return self._samples

    def read(self, start: int, stop: int) -> tuple[list[Tensor], list[str]]:
        images: list[Tensor] = []
        first = start // self.batch
        for index in range(first, -(-stop // self.batch)):
            images += list(self._draw(index))
        begin = start - first * self.batch
        return images[begin : begin + stop - start], []

    def _draw(self, index: int) -> Tensor:
        if self._last is not None and self._last[0] == index:
            return self._last[1]
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(self._seed * 1_000_003 + index)
            images = self._function(self.batch)
        if not isinstance(images, Tensor) or images.shape[:1] != (self.batch,):
            got = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
            raise ValueError(f"{self.name}: expected {self.batch} images, got {got}")
        images = images.detach().cpu()
        images = images if images.dtype == torch.uint8 else to_uint8(images)
        self._last = index, as_channels(images, self._channels)
        return self._last[1]


def from_callable(
    name: str, samples: int, seed: int, channels: int, device: torch.device
) -> Generated:
    """``module:callable``: a function of a number, or a generator module with a ``latent_dim``.

    Raises ValueError for another thing.
    """
    found: Any = import_callable(name)
    if isinstance(found, type) and issubclass(found, nn.Module):
        found = found()
    if not isinstance(found, nn.Module):
        return Generated(found, name, None, samples, seed, channels)
    latent_dim: object = getattr(found, "latent_dim", None)
    if not isinstance(latent_dim, int):
        raise ValueError(f"{name}: expected a module with an int latent_dim, it has none")
    sampler = _sampler(found, (latent_dim,), 0, device)
    return Generated(sampler, name, None, samples, seed, channels)


def from_checkpoint(
    path: Path, samples: int, seed: int, channels: int, device: torch.device
) -> Generated:
    """The moving average in a checkpoint of ``ganfast train`` or of the demo.

    A class-conditional one makes all classes in turn. Raises ValueError for another file.
    """
    config, pair = gan.from_checkpoint(path)
    sampler = _sampler(pair.generator, config.latent_shape, config.classes, device)
    return Generated(sampler, str(path), sha256_of(path), samples, seed, channels)


def _sampler(
    generator: nn.Module, latent: tuple[int, ...], classes: int, device: torch.device
) -> Callable[[int], Tensor]:
    generator = generator.to(device).eval()

    def sample(n: int) -> Tensor:
        latents = torch.randn(n, *latent).to(device)
        given = (torch.arange(n, device=device) % classes,) if classes else ()
        images: Tensor = generator(latents, *given)
        return images

    return sample
