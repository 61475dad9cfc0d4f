"""The Fréchet distance as a training loss."""

import torch
from torch import Tensor, nn

from ganfast.metrics.frechet import centred, distance_of_roots
from ganfast.metrics.matrix import psd_root
from ganfast.metrics.uncertainty import Reference, moments_of
from ganfast.metrics.validation import SLACK, as_features, to_float64


class FrechetLoss(nn.Module):
    """Fréchet distance of a batch of features (N, D) to fixed moments, to be minimised.

    |mu - mu_ref|^2 + tr Sigma + tr Sigma_ref - 2 |X R|_*,   Sigma_ref = R R^T

    with X the centred batch over sqrt(N - 1), Sigma = X^T X, so that N may be less than D. Its
    gradient in X is 2 X - 2 U R^T with U the polar factor of X R: nothing is inverted.

    A small batch has a large distance of its own, as its covariance has a rank below N. With
    ``queue`` > 0 that many features of the batches before are kept and stand in the covariance
    beside the batch, without a gradient, in training mode.

    Args:
        reference: `FrechetStatistics` or `Moments` of the real features.
        queue: features to keep.

    Shapes:
        features (N, D) with N >= 2, floating point -> scalar, float64.

    Raises:
        TypeError, ValueError: a reference that is not moments of a Gaussian, features of another
            dtype or shape, fewer than 2 of them, or values that are not finite.
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
        """The distance, with a gradient in the features."""
        features = to_float64(as_features(features, "features"))
        if features.shape[1] != len(self.mean):
            raise ValueError(
                f"features must have shape (N, {len(self.mean)}), got {tuple(features.shape)}"
            )
        x = features
        if self.training and self.queue:
            x = torch.cat([features, self.kept])
            self.kept = x[: self.queue].detach()
        mean, root = centred(x, "features", ddof=1)
        # Float64, also where the module has been moved to another dtype.
        return distance_of_roots(mean, root, self.mean.double(), self.root.double())
