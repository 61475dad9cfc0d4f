"""Damaged files of every kind that is read: how they are made, and what may come of them."""

import gzip
import io
import json
import random
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import pyarrow
import pyarrow.ipc
import pyarrow.parquet
import torch
import yaml
from PIL import Image
from safetensors.torch import save

from ganfast.data import listing
from ganfast.data.idx import read_idx
from ganfast.data.image_source import Shard
from ganfast.data.opening import open_images
from ganfast.evaluation import collect, inputs, state
from ganfast.features import Encoder, weight_files
from ganfast.metrics import FrechetStatistics, load_moments
from ganfast.metrics.moments import load_settings
from ganfast.models.checkpoint import FORMAT, load_gan
from ganfast.models.registry import create
from ganfast.train import TrainOptions, config
from ganfast.train.journal import read_records
from ganfast.workflows.run_folder import ResultCache
from ganfast.workflows.synthesize import load_dataset

#: What the readers say they raise.
DOCUMENTED = (ValueError, FileNotFoundError, FileExistsError, TypeError)


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


def stored(**named: np.ndarray) -> Callable[[], bytes]:
    def make() -> bytes:
        file = io.BytesIO()
        np.savez(file, **named)
        return file.getvalue()

    return make


def linked() -> bytes:
    """A tar file with links to its files."""
    file, content = io.BytesIO(), picture("PNG")()
    with tarfile.open(fileobj=file, mode="w") as tar:
        info = tarfile.TarInfo("a/0.png")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
        for name, kind, target in (
            ("a/1.png", tarfile.SYMTYPE, "0.png"),
            ("b/2.png", tarfile.LNKTYPE, "a/1.png"),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            tar.addfile(info)
    return file.getvalue()


def checkpoint() -> bytes:
    options = {
        "model": "mlp-128", "channels": 1, "size": 8, "labels": 0, "sigmoid": False,
        "spectral_norm": False,
    }  # fmt: skip
    gan = create("mlp-128", channels=1, size=8)
    state = {
        "format": FORMAT,
        "options": options,
        "ema": gan.generator.state_dict(),
        "discriminator": gan.discriminator.state_dict(),
    }
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def weights() -> bytes:
    file = io.BytesIO()
    torch.save({"a": torch.arange(6.0).view(2, 3), "b": torch.zeros(2)}, file)
    return file.getvalue()


def shard() -> bytes:
    """A shard of three images, one of them broken, with moments in place of some features."""
    found = state.of_features({"weights": "x"}, "0 of 1", [0, 2], {"features": FEATURES})
    found.problems.add({1: "a.png: broken"})
    return found.limited(1).to_bytes()


def idx() -> bytes:
    return bytes((0, 0, 8, 3)) + struct.pack(">3I", 2, 3, 4) + bytes(range(24))


def all_images(path: Path) -> object:
    """All images, as a folder or an archive gives them; broken ones are named, not raised."""
    source = open_images(path, 3)
    images, problems = source.read(0, len(source))
    assert len(images) + len(problems) == len(source)
    _ = source.labels
    return images


def all_features(path: Path) -> object:
    """All features of a file, shard by shard."""
    return [shard.open().rows(0, len(shard.numbers)) for shard in open_images(path, 3).shards()]


def moments(path: Path) -> object:
    inputs.is_statistics(str(path))
    load_settings(path)
    FrechetStatistics.load(path)
    return load_moments(path)


def finished(path: Path) -> object:
    """A shard of a state: never an error, as a damaged one is computed again."""
    shard = Shard("0 of 1", range(3), lambda: None, lambda: None)
    encoder = Encoder(None, "FD", ("features",), 3, 0, "none", settings={"weights": "x"})
    try:
        return collect._load(path, shard, collect.Work(encoder, limit=1))
    except DOCUMENTED as error:
        raise AssertionError("a damaged shard is computed again") from error


def labels(path: Path) -> object:
    return listing.labels_of(path.read_bytes(), ["a.png", "b/c.png"], "", str(path))


IMAGES = np.zeros((3, 4, 4, 3), np.uint8)
FEATURES = torch.arange(6.0).view(2, 3)


def webdataset() -> bytes:
    """Two samples with classes, one of them in JSON."""
    file, content = io.BytesIO(), picture("PNG")()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, inside in (
            ("a/0.png", content), ("a/0.cls", b"3"), ("a/1.png", content),
            ("a/1.json", b'{"label": 5}'),
        ):  # fmt: skip
            info = tarfile.TarInfo(name)
            info.size = len(inside)
            tar.addfile(info, io.BytesIO(inside))
    return file.getvalue()


def table() -> pyarrow.Table:
    """Images and classes as Hugging Face writes them, of which one image is elsewhere."""
    content = picture("PNG")()
    rows = [{"bytes": content, "path": None}, {"bytes": None, "path": "b.png"}] * 2
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    described = {
        "image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["cat", "dog"]},
    }  # fmt: skip
    columns = {"image": pyarrow.array(rows, kind), "label": pyarrow.array([0, 1, 1, 0])}
    facts = json.dumps({"info": {"features": described}})
    return pyarrow.table(columns).replace_schema_metadata({"huggingface": facts})


def parquet() -> bytes:
    file = io.BytesIO()
    pyarrow.parquet.write_table(table(), file, row_group_size=2)
    return file.getvalue()


def arrow() -> bytes:
    file = io.BytesIO()
    with pyarrow.ipc.new_stream(file, table().schema) as out:
        out.write_table(table())
    return file.getvalue()


def features_table() -> bytes:
    file = io.BytesIO()
    rows = pyarrow.array(FEATURES.tolist(), pyarrow.list_(pyarrow.float32()))
    pyarrow.parquet.write_table(pyarrow.table({"embedding": rows}), file)
    return file.getvalue()


def hdf5() -> bytes:
    file = io.BytesIO()
    with h5py.File(file, "w") as out:
        out.create_dataset("imgs", data=IMAGES, chunks=(2, *IMAGES.shape[1:]), compression="gzip")
        out["labels"] = np.arange(len(IMAGES))
    return file.getvalue()


def array(values: np.ndarray) -> Callable[[], bytes]:
    def make() -> bytes:
        file = io.BytesIO()
        np.save(file, values)
        return file.getvalue()

    return make


def saved() -> bytes:
    file = io.BytesIO()
    torch.save({"images": torch.from_numpy(IMAGES), "labels": torch.arange(3)}, file)
    return file.getvalue()


def tensors() -> bytes:
    return save({"x": FEATURES.contiguous()})


READERS = {
    **{
        form: Reader(form.lower(), picture(form), lambda path: all_images(path.parent))
        for form in ("PNG", "JPEG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "PPM", "TGA", "AVIF")
    },
    "MPO": Reader("jpg", picture("MPO"), lambda path: all_images(path.parent)),
    "JPEG2000": Reader("jp2", picture("JPEG2000"), lambda path: all_images(path.parent)),
    "zip": Reader("zip", archive("zip"), all_images),
    "tar": Reader("tar", archive(""), all_images),
    "tar.gz": Reader("tar.gz", archive("gz"), all_images),
    "tar.bz2": Reader("tar.bz2", archive("bz2"), all_images),
    "tar.xz": Reader("tar.xz", archive("xz"), all_images),
    "npz of images": Reader("npz", arrays(x=IMAGES, y=np.arange(3)), all_images),
    "tar of links": Reader("tar", linked, all_images),
    "npz as it is": Reader("npz", stored(x=IMAGES, y=np.arange(3)), all_images),
    "npz of moments": Reader(
        "npz",
        stored(
            mu=np.zeros(3),
            sigma=np.eye(3),
            n=np.array(5),
            weights=np.array([4.0, 5.0]),
            settings=np.array('{"features": "digits"}'),
        ),
        moments,
    ),
    "packed moments": Reader(
        "npz", arrays(mu=np.zeros(3), sigma=np.eye(3), n=np.array(5)), moments
    ),
    "shard of features": Reader("state", shard, finished),
    "safetensors": Reader("safetensors", shard, weight_files.read),
    "webdataset": Reader("tar", webdataset, all_images),
    "parquet": Reader("parquet", parquet, all_images),
    "arrow stream": Reader("arrow", arrow, all_images),
    "parquet of features": Reader("parquet", features_table, all_features),
    "HDF5": Reader("h5", hdf5, all_images),
    "npy": Reader("npy", array(IMAGES), all_images),
    "npy of features": Reader("npy", array(FEATURES.numpy()), all_features),
    "saved images": Reader("pt", saved, all_images),
    "safetensors of features": Reader("safetensors", tensors, all_features),
    "list": Reader("txt", lambda: b"a/0.png 1\nb c.png 2\n", lambda p: len(open_images(p, 3))),
    "csv": Reader("csv", lambda: b"path,label\na.png,cat\n", lambda p: len(open_images(p, 3))),
    "weights": Reader("pth", weights, weight_files.read),
    "dataset.json": Reader("json", lambda: b'{"labels": [["a.png", 0], ["b/c.png", 1]]}', labels),
    "log": Reader("jsonl", lambda: b'{"step": 1, "fd": 2.5}\n{"step": 2}\n', read_records),
    "results": Reader(
        "json",
        lambda: b'{"settings": {"a": 1}, "rounds": [[["x", 1], {"fd": 2.5}]]}',
        lambda path: ResultCache(path, {"a": 1}, False),
    ),
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
    """A damaged file; of packed ones every other has damaged content in sound packing."""
    if content[:2] == b"PK" and draw.random() < 0.5:
        return _repacked(content, draw)
    if content[:2] == b"\x1f\x8b" and draw.random() < 0.5:
        return gzip.compress(damaged(gzip.decompress(content), draw))
    return damaged(content, draw)


def _repacked(content: bytes, draw: random.Random) -> bytes:
    """Damage one file of a zip file; its checksum is that of the damaged content."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as whole, zipfile.ZipFile(file, "w") as packed:
        victim = draw.choice(whole.namelist())
        for entry in whole.infolist():
            inside = whole.read(entry)
            packed.writestr(
                entry.filename,
                damaged(inside, draw) if entry.filename == victim else inside,
                entry.compress_type,
            )
    return file.getvalue()


def damaged(content: bytes, draw: random.Random) -> bytes:
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
