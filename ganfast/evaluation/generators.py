"""Generators as sources of images: checkpoints of the trainer, and callables."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ganfast import metrics
from ganfast._names import user_code
from ganfast.data.image_source import Prepare, Read, Source, as_bytes, digest
from ganfast.evaluation.progress import progress_bar
from ganfast.evaluation.scores import FeatureSet
from ganfast.features import Encoder
from ganfast.features.user_models import import_callable
from ganfast.features.weight_files import sha256_of
from ganfast.metrics import Spread
from ganfast.models.checkpoint import load_gan


class LatentSampler:
    """Images of a generator from normal latents; a conditional one takes its classes in turn."""

    def __init__(
        self, generator: nn.Module, latent: tuple[int, ...], classes: int, device: torch.device
    ) -> None:
        self._generator = generator.to(device).eval()
        self.latent, self.classes, self._device = latent, classes, device

    def __call__(self, n: int, first: int = 0) -> Tensor:
        """Draw ``n`` images, starting with number ``first``, from torch's global generator."""
        return self.images(torch.randn(n, *self.latent), first)

    def images(self, latents: Tensor, first: int = 0) -> Tensor:
        """Return the image of each latent; the first one has the class of number ``first``."""
        numbers = torch.arange(first, first + len(latents), device=self._device)
        labels = (numbers % self.classes,) if self.classes else ()
        images: Tensor = self._generator(latents.to(self._device), *labels)
        return images


class GeneratedImages(Source):
    """``samples`` images of a function of a number, the same whichever part is read.

    The function returns images (n, 1 or 3, H, W), uint8 or floats in ``value_range``. It is called
    for ``batch`` images at a time, with torch seeded from ``seed`` and the number of the batch.
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
        value_range: tuple[float, float] = (-1.0, 1.0),
    ) -> None:
        if samples < 1:
            raise ValueError(f"samples must be at least 1, got {samples}")
        self.function, self._samples, self.value_range = function, samples, value_range
        self._seed, self.channels, self.name = seed, channels, name
        self._last: tuple[int, Tensor] | None = None  # a batch may be read in parts
        self._key = None if key is None else digest(3, key, seed, channels)  # of any number

    @property
    def labels(self) -> Sequence[str] | None:
        classes = self.function.classes if isinstance(self.function, LatentSampler) else 0
        return [str(i % classes) for i in range(self._samples)] if classes else None

    def __len__(self) -> int:
        return self._samples

    def read(self, start: int, stop: int, prepare: Prepare | None = None) -> Read:
        images: list[Tensor] = []
        first = start // self.batch
        for index in range(first, -(-stop // self.batch)):
            images += list(self._draw(index))
        begin = start - first * self.batch
        images = images[begin : begin + stop - start]
        return images if prepare is None else [prepare(image) for image in images], {}

    def _draw(self, index: int) -> Tensor:
        if self._last is not None and self._last[0] == index:
            return self._last[1]
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(self._seed * 1_000_003 + index)
            if isinstance(self.function, LatentSampler):
                images = self.function(self.batch, index * self.batch)
            else:
                with user_code(self.name):
                    images = self.function(self.batch)
        if not isinstance(images, Tensor) or images.shape[:1] != (self.batch,):
            got = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
            raise ValueError(f"{self.name} must return {self.batch} images, got {got}")
        images = as_bytes(images.detach().cpu(), self.name, self.value_range, self.channels)
        self._last = index, images
        return self._last[1]


def from_callable(
    name: str, samples: int, seed: int, channels: int, device: torch.device
) -> GeneratedImages:
    """Import ``module:callable``: a function of a number, or a module with a ``latent_dim``.

    Raises:
        ValueError: there is no such callable, or it is a module without an int ``latent_dim``.
    """
    found: Any = import_callable(name)
    if isinstance(found, type) and issubclass(found, nn.Module):
        with user_code(name):
            found = found()
    if not isinstance(found, nn.Module):
        return GeneratedImages(found, name, None, samples, seed, channels)
    return GeneratedImages(sampler_of(found, name, device), name, None, samples, seed, channels)


def sampler_of(generator: nn.Module, name: str, device: torch.device) -> LatentSampler:
    """Return the images of a module. Raises ValueError unless it has an int ``latent_dim``."""
    size: object = getattr(generator, "latent_dim", None)
    if not isinstance(size, int):
        raise ValueError(f"{name} must be a module with an int latent_dim, got {size!r}")
    return LatentSampler(generator, (size,), 0, device)


def from_checkpoint(
    path: str | Path, samples: int, seed: int, channels: int, device: torch.device
) -> GeneratedImages:
    """Open a checkpoint of ``ganfast train`` or of the demo: its moving average.

    Raises:
        ValueError: it is another file.
    """
    path = Path(path)
    gan, _ = load_gan(path)
    sampler = LatentSampler(gan.generator, (gan.latent_dim,), gan.classes, device)
    return GeneratedImages(sampler, str(path), sha256_of(path), samples, seed, channels)


def need_latents(fake: FeatureSet | Source) -> LatentSampler:
    """Return the sampler of a generator.

    Raises:
        ValueError: ``fake`` is not a generator, or is a function of a number.
    """
    if not isinstance(fake, GeneratedImages):
        raise ValueError(f"ppl needs a generator as FAKE, got images: {fake.name}")
    if not isinstance(fake.function, LatentSampler) or fake.value_range != (-1.0, 1.0):
        raise ValueError(
            f"ppl needs a generator with latents, but {fake.name} is a function of a number; "
            "give a checkpoint, or a module with latent_dim"
        )
    return fake.function


def path_length(
    fake: FeatureSet | Source, encoder: Encoder, *, paths: int, seed: int, quiet: bool = False
) -> Spread:
    """Return the perceptual path length by squared distances of an encoder's features.

    The images are not rounded to bytes.

    Raises:
        ValueError: as `need_latents`.
    """
    sampler = need_latents(fake)
    draw = torch.Generator().manual_seed(seed)
    size = math.prod(sampler.latent)
    starts, ends = (torch.randn(paths, size, generator=draw) for _ in range(2))
    with progress_bar(f"{fake.name}, paths", paths, quiet) as bar:

        def features(latents: Tensor) -> Tensor:
            images = sampler.images(latents.view(-1, *sampler.latent))
            floats = images.float() if images.dtype == torch.uint8 else (images + 1) * 127.5
            return encoder.of_floats(floats)

        def distance(a: Tensor, b: Tensor) -> Tensor:
            bar.update(len(a))
            return (a - b).square().sum(1)

        return metrics.perceptual_path_length(features, distance, starts, ends)
