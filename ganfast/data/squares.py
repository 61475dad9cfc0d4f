"""Images of any size as squares of one size, in memory or in a file that is mapped into it."""

import hashlib
import json
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ganfast._files import atomic_write, cache_folder
from ganfast.data.image_data import ImageData
from ganfast.data.image_source import Arrays, Source
from ganfast.data.listing import in_lines

OnError = Literal["stop", "skip"]

IN_MEMORY = 1 << 28  # bytes of images that are decoded into memory; more go to a file
_PART = 256  # images decoded before what is done is recorded
_VERSION = 1  # of the way from a file to a square: another one makes other cache files


def centre(image: Tensor) -> Tensor:
    """Cut an image (C, H, W) to its centre square."""
    side = min(image.shape[1:])
    top, left = ((length - side) // 2 for length in image.shape[1:])
    return image[:, top : top + side, left : left + side]


def square(image: Tensor, size: int) -> Tensor:
    """Cut a uint8 image (C, H, W) to its centre square and resize it, by antialiased bicubic."""
    from PIL import Image

    cut = centre(image)
    if cut.shape[1] == size:
        return cut.contiguous()
    pixels = cut.permute(1, 2, 0).contiguous().numpy()
    resized = Image.fromarray(pixels.squeeze(2) if len(image) == 1 else pixels).resize(
        (size, size), Image.Resampling.BICUBIC
    )
    made = torch.from_numpy(np.array(resized, np.uint8).reshape(size, size, len(image)))
    return made.permute(2, 0, 1).contiguous()


def squares(source: Source, size: int, on_error: OnError = "stop") -> ImageData:
    """Return all images of a source as squares of one size, with their labels.

    Up to ``IN_MEMORY`` bytes are kept in memory. More are decoded once, into a file in the cache
    folder that is mapped into memory; an interrupted call continues where it stopped.

    Raises:
        OSError: the cache has too little free space.
        ValueError: images cannot be read and ``on_error`` is not ``"skip"``, with their names; or
            none can be read.
    """
    stored = source.images if isinstance(source, Arrays) else None
    if stored is not None and stored.shape[2:] == (size, size):
        return _labelled(source, stored, {})
    shape = (len(source), source.channels, size, size)
    if np.prod(shape) <= IN_MEMORY or source.key is None:
        images = torch.empty(shape, dtype=torch.uint8)
        problems: dict[int, str] = {}
        for start, made, wrong in _decoded(source, size, 0):
            rows = start - len(problems)
            images[rows : rows + len(made)] = made
            problems |= wrong
        images = images[: len(source) - len(problems)]
    else:
        images, problems = _cached(source, size)
    if problems and on_error == "stop":
        raise ValueError(_sentence(source, problems, "on_error=skip leaves them out"))
    if not len(images):
        raise ValueError(_sentence(source, problems, "none is left"))
    if problems:
        warnings.warn(_sentence(source, problems, "they are left out"), stacklevel=2)
    return _labelled(source, images, problems)


def _decoded(source: Source, size: int, first: int) -> Iterator[tuple[int, Tensor, dict[int, str]]]:
    """Yield the start, the squares and the problems of each part, from image ``first`` on."""
    from tqdm import tqdm

    with tqdm(
        total=len(source), initial=first, desc=f"reading {Path(source.name).name}", unit="img",
        dynamic_ncols=True, disable=None, delay=2,
    ) as bar:  # fmt: skip
        for start in range(first, len(source), _PART):
            stop = min(start + _PART, len(source))
            images, wrong = source.read(start, stop, lambda image: square(image, size))
            empty = torch.empty(0, source.channels, size, size, dtype=torch.uint8)
            yield start, torch.stack(images) if images else empty, wrong
            bar.update(stop - start)


def _cached(source: Source, size: int) -> tuple[Tensor, dict[int, str]]:
    """Return squares mapped from their file in the cache, which is made where it is missing."""
    from ganfast._lock import hold

    name = hashlib.sha256(f"{source.key} {source.channels} {size} {_VERSION}".encode()).hexdigest()
    folder = cache_folder() / "images" / name[:32]
    path, record = folder / "images.u8", folder / "record.json"
    one = source.channels * size * size
    with hold(folder):
        done, problems = _recorded(record, path, one)
        if done < len(source):
            _need_space(folder, one * (len(source) - done))
            with open(path, "r+b" if path.exists() else "w+b") as file:
                file.truncate(one * (done - len(problems)))
                file.seek(0, 2)
                for start, made, wrong in _decoded(source, size, done):
                    file.write(made.numpy().tobytes())
                    file.flush()
                    problems |= wrong
                    done = min(start + _PART, len(source))
                    found = json.dumps({"done": done, "problems": list(problems.items())})
                    with atomic_write(record) as noted:
                        noted.write(found.encode())
    shape = (len(source) - len(problems), source.channels, size, size)
    if not shape[0]:
        return torch.empty(shape, dtype=torch.uint8), problems
    # Copy-on-write, as torch warns of memory that it must not write.
    return torch.from_numpy(np.memmap(path, np.uint8, "c", shape=shape)), problems


def _recorded(record: Path, path: Path, one: int) -> tuple[int, dict[int, str]]:
    """Return how many images the file covers, and the problems among them; 0 if it is damaged."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        content = json.loads(record.read_text())
        done, problems = int(content["done"]), {int(k): str(v) for k, v in content["problems"]}
        if path.stat().st_size >= one * (done - len(problems)) >= 0:
            return done, problems
    return 0, {}


def _need_space(folder: Path, wanted: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < wanted + (64 << 20):
        raise OSError(
            f"the cache {cache_folder()} must have {wanted / 1e9:.1f} GB free for the decoded "
            f"images, got {free / 1e9:.1f} GB: set GANFAST_CACHE to a folder on another disk, or "
            "train at a smaller size"
        )


def _sentence(source: Source, problems: dict[int, str], what: str) -> str:
    counts = f"{len(problems)} of {len(source)} images cannot be read ({what})"
    return f"{source.name}: {counts}:{in_lines([*problems.values()], len(problems))}"


def _labelled(source: Source, images: Tensor, problems: dict[int, str]) -> ImageData:
    """Return the images with the labels of those that could be read."""
    found = source.labels
    if found is None:
        return ImageData(images, None, source.name)
    names = class_names(found)
    number = {name: i for i, name in enumerate(names)}
    labels = [number[name] for i, name in enumerate(found) if i not in problems]
    return ImageData(images, torch.tensor(labels), source.name, names)


def class_names(labels: Sequence[str]) -> tuple[str, ...]:
    """Return the classes in sorted order, numbers by their value."""
    numeric = all(name.isdecimal() for name in labels)
    return tuple(sorted(set(labels), key=int if numeric else None))
