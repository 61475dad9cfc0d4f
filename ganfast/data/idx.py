"""Files in MNIST's idx format, plain or gzipped, and the digits embedded in this package."""

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import IO, Literal, cast

import numpy as np
import torch
from torch import Tensor

from ganfast._files import refuse_bomb
from ganfast.data.image_data import ImageData

Split = Literal["train", "test"]

_PREFIX = {"train": "train", "test": "t10k"}
_IMAGES, _LABELS = "images-idx3-ubyte", "labels-idx1-ubyte"
_DIGITS = Path(__file__).parent / "digits"


def digits() -> ImageData:
    """Return the 5,000 MNIST digits embedded in this package, uint8 (5000, 1, 28, 28).

    They are the first 500 of each class of the MNIST training set, in file order (CC BY-SA 3.0, see
    ``data/digits/LICENSE``).
    """
    return _read_split(_DIGITS, "train", "digits")


def idx_folder(path: str | Path, split: Split = "train") -> ImageData:
    """Read images (N, 1, H, W) and labels from a folder of idx files with the names of MNIST.

    The files are ``train-images-idx3-ubyte`` and ``train-labels-idx1-ubyte`` (``t10k-`` for the
    test split); the last dash may be a dot, and ``.gz`` may follow.

    Raises:
        FileNotFoundError: one of the two is missing.
        ValueError: a file has another magic number or another size than its header says, or there
            are not as many labels as images.
    """
    return _read_split(Path(path), split, f"{path} ({split})")


def has_idx_files(path: Path) -> bool:
    """Say whether a folder holds the images of either split as idx files."""
    return any(_find(path, f"{prefix}-{_IMAGES}") is not None for prefix in _PREFIX.values())


def read_idx(path: Path, ndim: int) -> Tensor:
    """Read the uint8 array of one idx file as a tensor of ``ndim`` dimensions; see `idx_folder`."""
    # Two zero bytes, 8 for uint8, the number of dimensions; then each dimension, big-endian.
    magic, header = bytes((0, 0, 8, ndim)), 4 + 4 * ndim
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rb") as file:
            start = file.read(header)
            if start[:4] != magic:
                raise ValueError(
                    f"{path} must have magic number 0x{magic.hex()} "
                    f"(uint8, {ndim} dimensions), got 0x{start[:4].hex()}"
                )
            if len(start) < header:
                raise ValueError(
                    f"{path} must have a header of {header} bytes, got {len(start)} bytes"
                )
            shape = struct.unpack(f">{ndim}I", start[4:])
            count = math.prod(shape)
            if path.suffix == ".gz":
                refuse_bomb(str(path), count, path.stat().st_size)
            raw = _up_to(cast("IO[bytes]", file), count + 1)  # one more than it should have
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path} must be a complete gzip file, got {error}") from error
    if len(raw) != count:
        found = f"{len(raw)}" if len(raw) < count else f"{len(raw)} or more"
        raise ValueError(f"{path} must have {count} bytes of data for shape {shape}, got {found}")
    return torch.from_numpy(np.frombuffer(raw, np.uint8).reshape(shape).copy())


def _up_to(file: IO[bytes], count: int) -> bytes:
    """Read at most ``count`` bytes, without room for more than there are."""
    parts, left = [], count
    while left and (part := file.read(min(left, 1 << 24))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _read_split(folder: Path, split: str, name: str) -> ImageData:
    if split not in _PREFIX:
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    images_file = _need(folder, f"{_PREFIX[split]}-{_IMAGES}")
    labels_file = _need(folder, f"{_PREFIX[split]}-{_LABELS}")
    images, labels = read_idx(images_file, 3), read_idx(labels_file, 1)
    if images.numel() == 0:
        raise ValueError(f"{images_file} must hold images, got shape {tuple(images.shape)}")
    if len(labels) != len(images):
        raise ValueError(
            f"{labels_file} must hold {len(images)} labels, one per image in "
            f"{images_file.name}, got {len(labels)}"
        )
    return ImageData(images.unsqueeze(1), labels.to(torch.int64), name)


def _find(folder: Path, name: str) -> Path | None:
    dotted = name.replace("-idx", ".idx")
    candidates = (folder / f"{stem}{gz}" for stem in (name, dotted) for gz in ("", ".gz"))
    return next((path for path in candidates if os.path.isfile(path)), None)


def _need(folder: Path, name: str) -> Path:
    path = _find(folder, name)
    if path is None:
        raise FileNotFoundError(
            f"{folder} must hold {name} or {name.replace('-idx', '.idx')}, plain or .gz, "
            "got neither"
        )
    return path
