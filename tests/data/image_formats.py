"""One set of pictures in every format that is read."""

import csv
import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.ipc
import pyarrow.parquet
import torch
from PIL import Image

Pixels = np.ndarray
LABELS = ("cat", "dog", "owl")


def pictures(count: int, side: int = 8) -> Pixels:
    """Random pictures (N, H, W, 3)."""
    return np.random.default_rng(count).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def png(pixels: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


def label(i: int) -> str:
    return LABELS[i % 3]


def folder(images: Pixels, path: Path) -> Path:
    for i, pixels in enumerate(images):
        file = path / "images" / label(i) / f"{i:06}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(pixels))
    return path / "images"


def write_tar(path: Path, files: Sequence[tuple[str, bytes]], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def zip_file(images: Pixels, path: Path) -> Path:
    with zipfile.ZipFile(path / "images.zip", "w") as archive:
        for i, pixels in enumerate(images):
            archive.writestr(f"{label(i)}/{i:06}.png", png(pixels))
    return path / "images.zip"


def stylegan_zip(images: Pixels, path: Path) -> Path:
    """As StyleGAN's tool makes them: images in folders of a thousand, classes in dataset.json."""
    names = [f"{i // 1000:05}/img{i:08}.png" for i in range(len(images))]
    labels = [[name, i % 3] for i, name in enumerate(names)]
    with zipfile.ZipFile(path / "stylegan.zip", "w") as archive:
        for name, pixels in zip(names, images, strict=True):
            archive.writestr(name, png(pixels))
        archive.writestr("dataset.json", json.dumps({"labels": labels}))
    return path / "stylegan.zip"


def tars(images: Pixels, path: Path) -> Path:
    """A folder of two tar files, of unequal size."""
    (path / "tars").mkdir()
    files = [(f"{i:06}.png", png(pixels)) for i, pixels in enumerate(images)]
    third = len(files) // 3
    write_tar(path / "tars" / "a.tar", files[:third])
    write_tar(path / "tars" / "b.tar", files[third:])
    return path / "tars"


def webdataset(images: Pixels, path: Path) -> Path:
    """Shards in braces; a class is a file of text, or in JSON."""
    for shard, some in enumerate(np.array_split(np.arange(len(images)), 3)):
        files = []
        for i in some.tolist():
            described = (".cls", label(i).encode())
            if shard == 1:
                described = (".json", json.dumps({"label": label(i), "width": 8}).encode())
            files += [(f"{i:06}.png", png(images[i])), (f"{i:06}{described[0]}", described[1])]
        write_tar(path / f"train-{shard:04}.tar", files)
    return path / "train-{0000..0002}.tar"


def gzipped(images: Pixels, path: Path) -> Path:
    files = [(f"{label(i)}/{i:06}.png", png(pixels)) for i, pixels in enumerate(images)]
    return write_tar(path / "images.tar.gz", files, "w:gz")


def table(images: Pixels) -> pyarrow.Table:
    """As ``push_to_hub`` of Hugging Face's datasets writes images and classes."""
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    rows = [{"bytes": png(pixels), "path": f"{i}.png"} for i, pixels in enumerate(images)]
    described = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": LABELS}}
    columns = {
        "image": pyarrow.array(rows, kind),
        "label": pyarrow.array([i % 3 for i in range(len(images))]),
    }
    facts = json.dumps({"info": {"features": described}})
    return pyarrow.table(columns).replace_schema_metadata({"huggingface": facts})


def parquet(images: Pixels, path: Path) -> Path:
    (path / "hub" / "data").mkdir(parents=True)
    for number, part in enumerate(np.array_split(images, 2)):
        file = path / "hub" / "data" / f"train-{number:05}-of-00002.parquet"
        pyarrow.parquet.write_table(table(part), file, row_group_size=300)
    return path / "hub"


def arrow(images: Pixels, path: Path) -> Path:
    """As ``save_to_disk`` writes it: streams, and a list of them."""
    (path / "saved").mkdir()
    names = []
    for number, part in enumerate(np.array_split(images, 2)):
        names.append(f"data-{number:05}-of-00002.arrow")
        rows = table(part)
        with pyarrow.ipc.new_stream(path / "saved" / names[-1], rows.schema) as out:
            out.write_table(rows, 100)
    listed = json.dumps({"_data_files": [{"filename": name} for name in names]})
    (path / "saved" / "state.json").write_text(listed)
    (path / "saved" / "cache-1.arrow").write_bytes(b"of a map, and not listed")
    return path / "saved"


def npz(images: Pixels, path: Path) -> Path:
    """As guided-diffusion writes them."""
    np.savez(path / "samples.npz", images, np.arange(len(images)) % 3)
    return path / "samples.npz"


def hdf5(images: Pixels, path: Path) -> Path:
    """As BigGAN writes them: packed chunks of images with channels first."""
    import h5py

    with h5py.File(path / "images.hdf5", "w") as file:
        first = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        file.create_dataset("imgs", data=first, chunks=(50, *first.shape[1:]), compression="lzf")
        file.create_dataset("labels", data=np.arange(len(images)) % 3)
    return path / "images.hdf5"


def lmdb(images: Pixels, path: Path) -> Path:
    """As rosinality writes them: a folder, keys with the size, and the number of images."""
    import lmdb as package

    place = str(path / "images_lmdb")
    with package.open(place, map_size=1 << 26) as data, data.begin(write=True) as writing:
        for i, pixels in enumerate(images):
            writing.put(f"8-{i:05}".encode(), png(pixels))
        writing.put(b"length", str(len(images)).encode())
    return path / "images_lmdb"


def npy(images: Pixels, path: Path) -> Path:
    np.save(path / "images.npy", images)
    return path / "images.npy"


def saved(images: Pixels, path: Path) -> Path:
    found = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    torch.save({"images": found, "labels": torch.arange(len(images)) % 3}, path / "images.pt")
    return path / "images.pt"


def text_list(images: Pixels, path: Path) -> Path:
    """Names with spaces and classes, below the folder of the list."""
    (path / "listed").mkdir()
    lines = []
    for i, pixels in enumerate(images):
        (path / "listed" / f"image {i}.png").write_bytes(png(pixels))
        lines.append(f"listed/image {i}.png {label(i)}\n")
    (path / "images.txt").write_text("".join(lines))
    return path / "images.txt"


def csv_list(images: Pixels, path: Path) -> Path:
    text_list(images, path)
    with open(path / "images.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label"])
        rows.writerows([f"listed/image {i}.png", label(i)] for i in range(len(images)))
    return path / "images.csv"


#: Each format, and whether it knows the classes (by name, or by number).
FORMATS: dict[str, tuple[Callable[[Pixels, Path], Path], str]] = {
    "folder": (folder, "names"),
    "zip": (zip_file, "names"),
    "StyleGAN's zip": (stylegan_zip, "numbers"),
    "two tars": (tars, ""),
    "WebDataset": (webdataset, "names"),
    "gzipped tar": (gzipped, "names"),
    "parquet": (parquet, "names"),
    "arrow": (arrow, "names"),
    "npz": (npz, "numbers"),
    "npy": (npy, ""),
    "HDF5": (hdf5, "numbers"),
    "LMDB": (lmdb, ""),
    "saved tensors": (saved, "numbers"),
    "text list": (text_list, "names"),
    "csv list": (csv_list, "names"),
}
