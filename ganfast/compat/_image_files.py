"""Image files as the projects list them, and their features."""

import io
import os
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ganfast import features, metrics
from ganfast.data.image_files import decode
from ganfast.evaluation.progress import progress_bar
from ganfast.features import Encoder
from ganfast.features.resize import Mode
from ganfast.features.weight_files import sha256_of
from ganfast.metrics import FrechetStatistics, Moments, frechet_distance_from_features

Device = str | torch.device | None
Weights = str | Path | None
Change = Callable[[Any], Any]
_Array = npt.NDArray[np.floating]
_AT_ONCE = 8  # threads


def inception(resize: Mode, device: Device, weights: Weights = None, dims: int = 2048) -> Encoder:
    """Load Inception, by default on a GPU if there is one, with public or other weights."""
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    sha256 = None if weights is None else sha256_of(Path(weights))
    return features.load(
        "inception", device=device, resize=resize, dims=dims, weights=weights, sha256=sha256
    )


class Images:
    """Image files in a given order, or those of a .zip file, as RGB (3, H, W).

    The files may be .npy of uint8 (H, W, 3); ``change`` is a function of each image (H, W, 3).
    """

    def __init__(
        self, name: str, files: Sequence[str | Path], archive: str | None = None,
        change: Change | None = None,
    ) -> None:  # fmt: skip
        if not files:
            raise ValueError(f"{name} must hold images, got none")
        self.name, self.files, self.change = name, files, change
        self.archive = None if archive is None else zipfile.ZipFile(archive)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> Tensor:
        """Return an image. Raises ValueError if it cannot be used."""
        file = self.files[number]
        source = Path(file) if self.archive is None else io.BytesIO(self.archive.read(str(file)))
        if str(file).endswith(".npy"):
            pixels = np.load(source, allow_pickle=False)
        else:
            pixels = np.array(decode(source, str(file), 3), np.uint8)
        if self.change is not None:
            pixels = self.change(pixels)
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise ValueError(
                f"{file} must be uint8 (H, W, 3), got {pixels.dtype} {tuple(pixels.shape)}"
            )
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def features_of(
    images: Any, name: str, encoder: Encoder, layers: tuple[str, ...], batch_size: int, quiet: bool
) -> dict[str, Tensor]:
    """Return layers of all images of a sequence, of any sizes; threads read the next ones ahead."""
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    n = len(images)
    starts = range(0, n, batch_size)
    parts: dict[str, list[Tensor]] = {layer: [] for layer in layers}
    threads = min(_AT_ONCE, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool, progress_bar(name, n, quiet) as bar:

        def one(number: int) -> Tensor:
            image = images[number]
            if not isinstance(image, Tensor) or image.dtype != torch.uint8 or image.ndim != 3:
                kind = getattr(image, "dtype", type(image).__name__)
                raise TypeError(f"{name} must hold uint8 images (3, H, W), got {kind}")
            return encoder.shrunk(image)

        def read(start: int) -> list[Any]:
            return [pool.submit(one, i) for i in range(start, min(start + batch_size, n))]

        coming = read(0)
        for start in starts:
            batch = [future.result() for future in coming]
            coming = read(start + batch_size)
            for layer, x in encoder.of_shrunk(batch, layers).items():
                parts[layer].append(x.cpu())
            bar.update(len(batch))
    return {layer: torch.cat(rows) for layer, rows in parts.items()}


def frechet_distance(
    mu1: _Array, sigma1: _Array, mu2: _Array, sigma2: _Array, eps: float = 1e-6
) -> float:
    """Return the Fréchet distance of two means (D,) and covariances (D, D).

    ``eps`` has no effect: singular covariances need no offset here.
    """
    means = [np.atleast_1d(mu) for mu in (mu1, mu2)]
    one, two = (np.atleast_2d(sigma) for sigma in (sigma1, sigma2))
    return float(metrics.frechet_distance(means[0], one, means[1], two))


def distance(one: Tensor | Moments, two: Tensor | Moments) -> float:
    """Return the Fréchet distance with covariances of ddof 1, of features or moments."""
    if isinstance(one, Tensor) and isinstance(two, Tensor):
        return float(frechet_distance_from_features(one, two))
    (mean, covariance, _), (other, others, _) = (moments_of(side) for side in (one, two))
    return float(metrics.frechet_distance(mean, covariance, other, others))


def moments_of(side: Tensor | Moments) -> Moments:
    """Return the moments of features."""
    if isinstance(side, Moments):
        return side
    statistics = FrechetStatistics(side.shape[1])
    statistics.update(side)
    return statistics.moments
