"""Scores of a synthetic data set against the real images."""

from typing import NamedTuple

import torch
from torch import Tensor

from ganfast.metrics import frechet_distance_from_features
from ganfast.metrics.logit_scores import inception_score
from ganfast.metrics.precision_recall import prdc
from ganfast.metrics.pyramid import swd
from ganfast.workflows.judge import Judge
from ganfast.workflows.training_scores import encode

_NEAREST = 5  # the radius of a sample reaches to this neighbour
_ROWS = 1000  # rows of the distance matrix computed at a time
_MOST = 5000  # real images that are compared
_SLICED = 1000  # images of each kind for the sliced Wasserstein distance


class Quality(NamedTuple):
    """Scores of M generated images.

    Attributes:
        fd: Fréchet distance on the features of the judge.
        swd: multi-scale sliced Wasserstein distance, times 1,000.
        fd_real, swd_real: those of two halves of the real images, the low ends of the scales.
        inception_score: exp of the mean divergence of p(y|x) from p(y), by the judge's classes
            (Salimans et al. 2016); None without classes.
        precision, recall: shares of fakes and of reals inside the balls around the others that
            reach to their fifth neighbours (Kynkäänniemi et al. 2019).
        closer: share of generated images that are nearer to a real image than the median distance
            of real images to each other: about 0.5 for new images, towards 1 for memorised ones.
        nearest: indices (M,) of the nearest real images.
    """

    fd: float
    fd_real: float
    swd: float
    swd_real: float
    inception_score: float | None
    precision: float
    recall: float
    closer: float
    nearest: Tensor

    def rows(self, judge: Judge) -> list[tuple[str, str]]:
        """Return names and values, formatted."""
        logits = []
        if self.inception_score is not None:
            logits = [("inception score (the judge's classes)", f"{self.inception_score:.2f}")]
        return [
            (judge.encoder.label, f"{self.fd:.2f}"),
            (f"{judge.encoder.label}, real vs real (two halves)", f"{self.fd_real:.2f}"),
            ("SWD x 1000", f"{self.swd:.2f}"),
            ("SWD x 1000, real vs real (two halves)", f"{self.swd_real:.2f}"),
            *logits,
            ("precision", f"{self.precision:.3f}"),
            ("recall", f"{self.recall:.3f}"),
            ("nearer to a real image than real ones are", f"{self.closer:.1%}"),
        ]


def quality(real: Tensor, fake: Tensor, judge: Judge) -> Quality:
    """Score uint8 images (M, C, H, W) against real ones (N, C, H, W).

    Of more than 5,000 real images a random subset is compared.

    Raises:
        ValueError: ``real`` or ``fake`` has fewer than 14 images.
    """
    for name, images in (("real", real), ("fake", fake)):
        if len(images) < 2 * (_NEAREST + 2):
            raise ValueError(
                f"{name} must have {2 * (_NEAREST + 2)} images or more, got {len(images)}"
            )
    order = torch.randperm(len(real), generator=torch.Generator().manual_seed(0))
    chosen = order[:_MOST].sort().values
    real = real[chosen]
    layers = ("features", "logits") if judge.classes else ("features",)
    of_real = encode(judge.encoder, real)["features"]
    of_fake = encode(judge.encoder, fake, layers)
    x, y = of_real, of_fake["features"]
    mixed = torch.randperm(len(real), generator=torch.Generator().manual_seed(1))
    one, two = mixed.chunk(2)
    coverage = prdc(x, y, k=_NEAREST)
    to_real, nearest = _nearest(y, x)
    among_real, _ = _nearest(x, x, itself=True)
    return Quality(
        fd=float(frechet_distance_from_features(x, y)),
        fd_real=float(frechet_distance_from_features(x[one], x[two])),
        swd=_sliced(real[mixed], fake),
        swd_real=_sliced(real[one], real[two]),
        inception_score=inception_score(of_fake["logits"], splits=1, seed=None).mean
        if judge.classes
        else None,
        precision=coverage.precision,
        recall=coverage.recall,
        closer=float((to_real < among_real.median()).float().mean()),
        nearest=chosen[nearest],
    )


def _sliced(x: Tensor, y: Tensor) -> float:
    return swd(x[:_SLICED], y[:_SLICED], neighbourhoods=32, directions=128).mean


def _nearest(points: Tensor, others: Tensor, itself: bool = False) -> tuple[Tensor, Tensor]:
    """Return distance and index of each point's nearest other; ``itself`` skips the point."""
    k = 2 if itself else 1
    found = [torch.cdist(p, others).kthvalue(k) for p in torch.split(points, _ROWS)]
    return torch.cat([f.values for f in found]), torch.cat([f.indices for f in found])
