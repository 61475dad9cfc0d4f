"""Arrays in files, mapped into memory where their file allows it: .npz, .npy, .pt, .safetensors."""

import io
import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor

from ganfast import _npz
from ganfast._names import printable
from ganfast.data import stores
from ganfast.data.feature_source import FeatureArray, FeatureSource, is_features
from ganfast.data.image_source import (
    Arrays,
    ImageSource,
    Prepare,
    Source,
    as_channels,
    digest,
    file_state,
)

_Shapes = Mapping[str, tuple[Sequence[int], torch.dtype]]


def open_npz(path: Path, channels: int) -> Source:
    """Open the one array of images or features of a .npz file; no other one is read.

    A file that ``numpy.savez`` wrote is mapped into memory.

    Raises:
        ValueError: it is no such file, or does not hold exactly one such array.
    """
    headers = _npz.headers(path)
    shapes = {name: (shape, torch_type(dtype)) for name, (shape, dtype) in headers.items()}
    name, labels = chosen(path, shapes)

    def read(name: str) -> Tensor:
        found = _npz.mapped(path, name)
        return tensor(_npz.read(path, [name])[name] if found is None else found)

    return _opened(path, read(name), read(labels) if labels else None, channels)


def open_npy(path: Path, channels: int) -> Source:
    """Open a .npy file of images or features, mapped into memory. Raises as `open_npz`."""
    array = _npz.mapped_npy(path)
    chosen(path, {"the array": (array.shape, torch_type(array.dtype))})
    return _opened(path, tensor(array), None, channels)


def open_remote(url: str, channels: int) -> Source | None:
    """Open the array of a .npz or .npy file of a store, whose rows are asked for as they are read.

    Returns:
        None if the array is packed or in Fortran's order, or if the store sends no parts of files.

    Raises:
        ValueError: as `open_npz`.
        FileNotFoundError, PermissionError, ModuleNotFoundError, StoreError: it cannot be read.
    """
    try:
        file = stores.Ranges(url)
    except stores.NoRanges:
        return None
    reader = cast(IO[bytes], io.BufferedReader(file, 1 << 16))
    labels = None
    if PurePosixPath(url.partition("?")[0]).suffix.lower() == ".npz":
        headers = _npz.headers(reader)
        shapes = {name: (shape, torch_type(dtype)) for name, (shape, dtype) in headers.items()}
        key, of_classes = chosen(url, shapes)
        place = _npz.placed(reader, key)
        if of_classes is not None:
            labels = [str(y) for y in _npz.read(reader, [of_classes])[of_classes].tolist()]
    else:
        place = _npz.placed_npy(reader)
        chosen(url, {"the array": (place.shape, torch_type(place.dtype))})
    if place is None or place.fortran:
        return None
    state = stores.state(url)
    whole = None if state is None else digest(state, channels)
    return of_rows(_RemoteRows(file, place), printable(url), whole, labels, channels)


class Rows(Protocol):
    """An array that is read in parts."""

    shape: tuple[int, ...]

    def read(self, start: int, stop: int) -> Tensor:
        """Return the rows from ``start`` to ``stop``."""


def of_rows(
    rows: Rows, name: str, key: str | None, labels: list[str] | None, channels: int
) -> Source:
    """Return the images (N, H, W, C) or features (N, D) of an array that is read in parts.

    Raises:
        ValueError: there are none, or the images have another number of channels.
    """
    if 0 in rows.shape:
        raise ValueError(f"{name} must hold images or features, got {rows.shape}")
    if len(rows.shape) == 2:
        return _RowFeatures(rows, name, key, labels)
    return _RowImages(rows, name, key, labels, channels)


class _RemoteRows:
    """An array in a store, whose rows are asked for at once."""

    def __init__(self, file: stores.Ranges, place: _npz.Place) -> None:
        self._file, self._place, self.shape = file, place, place.shape
        self._row = math.prod(place.shape[1:]) * place.dtype.itemsize

    def read(self, start: int, stop: int) -> Tensor:
        _, shape, dtype, _ = self._place
        first = self._place.start + start * self._row
        raw = self._file.part(first, first + (stop - start) * self._row)
        return tensor(np.frombuffer(raw, dtype).reshape(stop - start, *shape[1:]))


class _RowImages(ImageSource):
    """Images of an array that is read in parts."""

    def __init__(
        self, rows: Rows, name: str, key: str | None, labels: list[str] | None, channels: int
    ) -> None:
        self._rows, self.name, self._key, self._labels = rows, name, key, labels
        self.channels, self._are_last = channels, _are_last(rows.shape, name)

    @property
    def key(self) -> str | None:
        return self._key

    @property
    def labels(self) -> list[str] | None:
        return self._labels

    def __len__(self) -> int:
        return self._rows.shape[0]

    def read(
        self, start: int, stop: int, prepare: Prepare | None = None
    ) -> tuple[list[Tensor], dict[int, str]]:
        found = self._rows.read(start, stop)
        images = list(
            as_channels(found.permute(0, 3, 1, 2) if self._are_last else found, self.channels)
        )
        return images if prepare is None else [prepare(image) for image in images], {}


class _RowFeatures(FeatureSource):
    """Features of an array that is read in parts."""

    def __init__(self, rows: Rows, name: str, key: str | None, labels: list[str] | None) -> None:
        self._rows, self.name, self._key, self._labels = rows, name, key, labels

    @property
    def key(self) -> str | None:
        return self._key

    @property
    def labels(self) -> list[str] | None:
        return self._labels

    def __len__(self) -> int:
        return self._rows.shape[0]

    def rows(self, start: int, stop: int) -> Tensor:
        return self._rows.read(start, stop)


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
    shapes = {name: (tuple(x.shape), x.dtype) for name, x in found.items()}
    name, labels = chosen(path, shapes)
    return _opened(path, found[name], found[labels] if labels else None, channels)


def chosen(path: Path | str, shapes: _Shapes) -> tuple[str, str | None]:
    """Return the name of the one array of images or features, and that of the labels, if any."""
    images = [name for name, (shape, dtype) in shapes.items() if _is_images(shape, dtype)]
    features = [name for name, (shape, dtype) in shapes.items() if is_features(shape, dtype)]
    found = images or features
    if len(found) != 1:
        listed = {name: (str(dtype), tuple(shape)) for name, (shape, dtype) in shapes.items()}
        raise ValueError(
            f"{printable(str(path))} must hold one uint8 array of images (N, H, W, C) or one of "
            f"features (N, D), got {str(listed)[:300]}"
        )
    count = shapes[found[0]][0][0]
    labels = [
        name for name, (shape, dtype) in shapes.items()
        if tuple(shape) == (count,) and not dtype.is_floating_point and dtype != torch.bool
    ]  # fmt: skip
    return found[0], labels[0] if len(labels) == 1 else None


def _opened(path: Path, found: Tensor, labels: Tensor | None, channels: int) -> Source:
    name = printable(str(path))
    words = None if labels is None else [str(label) for label in labels.tolist()]
    key = digest(file_state(path), channels)
    if found.ndim == 2:
        return FeatureArray(found, name, key, words)
    images = found.permute(0, 3, 1, 2) if _are_last(found.shape, name) else found
    return Arrays(images, name, channels, words, key)


def _are_last(shape: Sequence[int], name: str) -> bool:
    """Say whether channels come after pixels. Raises ValueError if they are neither 1 nor 3."""
    if shape[3] not in (1, 3) and shape[1] not in (1, 3):
        raise ValueError(f"{name} must hold images of 1 or 3 channels, got {tuple(shape)}")
    return shape[3] in (1, 3)


def _is_images(shape: Sequence[int], dtype: torch.dtype) -> bool:
    return len(shape) == 4 and dtype == torch.uint8


def torch_type(dtype: np.dtype[Any]) -> torch.dtype:
    """Return the type of a tensor of these numbers; bool for what is none."""
    if dtype.hasobject or dtype.kind not in "iuf" or dtype.itemsize not in (1, 2, 4, 8):
        return torch.bool
    plain = dtype.newbyteorder("=")
    found: torch.dtype = torch.from_numpy(np.zeros(1, plain)).dtype
    return found


def tensor(array: np.ndarray[Any, Any]) -> Tensor:
    if array.dtype.byteorder not in "=|<":
        array = array.astype(array.dtype.newbyteorder("="))
    return torch.from_numpy(array if array.flags.writeable else np.array(array))
