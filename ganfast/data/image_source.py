"""Images of any size, read when they are needed: folders, archives and arrays."""

import hashlib
import io
import os
import tarfile
import threading
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np
import torch
from torch import Tensor

from ganfast.data.image_data import ImageData
from ganfast.data.image_folder import EXTENSIONS, decode, is_image_name

_LARGEST_ENTRY = 1 << 29  # bytes of one file in an archive


class ImageSource(ABC):
    """A numbered set of uint8 images (C, H, W), each of its own size.

    Attributes:
        name: where the images come from.
        key: changes whenever the images do; None if that is not known.
        labels: the class of each image, if there are classes.
    """

    name: str
    key: str | None
    labels: Sequence[str] | None = None

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(self, start: int, stop: int) -> tuple[list[Tensor], dict[int, str]]:
        """Return the images of a range, and by number what is wrong with the missing ones."""


class Arrays(ImageSource):
    """Images in memory, uint8 (N, 1 or 3, H, W), converted to ``channels``."""

    def __init__(
        self, images: Tensor, name: str, channels: int, labels: Sequence[int] | None = None
    ) -> None:
        if len(images) == 0:
            raise ValueError(f"{name}: expected images, got none")
        self.images, self.name = as_channels(images, channels), name
        self.labels = None if labels is None else [str(label) for label in labels]
        digest = hashlib.sha256(str(tuple(images.shape)).encode())
        for part in torch.split(images, 1024):
            digest.update(part.contiguous().numpy().tobytes())
        self.key = digest.hexdigest()

    def __len__(self) -> int:
        return len(self.images)

    def read(self, start: int, stop: int) -> tuple[list[Tensor], dict[int, str]]:
        return list(self.images[start:stop]), {}


class _Files(ImageSource):
    """Encoded image files, decoded by threads.

    If every file lies in a sub-folder, the top sub-folders are the classes.
    """

    def __init__(self, name: str, entries: Sequence[tuple[str, str]], channels: int) -> None:
        """``entries``: the name of each file, and a text that changes when the file does."""
        if not entries:
            raise ValueError(f"{name}: expected images ({', '.join(sorted(EXTENSIONS))}), got none")
        self.name, self.channels = name, channels
        self.entries = [entry for entry, _ in entries]
        paths = [PurePosixPath(entry.replace(os.sep, "/")).parts for entry in self.entries]
        if all(len(path) > 1 for path in paths):
            self.labels = [path[0] for path in paths]
        described = "\n".join(f"{entry}\t{state}" for entry, state in entries)
        self.key = hashlib.sha256(f"{channels}\n{described}".encode()).hexdigest()
        self._pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))

    def __len__(self) -> int:
        return len(self.entries)

    @abstractmethod
    def file(self, entry: str) -> Path | io.BytesIO:
        """Return what the decoder reads."""

    def read(self, start: int, stop: int) -> tuple[list[Tensor], dict[int, str]]:
        read = list(self._pool.map(self._read, self.entries[start:stop]))
        images = [image for image in read if isinstance(image, Tensor)]
        return images, {i: wrong for i, wrong in enumerate(read, start) if isinstance(wrong, str)}

    def _read(self, entry: str) -> Tensor | str:
        """Return the image, or a sentence that says what is wrong with it."""
        try:
            image = decode(self.file(entry), entry, self.channels)
        except ValueError as error:
            return str(error)
        except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, tarfile.TarError) as error:
            return f"{entry}: {error}"
        pixels = np.array(image, np.uint8).reshape(image.height, image.width, self.channels)
        return torch.from_numpy(pixels).permute(2, 0, 1)


class Folder(_Files):
    """All images below a folder, in the order of their paths; hidden files are skipped."""

    def __init__(self, path: Path, channels: int) -> None:
        self._path = path
        files = sorted(
            file
            for file in path.rglob("*")
            if is_image_name(file.relative_to(path)) and not file.is_dir()
        )
        super().__init__(str(path), [self._entry(file) for file in files], channels)

    def _entry(self, file: Path) -> tuple[str, str]:
        try:
            state = file.stat()
        except OSError:  # a dangling link: reported when it is read
            return str(file.relative_to(self._path)), "unreadable"
        return str(file.relative_to(self._path)), f"{state.st_size} {state.st_mtime_ns}"

    def file(self, entry: str) -> Path:
        return self._path / entry


class ZipArchive(_Files):
    """All images in a zip file, in the order of their names; nothing is unpacked to disk."""

    def __init__(self, path: Path, channels: int) -> None:
        try:
            self._zip = zipfile.ZipFile(path)
        except zipfile.BadZipFile as error:
            raise ValueError(f"{path}: expected a zip file: {error}") from error
        infos = [info for info in self._zip.infolist() if _is_image_entry(info.filename)]
        entries = [(info.filename, f"{info.file_size} {info.CRC}") for info in infos]
        super().__init__(str(path), sorted(entries), channels)

    def file(self, entry: str) -> io.BytesIO:
        size = self._zip.getinfo(entry).file_size
        with self._zip.open(entry) as file:
            return _limited(entry, size, file)


class TarArchive(_Files):
    """All images in a tar file, compressed or not, in file order; nothing is unpacked to disk."""

    def __init__(self, path: Path, channels: int) -> None:
        try:
            self._tar = tarfile.open(path)  # noqa: SIM115  open as long as this object
            members = [m for m in self._tar if m.isfile() and _is_image_entry(m.name)]
        except (tarfile.TarError, EOFError, OSError) as error:
            raise ValueError(f"{path}: expected a tar file: {error}") from error
        self._members = {member.name: member for member in members}
        self._lock = threading.Lock()
        entries = [(member.name, f"{member.size} {member.mtime}") for member in members]
        super().__init__(str(path), entries, channels)

    def file(self, entry: str) -> io.BytesIO:
        with self._lock:
            member = self._members[entry]
            file = self._tar.extractfile(member)
            return _limited(entry, member.size, io.BytesIO() if file is None else file)


def open_images(path: Path, channels: int) -> ImageSource:
    """Open the images at a path: a folder, a .zip or .tar file, or a .npz file of uint8 images.

    Raises:
        FileNotFoundError: there is nothing at this path.
        ValueError: it is another kind of file, or holds no images.
    """
    if path.is_dir():
        return Folder(path, channels)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a folder or a file of images, got nothing")
    if path.suffix == ".zip":
        return ZipArchive(path, channels)
    if ".tar" in path.suffixes or path.suffix == ".tgz":
        return TarArchive(path, channels)
    if path.suffix == ".npz":
        images, labels = _from_npz(path)
        return Arrays(images, str(path), channels, labels)
    raise ValueError(
        f"{path}: expected a folder, .zip, .tar or .npz, got {path.suffix or 'a file'}"
    )


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
    """Return the one uint8 array (N, H, W, C) or (N, C, H, W), and the integers (N,), if any."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: expected a .npz file of arrays: {error}") from error
    found = [a for a in arrays.values() if a.dtype == np.uint8 and a.ndim == 4]
    if len(found) != 1:
        shapes = {name: (str(a.dtype), a.shape) for name, a in arrays.items()}
        raise ValueError(f"{path}: expected one uint8 array of images (N, H, W, C), got {shapes}")
    images = torch.from_numpy(found[0])
    named = [a for a in arrays.values() if a.dtype.kind in "iu" and a.shape == (len(images),)]
    labels = named[0].tolist() if len(named) == 1 else None
    return images.permute(0, 3, 1, 2) if images.shape[3] in (1, 3) else images, labels


def _is_image_entry(name: str) -> bool:
    return not name.endswith("/") and is_image_name(PurePosixPath(name))


def _limited(entry: str, size: int, file: IO[bytes]) -> io.BytesIO:
    """Read an entry into memory, unless it is too large or turns out to be."""
    raw = file.read(_LARGEST_ENTRY + 1) if size <= _LARGEST_ENTRY else b""
    if max(size, len(raw)) > _LARGEST_ENTRY:
        raise ValueError(
            f"{entry}: expected an image, got more than {_LARGEST_ENTRY >> 20} MiB in one file"
        )
    return io.BytesIO(raw)
