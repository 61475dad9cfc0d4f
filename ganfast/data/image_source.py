"""Images of any size, read when they are needed: folders, archives and arrays."""

import hashlib
import io
import lzma
import os
import posixpath
import struct
import tarfile
import threading
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from ganfast import _npz
from ganfast._files import refuse_bomb
from ganfast._names import printable
from ganfast.data import listing
from ganfast.data.image_data import ImageData
from ganfast.data.image_files import Colour, decode

_LARGEST_ENTRY = 1 << 29  # bytes of one file in an archive
_LARGE_ENTRY = 1 << 24  # bytes; larger ones are read one at a time
_ONE_LARGE = threading.Lock()
_LINKS = 40  # from one to the next; more is a circle

# What damaged archives raise besides ValueError. (NotImplementedError is a RuntimeError.)
_UNREADABLE = (
    OSError,
    EOFError,
    RuntimeError,
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
)

Prepare = Callable[[Tensor], Tensor]  # of an image (C, H, W)


class ImageSource(ABC):
    """A numbered set of uint8 images (C, H, W), each of its own size.

    Attributes:
        name: where the images come from.
        channels: 1 (grey) or 3 (RGB), of all images.
        key: changes whenever the images do; None if that is not known.
        labels: the class of each image, if there are classes.
        notes: what a reader of the scores should know, such as files that are no images.
        moments: moments of features, by layer, that came with the images.
    """

    name: str
    channels: int
    key: str | None
    labels: Sequence[str] | None = None
    notes: Sequence[str] = ()
    moments: Mapping[str, Any] = {}

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(
        self, start: int, stop: int, prepare: Prepare | None = None
    ) -> tuple[list[Tensor], dict[int, str]]:
        """Return the images of a range, and by number what is wrong with the missing ones.

        ``prepare`` is applied to each image as soon as it is there, so that no more than a few are
        held at their full size.
        """


class Arrays(ImageSource):
    """Images in memory, uint8 (N, 1 or 3, H, W), converted to ``channels``."""

    def __init__(
        self, images: Tensor, name: str, channels: int, labels: Sequence[int] | None = None
    ) -> None:
        if len(images) == 0:
            raise ValueError(f"{name} must hold images, got none")
        self.images, self.name, self.channels = as_channels(images, channels), name, channels
        self.labels = None if labels is None else [str(label) for label in labels]
        digest = hashlib.sha256(str(tuple(images.shape)).encode())
        for part in torch.split(images, 1024):
            digest.update(part.contiguous().numpy().tobytes())
        self.key = digest.hexdigest()

    def __len__(self) -> int:
        return len(self.images)

    def read(
        self, start: int, stop: int, prepare: Prepare | None = None
    ) -> tuple[list[Tensor], dict[int, str]]:
        images = list(self.images[start:stop])
        return images if prepare is None else [prepare(image) for image in images], {}


class _Files(ImageSource):
    """Encoded image files, decoded by threads.

    Labels come from a ``dataset.json``, else from the folders of the images.
    """

    def __init__(
        self, name: str, files: Sequence[str], channels: int, background: Colour | None
    ) -> None:
        """``files``: names of all files, images or not, with forward slashes."""
        self.name, self.channels, self.background = printable(name), channels, background
        self.entries = [file for file in files if listing.is_image_name(PurePosixPath(file))]
        described = listing.labels_file(files)
        others = {*files} - {*self.entries, described}
        note = listing.not_images([PurePosixPath(file) for file in files if file in others])
        name = self.name
        if not self.entries:
            raise ValueError(
                f"{name} must hold images ({', '.join(sorted(listing.EXTENSIONS))}), got none"
                + (f"; {note}" if note else "")
            )
        self.notes = [f"{name}: {note}"] if note else []
        self.labels = (
            listing.classes(self.entries)
            if described is None
            else listing.labels_of(
                self.content(described),
                self.entries,
                described.removesuffix(listing.LABELS_FILE),
                printable(f"{name}/{described}"),
            )
        )
        states = "\n".join(f"{entry}\t{self.state(entry)}" for entry in self.entries)
        shown = "" if background is None else f" {background}"
        self.key = hashlib.sha256(os.fsencode(f"{channels}{shown}\n{states}")).hexdigest()
        self._pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))

    def __len__(self) -> int:
        return len(self.entries)

    @abstractmethod
    def file(self, entry: str, held: ExitStack) -> Path | io.BytesIO:
        """Return what the decoder reads.

        Large files in memory take turns, which last until ``held`` is closed.
        """

    @abstractmethod
    def state(self, entry: str) -> str:
        """Return a text that changes when the file does."""

    def content(self, entry: str) -> bytes:
        """Return the bytes of a file. Raises ValueError if it is damaged."""
        try:
            with ExitStack() as held:
                file = self.file(entry, held)
                return file.read_bytes() if isinstance(file, Path) else file.getvalue()
        except _UNREADABLE as error:
            raise ValueError(f"{self.name}: {printable(entry)} is damaged: {error}") from error

    def read(
        self, start: int, stop: int, prepare: Prepare | None = None
    ) -> tuple[list[Tensor], dict[int, str]]:
        read = list(self._pool.map(partial(self._read, prepare), self.entries[start:stop]))
        images = [image for image in read if isinstance(image, Tensor)]
        return images, {i: wrong for i, wrong in enumerate(read, start) if isinstance(wrong, str)}

    def _read(self, prepare: Prepare | None, entry: str) -> Tensor | str:
        """Return the image, or a sentence that says what is wrong with it."""
        name = printable(entry)
        with ExitStack() as held:
            try:
                image = decode(self.file(entry, held), name, self.channels, self.background, held)
                pixels = np.array(image, np.uint8)
            except (ValueError, struct.error, MemoryError, *_UNREADABLE) as error:
                words = str(error) or type(error).__name__
                return words if isinstance(error, ValueError) else f"{name}: {words}"
            shaped = pixels.reshape(image.height, image.width, self.channels)
            found = torch.from_numpy(shaped).permute(2, 0, 1)
            return found if prepare is None else prepare(found)


class Folder(_Files):
    """All images below a folder, in the order of their paths; hidden files are skipped.

    Links to folders are followed; see :func:`ganfast.data.listing.walk`.
    """

    def __init__(self, path: Path, channels: int, background: Colour | None = None) -> None:
        self._path = path
        names = [file.as_posix() for file in sorted(listing.walk(path))]
        super().__init__(str(path), names, channels, background)

    def file(self, entry: str, held: ExitStack) -> Path:
        return self._path / entry

    def state(self, entry: str) -> str:
        try:
            state = (self._path / entry).stat()
        except OSError:  # a dangling link: reported when it is read
            return "unreadable"
        return f"{state.st_size} {state.st_mtime_ns}"


class ZipArchive(_Files):
    """All images in a zip file, in the order of their names; nothing is unpacked to disk."""

    def __init__(self, path: Path, channels: int, background: Colour | None = None) -> None:
        try:
            self._zip, self._size = zipfile.ZipFile(path), path.stat().st_size
        except PermissionError:
            raise
        except (ValueError, *_UNREADABLE) as error:
            raise ValueError(f"{path} must be a zip file: {error}") from error
        # Of a name that is there twice the last entry counts, as when it is unpacked.
        names = sorted({n for n in self._zip.namelist() if n and not n.endswith("/")})
        super().__init__(str(path), names, channels, background)

    def state(self, entry: str) -> str:
        info = self._zip.getinfo(entry)
        return f"{info.file_size} {info.CRC}"

    def file(self, entry: str, held: ExitStack) -> io.BytesIO:
        info = self._zip.getinfo(entry)
        if info.file_size > _LARGE_ENTRY:
            held.enter_context(_ONE_LARGE)
        with self._zip.open(entry) as file:
            return _limited(entry, info.file_size, min(info.compress_size, self._size), file)


class TarArchive(_Files):
    """All images in a tar file, compressed or not, in file order; nothing is unpacked to disk.

    Links to files of the archive count as these files.
    """

    def __init__(self, path: Path, channels: int, background: Colour | None = None) -> None:
        self._lock = threading.Lock()
        try:
            self._tar = tarfile.open(path)  # noqa: SIM115  open as long as this object
            # Of a name that is there twice the last member counts, as when it is unpacked.
            self._members = {}
            for member in self._tar:
                refuse_bomb(str(path), member.offset_data + member.size, path.stat().st_size)
                if not member.isdir():
                    self._members[_plain(member.name)] = member
            _check_end(self._tar)
        except PermissionError:
            raise
        except (ValueError, *_UNREADABLE) as error:
            words = " ".join(str(error).split())
            raise ValueError(f"{path} must be a tar file: {words}") from error
        super().__init__(str(path), list(self._members), channels, background)

    def file(self, entry: str, held: ExitStack) -> io.BytesIO:
        member = self._target(entry)
        if member.size > _LARGE_ENTRY:
            held.enter_context(_ONE_LARGE)
        with self._lock:
            file = self._tar.extractfile(member) or io.BytesIO()
            return _limited(entry, member.size, member.size, file)

    def state(self, entry: str) -> str:
        try:
            member = self._target(entry)
        except ValueError:
            return "unreadable"
        return f"{member.size} {member.mtime}"

    def _target(self, entry: str) -> tarfile.TarInfo:
        """Return the file of an entry, through links. Raises ValueError if there is none."""
        name = entry
        for _ in range(_LINKS):
            member = self._members.get(name)
            if member is None:
                raise ValueError(f"{entry} must be a file, got a link to {name}, not in the tar")
            if member.isfile():
                return member
            if not (member.issym() or member.islnk()):
                raise ValueError(f"{entry} must be a file, got a pipe or device")
            folder = "" if member.islnk() else posixpath.dirname(name)
            name = _plain(posixpath.join(folder, member.linkname))
        raise ValueError(f"{entry} must be a file, got links that lead in a circle")


def _check_end(tar: tarfile.TarFile) -> None:
    """Raise ValueError if a tar file that was read to its end goes on there, or stops before it.

    A damaged header counts as the end for Python.
    """
    file: Any = tar.fileobj
    file.seek(tar.offset)
    end = file.read(tarfile.BLOCKSIZE)
    if len(end) < tarfile.BLOCKSIZE or any(end):
        raise ValueError(f"damaged or cut off after {len(tar.getmembers())} entries")
    while part := file.read(1 << 20):
        if any(part):
            raise ValueError(f"more follows its end, after {len(tar.getmembers())} entries")


def _plain(name: str) -> str:
    return posixpath.normpath(name)


def open_images(path: Path, channels: int, background: Colour | None = None) -> ImageSource:
    """Open the images at a path: a folder, a .zip or .tar file, or a .npz file of uint8 images.

    Args:
        path: the folder or file.
        channels: 1 or 3.
        background: of files, as for :func:`ganfast.data.image_files.decode`.

    Raises:
        FileNotFoundError: there is nothing at this path.
        ValueError: it is another kind of file, or holds no images.
    """
    if path.is_dir():
        return Folder(path, channels, background)
    if not path.is_file():
        raise FileNotFoundError(f"{path} must be a folder or a file of images, got nothing")
    endings = [ending.lower() for ending in path.suffixes]
    if endings[-1:] == [".zip"]:
        return ZipArchive(path, channels, background)
    if ".tar" in endings or endings[-1:] == [".tgz"]:
        return TarArchive(path, channels, background)
    if endings[-1:] == [".npz"]:
        images, labels = _from_npz(path)
        return Arrays(images, str(path), channels, labels)
    raise ValueError(f"{path} must be a folder, .zip, .tar or .npz, got {path.suffix or 'a file'}")


def from_data(data: ImageData, channels: int) -> ImageSource:
    """Open a data set in memory."""
    labels = None if data.labels is None else data.labels.tolist()
    return Arrays(data.images, data.name, channels, labels)


def as_channels(images: Tensor, channels: int) -> Tensor:
    """Convert uint8 images (N, 1 or 3, H, W) to so many channels, to grey as Pillow does."""
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(
            f"images must be uint8 (N, 1 or 3, H, W), got {images.dtype} {tuple(images.shape)}"
        )
    if images.shape[1] == channels:
        return images
    if channels == 3:
        return images.expand(-1, 3, -1, -1)
    weights = torch.tensor([19595, 38470, 7471]).view(3, 1, 1)
    grey = ((images.to(torch.int64) * weights).sum(1, keepdim=True) + 0x8000) >> 16
    return grey.to(torch.uint8)


def _from_npz(path: Path) -> tuple[Tensor, list[int] | None]:
    """Return the one uint8 array (N, H, W, C) or (N, C, H, W), and the integers (N,), if any.

    Only these arrays are read.
    """
    headers = _npz.headers(path)
    found = [name for name, header in headers.items() if _is_images(*header)]
    if len(found) != 1:
        shapes = {name: (str(dtype), shape) for name, (shape, dtype) in headers.items()}
        raise ValueError(f"{path} must hold one uint8 array of images (N, H, W, C), got {shapes}")
    count = headers[found[0]][0][0]
    named = [
        name for name, (shape, dtype) in headers.items() if dtype.kind in "iu" and shape == (count,)
    ]
    if len(named) > 1:
        named = []
    arrays = _npz.read(path, [*found, *named])
    images = torch.from_numpy(np.ascontiguousarray(arrays[found[0]]))
    labels = arrays[named[0]].tolist() if named else None
    return images.permute(0, 3, 1, 2) if images.shape[3] in (1, 3) else images, labels


def _is_images(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    return dtype == np.uint8 and len(shape) == 4


def _limited(entry: str, size: int, stored: int, file: IO[bytes]) -> io.BytesIO:
    """Read an entry into memory, unless it says that it is too large or turns out to be."""
    refuse_bomb(entry, size, stored)
    raw = file.read(_LARGEST_ENTRY + 1) if size <= _LARGEST_ENTRY else b""
    if max(size, len(raw)) > _LARGEST_ENTRY:
        raise ValueError(
            f"{entry} must be an image, got more than {_LARGEST_ENTRY >> 20} MiB in one file"
        )
    return io.BytesIO(raw)
