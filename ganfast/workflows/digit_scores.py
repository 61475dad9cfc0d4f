"""Scores of generated digits on the features of the digit classifier."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganfast import data, features
from ganfast.metrics import frechet_distance_from_features
from ganfast.metrics.logit_scores import inception_score
from ganfast.metrics.precision_recall import prdc
from ganfast.train.journal import Record

FD = "FD (digits)"
_SIDE = 28  # of the feature net's images


class FrechetScore:
    """Fréchet distance between all real images and as many generated ones.

    Args:
        real: uint8 (N, 1, H, W). Real and fake images are resized to 28 x 28.
        net: the feature net.
        latent_dim: size of the generator's latents.
        classes: number of labels that the generator takes, drawn in equal shares, or 0.
    """

    def __init__(
        self, real: Tensor, net: features.DigitsFeatures, latent_dim: int = 64, classes: int = 0
    ) -> None:
        self._net, self._latent_dim, self._classes = net, latent_dim, classes
        self._device = next(net.parameters()).device
        self._real = extract(net, real.to(self._device))

    def __call__(self, generator: nn.Module) -> Record:
        fake = features.extract(self._net, as_digits(self._draw(generator, len(self._real))))
        return {
            "fd": self.distance(fake),
            "feature_diversity": float(_spread(fake) / _spread(self._real)),
        }

    def distance(self, fake: Tensor) -> float:
        """Return the distance of the features (M, D) of fake images."""
        return float(frechet_distance_from_features(self._real, fake))

    def real_against_real(self) -> float:
        """Return the distance between two halves of the real images, the low end of the scale."""
        half = len(self._real) // 2
        return float(frechet_distance_from_features(self._real[:half], self._real[half:]))

    @torch.no_grad()
    def class_counts(self, generator: nn.Module, count: int) -> list[int]:
        """Count the digits that the classifier sees in ``count`` samples."""
        classes = self._net.classify(as_digits(self._draw(generator, count))).argmax(dim=1)
        counts: list[int] = classes.bincount(minlength=10).tolist()
        return counts

    @torch.no_grad()
    def _draw(self, generator: nn.Module, count: int) -> Tensor:
        """Generate images from the same latents in every call: only the weights change scores."""
        shape = (count, self._latent_dim)
        latents = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        labels = torch.arange(count) % max(1, self._classes)
        parts = []
        for z, y in zip(torch.split(latents, 250), torch.split(labels, 250), strict=True):
            own_labels = (y.to(self._device),) if self._classes else ()
            parts.append(generator(z.to(self._device), *own_labels))
        return torch.cat(parts)


def extract(net: features.DigitsFeatures, images: Tensor) -> Tensor:
    """Return the features of uint8 or floating-point images of any size."""
    return features.extract(net, as_digits(images))


def as_digits(images: Tensor) -> Tensor:
    """Resize images (N, 1, H, W) of another size to 28 x 28, as floats, antialiased."""
    if images.shape[2:] == (_SIDE, _SIDE):
        return images
    floats = data.to_float(images) if images.dtype == torch.uint8 else images
    return F.interpolate(floats, (_SIDE, _SIDE), mode="bilinear", antialias=True)


def resized(images: Tensor, size: int) -> Tensor:
    """Resize uint8 images (N, C, H, W) to uint8 (N, C, size, size), antialiased."""
    floats = F.interpolate(data.to_float(images), (size, size), mode="bilinear", antialias=True)
    return data.to_uint8(floats)


def _spread(x: Tensor) -> Tensor:
    return x.double().var(0).sum()


_NEAREST = 5  # the radius of a sample reaches to this neighbour
_ROWS = 1000  # rows of the distance matrix computed at a time


class Quality(NamedTuple):
    """Scores of M generated images on the features of the digit classifier.

    Attributes:
        fd: Fréchet distance.
        inception_score: exp of the mean divergence of p(y|x) from p(y), by the digit classifier
            (Salimans et al. 2016).
        precision, recall: shares of fakes and of reals inside the balls around the others that
            reach to their fifth neighbours (Kynkäänniemi et al. 2019).
        closer: share of generated images that are nearer to a real image than the median distance
            of real images to each other: about 0.5 for new images, towards 1 for memorised ones.
        nearest: indices (M,) of the nearest real images.
    """

    fd: float
    inception_score: float
    precision: float
    recall: float
    closer: float
    nearest: Tensor


def quality(real: Tensor, fake: Tensor) -> Quality:
    """Score uint8 images (M, 1, H, W) against real ones (N, 1, H, W).

    Raises:
        ValueError: ``real`` or ``fake`` has fewer than 7 images.
    """
    for name, images in (("real", real), ("fake", fake)):
        if len(images) < _NEAREST + 2:
            raise ValueError(f"{name} must have {_NEAREST + 2} images or more, got {len(images)}")
    net = features.digits()
    x, y = (features.extract(net, as_digits(images)) for images in (real, fake))
    with torch.no_grad():
        logits = net.head(y)
    coverage = prdc(x, y, k=_NEAREST)
    to_real, nearest = _nearest(y, x)
    among_real, _ = _nearest(x, x, itself=True)
    return Quality(
        fd=float(frechet_distance_from_features(x, y)),
        inception_score=inception_score(logits, splits=1, seed=None).mean,
        precision=coverage.precision,
        recall=coverage.recall,
        closer=float((to_real < among_real.median()).float().mean()),
        nearest=nearest,
    )


def _nearest(points: Tensor, others: Tensor, itself: bool = False) -> tuple[Tensor, Tensor]:
    """Return distance and index of each point's nearest other; ``itself`` skips the point."""
    k = 2 if itself else 1
    found = [torch.cdist(p, others).kthvalue(k) for p in torch.split(points, _ROWS)]
    return torch.cat([f.values for f in found]), torch.cat([f.indices for f in found])
