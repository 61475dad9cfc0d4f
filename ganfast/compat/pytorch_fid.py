"""Drop-in for mseitzer/pytorch-fid (``pytorch_fid.fid_score``).

Change ``from pytorch_fid.fid_score import calculate_fid_given_paths`` to::

    from ganfast.compat.pytorch_fid import calculate_fid_given_paths

Names, arguments and the rule which files count are the project's: those directly in the folder with
its endings, in lower case. Images of different sizes may lie together. ``num_workers`` has no
effect: threads decode while the network runs. The weights are the project's, where it has put them.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from ganfast import metrics
from ganfast.compat._image_files import (
    Device,
    Images,
    Weights,
    distance,
    features_of,
    frechet_distance,
    inception,
    moments_of,
)
from ganfast.features import Encoder
from ganfast.metrics import Moments

__all__ = [
    "calculate_fid_given_paths",
    "calculate_frechet_distance",
    "save_fid_stats",
]

IMAGE_EXTENSIONS = frozenset(("bmp", "jpg", "jpeg", "pgm", "png", "ppm", "tif", "tiff", "webp"))


calculate_frechet_distance = frechet_distance


def calculate_fid_given_paths(
    paths: Sequence[str], batch_size: int, device: Device, dims: int, num_workers: int = 1, *,
    weights: Weights = None,
) -> float:  # fmt: skip
    """Return the FID of two folders of images or .npz files of statistics.

    Args:
        paths: two of them.
        batch_size: images that go through the network at once.
        device: where it runs; with None a GPU if there is one.
        dims: 64, 192, 768 or 2048.
        num_workers: has no effect.
        weights: a file, in place of the public weights.

    Raises:
        FileNotFoundError: a path, or the weights, are not there.
        ValueError: there are not two paths, or a folder holds no images.
    """
    if len(paths) != 2:
        raise ValueError(f"paths must be two, got {len(paths)}")
    for path in paths:
        _need(path)
    files = all(str(path).endswith(".npz") for path in paths)
    encoder = None if files else inception("torch", device, weights, dims)
    one, two = (_statistics(path, encoder, batch_size) for path in paths)
    return distance(one, two)


def save_fid_stats(
    paths: Sequence[str], batch_size: int, device: Device, dims: int, num_workers: int = 1, *,
    weights: Weights = None,
) -> None:  # fmt: skip
    """Write the statistics of the first path, a folder, to the second one, which ends in .npz.

    Args:
        paths: the folder and the file.
        batch_size, device, dims, num_workers, weights: as of `calculate_fid_given_paths`.

    Raises:
        FileExistsError: the file is there already.
        FileNotFoundError, ValueError: as `calculate_fid_given_paths`.
    """
    folder, out = paths
    _need(folder)
    if os.path.exists(out):
        raise FileExistsError(f"{out} must be a new file, got one that is there already")
    encoder = inception("torch", device, weights, dims)
    metrics.save_moments(out, moments_of(_statistics(folder, encoder, batch_size)))


def _need(path: str) -> None:
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path} must be a folder of images or a .npz file, got nothing")


def _statistics(path: str, encoder: Encoder | None, batch_size: int) -> Tensor | Moments:
    """Return features, or the moments in a file."""
    if encoder is None or str(path).endswith(".npz"):
        return metrics.load_moments(path)
    folder = Path(path)
    files = sorted(file for ending in IMAGE_EXTENSIONS for file in folder.glob(f"*.{ending}"))
    images = Images(str(path), files)
    return features_of(images, str(path), encoder, ("features",), batch_size, False)["features"]
