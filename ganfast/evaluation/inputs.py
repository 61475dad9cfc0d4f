"""Open REAL and FAKE: images, generators and statistics files."""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from ganfast import _npz, data
from ganfast._names import printable
from ganfast.data.image_files import Colour
from ganfast.data.image_source import ImageSource
from ganfast.evaluation.scores import FeatureSet
from ganfast.metrics import load_moments
from ganfast.metrics.moments import load_settings, refuse_pickle


def refuse_missing(spec: str) -> None:
    """Raise for what is neither a name nor a path nor ``module:callable``, before any work.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: the file is a pickle.
    """
    if not spec.strip():
        raise FileNotFoundError(f"inputs must be named, got {spec!r}")
    refuse_pickle(spec)
    windows = re.match(r"[A-Za-z]:[\\/]", spec)  # a path, though it has a colon
    if spec in data.EMBEDDED or Path(spec).exists() or (":" in spec and not windows):
        return
    raise FileNotFoundError(f"{printable(spec)} must be a folder or a file of images, got nothing")


def is_statistics(spec: str) -> bool:
    """Say whether this is a .npz file that holds moments rather than images.

    Raises:
        ValueError: the file cannot be read.
    """
    path = Path(spec)
    if path.suffix.lower() != ".npz" or not path.is_file():
        return False
    return bool({"mu", "mu_s"} & set(_npz.names(path)))


def has_images(spec: str) -> bool:
    """Say whether a statistics file also holds images, as guided-diffusion's references do."""
    return any(
        dtype == np.uint8 and len(shape) == 4 for shape, dtype in _npz.headers(spec).values()
    )


def load_statistics(spec: str, layers: tuple[str, ...], expected: Mapping[str, str]) -> FeatureSet:
    """Load a statistics file.

    Args:
        spec: the file.
        layers: the layers whose moments are wanted.
        expected: settings of the feature network, which the file must not contradict.

    Raises:
        ValueError: it is damaged, or says that it was made with other settings.
    """
    found = load_settings(spec)
    if found is not None and found != dict(expected):
        keys = sorted(k for k in {*found, *expected} if found.get(k) != expected.get(k))
        there, here = (
            ", ".join(f"{k} {settings.get(k, 'none')}" for k in keys)
            for settings in (found, expected)
        )
        raise ValueError(f"{spec}: statistics of {there}, but this run has {here}")
    moments = {
        layer: load_moments(spec, spatial=layer == "spatial")
        for layer in layers
        if layer in ("features", "spatial")
    }
    return FeatureSet(spec, next((m.n for m in moments.values()), None), dict(moments))


def open_source(
    spec: str,
    channels: int,
    samples: int | None,
    seed: int,
    device: torch.device,
    background: Colour | None = None,
) -> ImageSource:
    """Open the images that a name, a path or ``module:callable`` stands for.

    Args:
        spec: a name wins over a path; ``./digits`` is the folder.
        channels: 1 or 3.
        samples: images that a generator makes, 50,000 by default.
        seed: of a generator.
        device: of a generator.
        background: of image files, as for :func:`ganfast.data.open_source`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file holds no images, or the callable is no generator.
    """
    path = Path(spec)
    is_callable = ":" in spec and spec not in data.EMBEDDED and not path.exists()
    if is_callable or (path.suffix in (".pt", ".pth") and path.is_file()):
        from ganfast.evaluation import generators  # brings the models, which files do not need

        make = generators.from_callable if is_callable else generators.from_checkpoint
        return make(spec, samples or 50_000, seed, channels, device)
    return data.open_source(spec, channels, background)
