"""Samples in tar files as WebDataset writes them: files of one key, such as 01.jpg and 01.cls."""

import json
import posixpath
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

_FIELDS = ("cls", "cls2", "json")  # what may say the class, the first that is there


def key_of(name: str) -> tuple[str, str]:
    """Return the key of a file, its name up to the first dot of its base, and its field."""
    folder, base = posixpath.split(name)
    stem, _, field = base.partition(".")
    return posixpath.join(folder, stem), field.lower()


def beside(files: Collection[str], is_image: Callable[[str], bool]) -> set[str]:
    """Return the images that come with a sample's own, such as 01.mask.png with 01.jpg.

    A sample is one whose class a file says: elsewhere a dot in a name means nothing.
    """
    samples, whole = set(), set()
    for name in files:
        key, field = key_of(name)
        if field in _FIELDS:
            samples.add(key)
        elif "." not in field and is_image(name):
            whole.add(key)
    samples &= whole
    return {
        name
        for name in files
        if is_image(name) and "." in key_of(name)[1] and key_of(name)[0] in samples
    }


def described(files: Iterable[str], images: Sequence[str]) -> dict[str, str]:
    """Return, by key, which of all files may say the class of the image with this key."""
    keys = {key_of(image)[0] for image in images}
    found: dict[str, str] = {}
    rank: dict[str, int] = {}
    for name in files:
        key, field = key_of(name)
        if key in keys and field in _FIELDS and _FIELDS.index(field) < rank.get(key, 9):
            found[key], rank[key] = name, _FIELDS.index(field)
    return found


def labels(
    images: Sequence[str],
    described: Mapping[str, str],
    content: Callable[[str], bytes],
    where: str,
) -> list[str] | None:
    """Return the class of each image, or None if no file says one.

    Raises:
        ValueError: only some images have a class, or a file is damaged; it says ``where``.
    """
    by_key = {key: _label(name, content(name), where) for key, name in described.items()}
    found = [by_key.get(key_of(image)[0]) for image in images]
    known = [label for label in found if label is not None]
    if not known:
        return None
    if len(known) < len(found):
        missing = next(name for name, label in zip(images, found, strict=True) if label is None)
        raise ValueError(
            f"{where} must have a class for every image, got none for {missing}"
            + (f" and {len(found) - len(known) - 1} more" if len(found) > len(known) + 1 else "")
        )
    return known


def _label(name: str, content: bytes, where: str) -> str | None:
    """Return the class that a file says: a whole number or a name, as text."""
    try:
        text = content.decode().strip()
        if not name.lower().endswith(".json"):
            return text
        facts: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: {name} must be text with a class: {error}") from error
    for field in ("cls", "label", "class"):
        label = facts.get(field) if isinstance(facts, dict) else None
        if isinstance(label, int | str) and not isinstance(label, bool):
            return str(label)
    return None
