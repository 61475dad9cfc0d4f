"""Encoded image files: in folders, in archives, and in lists of files."""

import copy
import csv
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
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import cached_property, lru_cache, partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from ganfast._files import refuse_bomb
from ganfast._names import printable
from ganfast.data import listing, names, stores, webdataset
from ganfast.data.image_files import Colour, decode
from ganfast.data.image_source import Prepare, Read, Shard, Source, file_state, shard_size

_LARGEST_ENTRY = 1 << 29  # bytes of one file in an archive
_MORE_EXTRA = 256  # bytes that a zip may say of an entry, but not in its directory
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


class Files(Source):
    """Encoded image files, decoded by threads.

    Labels come from a ``dataset.json``, else from the folders of the images.
    """

    _place = ""  # which tells files of one name, size and time apart

    def __init__(
        self, name: str, files: Iterable[str], channels: int, background: Colour | None
    ) -> None:
        """``files``: names of all files, images or not, with forward slashes."""
        self.name, self.channels, self.background = printable(name), channels, background
        unread: Counter[str] = Counter()
        described: list[str] = []
        folders = listing.Folders()

        def images() -> Iterator[str]:
            for file in files:
                if self._is_image(file):
                    folders.add(file)
                    yield file
                elif PurePosixPath(file).name == listing.LABELS_FILE:
                    described.append(file)
                elif not listing.is_hidden(file):
                    unread[listing.ending(file)] += 1

        self.entries = names.kept(images())
        self._level = folders.level()
        labels = listing.labels_file(described, self.entries) if self.entries else None
        for other in described:
            if other != labels and not listing.is_hidden(other):
                unread[listing.ending(other)] += 1
        self.unread = self._not_read(unread)
        if not self.entries:
            note = listing.not_images(unread)
            raise ValueError(
                f"{self.name} must hold images ({', '.join(sorted(listing.EXTENSIONS))}), got none"
                + (f"; {note}" if note else "")
            )
        if labels is not None:
            where, folder = f"{self.name}/{labels}", labels.removesuffix(listing.LABELS_FILE)
            self._level, self._labels = None, listing.labels_of(
                self.content(labels), self.entries, folder, printable(where)
            )  # fmt: skip

    def _is_image(self, file: str) -> bool:
        return listing.is_image_name(file)

    def _not_read(self, found: Counter[str]) -> Counter[str]:
        """Return those of the files that are no images, by ending, that are really left aside."""
        return found

    @cached_property
    def key(self) -> str | None:
        shown = "" if self.background is None else f" {self.background}"
        found = hashlib.sha256(os.fsencode(f"{self.channels}{shown} {self._place}"))
        for entry in self.entries:
            state = self.state(entry)
            if state is None:
                return None
            found.update(os.fsencode(f"\n{entry}\t{state}"))
        return found.hexdigest()

    @cached_property
    def labels(self) -> Sequence[str] | None:
        if self._level is not None:
            return listing.classes_at(self._level, self.entries)
        return self._labels

    def without_folders(self) -> None:
        """Take no folder for a class: several archives would not agree on them."""
        self._level = None

    def __len__(self) -> int:
        return len(self.entries)

    @abstractmethod
    def file(self, entry: str, held: ExitStack) -> Path | io.BytesIO:
        """Return what the decoder reads; large files in memory take turns until ``held`` closes."""

    @abstractmethod
    def state(self, entry: str) -> str | None:
        """Return a text that changes when the file does; None if that is not known."""

    def content(self, entry: str) -> bytes:
        """Return the bytes of a file. Raises ValueError if it is damaged."""
        try:
            with ExitStack() as held:
                file = self.file(entry, held)
                return file.read_bytes() if isinstance(file, Path) else file.getvalue()
        except _UNREADABLE as error:
            raise ValueError(f"{self.name}: {printable(entry)} is damaged: {error}") from error

    def shards(self, count: int | None = None) -> Sequence[Shard]:
        """Return the images by a hash of their names, so that new ones leave the others in place.

        A shard is named after the hashes that it takes.
        """
        n = len(self)
        count = count or -(-n // shard_size(n))
        groups = names.Groups(self.entries, lambda entry: _hash(entry) * count >> 64, count)

        def part(i: int) -> Files:
            return self._part(groups.names(i), groups.numbers[i])

        def key(i: int) -> str | None:
            return part(i).key

        return [
            Shard(f"{i} of {count}", numbers, partial(part, i), partial(key, i))
            for i, numbers in enumerate(groups.numbers)
            if numbers
        ]

    def _part(self, entries: list[str], numbers: Sequence[int]) -> "Files":
        part = copy.copy(self)
        for cached in ("key", "labels"):
            part.__dict__.pop(cached, None)
        part.entries, part.unread = entries, {}
        if self._labels is not None:
            part._labels = [self._labels[i] for i in numbers]
        return part

    def _threads(self) -> ThreadPoolExecutor:
        return decoders()

    def read(self, start: int, stop: int, prepare: Prepare | None = None) -> Read:
        found = self._threads().map(partial(self._read, prepare), self.entries[start:stop])
        return parted(start, found)

    def _read(self, prepare: Prepare | None, entry: str) -> Tensor | str:
        """Return the image, or a sentence that says what is wrong with it."""
        name = printable(entry)
        with ExitStack() as held:
            try:
                file = self.file(entry, held)
            except (stores.StoreError, PermissionError):  # which say nothing of the image
                raise
            except (ValueError, struct.error, MemoryError, *_UNREADABLE) as error:
                return _sentence(name, error)
            return decoded(file, name, self.channels, self.background, prepare, held)


@lru_cache(1)
def decoders() -> ThreadPoolExecutor:
    """Return the threads that decode images."""
    return ThreadPoolExecutor(min(8, os.cpu_count() or 1))


@lru_cache(1)
def requesters() -> ThreadPoolExecutor:
    """Return the threads that ask stores for images and decode them: most wait for an answer."""
    return ThreadPoolExecutor(32)


def decoded(
    file: Path | io.BytesIO,
    name: str,
    channels: int,
    background: Colour | None,
    prepare: Prepare | None,
    held: ExitStack,
) -> Tensor | str:
    """Return an image that went through ``prepare``, or what is wrong with it; see `decode`."""
    try:
        image = decode(file, name, channels, background, held)
        pixels = np.array(image, np.uint8)
    except (ValueError, struct.error, MemoryError, *_UNREADABLE) as error:
        return _sentence(name, error)
    shaped = pixels.reshape(image.height, image.width, channels)
    found = torch.from_numpy(shaped).permute(2, 0, 1)
    return found if prepare is None else prepare(found)


def parted(start: int, found: Iterable[Tensor | str]) -> Read:
    """Part images from what is wrong with others, which are numbered from ``start`` on."""
    images: list[Tensor] = []
    wrong: dict[int, str] = {}
    for number, one in enumerate(found, start):
        if isinstance(one, str):
            wrong[number] = one
        else:
            images.append(one)
    return images, wrong


def _sentence(name: str, error: BaseException) -> str:
    words = str(error) or type(error).__name__
    return words if isinstance(error, ValueError) else f"{name}: {words}"


def _hash(name: str) -> int:
    """Return 64 bits of a hash of a name."""
    return int.from_bytes(hashlib.blake2b(os.fsencode(name), digest_size=8).digest(), "little")


class _LocalFiles(Files):
    """Image files by their names in a folder."""

    def __init__(
        self, name: str, folder: Path, files: Iterable[str], channels: int,
        background: Colour | None,
    ) -> None:  # fmt: skip
        self._folder, self._place = folder, os.path.realpath(folder)
        super().__init__(name, files, channels, background)

    def file(self, entry: str, held: ExitStack) -> Path:
        return self._folder / entry

    def state(self, entry: str) -> str:
        try:
            state = (self._folder / entry).stat()
        except OSError:  # a dangling link: reported when it is read
            return "unreadable"
        return f"{state.st_size} {state.st_mtime_ns}"


class Folder(_LocalFiles):
    """All images below a folder, in the order of their paths; hidden files are skipped.

    Links to folders are followed; see :func:`ganfast.data.listing.walk`.
    """

    def __init__(self, path: Path, channels: int, background: Colour | None = None) -> None:
        found = names.path_order(listing.walk(path))
        super().__init__(str(path), path, found, channels, background)


class RemoteFolder(Files):
    """All images below a folder of a store, in the order of their names."""

    def __init__(
        self, url: str, files: Mapping[str, stores.Listed], channels: int,
        background: Colour | None,
    ) -> None:  # fmt: skip
        """``files``: what is known of each file, by its name."""
        self._url, self._files = url.rstrip("/"), files
        super().__init__(url, names.path_order(files), channels, background)

    def file(self, entry: str, held: ExitStack) -> io.BytesIO:
        url, size = f"{self._url}/{entry}", self._files[entry].size
        _refuse_large(entry, size or 0)
        raw = b""
        if size is None:
            raw = stores.read(url, None, _LARGE_ENTRY)
        large = max(size or 0, len(raw)) > _LARGE_ENTRY
        if large:
            held.enter_context(_ONE_LARGE)
        if large or not raw:
            raw = stores.read(url, size, _LARGEST_ENTRY)
        _refuse_large(entry, len(raw))
        return io.BytesIO(raw)

    def state(self, entry: str) -> str | None:
        return self._files[entry].state

    def _threads(self) -> ThreadPoolExecutor:
        return requesters()


class ZipArchive(Files):
    """All images in a zip file, in the order of their names; nothing is unpacked to disk."""

    def __init__(
        self, file: Path | stores.Ranges, channels: int, background: Colour | None = None
    ) -> None:
        path = file.name if isinstance(file, stores.Ranges) else str(file)
        self._size = file.size if isinstance(file, stores.Ranges) else file.stat().st_size
        try:
            self._zip = zipfile.ZipFile(file)
        except (PermissionError, stores.StoreError):
            raise
        except (ValueError, *_UNREADABLE) as error:
            raise ValueError(f"{path} must be a zip file: {error}") from error
        # Of a name that is there twice the last entry counts, as when it is unpacked.
        entries = sorted({n for n in self._zip.namelist() if n and not n.endswith("/")})
        super().__init__(path, entries, channels, background)

    def state(self, entry: str) -> str:
        info = self._zip.getinfo(entry)
        return f"{info.file_size} {info.CRC}"

    def file(self, entry: str, held: ExitStack) -> io.BytesIO:
        info = self._zip.getinfo(entry)
        if info.file_size > _LARGE_ENTRY:
            held.enter_context(_ONE_LARGE)
        with self._zip.open(entry) as file:
            return limited(entry, info.file_size, min(info.compress_size, self._size), file)


class RemoteZip(ZipArchive):
    """All images in a zip file of a store: its directory and each image are asked for alone.

    Raises `stores.NoRanges` where that is impossible.
    """

    def __init__(self, url: str, channels: int, background: Colour | None = None) -> None:
        self._file = stores.Ranges(url)
        super().__init__(self._file, channels, background)

    def file(self, entry: str, held: ExitStack) -> io.BytesIO:
        info = self._zip.getinfo(entry)
        if max(info.file_size, info.compress_size) > _LARGE_ENTRY:  # which takes its turn
            return super().file(entry, held)
        # A header of 30 bytes and two names of unknown length come before the image.
        before = 30 + 2 * len(os.fsencode(info.orig_filename)) + len(info.extra) + _MORE_EXTRA
        start = info.header_offset
        with self._file.ahead(start, start + before + info.compress_size):
            return super().file(entry, held)

    def _threads(self) -> ThreadPoolExecutor:
        return requesters()


class TarArchive(Files):
    """All images in a tar file, compressed or not, in file order; nothing is unpacked to disk.

    Links to files of the archive count as these files.
    """

    def __init__(self, path: Path, channels: int, background: Colour | None = None) -> None:
        self._lock = threading.Lock()
        self._place = file_state(path)  # since members often have no time
        try:
            self._tar = tarfile.open(path)  # noqa: SIM115  open as long as this object
            # Of a name that is there twice the last member counts, as when it is unpacked.
            self._members = {}
            for member in self._tar:
                refuse_bomb(str(path), member.offset_data + member.size, path.stat().st_size)
                if not member.isdir():
                    self._members[posixpath.normpath(member.name)] = member
            _check_end(self._tar)
        except PermissionError:
            raise
        except (ValueError, *_UNREADABLE) as error:
            words = " ".join(str(error).split()) if path.stat().st_size else "it is empty"
            raise ValueError(f"{path} must be a tar file: {words}") from error
        self._beside = webdataset.beside(self._members, super()._is_image)
        super().__init__(str(path), list(self._members), channels, background)

    def _is_image(self, file: str) -> bool:
        return super()._is_image(file) and file not in self._beside

    def _not_read(self, found: Counter[str]) -> Counter[str]:
        described = webdataset.described(self._members, self.entries)
        beside = Counter(f".{webdataset.key_of(name)[1]}" for name in self._beside)
        left = Counter(map(listing.ending, [*described.values(), *self._beside]))
        return found - left + beside

    @cached_property
    def labels(self) -> Sequence[str] | None:
        """Classes of a ``dataset.json``, of WebDataset's ``.cls`` and ``.json``, or of folders."""
        if self._labels is None:
            described = webdataset.described(self._members, self.entries)
            found = webdataset.labels(self.entries, described, self.content, self.name)
            if found is not None:
                return found
        return super().labels

    def shards(self, count: int | None = None) -> Sequence[Shard]:
        if isinstance(self._tar.fileobj, io.BufferedReader):
            return super().shards(count)
        return Source.shards(self)  # a compressed file is read in its order

    def file(self, entry: str, held: ExitStack) -> io.BytesIO:
        member = self._target(entry)
        if member.size > _LARGE_ENTRY:
            held.enter_context(_ONE_LARGE)
        with self._lock:
            file = self._tar.extractfile(member) or io.BytesIO()
            return limited(entry, member.size, member.size, file)

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
            name = posixpath.normpath(posixpath.join(folder, member.linkname))
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


def limited(entry: str, size: int, stored: int, file: IO[bytes]) -> io.BytesIO:
    """Read an entry into memory, unless it says that it is too large or turns out to be."""
    refuse_bomb(entry, size, stored)
    _refuse_large(entry, size)
    raw = file.read(_LARGEST_ENTRY + 1)
    _refuse_large(entry, len(raw))
    return io.BytesIO(raw)


def _refuse_large(entry: str, size: int) -> None:
    if size > _LARGEST_ENTRY:
        raise ValueError(
            f"{entry} must be an image, got more than {_LARGEST_ENTRY >> 20} MiB in one file"
        )


class FileList(_LocalFiles):
    """Image files by their names, each counted as often as it is named, in this order."""

    def __init__(
        self,
        name: str,
        folder: Path,
        files: Iterable[str],
        channels: int,
        background: Colour | None,
        labels: Sequence[str] | None = None,
    ) -> None:
        """``folder``: where relative names start."""
        super().__init__(name, folder, files, channels, background)
        self._level, self._labels = (self._level if labels is None else None), labels
        # Hashes, as the names may be too many to hold.
        places = (hash(posixpath.normpath(entry)) for entry in self.entries)
        hashes = np.fromiter(places, np.int64, len(self.entries))
        self.repeats = len(hashes) - len(np.unique(hashes))

    def _is_image(self, file: str) -> bool:
        return listing.is_image_name(PurePosixPath(file).name)  # also in a hidden folder


def read_list(path: Path, channels: int, background: Colour | None) -> FileList:
    """Open the images that a list names: a .txt or .csv file, relative to its folder.

    A line is a name, or a name and its class: after the last space of a .txt file, in the second
    column of a .csv file, whose first line may be a header.

    Raises:
        ValueError: a line names no image, or only some lines have a class.
    """
    found: list[str] = []
    labels: list[str] = []
    with open(path, newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        lines = enumerate(_listed(path, file), 1)
        for number, (name, label) in lines:
            if not listing.is_image_name(PurePosixPath(name).name):
                if number == 1 and path.suffix.lower() != ".txt":
                    continue
                raise ValueError(
                    f"{path}: line {number} must name an image, got {printable(name)[:80]!r}"
                )
            found.append(name)
            labels += [] if label is None else [label]
    if labels and len(labels) != len(found):
        raise ValueError(
            f"{path} must give all or no images a class, got {len(labels)} for {len(found)} images"
        )
    return FileList(str(path), path.parent, found, channels, background, labels or None)


def _listed(path: Path, file: IO[str]) -> Iterator[tuple[str, str | None]]:
    """Yield the first two words of each line that is not empty."""
    if path.suffix.lower() == ".txt":
        for line in filter(None, map(str.strip, file)):
            head, _, tail = line.rpartition(" ")
            has_class = listing.is_image_name(PurePosixPath(head.strip()).name)
            whole = listing.is_image_name(PurePosixPath(line).name)
            yield (head.strip(), tail) if has_class and not whole else (line, None)
        return
    try:
        for row in csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ","):
            if row:
                yield row[0].strip(), row[1].strip() if len(row) > 1 and row[1].strip() else None
    except csv.Error as error:
        raise ValueError(f"{path} must be a list of images: {error}") from error
