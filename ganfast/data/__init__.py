"""Image data sets: embedded, idx folders and image folders, and the training batch stream."""

from pathlib import Path

from ganfast.data.batch_stream import BatchStream
from ganfast.data.idx import Split, digits, has_idx_files, idx_folder
from ganfast.data.image_data import ImageData, to_float, to_uint8
from ganfast.data.image_folder import image_folder

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

    A name wins over a folder of the same name (write ``./digits`` for the folder). ``size`` is
    needed for image folders, which ``channels`` (3 unless given) also shapes; for the others the
    two are checked against what is there. ``split`` is for idx folders; the others have only
    ``"train"``. Raises FileNotFoundError where there is neither name nor folder, ValueError else.
    """
    if source not in EMBEDDED and not Path(source).is_dir():
        raise FileNotFoundError(
            f"source: expected a folder or one of {sorted(EMBEDDED)}, got {str(source)!r}"
        )
    if source not in EMBEDDED and has_idx_files(Path(source)):
        data = idx_folder(source, split)
    elif split != "train":
        raise ValueError(f"split: {source} is no idx folder and has no {split!r} split")
    elif source in EMBEDDED:
        data = EMBEDDED[str(source)]()
    elif size is None:
        raise ValueError(f"size: expected the side in pixels, {source} being an image folder")
    else:
        data = image_folder(source, size, 3 if channels is None else channels)

    _, c, h, w = data.images.shape
    if size not in (None, h) or size not in (None, w):
        raise ValueError(f"size: {data.name} has images of {h} x {w} pixels, got {size}")
    if channels not in (None, c):
        raise ValueError(f"channels: {data.name} has {c}, got {channels}")
    return data
