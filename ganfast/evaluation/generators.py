"""Generators as sources of images: trainer checkpoints and callables."""

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ganfast import metrics
from ganfast.data import to_uint8
from ganfast.data.image_source import ImageSource, as_channels
from ganfast.evaluation.progress import progress_bar
from ganfast.features import Encoder
from ganfast.features.user_models import import_callable
from ganfast.features.weight_files import sha256_of
from ganfast.metrics import Spread
from ganfast.models.checkpoint import load_gan


class LatentSampler:
    """Images of a generator at normal latents, of all classes in turn where it has classes."""

    def __init__(
        self, generator: nn.Module, latent: tuple[int, ...], classes: int, device: torch.device
    ) -> None:
        self._generator = generator.to(device).eval()
        self.latent, self.classes, self._device = latent, classes, device

    def __call__(self, n: int, first: int = 0) -> Tensor:
        """``n`` images, from number ``first`` on, drawn with torch's generator."""
        return self.images(torch.randn(n, *self.latent), first)

    def images(self, latents: Tensor, first: int = 0) -> Tensor:
        """The image of each latent, of the classes from that of number ``first`` on."""
        places = torch.arange(first, first + len(latents), device=self._device)
        given = (places % self.classes,) if self.classes else ()
        images: Tensor = self._generator(latents.to(self._device), *given)
        return images


class GeneratedImages(ImageSource):
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
        self.function, self._samples = function, samples
        self._seed, self._channels, self.name = seed, channels, name
        self._last: tuple[int, Tensor] | None = None  # a batch may be asked for in parts
        if isinstance(function, LatentSampler) and function.classes:
            self.labels = [str(i % function.classes) for i in range(samples)]
        self.key = (
            None
            if key is None
            else hashlib.sha256(f"2 {key} {samples} {seed} {channels}".encode()).hexdigest()
        )

    def __len__(self) -> int:
        return self._samples

    def read(self, start: int, stop: int) -> tuple[list[Tensor], dict[int, str]]:
        images: list[Tensor] = []
        first = start // self.batch
        for index in range(first, -(-stop // self.batch)):
            images += list(self._draw(index))
        begin = start - first * self.batch
        return images[begin : begin + stop - start], {}

    def _draw(self, index: int) -> Tensor:
        if self._last is not None and self._last[0] == index:
            return self._last[1]
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(self._seed * 1_000_003 + index)
            if isinstance(self.function, LatentSampler):
                images = self.function(self.batch, index * self.batch)
            else:
                images = self.function(self.batch)
        if not isinstance(images, Tensor) or images.shape[:1] != (self.batch,):
            got = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
            raise ValueError(f"{self.name}: expected {self.batch} images, got {got}")
        images = images.detach().cpu()
        images = images if images.dtype == torch.uint8 else to_uint8(images)
        self._last = index, as_channels(images, self._channels)
        return self._last[1]


def from_callable(
    name: str, samples: int, seed: int, channels: int, device: torch.device
) -> GeneratedImages:
    """``module:callable``: a function of a number, or a generator module with a ``latent_dim``.

    Raises ValueError for another thing.
    """
    found: Any = import_callable(name)
    if isinstance(found, type) and issubclass(found, nn.Module):
        found = found()
    if not isinstance(found, nn.Module):
        return GeneratedImages(found, name, None, samples, seed, channels)
    latent_dim: object = getattr(found, "latent_dim", None)
    if not isinstance(latent_dim, int):
        raise ValueError(f"{name}: expected a module with an int latent_dim, it has none")
    sampler = LatentSampler(found, (latent_dim,), 0, device)
    return GeneratedImages(sampler, name, None, samples, seed, channels)


def from_checkpoint(
    path: Path, samples: int, seed: int, channels: int, device: torch.device
) -> GeneratedImages:
    """The moving average in a checkpoint of ``ganfast train`` or of the demo.

    A class-conditional one makes all classes in turn. Raises ValueError for another file.
    """
    gan, _ = load_gan(path)
    sampler = LatentSampler(gan.generator, (gan.latent_dim,), gan.classes, device)
    return GeneratedImages(sampler, str(path), sha256_of(path), samples, seed, channels)


def need_latents(source: GeneratedImages) -> LatentSampler:
    """Its sampler; raises ValueError for a function of a number, which has no latents."""
    if not isinstance(source.function, LatentSampler):
        raise ValueError(
            f"ppl: needs the latents of a generator, {source.name} is a function of a number; "
            "give a checkpoint, or a module with latent_dim"
        )
    return source.function


def path_length(source: GeneratedImages, encoder: Encoder, seed: int, quiet: bool) -> Spread:
    """The perceptual path length of a generator, by squared distances of an encoder's features.

    As many paths as the source has images; the images are not rounded to bytes. Raises ValueError
    for a function of a number, which has no latents.
    """
    sampler = need_latents(source)
    draw = torch.Generator().manual_seed(seed)
    size = math.prod(sampler.latent)
    starts, ends = (torch.randn(len(source), size, generator=draw) for _ in range(2))
    with progress_bar(f"{source.name}, paths", len(source), quiet) as bar:

        def features(latents: Tensor) -> Tensor:
            images = sampler.images(latents.view(-1, *sampler.latent))
            floats = images.float() if images.dtype == torch.uint8 else (images + 1) * 127.5
            return encoder.of_floats(floats)

        def distance(a: Tensor, b: Tensor) -> Tensor:
            bar.update(len(a))
            return (a - b).square().sum(1)

        return metrics.perceptual_path_length(features, distance, starts, ends)
