"""Damaged files of every kind that is read: how they are made, and what may come of them."""

import gzip
import io
import random
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import yaml
from PIL import Image

from ganfast.data.idx import read_idx
from ganfast.data.image_source import open_images
from ganfast.evaluation import inputs
from ganfast.metrics import load_moments
from ganfast.models.checkpoint import load_gan
from ganfast.train import TrainOptions, config
from ganfast.workflows.synthesize import load_dataset

#: What the readers say they raise.
DOCUMENTED = (ValueError, FileNotFoundError, TypeError)


class Reader(NamedTuple):
    """A whole file by its ending, and what reads it."""

    ending: str
    whole: Callable[[], bytes]
    read: Callable[[Path], object]


def picture(form: str) -> Callable[[], bytes]:
    def make() -> bytes:
        pixels = np.random.default_rng(0).integers(0, 256, (16, 12, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, form)
        return file.getvalue()

    return make


def arrays(**named: np.ndarray) -> Callable[[], bytes]:
    def make() -> bytes:
        file = io.BytesIO()
        np.savez_compressed(file, **named)
        return file.getvalue()

    return make


def archive(form: str) -> Callable[[], bytes]:
    def make() -> bytes:
        file, content = io.BytesIO(), picture("PNG")()
        names = ("a/0.png", "a/1.png", "b/2.png")
        if form == "zip":
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
                for name in names:
                    out.writestr(name, content)
                out.writestr("dataset.json", '{"labels": [["a/0.png", 1]]}')
            return file.getvalue()
        with tarfile.open(fileobj=file, mode=f"w:{form}") as tar:
            for name in names:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        return file.getvalue()

    return make


def checkpoint() -> bytes:
    file = io.BytesIO()
    options = {"model": "mlp-128", "channels": 1, "size": 8, "labels": 0}
    state = {"format": "ganfast-train-2", "options": options, "ema": {"x": torch.arange(3.0)}}
    torch.save(state, file)
    return file.getvalue()


def idx() -> bytes:
    return bytes((0, 0, 8, 3)) + struct.pack(">3I", 2, 3, 4) + bytes(range(24))


def all_images(path: Path) -> object:
    """All images, as a folder or an archive gives them; broken ones are named, not raised."""
    source = open_images(path, 3)
    images, problems = source.read(0, len(source))
    assert len(images) + len(problems) == len(source)
    return images


def moments(path: Path) -> object:
    inputs.is_statistics(str(path))
    return load_moments(path)


IMAGES = np.zeros((3, 4, 4, 3), np.uint8)
READERS = {
    **{
        form: Reader(form.lower(), picture(form), lambda path: all_images(path.parent))
        for form in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "TGA", "AVIF")
    },
    "JPEG2000": Reader("jp2", picture("JPEG2000"), lambda path: all_images(path.parent)),
    "zip": Reader("zip", archive("zip"), all_images),
    "tar": Reader("tar", archive(""), all_images),
    "tar.gz": Reader("tar.gz", archive("gz"), all_images),
    "tar.bz2": Reader("tar.bz2", archive("bz2"), all_images),
    "tar.xz": Reader("tar.xz", archive("xz"), all_images),
    "npz of images": Reader("npz", arrays(x=IMAGES, y=np.arange(3)), all_images),
    "npz of moments": Reader("npz", arrays(mu=np.zeros(3), sigma=np.eye(3)), moments),
    "data set": Reader("npz", arrays(images=IMAGES, labels=np.arange(3)), load_dataset),
    "checkpoint": Reader("pt", checkpoint, load_gan),
    "idx": Reader("idx", idx, lambda path: read_idx(path, 3)),
    "idx.gz": Reader("gz", lambda: gzip.compress(idx()), lambda path: read_idx(path, 3)),
    "YAML": Reader(
        "yaml",
        lambda: yaml.safe_dump({"steps": 5, "betas_g": [0.5, 0.9], "penalty": "r1"}).encode(),
        lambda path: config.read(TrainOptions, path),
    ),
}


def mutated(content: bytes, draw: random.Random) -> bytes:
    """Cut, changed, repeated or shuffled content; several times over."""
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 5))):
        if not changed:
            break
        place = draw.randrange(len(changed))
        stop = min(len(changed), place + draw.choice((1, 2, 4, 64)))
        kind = draw.randrange(7)
        if kind == 0:
            del changed[place:]
        elif kind == 1:
            changed[place] ^= 1 << draw.randrange(8)
        elif kind == 2:
            changed[place:stop] = bytes(draw.randrange(256) for _ in range(stop - place))
        elif kind == 3:
            changed[place:stop] = draw.choice((b"\xff", b"\x00", b"\x7f")) * (stop - place)
        elif kind == 4:
            del changed[place:stop]
        elif kind == 5:
            changed[place:place] = changed[place:stop]
        else:
            changed += changed[place:stop]
    return bytes(changed)


def try_one(reader: Reader, content: bytes, folder: Path) -> Exception | None:
    """Read a damaged file; the error that the reader documents, if one was raised."""
    path = folder / f"file.{reader.ending}"
    path.write_bytes(content)
    try:
        reader.read(path)
    except DOCUMENTED as error:
        return error
    return None
