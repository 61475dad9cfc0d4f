"""Open REAL and FAKE: images, generators and statistics files."""

import re
import zipfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ganfast import _npz, data
from ganfast._names import printable
from ganfast.data import opening, stores
from ganfast.data.array_source import open_saved
from ganfast.data.image_files import Colour
from ganfast.data.image_source import Source
from ganfast.evaluation.scores import FeatureSet
from ganfast.features import Encoder
from ganfast.metrics import load_moments
from ganfast.metrics.moments import load_sample, load_settings, refuse_pickle


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
    known = spec in data.EMBEDDED or Path(spec).exists() or stores.is_url(spec)
    if known or opening.is_pattern(spec) or (":" in spec and not windows):
        return
    raise FileNotFoundError(f"{printable(spec)} must be a folder or a file of images, got nothing")


def is_statistics(spec: str) -> bool:
    """Say whether this is a .npz file, by path or URL, that holds moments rather than images.

    Raises:
        ValueError: the file cannot be read.
    """
    if not spec.lower().endswith(".npz"):
        return False
    if stores.is_url(spec) and not opening.is_pattern(spec):
        return bool(_MOMENTS & _names_at(spec))
    return Path(spec).is_file() and bool(_MOMENTS & set(_npz.names(spec)))


_MOMENTS = {"mu", "mu_s"}


@lru_cache(8)
def _names_at(url: str) -> set[str]:
    """Return the names of the arrays of a .npz file, of which only the directory is read.

    The whole file is fetched if its store ignores ranges, which `zipfile` takes for damage.
    """
    try:
        with stores.opened(url) as file, zipfile.ZipFile(file) as archive:
            return {name.removesuffix(".npy") for name in archive.namelist()}
    except (zipfile.BadZipFile, NotImplementedError):
        path = here(url)
    try:
        return set(_npz.names(path))
    except ValueError as error:
        raise ValueError(str(error).replace(path, url)) from error


@lru_cache(8)
def here(spec: str) -> str:
    """Return the path of a file, which is fetched if it is given by URL."""
    if not stores.is_url(spec):
        return spec
    path, folder = stores.fetched(spec)
    _fetched.append(folder)
    return str(path)


_fetched: list[object] = []  # folders that last as long as the process


def has_images(spec: str) -> bool:
    """Say whether a statistics file also holds images, as guided-diffusion's references do."""
    return any(
        dtype == np.uint8 and len(shape) == 4 for shape, dtype in _npz.headers(here(spec)).values()
    )


def load_statistics(spec: str, layers: tuple[str, ...], expected: Mapping[str, str]) -> FeatureSet:
    """Load the moments of some layers, which must be of a network with the expected settings.

    Raises:
        ValueError: it is damaged, or says that it was made with other settings.
    """
    path = here(spec)
    found = load_settings(path)
    if found is not None and found != dict(expected):
        keys = sorted(k for k in {*found, *expected} if found.get(k) != expected.get(k))
        there, own = (
            ", ".join(f"{k} {settings.get(k, 'none')}" for k in keys)
            for settings in (found, expected)
        )
        raise ValueError(f"{spec}: statistics of {there}, but this run has {own}")
    moments = {
        layer: load_moments(path, spatial=layer == "spatial")
        for layer in layers
        if layer in ("features", "spatial")
    }
    n = next((m.n for m in moments.values()), None)
    side = FeatureSet(spec, n, dict(moments))
    sample = load_sample(path) if "features" in moments else None
    if sample is not None:
        side.features["features"] = sample
    if sample is not None and len(sample) != n:
        side.sampled = (
            f"all but Fréchet distances see {len(sample):,} of the {n or 'unknown':,} images of "
            f"{side.name}, chosen by hash"
        )
    return side


GIVEN = "given"  # in place of a feature network's name


def given_features() -> Encoder:
    """Return what stands for a network where the inputs are features."""

    def none(images: Tensor, layers: tuple[str, ...]) -> Mapping[str, Tensor]:
        raise AssertionError("features go through no network")

    settings = {"features": GIVEN, "weights": GIVEN}
    return Encoder(none, "FD (given features)", ("features",), 3, 0, "none", settings=settings)


def is_features(side: "str | Source | FeatureSet") -> bool:
    """Say whether an input is a source of features.

    Raises:
        ValueError: a file cannot be read.
    """
    if not isinstance(side, str):
        return not isinstance(side, FeatureSet) and side.is_features
    if side in data.EMBEDDED or is_generator(side) or is_statistics(side):
        return False
    if Path(side).is_dir():
        may_be = not data.has_idx_files(Path(side)) and opening.may_hold_features(Path(side))
    else:
        may_be = opening.ending(side) in opening.OF_FEATURES
    return may_be and data.open_any(side, 3).is_features


def is_images(side: "str | Source | FeatureSet") -> bool:
    """Say whether an input is neither features nor statistics."""
    if isinstance(side, str):
        return not is_statistics(side) and not is_features(side)
    return not isinstance(side, FeatureSet) and not side.is_features


def is_generator(spec: str) -> bool:
    """Say whether a text names a checkpoint or a callable."""
    path = Path(spec)
    if spec in data.EMBEDDED or stores.is_url(spec) or path.is_dir():
        return False
    if path.suffix in (".pt", ".pth"):
        return path.is_file() and open_saved(path, 3) is None
    return ":" in spec and not path.exists() and not opening.is_pattern(spec)


def open_source(
    spec: str,
    channels: int,
    samples: int | None,
    seed: int,
    device: torch.device,
    background: Colour | None = None,
) -> Source:
    """Open what a name, a path, a pattern, a URL or ``module:callable`` stands for.

    Args:
        spec, channels, background: as for :func:`ganfast.data.open_source`.
        samples, seed, device: of a generator, which makes 50,000 images by default.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file holds no images, or the callable is no generator.
    """
    if is_generator(spec):
        from ganfast.evaluation import generators  # brings the models, which files do not need

        saved = Path(spec).suffix in (".pt", ".pth")
        make = generators.from_checkpoint if saved else generators.from_callable
        return make(spec, samples or 50_000, seed, channels, device)
    return data.open_any(spec, channels, background)
