"""Decoding image files."""

import os
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from PIL.Image import Image


def _limit(variable: str, default: int) -> int:
    text = os.environ.get(variable, str(default))
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{variable} must be a whole number of 1 or more, got {text!r}")
    return int(text)


class Room:
    """Memory that threads share, of ``size`` bytes."""

    def __init__(self, size: int) -> None:
        self._size, self._used = size, 0
        self._changed = threading.Condition()

    @contextmanager
    def of(self, size: int) -> Iterator[None]:
        """Wait until there is room; more than there is at all is given to one thread alone."""
        with self._changed:
            self._changed.wait_for(lambda: not self._used or self._used + size <= self._size)
            self._used += size
        try:
            yield
        finally:
            with self._changed:
                self._used -= size
                self._changed.notify_all()


#: Pillow's decoders that are used; no other is tried, nor a program that it would start.
FORMATS = (
    *("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TGA", "TIFF", "WEBP"),
)
_MAX_PIXELS = 100_000_000
#: Largest image that is decoded, in pixels. Set it, or ``$GANFAST_MAX_PIXELS`` before the import,
#: higher for larger ones that you trust.
MAX_PIXELS = _limit("GANFAST_MAX_PIXELS", _MAX_PIXELS)
_MORE = "GANFAST_MAX_PIXELS in the environment allows more"
#: Memory of the images that threads decode at a time; a larger one is decoded alone.
_ROOM = Room(1 << 28)
_BYTES = 14  # of a pixel: Pillow's image and its conversion at 4 each, a copy and an array at 3

Colour = tuple[int, int, int]  # red, green and blue from 0 to 255

_MODES = {1: "L", 3: "RGB"}
_EIGHT_BIT = frozenset(("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"))


def decode(
    file: Path | BinaryIO,
    name: str,
    channels: int,
    background: Colour | None = None,
    held: ExitStack | None = None,
) -> "Image":
    """Decode the first frame of an image file as grey (1) or RGB (3).

    Args:
        file, name: the file, and what errors call it.
        channels: 1 or 3.
        background: show the image as a viewer does: transparency composed on this colour, and
            turned upright as its EXIF data say. With None the stored pixels are taken as they are,
            without transparency, as FID tools do.
        held: as long as it is open, the image counts among those that threads decode at a time;
            decoding waits until there is room.

    Raises:
        ValueError: the file, which the message names, is not a readable image of 8 bits per
            channel, or has more than ``MAX_PIXELS``.
    """
    from PIL import Image

    if isinstance(file, Path) and file.exists() and not file.is_file():  # it might never end
        raise ValueError(f"{name} must be a file, got a pipe, socket or device")
    Image.init()
    limit = Image.MAX_IMAGE_PIXELS  # Pillow itself refuses images of twice as many
    if limit is not None and max(2 * limit, _MAX_PIXELS) < MAX_PIXELS:
        Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    known = [form for form in FORMATS if form in Image.OPEN]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            warnings.filterwarnings("ignore", "Palette images with Transparency")  # dropped anyway
            with Image.open(file, formats=known) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise ValueError(
                        f"{image.width} x {image.height} pixels, more than "
                        f"ganfast.data.image_files.MAX_PIXELS, {MAX_PIXELS:,}; {_MORE}"
                    )
                if image.mode not in _EIGHT_BIT or _bits(image) > 8:
                    raise ValueError(f"pixels of mode {image.mode!r}, not 8 bits per channel")
                if held is not None:
                    # Composing it takes as much again.
                    each = _BYTES if background is None else 2 * _BYTES
                    held.enter_context(_ROOM.of(each * image.width * image.height))
                shown = image if background is None else _shown(image, background)
                converted: Image.Image = shown.convert(_MODES[channels])
                return converted
    except Exception as error:  # Pillow's decoders raise many types on a broken file
        size = file.stat().st_size if isinstance(file, Path) and file.is_file() else None
        if size == 0 or (isinstance(file, BytesIO) and not file.getbuffer().nbytes):
            raise ValueError(f"{name} must be an image, got an empty file") from error
        words = str(error) or type(error).__name__
        if isinstance(error, Image.DecompressionBombError):
            words = f"{words.partition(',')[0]}; {_MORE}"
        raise ValueError(f"{name} must be a readable 8-bit image, got {words}") from error


def colour(name: str) -> Colour:
    """Return the colour that a name such as ``white``, or ``#rrggbb``, stands for.

    Raises:
        ValueError: there is no such colour.
    """
    from PIL import ImageColor

    try:
        red, green, blue, *_ = ImageColor.getrgb(name)
    except ValueError as error:
        raise ValueError(
            f"background must be a colour such as white or #808080, got {name!r}"
        ) from error
    return red, green, blue


def _shown(image: "Image", background: Colour) -> "Image":
    """Return what a viewer shows on this background."""
    from PIL import Image, ImageOps

    upright = ImageOps.exif_transpose(image)
    if not upright.has_transparency_data:
        return upright
    base = Image.new("RGBA", upright.size, (*background, 255))
    return Image.alpha_composite(base, upright.convert("RGBA"))


def _bits(image: Any) -> int:
    """Return the bits per channel in the file; Pillow reduces some kinds to 8 without a word."""
    if image.format == "TIFF":
        return int(max(image.tag_v2.get(258, (8,))))  # BitsPerSample
    if image.format == "JPEG2000":
        # The header SIZ has the bits of the first component, less one, in its byte 40.
        head = _after(image.fp, b"\xff\x51")
        return (head[40] & 0x7F) + 1 if len(head) > 40 else 8
    if image.format == "AVIF":
        head = _after(image.fp, b"av1C")  # the flag of high bit depth is in its byte 6
        return 10 if len(head) > 6 and head[6] & 0x40 else 8
    arguments = str([tile[3] for tile in image.tile])
    if image.format == "PPM":  # the largest value stands there
        return 16 if any(int(n) > 255 for n in re.findall(r"\b\d+\b", arguments)) else 8
    return 16 if ";16" in arguments else 8


def _after(file: BinaryIO, mark: bytes) -> bytes:
    """Return the start of a file from a mark on."""
    place = file.tell()
    file.seek(0)
    head = file.read(1 << 16)
    file.seek(place)
    found = head.find(mark)
    return head[found:] if found >= 0 else b""
