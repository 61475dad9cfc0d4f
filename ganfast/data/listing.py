"""Which files of a folder or an archive are images, and their classes."""

import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

EXTENSIONS = frozenset(
    (
        *(".avif", ".bmp", ".dib", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"),
        *(".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"),
    )
)
LABELS_FILE = "dataset.json"  # as StyleGAN's data sets have it
_NAMED = 10  # files that an error names
_SPLITS = frozenset(("train", "training", "test", "val", "valid", "validation"))


def is_image_name(name: str) -> bool:
    """Say whether a relative path names an image: by its ending, and not hidden."""
    return name[name.rfind(".") :].lower() in EXTENSIONS and not is_hidden(name)


def is_hidden(name: str) -> bool:
    """Say whether a part of the path starts with a dot; ``..`` hides nothing."""
    if not name.startswith(".") and "/." not in name:
        return False
    return any(part.startswith(".") and part != ".." for part in PurePosixPath(name).parts)


def walk(root: Path) -> Iterator[str]:
    """Yield the files below a folder, by names relative to it with forward slashes; no hidden ones.

    A link to a folder is followed, each real folder being read once.

    Raises:
        ValueError: a link leads back to a folder that holds it.
    """
    seen: set[str] = set()
    left: list[tuple[str, tuple[str, ...]]] = [("", (os.path.realpath(root),))]
    while left:
        folder, ancestors = left.pop()
        if ancestors[-1] in seen:
            continue
        seen.add(ancestors[-1])
        for entry in os.scandir(os.path.join(root, folder) if folder else root):
            if entry.name.startswith("."):
                continue
            name = f"{folder}{entry.name}"
            if not entry.is_dir():
                yield name
                continue
            real = os.path.realpath(entry.path)
            if real in ancestors:
                raise ValueError(
                    f"{entry.path}: this link leads back to a folder that holds it, {real}"
                )
            left.append((f"{name}/", (*ancestors, real)))


def not_images(endings: Mapping[str, int]) -> str | None:
    """Say how many files are not looked at, by their `ending`; None if there are none."""
    counts = Counter(endings)
    if not counts:
        return None
    kinds = ", ".join(f"{ending} {count}" for ending, count in counts.most_common(5))
    more = ", ..." if len(counts) > 5 else ""
    total = sum(counts.values())
    files = "file is not read as an image" if total == 1 else "files are not read as images"
    return f"{total} {files} ({kinds}{more})"


def in_lines(words: Sequence[str], count: int) -> str:
    """Return the first of ``count`` sentences, each on a line."""
    more = count - _NAMED
    return "\n  ".join(["", *words[:_NAMED], *([f"and {more} more"] if more > 0 else [])])


def ending(name: str) -> str:
    """Return the ending of a file's name, for `not_images`."""
    return PurePosixPath(name).suffix.lower() or "no ending"


class Folders:
    """What the folders of images say about classes; the names may be too many to hold.

    The class of an image is the folder that it lies in, at the first level that divides them. A
    level of folders that holds everything, or only splits (``train``, ``val``) or shards the
    images, is no class.
    """

    def __init__(self) -> None:
        self._levels: list[_Level] = []
        self._last: str | None = None
        self._parts: Sequence[str] = ()

    def add(self, name: str) -> None:
        """Add an image's name, with forward slashes."""
        head, _, file = name.rpartition("/")
        if head != self._last:
            self._parts = PurePosixPath(head).parts
            if self._last is None:
                self._levels = [_Level() for _ in self._parts]
            del self._levels[len(self._parts) :]  # a level that some lie above divides nothing
            for level, folder in zip(self._levels, self._parts, strict=False):
                level.tops.add(folder)
            self._last = head
        number = None
        for level, folder in zip(self._levels, self._parts, strict=False):
            if level.fitting:
                number = _last_number(file) if number is None else number
                level.number(folder, number)

    def level(self) -> int | None:
        """Return the number of folders above those that are the classes, or None without any."""
        for number, level in enumerate(self._levels):
            if len(level.tops) > 1 and not level.tops <= _SPLITS and not level.fitting:
                return number
        return None


class _Level:
    """The folders at one level, and whether they only shard numbered files.

    As in FFHQ (01000/01234.png) and StyleGAN's data sets (00001/img00001234.png), folders are
    numbers of one length, and each file's number, without its last digits, gives its folder.
    """

    def __init__(self) -> None:
        self.tops: set[str] = set()
        self.fitting = [(size, unit) for size in (100, 1000, 10_000) for unit in (1, size)]
        self._width = 0

    def number(self, folder: str, file: int) -> None:
        """Leave the ways of sharding that fit this folder and the number of a file in it."""
        self._width = self._width or len(folder)
        if len(folder) != self._width or self._width == 1 or not folder.isdecimal() or file < 0:
            self.fitting = []
        self.fitting = [(s, unit) for s, unit in self.fitting if file // s * unit == int(folder)]


def _last_number(file: str) -> int:
    """Return the last number in a file's name, or -1 if there is none."""
    digits = "".join(c if c.isdecimal() else " " for c in PurePosixPath(file).stem).split()
    return int(digits[-1]) if digits else -1


def classes_at(level: int, names: Iterable[str]) -> list[str]:
    """Return the folder of each image at a level of `Folders`."""
    return [sys.intern(PurePosixPath(name).parts[level]) for name in names]


def labels_file(found: Iterable[str], images: Iterable[str]) -> str | None:
    """Return which ``dataset.json`` is of all images: at the top, or in a folder of everything."""
    for name in sorted(found, key=len):
        if all(image.startswith(name.removesuffix(LABELS_FILE)) for image in images):
            return name
    return None


def labels_of(text: bytes, names: Iterable[str], folder: str, where: str) -> list[str] | None:
    """Return the label of each image in a ``dataset.json``, or None if it has none.

    Args:
        text: ``{"labels": [[name, class], ...]}`` or ``{"labels": null}``.
        names: of the images, with forward slashes.
        folder: of the file, which their names in it leave out; empty, or ending in a slash.
        where: the file, for errors.

    Raises:
        ValueError: the file is damaged, or has no label for an image.
    """
    try:
        content: Any = json.loads(text)
        pairs = content["labels"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{where} must be an object with labels, got {error!r}") from error
    if pairs is None:
        return None
    try:
        found: Mapping[str, Any] = {str(name): label for name, label in pairs}
    except (ValueError, TypeError) as error:
        raise ValueError(f"{where}: labels must be pairs of a name and a class: {error}") from error
    if any(not isinstance(label, int) or isinstance(label, bool) for label in found.values()):
        return None  # conditions that are no classes
    relative = [name.removeprefix(folder) for name in names]
    missing = [name for name in relative if name not in found]
    if missing:
        raise ValueError(
            f"{where} must have a label for every image, got none for {missing[0]}"
            + (f" and {len(missing) - 1} more" if len(missing) > 1 else "")
        )
    return [str(found[name]) for name in relative]
