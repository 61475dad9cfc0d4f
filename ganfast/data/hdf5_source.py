"""Arrays of images or features in HDF5 files, as BigGAN and StudioGAN write them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from ganfast._files import refuse_bomb
from ganfast._names import printable
from ganfast.data.array_source import chosen, of_rows, tensor, torch_type
from ganfast.data.extras import needed
from ganfast.data.image_source import Source, digest, file_state

_CACHE = 1 << 27  # bytes of chunks, which are unpacked whole: some hold 500 images


def open_hdf5(path: Path, channels: int) -> Source:
    """Open the one array of images or features of an HDF5 file, which is read in parts.

    Raises:
        ModuleNotFoundError: h5py is not installed.
        ValueError: it is no such file, or does not hold exactly one such array.
    """
    h5py = needed("h5py", "hdf5", str(path))
    name = printable(str(path))
    with _readable(name):
        file = h5py.File(path, "r", rdcc_nbytes=_CACHE)
        found: dict[str, Any] = {}
        file.visititems(lambda key, item: _add(found, key, item, h5py.Dataset))
    shapes = {key: (array.shape, torch_type(array.dtype)) for key, array in found.items()}
    key, labels = chosen(path, shapes)
    array = found[key]
    if array.external or array.is_virtual:
        raise ValueError(f"{name} must hold its images itself, got {key} in other files")
    refuse_bomb(name, array.nbytes, path.stat().st_size)
    with _readable(name):
        words = None if labels is None else [str(y) for y in found[labels][:].tolist()]
    return of_rows(_Rows(array, name), name, digest(file_state(path), channels), words, channels)


def _add(found: dict[str, Any], key: str, item: Any, kind: type) -> None:
    if isinstance(item, kind):
        found[key] = item


class _Rows:
    """An array in a file."""

    def __init__(self, array: Any, name: str) -> None:
        self._array, self._name = array, name
        self.shape: tuple[int, ...] = array.shape

    def read(self, start: int, stop: int) -> Tensor:
        with _readable(self._name):
            return tensor(self._array[start:stop])


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Turn what h5py raises for damaged files into one sentence."""
    try:
        yield
    except PermissionError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError) as error:
        words = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{name} must be a readable HDF5 file: {words}") from error
