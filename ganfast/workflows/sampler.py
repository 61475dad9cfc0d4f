"""Draw labelled samples from a trained GAN, by seed and with quality filters."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ganfast import data, models
from ganfast.workflows import gan
from ganfast.workflows.judge import Judge
from ganfast.workflows.run_folder import run_to_end
from ganfast.workflows.train import make_trainer

_TRIED = 1000  # samples whose logits set the threshold of rejection
_BATCH = 250
_MAX_BATCHES = 200  # besides those that the samples need: then nothing passes the filters


@dataclass(frozen=True)
class Filters:
    """Quality filters of samples.

    Attributes:
        reject: share of samples to leave out, those with the lowest discriminator outputs.
        confidence: lowest probability of a sample's label by the judge of the images.
        truncation: bound t of latents drawn from the normal truncated to [-t, t]; 0 is off.
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
    """Draw samples from the moving average of a checkpoint.

    A class-conditional generator gets the wanted labels. For another generator, the judge selects
    the samples that show the wanted labels; without one that knows classes there is one label, 0.

    Args:
        config, pair: of the checkpoint, see :func:`ganfast.workflows.gan.from_checkpoint`.
        judge: classifies samples.

    Raises:
        ValueError: the filters need a judge that knows classes.
    """

    def __init__(
        self,
        config: gan.Config,
        pair: models.Gan,
        judge: Judge | None,
        filters: Filters,
        device: str = "cpu",
    ) -> None:
        self.config = config
        self._generator = pair.generator.to(device)
        self._discriminator = pair.discriminator.to(device)
        self._judge = judge if judge is not None and judge.classes else None
        if filters.confidence and self._judge is None:
            raise ValueError(
                f"confidence must be 0 for images without classes, got {filters.confidence}"
            )
        self._filters, self._device = filters, device
        self.drawn = 0  # samples, accepted or not
        self._threshold = -math.inf
        if filters.reject:
            self._threshold = self._quantile(filters.reject)

    @property
    def classes(self) -> int:
        return self.config.classes or (self._judge.classes if self._judge else 1)

    @torch.no_grad()
    def draw(self, labels: Tensor, seed: tuple[int, ...]) -> Tensor:
        """Draw uint8 images (N, C, H, W) of labels (N,); the same seed gives the same images.

        Raises:
            ValueError: too few samples pass the filters.
        """
        random = _generator(seed)
        shape = (len(labels), self.config.channels, self.config.size, self.config.size)
        images = torch.zeros(shape, dtype=torch.uint8)
        missing = torch.ones(len(labels), dtype=torch.bool)
        for _ in range(_MAX_BATCHES + len(labels) // _BATCH):
            open_slots = torch.where(missing)[0]
            if len(open_slots) == 0:
                return images
            asked = labels[open_slots[torch.arange(_BATCH) % len(open_slots)]]
            made, kept, seen = self._candidates(asked, random)
            for label in torch.unique(labels[open_slots]):
                free = open_slots[labels[open_slots] == label]
                good = torch.where(kept & (seen == label))[0][: len(free)]
                images[free[: len(good)]] = made[good]
                missing[free[: len(good)]] = False
        cause = f"too few of this generator's images pass the filters {self._filters}"
        if self._filters == Filters() and self._judge is not None:
            cause = f"{self._judge.words}, sees the wanted labels in too few of the samples"
        raise ValueError(
            f"{int(missing.sum())} of {len(labels)} samples could not be drawn: {cause}"
        )

    @torch.no_grad()
    def natural(self, count: int, seed: tuple[int, ...]) -> Tensor:
        """Draw uint8 images (count, C, H, W) without filters, cycling through the classes."""
        random, labels = _generator(seed), torch.arange(count) % self.classes
        parts = torch.split(labels, _BATCH)
        return torch.cat([self._candidates(asked, random)[0] for asked in parts])

    def _candidates(self, asked: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Return images, a mask of those that pass the filters, and their labels, on the CPU."""
        made, own_labels = self._generate(asked, random)
        self.drawn += len(asked)
        images, seen = data.to_uint8(made).cpu(), asked
        kept = torch.ones(len(asked), dtype=torch.bool)
        if self._judge is not None and (self._filters.confidence or not self.config.classes):
            probabilities = self._judge.probabilities(images)
            seen = asked if self.config.classes else probabilities.argmax(1)
            kept &= probabilities[torch.arange(len(seen)), seen] >= self._filters.confidence
        if self._filters.reject:
            kept &= self._discriminator(made, *own_labels).flatten().cpu() >= self._threshold
        return images, kept, seen

    def _generate(
        self, labels: Tensor, random: torch.Generator
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return floating-point images, and the labels that both networks take, on the device."""
        latents = self._latents(len(labels), random).to(self._device)
        own_labels = (labels.to(self._device),) if self.config.classes else ()
        return self._generator(latents, *own_labels), own_labels

    def _latents(self, count: int, random: torch.Generator) -> Tensor:
        shape = (count, *self.config.latent_shape)
        t = self._filters.truncation
        if not t:
            return torch.randn(shape, generator=random)
        # The inverse distribution function, restricted to [-t, t].
        half = math.erf(t / math.sqrt(2))
        uniform = torch.rand(shape, generator=random, dtype=torch.float64) * 2 - 1
        return (math.sqrt(2) * torch.erfinv(uniform * half)).float()

    @torch.no_grad()
    def _quantile(self, share: float) -> float:
        random, logits = _generator((0,)), []
        for labels in torch.split(torch.arange(_TRIED) % self.classes, _BATCH):
            made, own_labels = self._generate(labels, random)
            logits.append(self._discriminator(made, *own_labels).flatten().cpu())
        return float(torch.cat(logits).quantile(share))


def trained_sampler(
    words: Sequence[str],
    real: data.ImageData,
    source: str,
    folder: Path,
    device: str,
    overwrite: bool,
) -> Sampler:
    """Train a GAN on images of a source, unless its folder holds one, and return its sampler.

    Its settings are ``field=value`` words; with ``overwrite`` it is trained again.

    Raises:
        KeyboardInterrupt: the training was stopped and saved.
    """
    trainer = make_trainer(gan.gan_config(words, real, source), folder, device, real)
    run_to_end(trainer, overwrite)
    return Sampler(*gan.from_checkpoint(trainer.checkpoint_path), None, Filters(), device)


def shuffled_labels(count: int, shares: list[float], seed: int) -> Tensor:
    """Return labels (count,) in random order, with counts in proportion to the shares.

    Counts differ from exact proportion by less than one.

    Raises:
        ValueError: a share is negative, or none is positive.
    """
    weights = torch.tensor(shares, dtype=torch.float64)
    if weights.dim() != 1 or not (weights >= 0).all() or not weights.sum() > 0:
        raise ValueError(f"shares must be >= 0 and one of them > 0, got {shares}")
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
