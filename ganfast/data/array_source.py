"""Arrays in files, mapped into memory where their file allows it: .npz, .npy, .pt, .safetensors."""

import io
import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

import numpy as np
import torch
from torch import Tensor

from ganfast import _npz
from ganfast._names import printable
from ganfast.data import stores
from ganfast.data.image_source import (
    Arrays,
    FeatureArray,
    Rows,
    Source,
    digest,
    file_state,
    key_of,
)

_Type = np.dtype[Any] | torch.dtype


def open_npz(path: Path, channels: int) -> Source:
    """Open the one array of images or features of a .npz file; no other one is read.

    A file that ``numpy.savez`` wrote is mapped into memory.

    Raises:
        ValueError: it is no such file, or does not hold exactly one such array.
    """
    name, labels = chosen(path, _npz.headers(path))

    def read(name: str) -> Tensor:
        found = _npz.mapped(path, name)
        return tensor(_npz.read(path, [name])[name] if found is None else found)

    return _opened(path, read(name), read(labels) if labels else None, channels)


def open_npy(path: Path, channels: int) -> Source:
    """Open a .npy file of images or features, mapped into memory. Raises as `open_npz`."""
    array = _npz.mapped_npy(path)
    chosen(path, {"the array": (array.shape, array.dtype)})
    return _opened(path, tensor(array), None, channels)


def open_remote(url: str, channels: int) -> Source | None:
    """Open the array of a .npz or .npy file of a store, whose rows are asked for as they are read.

    Returns None if it is packed or in Fortran's order, or if the store sends no parts of files.
    Raises as `open_npz` and `stores.read`.
    """
    try:
        file = stores.Ranges(url)
    except stores.NoRanges:
        return None
    reader = cast(IO[bytes], io.BufferedReader(file, 1 << 16))
    labels = None
    if PurePosixPath(url.partition("?")[0]).suffix.lower() == ".npz":
        name, of_classes = chosen(url, _npz.headers(reader))
        place = _npz.placed(reader, name)
        if of_classes is not None:
            labels = _npz.read(reader, [of_classes])[of_classes]
    else:
        place = _npz.placed_npy(reader)
        chosen(url, {"the array": (place.shape, place.dtype)})
    if place is None or place.fortran:
        return None
    row = math.prod(place.shape[1:]) * place.dtype.itemsize

    def rows(start: int, stop: int) -> Tensor:
        raw = file.part(place.start + start * row, place.start + stop * row)
        return tensor(np.frombuffer(raw, place.dtype).reshape(stop - start, *place.shape[1:]))

    key = key_of(stores.state(url), channels)
    return of_rows(Rows(place.shape, rows), printable(url), key, labels, channels)


def of_rows(rows: Tensor | Rows, name: str, key: str | None, labels: Any, channels: int) -> Source:
    """Return the images (N, C, H, W) or features (N, D) of an array; ``labels`` is one (N,).

    Raises:
        ValueError: there are none, or the images have another number of channels.
    """
    if 0 in rows.shape:
        what = f"features (N, D), got {tuple(rows.shape)}"
        raise ValueError(f"{name} must hold {what if len(rows.shape) == 2 else 'images, got none'}")
    words = None if labels is None else [str(label) for label in labels.tolist()]
    if len(rows.shape) == 2:
        return FeatureArray(rows, name, key, words)
    if rows.shape[1] not in (1, 3):
        raise ValueError(f"{name} must hold images of 1 or 3 channels, got {tuple(rows.shape)}")
    return Arrays(rows, name, channels, words, key)


def open_safetensors(path: Path, channels: int) -> Source:
    """Open the one tensor of images or features of a .safetensors file. Raises as `open_npz`."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            names = list(file.keys())
            found = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{path} must be a .safetensors file: {error}") from error
    return _of_tensors(path, found, channels)


def open_saved(path: Path, channels: int) -> Source | None:
    """Open tensors of ``torch.save``, mapped into memory; None if the file holds something else.

    That is a uint8 tensor of images, a tensor of features, or a dictionary with one such tensor and
    at most one of labels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception:  # torch raises many types on a broken file
        return None
    found = {"the tensor": content} if isinstance(content, Tensor) else content
    if not isinstance(found, dict) or not all(
        isinstance(name, str) and isinstance(x, Tensor) and x.nbytes <= path.stat().st_size
        for name, x in found.items()
    ):
        return None
    try:
        return _of_tensors(path, found, channels)
    except ValueError:
        return None


def _of_tensors(path: Path, found: Mapping[str, Tensor], channels: int) -> Source:
    name, labels = chosen(path, {name: (x.shape, x.dtype) for name, x in found.items()})
    return _opened(path, found[name], found[labels] if labels else None, channels)


def chosen(
    path: Path | str, arrays: Mapping[str, tuple[Sequence[int], _Type]]
) -> tuple[str, str | None]:
    """Return the name of the one array of images or features, and that of the labels, if any."""
    shapes = {name: (tuple(shape), _torch_type(dtype)) for name, (shape, dtype) in arrays.items()}
    kinds = shapes.items()
    images = [name for name, (shape, dtype) in kinds if len(shape) == 4 and dtype == torch.uint8]
    found = images or [
        name for name, (shape, dtype) in kinds if len(shape) == 2 and dtype.is_floating_point
    ]
    if len(found) != 1:
        listed = {name: (str(dtype), shape) for name, (shape, dtype) in kinds}
        raise ValueError(
            f"{printable(str(path))} must hold one uint8 array of images (N, H, W, C) or one of "
            f"features (N, D), got {str(listed)[:300]}"
        )
    count = shapes[found[0]][0][0]
    labels = [
        name for name, (shape, dtype) in kinds
        if shape == (count,) and not dtype.is_floating_point and dtype != torch.bool
    ]  # fmt: skip
    return found[0], labels[0] if len(labels) == 1 else None


def _opened(path: Path, found: Tensor, labels: Tensor | None, channels: int) -> Source:
    are_last = found.ndim == 4 and found.shape[3] in (1, 3)
    rows = found.permute(0, 3, 1, 2) if are_last else found
    return of_rows(rows, printable(str(path)), digest(file_state(path), channels), labels, channels)


def _torch_type(dtype: _Type) -> torch.dtype:
    """Return the type of a tensor of these numbers; bool for what is none."""
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype.hasobject or dtype.kind not in "iuf" or dtype.itemsize not in (1, 2, 4, 8):
        return torch.bool
    plain = dtype.newbyteorder("=")
    found: torch.dtype = torch.from_numpy(np.zeros(1, plain)).dtype
    return found


def tensor(array: np.ndarray[Any, Any]) -> Tensor:
    if array.dtype.byteorder not in "=|<":
        array = array.astype(array.dtype.newbyteorder("="))
    return torch.from_numpy(array if array.flags.writeable else np.array(array))
