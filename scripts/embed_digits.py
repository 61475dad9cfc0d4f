"""Make the digits embedded in ganfast from a folder of MNIST idx files.

    python scripts/embed_digits.py MNIST_FOLDER [OUT_FOLDER]

Takes the first 500 of each class of the training set and keeps the order of the file.
"""

import argparse
import gzip
import struct
from pathlib import Path

import torch
from torch import Tensor

from ganfast._files import atomic_write
from ganfast.data import idx_folder

PER_CLASS = 500
OUT = Path(__file__).parent.parent / "ganfast" / "data" / "digits"


def first_of_each_class(labels: Tensor, count: int) -> Tensor:
    """Indices, ascending, of the first ``count`` of every class (all classes must have them)."""
    chosen = [torch.nonzero(labels == c)[:count, 0] for c in labels.unique()]
    if any(len(indices) < count for indices in chosen):
        raise ValueError(f"labels: expected {count} or more of each class")
    return torch.cat(chosen).sort().values


def write_idx_gz(path: Path, array: Tensor) -> None:
    """Write uint8 values as a gzipped idx file, the same bytes every time."""
    with (
        atomic_write(path) as out,
        gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=out, mtime=0) as file,
    ):
        file.write(bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape))
        file.write(array.numpy().tobytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mnist", type=Path, help="folder with the MNIST training idx files")
    parser.add_argument("out", type=Path, nargs="?", default=OUT, help="where to write")
    arguments = parser.parse_args()

    data = idx_folder(arguments.mnist, "train")
    assert data.labels is not None
    chosen = first_of_each_class(data.labels, PER_CLASS)
    write_idx_gz(arguments.out / "train-images-idx3-ubyte.gz", data.images[chosen, 0])
    write_idx_gz(arguments.out / "train-labels-idx1-ubyte.gz", data.labels[chosen].byte())
    print(f"{len(chosen)} images written to {arguments.out}")


if __name__ == "__main__":
    main()
