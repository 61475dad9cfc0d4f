"""Image data sets: embedded, idx folders and image folders, and the stream of training batches."""

from pathlib import Path

from ganfast.data.batch_stream import BatchStream
from ganfast.data.idx import Split, digits, has_idx_files, idx_folder
from ganfast.data.image_data import ImageData, to_float, to_uint8
from ganfast.data.image_files import image_folder

__all__ = [
    "EMBEDDED",
    "BatchStream",
    "ImageData",
    "digits",
    "has_idx_files",
    "idx_folder",
    "image_folder",
    "load",
    "to_float",
    "to_uint8",
]

EMBEDDED = {"digits": digits}


def load(
    source: str | Path,
    *,
    split: Split = "train",
    size: int | None = None,
    channels: int | None = None,
) -> ImageData:
    """Open an embedded data set by name, or an idx folder or image folder by path.

    Args:
        source: a name wins over a folder of the same name; write ``./digits`` for the folder.
        split: of an idx folder; other sources have only ``"train"``.
        size: side in pixels. An image folder is resized to it; other sources must have it.
        channels: an image folder is converted to so many, 3 by default; other sources must have it.

    Raises:
        FileNotFoundError: there is neither such a name nor such a folder.
        ValueError: the source does not have this split, size or number of channels, or is damaged.
    """
    if source not in EMBEDDED and not Path(source).is_dir():
        raise FileNotFoundError(
            f"source must be a folder or one of {sorted(EMBEDDED)}, got {str(source)!r}"
        )
    if source not in EMBEDDED and has_idx_files(Path(source)):
        data = idx_folder(source, split)
    elif split != "train":
        raise ValueError(f"split must be 'train' for {source}, got {split!r}")
    elif source in EMBEDDED:
        data = EMBEDDED[str(source)]()
    elif size is None:
        raise ValueError(f"size must be given for the image folder {source}, got None")
    else:
        data = image_folder(source, size, 3 if channels is None else channels)

    _, c, h, w = data.images.shape
    if size not in (None, h) or size not in (None, w):
        raise ValueError(f"size must be that of {data.name}, {h} x {w} pixels, got {size}")
    if channels not in (None, c):
        raise ValueError(f"channels must be {c}, as {data.name} has, got {channels}")
    return data
