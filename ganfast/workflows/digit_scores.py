"""What generated digits are worth: Fréchet distance and diversity on the digits' feature net."""

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
_SIDE = 28  # what the feature net takes


class FrechetScore:
    """Fréchet distance between all real images and as many of a generator's.

    Args:
        real: uint8 (N, 1, H, W); of another size than 28 x 28 they, and the fakes, are resized.
        net: the feature net.
        latent_dim: of the generator.
        classes: labels that the generator takes, each drawn as often, or 0.
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
        """Of the features (M, D) of fake images."""
        return float(frechet_distance_from_features(self._real, fake))

    def real_against_real(self) -> float:
        """The distance between the two halves of the real images: the low end of the scale."""
        half = len(self._real) // 2
        return float(frechet_distance_from_features(self._real[:half], self._real[half:]))

    @torch.no_grad()
    def class_counts(self, generator: nn.Module, count: int) -> list[int]:
        """How many of ``count`` samples the feature net takes for each digit."""
        classes = self._net.classify(as_digits(self._draw(generator, count))).argmax(dim=1)
        counts: list[int] = classes.bincount(minlength=10).tolist()
        return counts

    @torch.no_grad()
    def _draw(self, generator: nn.Module, count: int) -> Tensor:
        """Samples of the same latents at every call, so that scores differ by the weights alone."""
        shape = (count, self._latent_dim)
        latents = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        labels = torch.arange(count) % max(1, self._classes)
        parts = []
        for z, y in zip(torch.split(latents, 250), torch.split(labels, 250), strict=True):
            given = (y.to(self._device),) if self._classes else ()
            parts.append(generator(z.to(self._device), *given))
        return torch.cat(parts)


def extract(net: features.DigitsFeatures, images: Tensor) -> Tensor:
    """Features of uint8 or floating images of any size."""
    return features.extract(net, as_digits(images))


def as_digits(images: Tensor) -> Tensor:
    """Images (N, 1, H, W) as 28 x 28: those of another size become floats, antialiased."""
    if images.shape[2:] == (_SIDE, _SIDE):
        return images
    floats = data.to_float(images) if images.dtype == torch.uint8 else images
    return F.interpolate(floats, (_SIDE, _SIDE), mode="bilinear", antialias=True)


def resized(images: Tensor, size: int) -> Tensor:
    """uint8 images (N, C, H, W) as uint8 (N, C, size, size), antialiased."""
    floats = F.interpolate(data.to_float(images), (size, size), mode="bilinear", antialias=True)
    return data.to_uint8(floats)


def _spread(x: Tensor) -> Tensor:
    return x.double().var(0).sum()


_NEAREST = 5  # the radius of a sample reaches to this neighbour
_ROWS = 1000  # distances computed at a time


class Quality(NamedTuple):
    """Figures on the digits' feature net; ``nearest`` are (M,) places of the nearest real images.

    ``closer`` is the share of generated images that are nearer to a real image than real images
    are to each other in the median: near 0.5 for new images, towards 1 where they are memorised.
    """

    fd: float
    inception_score: float
    precision: float
    recall: float
    closer: float
    nearest: Tensor


def quality(real: Tensor, fake: Tensor) -> Quality:
    """Compare uint8 images (M, 1, H, W) with real ones (N, 1, H, W).

    Precision and recall are the shares of fakes and of reals within the balls around the others
    that reach to their fifth neighbours (Kynkäänniemi et al. 2019). The inception score is
    exp of the mean divergence of p(y|x) from p(y), by the digit classifier (Salimans et al. 2016).
    Raises ValueError for fewer than 7 images on either side.
    """
    for name, images in (("real", real), ("fake", fake)):
        if len(images) < _NEAREST + 2:
            raise ValueError(f"{name} must have {_NEAREST + 2} images or more, got {len(images)}")
    net = features.digits()
    x, y = (features.extract(net, as_digits(images)) for images in (real, fake))
    with torch.no_grad():
        logits = net.head(y)
    covered = prdc(x, y, k=_NEAREST)
    to_real, nearest = _nearest(y, x)
    among_real, _ = _nearest(x, x, itself=True)
    return Quality(
        fd=float(frechet_distance_from_features(x, y)),
        inception_score=inception_score(logits, splits=1, seed=None).mean,
        precision=covered.precision,
        recall=covered.recall,
        closer=float((to_real < among_real.median()).float().mean()),
        nearest=nearest,
    )


def _nearest(points: Tensor, others: Tensor, itself: bool = False) -> tuple[Tensor, Tensor]:
    """Distance and place of each point's nearest other; not counting the point where it is one."""
    k = 2 if itself else 1
    found = [torch.cdist(p, others).kthvalue(k) for p in torch.split(points, _ROWS)]
    return torch.cat([f.values for f in found]), torch.cat([f.indices for f in found])
