"""Draw labelled samples from a trained GAN, by seed, with filters of quality."""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ganfast import data, features
from ganfast.workflows import gan
from ganfast.workflows.digit_scores import as_digits

_TRIED = 1000  # samples whose logits set the threshold of rejection
_BATCH = 250
_ROUNDS = 200  # batches without end are a filter that nothing passes


@dataclass(frozen=True)
class Filters:
    """What samples must be.

    Attributes:
        reject: share of the samples that the discriminator likes least, left out.
        confidence: least probability that the digit classifier gives a sample's label.
        truncation: latents are drawn from [-t, t] of the normal; 0 does not truncate.
    """

    reject: float = 0.0
    confidence: float = 0.0
    truncation: float = 0.0

    def __post_init__(self) -> None:
        for name in ("reject", "confidence"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        if not (self.truncation >= 0 and math.isfinite(self.truncation)):
            raise ValueError(f"truncation must be at least 0, got {self.truncation}")


class Sampler:
    """Samples of a checkpoint's moving average.

    A class-conditional generator makes the labels asked for; of another one, those samples are
    taken that the digit classifier reads as what is asked for.

    Raises:
        FileNotFoundError, ValueError: as :func:`ganfast.models.checkpoint.load_gan`, or the images
            are not grey, which the digit classifier needs.
    """

    def __init__(self, checkpoint: Path, filters: Filters, device: str = "cpu") -> None:
        self.config, pair = gan.from_checkpoint(checkpoint)
        self._generator, self._discriminator = (
            pair.generator.to(device),
            pair.discriminator.to(device),
        )
        if self.config.channels != 1:
            raise ValueError(
                f"{checkpoint}: images must be grey, got {self.config.channels} channels"
            )
        self._filters, self._device = filters, device
        self._teacher = features.digits().to(device)
        self.drawn = 0  # samples, taken or not
        self._threshold = -math.inf
        if filters.reject:
            self._threshold = self._quantile(filters.reject)

    @property
    def classes(self) -> int:
        return self.config.classes or 10

    @torch.no_grad()
    def draw(self, labels: Tensor, seed: tuple[int, ...]) -> Tensor:
        """uint8 images (N, 1, H, W) of labels (N,); the same seed gives the same images.

        Raises ValueError where the filters leave too little.
        """
        random = _generator(seed)
        images = torch.zeros(len(labels), 1, self.config.size, self.config.size, dtype=torch.uint8)
        missing = torch.ones(len(labels), dtype=torch.bool)
        for _ in range(_ROUNDS + len(labels) // _BATCH):
            places = torch.where(missing)[0]
            if len(places) == 0:
                return images
            asked = labels[places[torch.arange(_BATCH) % len(places)]]
            made, kept, read = self._candidates(asked, random)
            for label in torch.unique(labels[places]):
                free = places[labels[places] == label]
                good = torch.where(kept & (read == label))[0][: len(free)]
                images[free[: len(good)]] = made[good]
                missing[free[: len(good)]] = False
        raise ValueError(
            f"{int(missing.sum())} of {len(labels)} samples could not be drawn: {self._cause()}"
        )

    def _cause(self) -> str:
        if self._filters == Filters():
            return "the digit classifier reads too few of this generator's images as their labels"
        return f"the filters {self._filters} pass too few of this generator's images"

    @torch.no_grad()
    def natural(self, count: int, seed: tuple[int, ...]) -> Tensor:
        """uint8 images (count, 1, H, W) as they come, without filters, of all classes in turn."""
        random, parts = _generator(seed), []
        for start in range(0, count, _BATCH):
            asked = torch.arange(start, min(start + _BATCH, count)) % self.classes
            parts.append(self._candidates(asked, random)[0])
        return torch.cat(parts)

    def _candidates(self, asked: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Images, whether the filters take them, and their labels, on the CPU."""
        latents = self._latents(len(asked), random)
        given = (asked.to(self._device),) if self.config.classes else ()
        made = self._generator(latents.to(self._device), *given)
        self.drawn += len(asked)
        probabilities = self._teacher.classify(as_digits(made)).softmax(1).cpu()
        read = asked if self.config.classes else probabilities.argmax(1)
        kept = torch.ones(len(asked), dtype=torch.bool)
        if self._filters.confidence:
            kept &= probabilities[torch.arange(len(read)), read] >= self._filters.confidence
        if self._filters.reject:
            kept &= self._discriminator(made, *given).flatten().cpu() >= self._threshold
        return data.to_uint8(made).cpu(), kept, read

    def _latents(self, count: int, random: torch.Generator) -> Tensor:
        shape = (count, *self.config.latent_shape)
        t = self._filters.truncation
        if not t:
            return torch.randn(shape, generator=random)
        # The inverse of the distribution function, on the part that [-t, t] has of it.
        half = math.erf(t / math.sqrt(2))
        uniform = torch.rand(shape, generator=random, dtype=torch.float64) * 2 - 1
        return (math.sqrt(2) * torch.erfinv(uniform * half)).float()

    @torch.no_grad()
    def _quantile(self, share: float) -> float:
        random = _generator((0,))
        logits = []
        for start in range(0, _TRIED, _BATCH):
            labels = (torch.arange(start, start + _BATCH) % self.classes).to(self._device)
            given = (labels,) if self.config.classes else ()
            made = self._generator(self._latents(_BATCH, random).to(self._device), *given)
            logits.append(self._discriminator(made, *given).flatten().cpu())
        return float(torch.cat(logits).quantile(share))


def labels_of(count: int, shares: list[float], seed: int) -> Tensor:
    """Labels (count,) in a random order, each as often as its share, to the nearest whole number.

    Raises ValueError for negative shares, or none above 0.
    """
    weights = torch.tensor(shares, dtype=torch.float64)
    if weights.dim() != 1 or not (weights >= 0).all() or not weights.sum() > 0:
        raise ValueError(f"shares must be at least 0, and one above it, got {shares}")
    exact = weights / weights.sum() * count
    counts = exact.floor()
    largest = (exact - counts).argsort(descending=True, stable=True)
    counts[largest[: count - int(counts.sum())]] += 1
    labels = torch.arange(len(shares)).repeat_interleave(counts.long())
    return labels[torch.randperm(count, generator=_generator((seed, 0)))]


def _generator(seed: tuple[int, ...]) -> torch.Generator:
    import numpy as np

    state = np.random.SeedSequence(seed).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))
