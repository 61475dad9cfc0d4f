"""Moments, and the .npz files with ``mu`` and ``sigma`` that the field's tools read and write."""

import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
from torch import Tensor

from ganfast import _npz
from ganfast._files import atomic_write
from ganfast.metrics.validation import as_features, as_mean, as_symmetric

Weights = tuple[float, float]  # the sum of the weights and of their squares


class Moments(NamedTuple):
    """Mean (D,) and covariance (D, D) in float64, and the number of samples if it is known."""

    mean: Tensor
    covariance: Tensor
    n: int | None = None


def save_moments(
    path: str | os.PathLike[str],
    moments: Moments,
    weights: Weights | None = None,
    settings: Mapping[str, str] | None = None,
    sample: Tensor | None = None,
) -> None:
    """Write the mean and covariance as ``mu`` and ``sigma``, with ``n`` if it is known.

    The file is whole or not there.

    Args:
        path: ends in .npz.
        moments: with a covariance of ddof = 1.
        weights: the sum of the weights and of their squares, for `FrechetStatistics.load`.
        settings: what the features are; kept as JSON for `load_settings`.
        sample: some of the features (M, D), kept as ``sample`` for `load_sample`.

    Raises:
        ValueError: the path does not end in .npz.
    """
    if Path(path).suffix != ".npz":
        raise ValueError(f"path must end in .npz, got {str(path)!r}")
    arrays = {"mu": moments.mean.cpu().numpy(), "sigma": moments.covariance.cpu().numpy()}
    if moments.n is not None:
        arrays["n"] = np.array(moments.n)
        if weights is not None and weights != (moments.n, moments.n):
            arrays["weights"] = np.array(weights)
    if settings is not None:
        arrays["settings"] = np.array(json.dumps(dict(settings), sort_keys=True))
    if sample is not None:
        arrays["sample"] = sample.cpu().numpy()
    with atomic_write(path) as file:
        np.savez(cast(str, file), allow_pickle=False, **arrays)


def load_moments(path: str | os.PathLike[str], *, spatial: bool = False) -> Moments:
    """Read the moments in a .npz file of this package, pytorch-fid, guided-diffusion or EDM.

    Only files of this package hold ``n``. No code in the file is run.

    Args:
        path: the file, with arrays ``mu`` (D,) and ``sigma`` (D, D).
        spatial: read guided-diffusion's ``mu_s`` and ``sigma_s`` instead.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is a pickle, no .npz file or damaged, or its arrays are no moments.
    """
    return load_moments_and_weights(path, spatial=spatial)[0]


def load_moments_and_weights(
    path: str | os.PathLike[str], *, spatial: bool = False
) -> tuple[Moments, Weights]:
    """`load_moments`, with the sums of weights and of squared weights, which default to n."""
    mu, sigma = ("mu_s", "sigma_s") if spatial else ("mu", "sigma")
    arrays = _arrays(path, (mu, sigma, "n", "weights"))
    for name in (mu, sigma):
        if name not in arrays:
            raise ValueError(f"{path} must hold an array {name!r}, got {_npz.names(path)}")
    mean = as_mean(arrays[mu], f"{path}: {mu}")
    if mean.ndim != 1:
        raise ValueError(f"{path} must hold {mu} of shape (D,), got {tuple(mean.shape)}")
    covariance, _ = as_symmetric(arrays[sigma], f"{path}: {sigma}", len(mean))
    if covariance.ndim != 2:
        raise ValueError(f"{path} must hold {sigma} of shape (D, D), got {tuple(covariance.shape)}")
    if spatial or "n" not in arrays:
        return Moments(mean, covariance), (math.nan, math.nan)
    n = arrays["n"]
    if n.shape != () or n.dtype.kind not in "iu" or n < 2:
        raise ValueError(f"{path}: n must be a whole number of 2 or more, got {n!r}")
    weights = arrays.get("weights", np.array([n, n], dtype=np.float64))
    are_floats = weights.shape == (2,) and weights.dtype.kind == "f"
    w, w2 = weights.tolist() if are_floats else (0.0, 0.0)
    if not (w > 0 and 0 < w2 < w * w < math.inf):  # more than one sample has a weight
        raise ValueError(f"{path}: weights must be the sums of w and w^2, got {weights!r}")
    return Moments(mean, covariance, int(n)), (w, w2)


def load_settings(path: str | os.PathLike[str]) -> dict[str, str] | None:
    """Return the settings given to `save_moments`, or None; raises as `load_moments`."""
    arrays = _arrays(path, ("settings",))
    if "settings" not in arrays:
        return None
    try:
        settings = json.loads(str(arrays["settings"]))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: settings must be JSON, got {error}") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{path}: settings must be given by name, got {type(settings).__name__}")
    return {str(key): str(value) for key, value in settings.items()}


def load_sample(path: str | os.PathLike[str]) -> Tensor | None:
    """Return the sample of features given to `save_moments`, or None; raises as `load_moments`."""
    arrays = _arrays(path, ("sample",))
    if "sample" not in arrays:
        return None
    return as_features(arrays["sample"], f"{path}: sample")


def refuse_pickle(path: str | os.PathLike[str]) -> None:
    """Raise ValueError for a pickle, saying how to convert it."""
    if Path(path).suffix in (".pkl", ".pickle"):
        raise ValueError(
            f"{path}: a pickle can run code when it is loaded, and is refused. If you trust its "
            "source, convert it once: import pickle, numpy; d = pickle.load(open(PATH, 'rb')); "
            "numpy.savez('moments.npz', mu=d['mu'], sigma=d['sigma']) (in EDM2's files d['fid'] or "
            "d['fd_dinov2'] holds the two)"
        )


def _arrays(path: str | os.PathLike[str], wanted: Iterable[str]) -> _npz.Arrays:
    refuse_pickle(path)
    if Path(path).suffix in (".pt", ".pth"):
        raise ValueError(f"{path} must be a .npz file of arrays, got {Path(path).suffix}")
    return _npz.read(path, wanted)
