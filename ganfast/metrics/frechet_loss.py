"""The Fréchet distance as a training loss."""

import torch
from torch import Tensor, nn

from ganfast.metrics.frechet import centred, distance_of_roots
from ganfast.metrics.matrix import psd_root
from ganfast.metrics.uncertainty import Reference, moments_of
from ganfast.metrics.validation import SLACK, as_features, to_float64


class FrechetLoss(nn.Module):
    """Fréchet distance of a batch of features to fixed moments, to be minimised.

    |mu - mu_ref|^2 + tr Sigma + tr Sigma_ref - 2 |X R|_*,   Sigma_ref = R R^T

    X is the centred batch over sqrt(N - 1), and Sigma = X^T X, so that N may be less than D. The
    gradient in X is 2 X - 2 U R^T with U the polar factor of X R: nothing is inverted.

    A small batch has a large distance of its own, as the rank of its covariance is below N. With
    ``queue`` > 0 the module keeps so many features of earlier batches in training mode; they take
    part in the moments without a gradient.

    Args:
        reference: `FrechetStatistics` or `Moments` of the real features.
        queue: features to keep.

    Shapes:
        features (N, D) with N >= 2, floating-point -> scalar, float64.

    Raises:
        TypeError, ValueError: the reference holds no moments of a Gaussian; the features have
            another dtype or shape, are fewer than 2, or are not finite.
    """

    mean: Tensor
    root: Tensor
    kept: Tensor

    def __init__(self, reference: Reference, queue: int = 0) -> None:
        super().__init__()
        if queue < 0:
            raise ValueError(f"queue must be at least 0, got {queue}")
        mean, covariance, _ = moments_of(reference)
        self.queue = queue
        self.register_buffer("mean", mean)
        self.register_buffer("root", psd_root(covariance, SLACK, "reference").matrix.T.contiguous())
        self.register_buffer("kept", mean.new_empty(0, len(mean)), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Return the distance, with a gradient in the features."""
        x = features = to_float64(as_features(features, "features", len(self.mean)))
        if self.training and self.queue:
            x = torch.cat([features, self.kept])
            self.kept = x[: self.queue].detach()
        mean, root = centred(x, "features", ddof=1)
        # Float64 even if the module has been moved to another dtype.
        return distance_of_roots(mean, root, self.mean.double(), self.root.double())
