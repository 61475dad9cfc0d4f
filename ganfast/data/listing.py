"""Which files of a folder or an archive are images, and their classes."""

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

EXTENSIONS = frozenset(
    (
        *(".avif", ".bmp", ".dib", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"),
        *(".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"),
    )
)
LABELS_FILE = "dataset.json"  # as StyleGAN's data sets have it
_SPLITS = frozenset(("train", "training", "test", "val", "valid", "validation"))


def is_image_name(relative: PurePath) -> bool:
    """Say whether a relative path names an image: by its ending, and not hidden."""
    return not is_hidden(relative) and relative.suffix.lower() in EXTENSIONS


def is_hidden(relative: PurePath) -> bool:
    """Say whether a part of the path starts with a dot."""
    return any(part.startswith(".") for part in relative.parts)


def walk(root: Path) -> Iterator[Path]:
    """Yield the files below a folder, relative to it; hidden ones are skipped.

    A link to a folder is followed, each real folder being read once.

    Raises:
        ValueError: a link leads back to a folder that holds it.
    """
    seen: set[str] = set()
    left: list[tuple[Path, tuple[str, ...]]] = [(root, (os.path.realpath(root),))]
    while left:
        folder, ancestors = left.pop()
        if ancestors[-1] in seen:
            continue
        seen.add(ancestors[-1])
        for entry in os.scandir(folder):
            path = Path(entry.path)
            if entry.name.startswith("."):
                continue
            if not entry.is_dir():
                yield path.relative_to(root)
                continue
            real = os.path.realpath(path)
            if real in ancestors:
                raise ValueError(f"{path}: this link leads back to a folder that holds it, {real}")
            left.append((path, (*ancestors, real)))


def not_images(names: Sequence[PurePath]) -> str | None:
    """Say how many files are not looked at, by their endings; None if there are none."""
    others = [name for name in names if not is_hidden(name)]
    counts = Counter(name.suffix.lower() or "no ending" for name in others)
    if not counts:
        return None
    kinds = ", ".join(f"{ending} {count}" for ending, count in counts.most_common(5))
    more = ", ..." if len(counts) > 5 else ""
    files = "file is" if len(others) == 1 else "files are"
    return f"{len(others)} {files} no image by name and not read ({kinds}{more})"


def classes(names: Sequence[str]) -> list[str] | None:
    """Return the class of each image by the folder that it lies in, or None without classes.

    A level of folders that holds everything, or only splits (``train``, ``val``) or shards the
    images, is no class.
    """
    paths = [PurePosixPath(name).parts for name in names]
    while all(len(path) > 1 for path in paths):
        tops = {path[0] for path in paths}
        if len(tops) > 1 and not tops <= _SPLITS and not _shards(paths):
            return [path[0] for path in paths]
        paths = [path[1:] for path in paths]
    return None


def _shards(paths: Sequence[tuple[str, ...]]) -> bool:
    """Say whether the top folders only shard numbered files.

    As in FFHQ (01000/01234.png) and StyleGAN's data sets (00001/img00001234.png), folders are
    numbers of one length, and each file's number, without its last digits, gives its folder.
    """
    width = {len(path[0]) for path in paths}
    if len(width) != 1 or width == {1} or not all(path[0].isdecimal() for path in paths):
        return False
    pairs = []
    for path in paths:
        digits = "".join(c if c.isdecimal() else " " for c in PurePosixPath(path[-1]).stem).split()
        if not digits:
            return False
        pairs.append((int(path[0]), int(digits[-1])))
    return any(
        all(number // size == folder for folder, number in pairs)
        or all(number // size * size == folder for folder, number in pairs)
        for size in (100, 1000, 10_000)
    )


def labels_file(names: Sequence[str]) -> str | None:
    """Return the ``dataset.json`` of all images: at the top, or in a folder that holds everything.

    Args:
        names: of all files, with forward slashes.
    """
    found = [name for name in names if PurePosixPath(name).name == LABELS_FILE]
    images = [name for name in names if is_image_name(PurePosixPath(name))]
    for name in sorted(found, key=len):
        if all(image.startswith(name.removesuffix(LABELS_FILE)) for image in images):
            return name
    return None


def labels_of(text: bytes, names: Sequence[str], folder: str, where: str) -> list[str] | None:
    """Return the label of each image in a ``dataset.json``, or None if it has none.

    Args:
        text: ``{"labels": [[name, class], ...]}`` or ``{"labels": null}``.
        names: of the images, with forward slashes.
        folder: of the file, which their names in it leave out; empty, or ending in a slash.
        where: of the file, for errors.

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
