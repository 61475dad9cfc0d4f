"""Arrays of images or features in HDF5 files, as BigGAN and StudioGAN write them."""

from pathlib import Path
from typing import Any

from torch import Tensor

from ganfast._files import refuse_bomb
from ganfast._names import printable
from ganfast.data.array_source import chosen, of_rows, tensor
from ganfast.data.extras import needed, readable
from ganfast.data.image_source import Rows, Source, digest, file_state

_CACHE = 1 << 27  # bytes of chunks, which are unpacked whole: some hold 500 images


def open_hdf5(path: Path, channels: int) -> Source:
    """Open the one array of images or features of an HDF5 file, which is read in parts.

    Raises:
        ModuleNotFoundError: h5py is not installed.
        ValueError: it is no such file, or does not hold exactly one such array.
    """
    h5py = needed("h5py", "hdf5", str(path))
    name = printable(str(path))
    with readable(name, "HDF5 file"):
        file = h5py.File(path, "r", rdcc_nbytes=_CACHE)
        found: dict[str, Any] = {}

        def add(key: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                found[key] = item

        file.visititems(add)
    key, labels = chosen(path, {key: (array.shape, array.dtype) for key, array in found.items()})
    array = found[key]
    if array.external or array.is_virtual:
        raise ValueError(f"{name} must hold its images itself, got {key} in other files")
    refuse_bomb(name, array.nbytes, path.stat().st_size)
    with readable(name, "HDF5 file"):
        classes = None if labels is None else found[labels][:]

    def rows(start: int, stop: int) -> Tensor:
        with readable(name, "HDF5 file"):
            return tensor(array[start:stop])

    state = digest(file_state(path), channels)
    return of_rows(Rows(array.shape, rows), name, state, classes, channels)
