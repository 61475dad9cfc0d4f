"""Images: embedded, idx files, folders and archives; and the stream of training batches."""

from pathlib import Path

from ganfast.data.batch_stream import BatchStream
from ganfast.data.idx import Split, digits, has_idx_files, idx_folder
from ganfast.data.image_data import ImageData, to_float, to_uint8
from ganfast.data.image_files import Colour
from ganfast.data.image_source import Arrays, Source
from ganfast.data.opening import is_pattern, open_images
from ganfast.data.squares import OnError, squares
from ganfast.data.stores import is_url

__all__ = [
    "EMBEDDED",
    "BatchStream",
    "ImageData",
    "digits",
    "has_idx_files",
    "idx_folder",
    "image_folder",
    "load",
    "open_source",
    "to_float",
    "to_uint8",
]

EMBEDDED = {"digits": digits}
WHITE: Colour = (255, 255, 255)


def open_source(
    source: str | Path,
    channels: int,
    background: Colour | None = None,
    split: Split = "train",
) -> Source:
    """Open an embedded data set by name, or images by path, without reading them all.

    Args:
        source: a name wins over a path; write ``./digits`` for the folder. A path is a folder of
            images or of idx files, or anything that :func:`ganfast.data.opening.open_images` takes.
        channels: 1 (grey) or 3 (RGB).
        background: of image files, as for :func:`ganfast.data.image_files.decode`.
        split: of idx files; other sources have only ``"train"``.

    Raises:
        FileNotFoundError: there is neither such a name nor such a path.
        ValueError: the source holds no images, or not this split.
    """
    found = open_any(source, channels, background, split)
    if found.is_features:
        raise ValueError(f"{found.name} must hold images, got features")
    return found


def open_any(
    source: str | Path,
    channels: int,
    background: Colour | None = None,
    split: Split = "train",
) -> Source:
    """Open images as :func:`open_source` does, or features."""
    text = str(source)
    is_idx = source not in EMBEDDED and Path(source).is_dir() and has_idx_files(Path(source))
    if split != "train" and not is_idx:
        raise ValueError(f"split must be 'train' for {source}, got {split!r}")
    if source in EMBEDDED or is_idx:
        data = idx_folder(source, split) if is_idx else EMBEDDED[text]()
        labels = None if data.labels is None else data.labels.tolist()
        return Arrays(data.images, data.name, channels, labels)
    if not (Path(source).exists() or is_url(text) or is_pattern(text)):
        raise FileNotFoundError(
            f"data must be a folder or a file of images, or one of {', '.join(EMBEDDED)}, "
            f"got {text!r}, where there is nothing"
        )
    return open_images(source, channels, background)


def load(
    source: str | Path,
    *,
    split: Split = "train",
    size: int | None = None,
    channels: int | None = None,
    background: Colour = WHITE,
    on_error: OnError = "stop",
) -> ImageData:
    """Load images as squares of one size, with their labels where they are known.

    Images that are not of this size are cut to their centre square and resized by antialiased
    bicubic. Large sets are decoded once, into a file in the cache folder, which is mapped into
    memory. Labels come from idx files, a ``labels`` array, a ``dataset.json``, or the folders that
    the images lie in; folders that only split or shard them are no classes.

    Args:
        source: an embedded data set by name, or a path, see :func:`open_source`.
        split: of idx files; other sources have only ``"train"``.
        size: side in pixels. Embedded digits and idx files have one of their own; others need it.
        channels: 1 (grey) or 3 (RGB); by default 1 for digits and idx files, else 3.
        background: colour on which transparency is composed.
        on_error: ``"stop"`` at images that cannot be read, or ``"skip"`` them with a warning.

    Raises:
        FileNotFoundError: there is neither such a name nor such a path.
        OSError: the cache has too little free space.
        ValueError: the source does not have this split, is damaged, or needs a size.
    """
    if size is not None and size < 1:
        raise ValueError(f"size must be at least 1 pixel, got {size}")
    if channels not in (None, 1, 3):
        raise ValueError(f"channels must be 1 (grey) or 3 (RGB), got {channels}")
    grey = source in EMBEDDED or (Path(source).is_dir() and has_idx_files(Path(source)))
    found = open_source(source, channels or (1 if grey else 3), background, split)
    images = found.images if isinstance(found, Arrays) else None
    if size is None:
        if images is None or images.shape[2] != images.shape[3]:
            raise ValueError(f"size must be given for {source}, got None")
        size = int(images.shape[2])
    return squares(found, size, on_error)


def image_folder(path: str | Path, size: int, channels: int = 3) -> ImageData:
    """Load all images below a folder as :func:`load` does, ordered by path.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: the folder holds no images, or a file, which the message names, is not a
            readable image of 8 bits per channel.
    """
    if not Path(path).is_dir():
        raise FileNotFoundError(f"path must be a folder of images, got {path}")
    return load(path, size=size, channels=channels)
