"""Scores of a generator during its training, against the real images."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from ganfast import data, features
from ganfast.data.image_source import as_channels
from ganfast.features import Encoder
from ganfast.metrics import frechet_distance_from_features
from ganfast.metrics.pyramid import PyramidDescriptors
from ganfast.train.journal import Record

_BATCH = 250
_FRECHET = 5000  # real images, and as many generated ones, that a Fréchet distance compares
_SLICED = 1000  # as many for the sliced Wasserstein distance
_NEIGHBOURHOODS, _DIRECTIONS = 32, 128


class Score(ABC):
    """Distance between real images and as many generated ones; lower is better.

    Every call generates images from the same latents and labels: only the weights change scores.

    Args:
        real: the real images. Of more than ``count``, a random subset is compared.
        latent_shape: shape of one of the generator's latents.
        classes: number of labels that the generator takes, or 0. It gets the real images' own
            labels, so that classes have the real shares.
        device: of the generator.
    """

    name: str  # of the distance in records
    label: str  # of the distance in reports
    count: int

    def __init__(
        self,
        real: data.ImageData,
        latent_shape: tuple[int, ...],
        classes: int = 0,
        device: str | torch.device = "cpu",
    ) -> None:
        order = torch.randperm(len(real), generator=torch.Generator().manual_seed(0))
        chosen = order[: self.count].sort().values
        self._real = real.images[chosen]
        self._labels = None if real.labels is None or not classes else real.labels[chosen]
        self._latent_shape, self._device = latent_shape, torch.device(device)
        self._of_real = self.describe(self._real)

    def __call__(self, generator: nn.Module) -> Record:
        return self.of_images(self.draw(generator, len(self._real)))

    @abstractmethod
    def describe(self, images: Tensor) -> Any:
        """Return what is compared of uint8 images (N, C, H, W)."""

    @abstractmethod
    def of_images(self, fake: Tensor) -> Record:
        """Return the scores of uint8 images (N, C, H, W), the distance under ``name``."""

    @abstractmethod
    def real_against_real(self) -> float:
        """Return the distance between two halves of the real images, the low end of the scale."""

    @torch.no_grad()
    def draw(self, generator: nn.Module, count: int, labels: Tensor | None = None) -> Tensor:
        """Generate uint8 images (count, C, H, W), the same in every call but for the weights.

        Of a class-conditional generator they have these labels, or those of the real images.
        """
        labels = self._labels if labels is None else labels
        random = torch.Generator().manual_seed(0)
        latents = torch.randn(count, *self._latent_shape, generator=random)
        inputs = [torch.split(latents, _BATCH)]
        if labels is not None:
            inputs.append(torch.split(labels[torch.arange(count) % len(labels)], _BATCH))
        parts = []
        for own in zip(*inputs, strict=True):
            made = generator(*(x.to(self._device) for x in own))
            parts.append(data.to_uint8(made).cpu())
        return torch.cat(parts)

    def _halves(self) -> tuple[Tensor, Tensor]:
        order = torch.randperm(len(self._real), generator=torch.Generator().manual_seed(1))
        return order[: len(order) // 2], order[len(order) // 2 :]


class FrechetScore(Score):
    """Fréchet distance of the features of a network, and the diversity of these features."""

    name, count = "fd", _FRECHET

    def __init__(
        self,
        encoder: Encoder,
        real: data.ImageData,
        latent_shape: tuple[int, ...],
        classes: int = 0,
        device: str | torch.device = "cpu",
    ) -> None:
        self.label, self._encoder = encoder.label, encoder
        super().__init__(real, latent_shape, classes, device)

    def describe(self, images: Tensor) -> Tensor:
        return encode(self._encoder, images)["features"]

    def of_images(self, fake: Tensor) -> Record:
        real, found = self._of_real, self.describe(fake)
        diversity = found.double().var(0).sum() / real.double().var(0).sum()
        distance = float(frechet_distance_from_features(real, found))
        return {"fd": distance, "feature_diversity": float(diversity)}

    def real_against_real(self) -> float:
        one, two = (self._of_real[half] for half in self._halves())
        return float(frechet_distance_from_features(one, two))


class SlicedScore(Score):
    """Multi-scale sliced Wasserstein distance, of images of any kind, without a network."""

    name, label, count = "swd", "SWD x 1000", _SLICED

    def describe(self, images: Tensor) -> PyramidDescriptors:
        return PyramidDescriptors(images, _NEIGHBOURHOODS)

    def of_images(self, fake: Tensor) -> Record:
        found = self.describe(fake).distance(self._of_real, _DIRECTIONS)
        by_level = {f"swd_{side}": value for side, value in found.levels.items()}
        return {"swd": found.mean, **by_level}

    def real_against_real(self) -> float:
        one, two = (self.describe(self._real[half]) for half in self._halves())
        return one.distance(two, _DIRECTIONS).mean


def make_score(
    name: str,
    real: data.ImageData,
    latent_shape: tuple[int, ...],
    classes: int = 0,
    device: str | torch.device = "cpu",
) -> Score:
    """Make a score by its name: ``swd``, or a feature network of :func:`ganfast.features.load`."""
    if name == "swd":
        return SlicedScore(real, latent_shape, classes, device)
    encoder = features.load(name, device=device)
    return FrechetScore(encoder, real, latent_shape, classes, device)


def encode(
    encoder: Encoder, images: Tensor, layers: tuple[str, ...] = ("features",)
) -> dict[str, Tensor]:
    """Return layers of uint8 images (N, 1 or 3, H, W) of any count, on the CPU."""
    parts = [
        encoder(as_channels(batch, encoder.channels).to(encoder.device), layers)
        for batch in torch.split(images, _BATCH)
    ]
    return {layer: torch.cat([part[layer].cpu() for part in parts]) for layer in layers}
