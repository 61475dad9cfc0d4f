"""Folders of ordinary image files."""

import warnings
from io import BytesIO
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import numpy.typing as npt
import torch

from ganfast.data.image_data import ImageData

if TYPE_CHECKING:
    from PIL.Image import Image

EXTENSIONS = frozenset(
    (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
)
_MODES = {1: "L", 3: "RGB"}
_EIGHT_BIT = frozenset(("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"))


def image_folder(path: str | Path, size: int, channels: int = 3) -> ImageData:
    """Read all images below a folder as uint8 (N, channels, size, size), ordered by path.

    Each image is cut to its centre square and resized by antialiased bicubic, unless it has that
    size already. If every image lies in a sub-folder, the top sub-folders in sorted order are the
    classes 0, 1, ...; else ``labels`` is None. Hidden files and folders are skipped.

    Args:
        path: the folder.
        size: side in pixels.
        channels: 1 (grey) or 3 (RGB).

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: the folder holds no images, or a file, which the message names, is not a
            readable image of 8 bits per channel.
    """
    if size < 1:
        raise ValueError(f"size must be at least 1 pixel, got {size}")
    if channels not in _MODES:
        raise ValueError(f"channels must be 1 (grey) or 3 (RGB), got {channels}")
    root = Path(path)
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: expected a folder of images, got no folder")
    files = sorted(file for file in root.rglob("*") if _is_image(file.relative_to(root), file))
    if not files:
        raise ValueError(f"{root}: expected images ({', '.join(sorted(EXTENSIONS))}), got none")

    images = np.empty((len(files), channels, size, size), np.uint8)
    for index, file in enumerate(files):
        images[index] = _read(file, size, channels)

    parts = [file.relative_to(root).parts for file in files]
    labels = None
    if all(len(part) > 1 for part in parts):
        classes = {name: label for label, name in enumerate(sorted({part[0] for part in parts}))}
        labels = torch.tensor([classes[part[0]] for part in parts])
    return ImageData(torch.from_numpy(images), labels, str(path))


def is_image_name(relative: PurePath) -> bool:
    """Say whether a relative path names an image: by its ending, and not hidden."""
    hidden = any(part.startswith(".") for part in relative.parts)
    return not hidden and relative.suffix.lower() in EXTENSIONS


def decode(file: Path | BinaryIO, name: str, channels: int) -> "Image":
    """Decode the first frame of an image file as grey (1) or RGB (3); transparency is dropped.

    Raises:
        ValueError: the file, which the message names, is not a readable image of 8 bits per
            channel.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            # An image of twice as many pixels as this warning allows is an error.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                if image.mode not in _EIGHT_BIT:
                    raise ValueError(f"pixels of mode {image.mode!r}, not 8 bits per channel")
                converted: Image.Image = image.convert(_MODES[channels])
                return converted
    except Exception as error:  # Pillow's decoders raise many types on a broken file
        size = file.stat().st_size if isinstance(file, Path) and file.is_file() else None
        if size == 0 or (isinstance(file, BytesIO) and not file.getbuffer().nbytes):
            raise ValueError(f"{name}: expected an image, got an empty file") from error
        raise ValueError(f"{name}: expected a readable 8-bit image, got {error}") from error


def _is_image(relative: Path, file: Path) -> bool:
    return is_image_name(relative) and file.is_file()


def _read(file: Path, size: int, channels: int) -> npt.NDArray[np.uint8]:
    from PIL import Image

    square = decode(file, str(file), channels)
    side = min(square.size)
    left, top = (square.width - side) // 2, (square.height - side) // 2
    square = square.crop((left, top, left + side, top + side))
    square = square.resize((size, size), Image.Resampling.BICUBIC)
    return np.moveaxis(np.asarray(square, np.uint8).reshape(size, size, channels), 2, 0)
