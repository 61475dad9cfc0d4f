"""What a data card says of generated images: distance, score, precision, recall, memorising."""

from typing import NamedTuple

import torch
from torch import Tensor

from ganfast import features
from ganfast.metrics import frechet_distance_from_features
from ganfast.metrics.inception_score import inception_score
from ganfast.metrics.prdc import prdc
from ganfast.workflows.digit_scores import as_digits

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
