"""Mean and covariance of a stream of features, in float64 and in one pass."""

import copy
import os
from collections.abc import Mapping

import torch
from torch import Tensor
from typing_extensions import Self

from ganfast.distributed import collective_device
from ganfast.metrics.matrix import add_lower_gram, mirrored
from ganfast.metrics.moments import Moments, load_moments_and_weights, save_moments
from ganfast.metrics.validation import LARGEST, Array, as_features, as_tensor

_BLOCK = 2048  # rows converted to float64 at a time: a large update needs little more memory


class FrechetStatistics:
    """Mean (D,) and covariance (D, D) in float64 of features that arrive in parts.

    Each part is centred on its own mean and merged by

        delta = mean_b - mean_a
        mean  = mean_a + delta w_b / w
        S     = S_a + S_b + delta delta^T w_a w_b / w      (Chan, Golub & LeVeque 1979)

    with S the sum of outer products around the mean and w the sum of weights, 1 each by default. So
    a large mean costs no accuracy, and the result does not depend on how the data was split (to
    1e-12).

    Args:
        dim: D.
        device: holds 8 D^2 bytes and computes the products.
    """

    def __init__(self, dim: int, device: torch.device | str = "cpu") -> None:
        if dim < 1:
            raise ValueError(f"dim must be at least 1, got {dim}")
        self.dim = dim
        self.n = 0
        self._weight = 0.0
        self._squared_weights = 0.0
        self._mean = torch.zeros(dim, dtype=torch.float64, device=device)
        self._scatter = torch.zeros(dim, dim, dtype=torch.float64, device=device)  # lower triangle

    def update(self, features: Array, weights: Array | None = None) -> None:
        """Add features; the statistics stay as they were if this raises.

        Args:
            features: (N, D), N >= 0, floating-point, on any device.
            weights: (N,), each 0 or from 1e-70 to 1e70.

        Raises:
            TypeError: another type or dtype.
            ValueError: another shape, or values that are not finite or out of range.
        """
        features = as_features(features, "features", self.dim).detach()
        w = None if weights is None else _as_weights(weights, len(features))
        for start in range(0, len(features), _BLOCK):
            rows = slice(start, start + _BLOCK)
            self._update_block(features[rows], None if w is None else w[rows])

    def merge(self, other: "FrechetStatistics") -> None:
        """Add all that other statistics have seen.

        Raises:
            ValueError: the dimensions differ.
        """
        if other.dim != self.dim:
            raise ValueError(f"other must have dim {self.dim}, got {other.dim}")
        scatter = other._scatter.to(self._scatter, copy=other is self)
        mean = other._mean.to(self._mean)
        self._shift(other.n, other._weight, other._squared_weights, mean)
        self._scatter += scatter

    def without(self, part: "FrechetStatistics") -> "FrechetStatistics":
        """Return statistics of what these have seen without a ``part`` that was merged into them.

        Raises:
            ValueError: the part is not smaller.
        """
        weight = self._weight - part._weight
        if part.dim != self.dim or part.n >= self.n or weight <= 0:
            raise ValueError(
                f"part must hold fewer than {self.n} samples of dim {self.dim}, "
                f"got {part.n} of dim {part.dim}"
            )
        rest = FrechetStatistics(self.dim, self._mean.device)
        delta = self._mean - part._mean.to(self._mean)
        rest._mean = self._mean + delta * (part._weight / weight)
        rest._scatter = self._scatter - part._scatter.to(self._scatter)
        rest._scatter.addr_(delta, delta, alpha=-self._weight * part._weight / weight)
        rest.n, rest._weight = self.n - part.n, weight
        rest._squared_weights = self._squared_weights - part._squared_weights
        return rest

    def reduce(self, process_group: "torch.distributed.ProcessGroup | None" = None) -> Self:
        """Return, in every process of a group, the statistics of all that they have seen.

        Every process of the group calls this, with the same dimension. The exchange goes through a
        device that the group takes. Without torch.distributed it returns a copy.
        """
        total = copy.deepcopy(self)
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            return total

        device = collective_device(self._mean.device, process_group)

        def summed(value: Tensor) -> Tensor:
            there = value.to(device)
            torch.distributed.all_reduce(there, group=process_group)
            return there.to(value.device)

        counts = summed(self._mean.new_tensor([self.n, self._weight, self._squared_weights]))
        n, weight, squared_weights = counts.tolist()
        total.n, total._weight, total._squared_weights = int(n), weight, squared_weights
        if weight > 0:
            total._mean = summed(self._mean * (self._weight / weight))
            delta = self._mean - total._mean
            total._scatter = summed(self._scatter + torch.outer(delta, delta * self._weight))
        return total

    @property
    def mean(self) -> Tensor:
        """Mean (D,), float64. Raises ValueError before the first sample with a weight."""
        if self._weight == 0:
            weighed = ", all of weight 0" if self.n else ""
            raise ValueError(f"mean must be of at least 1 sample, got {self.n}{weighed}")
        return self._mean.clone()

    def covariance(self, ddof: int = 1) -> Tensor:
        """Return the covariance (D, D), float64, exactly symmetric.

        S / (w - ddof sum w_i^2 / w), as numpy.cov with aweights; without weights S / (n - ddof).

        Raises:
            ValueError: ddof is not 0 or 1, or there are fewer than 2 samples.
        """
        if ddof not in (0, 1):
            raise ValueError(f"ddof must be 0 or 1, got {ddof}")
        divisor = self._weight - ddof * self._squared_weights / (self._weight or 1)
        if self.n < 2 or divisor <= 0:
            weighed = ", of which at most 1 has a weight above 0" if self.n >= 2 else ""
            raise ValueError(f"covariance must be of at least 2 samples, got {self.n}{weighed}")
        return mirrored(self._scatter / divisor)

    @property
    def moments(self) -> Moments:
        """Mean, covariance with ddof = 1, and n."""
        return Moments(self.mean, self.covariance(), self.n)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write ``mu``, ``sigma`` (ddof = 1) and ``n`` to a .npz file, which pytorch-fid reads.

        The file is whole or not there.

        Raises:
            ValueError: there are fewer than 2 samples, or the path does not end in .npz.
        """
        save_moments(path, self.moments, (self._weight, self._squared_weights))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Return the statistics in a file of `save`; more features can be added to them.

        Raises:
            FileNotFoundError, ValueError: as `load_moments`, and for a file without the number of
                samples, which only `load_moments` reads.
        """
        moments, (weight, squared_weights) = load_moments_and_weights(path)
        if moments.n is None:
            raise ValueError(
                f"{path}: the file holds no number of samples n, so that nothing can be added; "
                "read it with load_moments"
            )
        statistics = cls(len(moments.mean))
        statistics.n, statistics._mean = moments.n, moments.mean
        statistics._weight, statistics._squared_weights = weight, squared_weights
        statistics._scatter = moments.covariance * (weight - squared_weights / weight)
        return statistics

    def state_dict(self) -> dict[str, Tensor]:
        """Return everything as tensors, for `load_state_dict` and for safetensors."""
        counts = [self.n, self._weight, self._squared_weights]
        return {
            "counts": torch.tensor(counts, dtype=torch.float64),
            "mean": self._mean.clone(),
            "scatter": self._scatter.clone(),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Become what `state_dict` was taken of.

        Raises:
            ValueError: the dimension differs, or the values are those of no statistics.
        """
        shapes = {"counts": (3,), "mean": (self.dim,), "scatter": (self.dim, self.dim)}
        found = {key: tuple(value.shape) for key, value in state.items()}
        if found != shapes:
            raise ValueError(f"state must hold tensors of shapes {shapes}, got {found}")
        n, weight, squared_weights = state["counts"].tolist()
        if not all(bool(value.isfinite().all()) for value in state.values()):
            raise ValueError("state must be finite, got NaN or infinity")
        if not (n >= 0 and n == int(n) and 0 <= squared_weights <= weight**2 and weight >= 0):
            raise ValueError(f"state must hold counts of samples, got {state['counts'].tolist()}")
        self.n, self._weight, self._squared_weights = int(n), weight, squared_weights
        self._mean = state["mean"].to(self._mean, copy=True)
        self._scatter = state["scatter"].to(self._scatter, copy=True)

    def forget(self, decay: float) -> None:
        """Multiply all weights so far by ``decay``, from 0 to 1; see `EMAStatistics`."""
        self._weight *= decay
        self._squared_weights *= decay**2
        self._scatter *= decay

    def _update_block(self, features: Tensor, weights: Tensor | None) -> None:
        block = features.to(self._mean, copy=True)
        n = len(block)
        if weights is None:
            mean, weight, squared_weights = block.mean(dim=0), float(n), float(n)
            block -= mean
        else:
            w = weights.to(self._mean)
            weight, squared_weights = float(w.sum()), float(w.square().sum())
            mean = w @ block / weight if weight else torch.zeros_like(self._mean)
            block -= mean
            block *= w.sqrt().unsqueeze(1)
        self._shift(n, weight, squared_weights, mean)
        add_lower_gram(self._scatter, block)

    def _shift(self, n: int, weight: float, squared_weights: float, mean: Tensor) -> None:
        """Count a part, move the mean by its own, and add its term to the scatter."""
        total = self._weight + weight
        if total > 0:
            delta = mean - self._mean
            self._scatter.addr_(delta, delta, alpha=self._weight * weight / total)
            self._mean = self._mean + delta * (weight / total)
        self.n, self._weight = self.n + n, total
        self._squared_weights += squared_weights


class EMAStatistics(FrechetStatistics):
    """Statistics in which each update counts ``decay`` times as much as the next.

    They serve a distance during training: the covariance of about 1 / (1 - decay) batches, none of
    which is kept. ``decay`` lies between 0 and 1.
    """

    def __init__(self, dim: int, decay: float, device: torch.device | str = "cpu") -> None:
        if not 0 < decay < 1:
            raise ValueError(f"decay must be between 0 and 1, got {decay}")
        super().__init__(dim, device)
        self.decay = decay

    def update(self, features: Array, weights: Array | None = None) -> None:
        """Reduce the weight of all earlier batches, and add a batch (N, D) of features."""
        batch = FrechetStatistics(self.dim, self._mean.device)
        batch.update(features, weights)
        self.forget(self.decay)
        self.merge(batch)


class WindowStatistics:
    """Moments of the last ``size`` features, which are kept: 8 size D bytes, and no drift."""

    def __init__(self, dim: int, size: int, device: torch.device | str = "cpu") -> None:
        if dim < 1 or size < 2:
            raise ValueError(f"dim must be at least 1 and size at least 2, got {dim} and {size}")
        self.n = 0
        self._next = 0
        self._window = torch.empty(size, dim, dtype=torch.float64, device=device)

    def update(self, features: Array) -> None:
        """Add features (N, D) in place of the oldest. Raises as `FrechetStatistics.update`."""
        size, dim = self._window.shape
        features = as_features(features, "features", dim).detach()
        features = features[-size:].to(self._window)
        places = torch.arange(self._next, self._next + len(features), device=features.device)
        self._window[places % size] = features
        self._next = (self._next + len(features)) % size
        self.n = min(size, self.n + len(features))

    @property
    def features(self) -> Tensor:
        """The features in the window (n, D), in no particular order."""
        return self._window[: self.n].clone()

    @property
    def moments(self) -> Moments:
        """Mean, covariance with ddof = 1, and n. Raises ValueError for fewer than 2 samples."""
        statistics = FrechetStatistics(self._window.shape[1], self._window.device)
        statistics.update(self._window[: self.n])
        return statistics.moments


def _as_weights(value: Array, n: int) -> Tensor:
    weights = as_tensor(value, "weights").detach()
    if weights.is_complex():
        raise TypeError(f"weights must be real, got {weights.dtype}")
    weights = weights.double()
    if weights.shape != (n,):
        raise ValueError(f"weights must have shape ({n},), got {tuple(weights.shape)}")
    # Squares of weights are summed too.
    allowed = (weights == 0) | ((weights >= 1 / LARGEST) & (weights <= LARGEST))
    if not bool(allowed.all()):
        wrong = float(weights[~allowed][0])
        raise ValueError(
            f"weights must be 0 or from {1 / LARGEST:g} to {LARGEST:g}, got {wrong:.6g}"
        )
    return weights
