"""Mean and covariance of a stream of features, in float64 and in one pass."""

import torch
from torch import Tensor

from ganfast.metrics.arrays import Array, as_features

_BLOCK = 4096  # rows turned to float64 at a time, so a large update needs little more memory


class FrechetStatistics:
    """Mean (D,) and covariance (D, D) in float64 of features that arrive in parts.

    Parts are centred on their own mean and merged by

        delta = mean_b - mean_a
        mean  = mean_a + delta n_b / n
        S     = S_a + S_b + delta delta^T n_a n_b / n      (Chan, Golub & LeVeque 1979)

    with S the sum of outer products around the mean, so a large mean costs no accuracy and the
    result does not depend on how the data was split (to rounding, 1e-12).
    """

    def __init__(self, dim: int) -> None:
        if dim < 1:
            raise ValueError(f"dim: expected 1 or more, got {dim}")
        self.dim = dim
        self.n = 0
        self._mean = torch.zeros(dim, dtype=torch.float64)
        self._scatter = torch.zeros(dim, dim, dtype=torch.float64)

    def update(self, features: Array) -> None:
        """Add features (N, D), N >= 0, floating point, on any device.

        Raises TypeError for another type or dtype, ValueError for another shape or for values
        that are not finite; the statistics are then as before.
        """
        features = as_features(features, "features").detach()
        if features.shape[1] != self.dim:
            raise ValueError(
                f"features: expected shape (N, {self.dim}), got {tuple(features.shape)}"
            )
        for start in range(0, len(features), _BLOCK):
            block = features[start : start + _BLOCK].to("cpu", torch.float64)
            mean = block.mean(dim=0)
            centred = block - mean
            self._add(len(block), mean, centred.T @ centred)

    def merge(self, other: "FrechetStatistics") -> None:
        """Add all that another one has seen. Raises ValueError where the dimensions differ."""
        if other.dim != self.dim:
            raise ValueError(f"other: expected statistics of dim {self.dim}, got {other.dim}")
        if other.n > 0:
            self._add(other.n, other._mean, other._scatter)

    @property
    def mean(self) -> Tensor:
        """Mean (D,), float64. Raises ValueError before the first sample."""
        if self.n == 0:
            raise ValueError("mean: expected at least 1 sample, got 0")
        return self._mean.clone()

    def covariance(self, ddof: int = 1) -> Tensor:
        """Covariance (D, D), float64, exactly symmetric: S / (n - ddof), with ddof 0 or 1.

        Raises ValueError for fewer than 2 samples.
        """
        if ddof not in (0, 1):
            raise ValueError(f"ddof: expected 0 or 1, got {ddof}")
        if self.n < 2:
            raise ValueError(f"covariance: expected at least 2 samples, got {self.n}")
        return (self._scatter + self._scatter.T) / (2 * (self.n - ddof))

    def _add(self, n: int, mean: Tensor, scatter: Tensor) -> None:
        total = self.n + n
        delta = mean - self._mean
        # Out of place: `merge` may be given this very object.
        self._mean = self._mean + delta * (n / total)
        self._scatter = self._scatter + scatter + torch.outer(delta, delta) * (self.n * n / total)
        self.n = total
