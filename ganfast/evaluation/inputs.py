"""What REAL and FAKE may be: images, generators, statistics files."""

import zipfile
from pathlib import Path

import numpy as np
import torch

from ganfast import data
from ganfast.data.image_source import ImageSource, from_data, open_images
from ganfast.evaluation import generators
from ganfast.evaluation.scores import FeatureSet
from ganfast.features import Encoder
from ganfast.metrics import load_moments
from ganfast.metrics.stats_files import load_settings


def is_statistics(spec: str) -> bool:
    """Whether it is a .npz file that holds moments and no images."""
    path = Path(spec)
    if path.suffix != ".npz" or not path.is_file():
        return False
    try:
        with np.load(path, allow_pickle=False) as file:
            return bool({"mu", "mu_s"} & set(file.files))
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{spec}: expected a .npz file of arrays: {error}") from error


def moments(spec: str, layers: tuple[str, ...], encoder: Encoder) -> FeatureSet:
    """A statistics file as a side. Raises ValueError where it is of another feature net."""
    found = load_settings(spec)
    expected = encoder.settings
    if found is not None and found != expected:
        keys = sorted(k for k in {*found, *expected} if found.get(k) != expected.get(k))
        there = ", ".join(f"{k} {found.get(k, 'none')}" for k in keys)
        here = ", ".join(f"{k} {expected.get(k, 'none')}" for k in keys)
        raise ValueError(f"{spec}: statistics of {there}; here it is {here}")
    by_layer = {
        layer: load_moments(spec, spatial=layer == "spatial")
        for layer in layers
        if layer in ("features", "spatial")
    }
    return FeatureSet(spec, next((m.n for m in by_layer.values()), None), dict(by_layer))


def images(
    spec: str, channels: int, samples: int | None, seed: int, device: torch.device
) -> ImageSource:
    """The images that a name, a path or ``module:callable`` stands for.

    ``samples`` is how many a generator makes, 50,000 unless given. A name wins over a path
    (``./digits`` is the folder). Raises FileNotFoundError and ValueError where there are none.
    """
    path = Path(spec)
    if spec in data.EMBEDDED:
        return from_data(data.EMBEDDED[spec](), channels)
    if ":" in spec and not path.exists():
        return generators.from_callable(spec, samples or 50_000, seed, channels, device)
    if path.suffix in (".pt", ".pth") and path.is_file():
        return generators.from_checkpoint(path, samples or 50_000, seed, channels, device)
    if path.is_dir() and data.has_idx_files(path):
        return from_data(data.idx_folder(path), channels)
    return open_images(path, channels)
