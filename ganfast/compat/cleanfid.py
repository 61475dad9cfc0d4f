"""Drop-in for GaParmar/clean-fid (``cleanfid.fid``).

Change ``from cleanfid import fid`` to::

    from ganfast.compat import cleanfid as fid

Names, arguments and the rule which files count are the project's. KID's subsets are drawn from
NumPy's global generator, as there. ``num_workers`` and ``use_dataparallel`` have no effect: threads
decode while the network runs. The weights are the public ones that ``ganfast weights`` lists.
Custom statistics are kept in ganfast's cache folder; those that clean-fid has made or downloaded
are found where it keeps them.
"""

import importlib.util
import os
import zipfile
from collections.abc import Callable
from dataclasses import replace
from glob import glob
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ganfast import _npz, metrics
from ganfast._files import atomic_write, cache_folder
from ganfast._names import check_name
from ganfast.compat._image_files import (
    Change,
    Device,
    Images,
    Weights,
    distance,
    features_of,
    frechet_distance,
    inception,
    moments_of,
)
from ganfast.compat.pytorch_fid import IMAGE_EXTENSIONS
from ganfast.features import Encoder
from ganfast.features.resize import Mode

__all__ = [
    "compute_fid",
    "compute_kid",
    "fid_from_feats",
    "frechet_distance",
    "kernel_distance",
    "make_custom_stats",
    "remove_custom_stats",
    "test_stats_exists",
]

_MODES: dict[str, Mode] = {
    "clean": "clean", "legacy_pytorch": "torch", "legacy_tensorflow": "tf1",
}  # fmt: skip
_EXTENSIONS = IMAGE_EXTENSIONS | {"npy", "JPEG", "JPG", "PNG"}
_URL = "https://www.cs.cmu.edu/~clean-fid/stats"
_Array = npt.NDArray[np.floating]
Generator = Callable[[Tensor], Tensor]


def fid_from_feats(feats1: _Array, feats2: _Array) -> float:
    """Return the Fréchet distance of features (N, D) and (M, D)."""
    return float(metrics.frechet_distance_from_features(feats1, feats2))


def kernel_distance(
    feats1: _Array, feats2: _Array, num_subsets: int = 100, max_subset_size: int = 1000
) -> float:
    """Return the kernel distance of features (N, D) and (M, D)."""
    size = min(len(feats1), len(feats2), max_subset_size)
    return metrics.kid(
        feats2, feats1, subsets=num_subsets, subset_size=size, seed=None, draws="numpy"
    ).mean


def compute_fid(
    fdir1: str | None = None, fdir2: str | None = None, gen: Generator | None = None,
    mode: str = "clean", model_name: str = "inception_v3", num_workers: int = 12,
    batch_size: int = 32, device: Device = None, dataset_name: str = "FFHQ",
    dataset_res: int | str = 1024, dataset_split: str = "train", num_gen: int = 50_000,
    z_dim: int = 512, custom_feat_extractor: Callable[[Tensor], Tensor] | None = None,
    verbose: bool = True, custom_image_tranform: Change | None = None,
    custom_fn_resize: None = None, use_dataparallel: bool = True, *, weights: Weights = None,
) -> float:  # fmt: skip
    """Return the FID of two folders, or of a folder or a generator and named statistics.

    Args:
        fdir1, fdir2: folders of images, or .zip files.
        gen: a function of latents (N, z_dim) that returns images in [0, 255] (N, 3, H, W), compared
            with ``fdir2`` or with the statistics.
        mode: ``"clean"``, ``"legacy_pytorch"`` or ``"legacy_tensorflow"``.
        model_name: ``"inception_v3"``.
        num_workers, use_dataparallel: have no effect.
        batch_size: images that go through the network at once.
        device: where it runs; a GPU by default if there is one.
        dataset_name, dataset_res, dataset_split: name the statistics, of the split ``"custom"``
            for those of `make_custom_stats`.
        num_gen, z_dim: of the generator.
        custom_feat_extractor: a function of floats in [0, 255] (N, 3, 299, 299) that returns
            features (N, D), instead of Inception.
        verbose: show progress.
        custom_image_tranform: a function of each image of a file, uint8 (H, W, 3).
        custom_fn_resize: is not supported.
        weights: a file for Inception, in place of the public weights.

    Raises:
        FileNotFoundError: a folder, the weights or the statistics are not there.
        ValueError: the arguments do not fit together, or one is not supported.
    """
    if custom_fn_resize is not None:
        raise ValueError(
            "custom_fn_resize must be None: resize in custom_image_tranform, or choose one of "
            "ganfast's modes of resizing, in ganfast.evaluate"
        )
    _check(mode, model_name)
    encoder = (
        inception(_MODES[mode], device, weights)
        if custom_feat_extractor is None
        else _custom(custom_feat_extractor, mode, device)
    )
    take = _Features(encoder, batch_size, verbose, custom_image_tranform)
    if fdir2 is None:  # missing statistics show at once
        two = metrics.load_moments(_found(_name(dataset_name, mode, dataset_split, dataset_res)))
        return distance(take.first(fdir1, gen, num_gen, z_dim, False), two)
    second = take.folder(fdir2)
    return distance(take.first(fdir1, gen, num_gen, z_dim, True), second)


def compute_kid(
    fdir1: str | None = None, fdir2: str | None = None, gen: Generator | None = None,
    mode: str = "clean", num_workers: int = 12, batch_size: int = 32, device: Device = None,
    dataset_name: str = "FFHQ", dataset_res: int | str = 1024, dataset_split: str = "train",
    num_gen: int = 50_000, z_dim: int = 512, verbose: bool = True, use_dataparallel: bool = True,
    *, weights: Weights = None,
) -> float:  # fmt: skip
    """Return the KID of two folders, or of a folder or a generator and named features.

    Args:
        fdir1, fdir2, gen, mode, num_workers, batch_size, device, dataset_name, dataset_res,
            dataset_split, num_gen, z_dim, verbose, use_dataparallel, weights: as of `compute_fid`.

    Raises:
        FileNotFoundError, ValueError: as `compute_fid`.
    """
    _check(mode, "inception_v3")
    take = _Features(inception(_MODES[mode], device, weights), batch_size, verbose)
    if fdir2 is None:  # missing statistics show at once
        path = _found(_name(dataset_name, mode, dataset_split, dataset_res, "_kid"))
        two = _npz.read(path, ["feats"])["feats"]
    else:
        two = take.folder(fdir2).numpy()
    one = take.first(fdir1, gen, num_gen, z_dim, fdir2 is not None).numpy()
    both = fdir1 is not None and fdir2 is not None
    return kernel_distance(one, two) if both else kernel_distance(two, one)


def make_custom_stats(
    name: str, fdir: str, num: int | None = None, mode: str = "clean",
    model_name: str = "inception_v3", num_workers: int = 0, batch_size: int = 64,
    device: Device = None, verbose: bool = True, *, weights: Weights = None,
) -> None:  # fmt: skip
    """Keep the statistics of a folder under a name, for ``dataset_split="custom"``.

    Args:
        name: of the statistics.
        fdir: the folder or .zip file.
        num: only the first so many images.
        mode, model_name, num_workers, batch_size, device, verbose, weights: as of `compute_fid`.

    Raises:
        FileExistsError: there are statistics of this name.
        FileNotFoundError, ValueError: as `compute_fid`.
    """
    _check(mode, model_name)
    path, features = (_own(_name(name, mode, end=end)) for end in ("", "_kid"))
    if path.exists():
        raise FileExistsError(
            f"name must be new, got {name!r}, whose statistics are there: remove_custom_stats "
            "removes them"
        )
    take = _Features(inception(_MODES[mode], device, weights), batch_size, verbose)
    found = take.folder(fdir, num)
    with atomic_write(features) as file:
        np.savez_compressed(file, feats=found.numpy())
    metrics.save_moments(path, moments_of(found))


def remove_custom_stats(name: str, mode: str = "clean", model_name: str = "inception_v3") -> None:
    """Remove what `make_custom_stats` has kept.

    Raises:
        FileNotFoundError: there is nothing of this name.
    """
    _check(mode, model_name)
    if not test_stats_exists(name, mode, model_name):
        raise FileNotFoundError(f"name must be that of custom statistics, got {name!r}")
    for end in ("", "_kid"):
        _own(_name(name, mode, end=end)).unlink(missing_ok=True)


def test_stats_exists(
    name: str,
    mode: str,
    model_name: str = "inception_v3",  # noqa: PT028
    metric: str = "FID",  # noqa: PT028
) -> bool:
    """Say whether there are custom statistics of a name, for ``"FID"`` or ``"KID"``."""
    _check(mode, model_name)
    return _own(_name(name, mode, end="_kid" if metric == "KID" else "")).is_file()


test_stats_exists.__test__ = False  # type: ignore[attr-defined]  # a name that pytest would collect


class _Features:
    """Computes features of folders and generators."""

    def __init__(
        self, encoder: Encoder, batch_size: int, verbose: bool, change: Change | None = None
    ) -> None:
        self.encoder, self.batch_size, self.quiet = encoder, batch_size, not verbose
        self.change = change

    def first(
        self, fdir: str | None, gen: Generator | None, n: int, z_dim: int, after_folder: bool
    ) -> Tensor:
        """Features of the folder, or else of the generator."""
        if fdir is not None:
            return self.folder(fdir)
        if gen is None:
            raise ValueError("fdir1 or gen must be given, got neither")
        return self.generator(gen, n, z_dim, after_folder)

    def folder(self, fdir: str, num: int | None = None) -> Tensor:
        if not os.path.exists(fdir):
            raise FileNotFoundError(f"{fdir} must be a folder of images, got nothing")
        if zipfile.is_zipfile(fdir):
            with zipfile.ZipFile(fdir) as archive:
                names = [
                    n for n in archive.namelist() if n.lower().rpartition(".")[2] in _EXTENSIONS
                ]
            images = Images(fdir, names[:num], fdir, self.change)
        else:
            files = sorted(
                file
                for ending in _EXTENSIONS
                for file in glob(os.path.join(fdir, f"**/*.{ending}"), recursive=True)
            )
            images = Images(fdir, files[:num], None, self.change)
        return features_of(images, fdir, self.encoder, ("features",), self.batch_size, self.quiet)[
            "features"
        ]

    def generator(self, gen: Generator, n: int, z_dim: int, after_folder: bool) -> Tensor:
        """Features of images that are not rounded to bytes, as there."""
        if after_folder:  # whose loader takes a number from the generator of the latents there
            torch.empty((), dtype=torch.int64).random_()
        parts = []
        for _ in range(0, n, self.batch_size):
            with torch.no_grad():
                latents = torch.randn(self.batch_size, z_dim).to(self.encoder.device)
                parts.append(self.encoder.of_floats(gen(latents).float()).cpu())
        return torch.cat(parts)[:n]


def _check(mode: str, model_name: str) -> None:
    check_name("mode", mode, _MODES)
    if model_name != "inception_v3":
        raise ValueError(
            f"model_name must be 'inception_v3', got {model_name!r}; ganfast.evaluate has CLIP and "
            "DINOv2 under features"
        )


def _custom(function: Callable[[Tensor], Tensor], mode: str, device: Device) -> Encoder:
    def net(x: Tensor, layers: tuple[str, ...]) -> dict[str, Tensor]:
        return {"features": function(x)}

    resize: Mode | Literal["none"] = _MODES[mode] if mode != "legacy_tensorflow" else "none"
    encoder = Encoder(
        net, "FD (custom_feat_extractor)", ("features",), 3, 299, resize,
        settings={"features": "custom_feat_extractor", "weights": "unknown"},
    )  # fmt: skip
    kind = "cuda" if device is None and torch.cuda.is_available() else device or "cpu"
    return replace(encoder, device=torch.device(kind))


def _name(name: str, mode: str, split: str = "custom", res: int | str = "na", end: str = "") -> str:
    shown: Literal["na"] | int | str = "na" if split == "custom" else res
    return f"{name}_{mode}_{split}_{shown}{end}.npz".lower()


def _own(name: str) -> Path:
    return cache_folder() / "cleanfid" / name


def _found(name: str) -> Path:
    """Return the file of statistics in ganfast's cache or in clean-fid's package."""
    folders = [_own(name).parent]
    package = importlib.util.find_spec("cleanfid")
    if package is not None and package.origin is not None:
        folders.append(Path(package.origin).parent / "stats")
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(
        f"{name} is missing: make custom statistics, or get {_URL}/{name} and put it into "
        f"{folders[0]}"
    )
