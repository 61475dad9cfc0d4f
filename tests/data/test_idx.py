import gzip
import os
import runpy
import struct
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ganfast.data import digits, idx_folder
from ganfast.data.idx import read_idx

REPOSITORY = Path(__file__).parents[2]
MNIST = Path(os.environ.get("GANFAST_MNIST", REPOSITORY.parent / "shared" / "data" / "mnist"))


def idx_bytes(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_split(
    folder: Path, images: np.ndarray, labels: np.ndarray, prefix: str = "train"
) -> None:
    (folder / f"{prefix}-images-idx3-ubyte").write_bytes(idx_bytes(images))
    (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(idx_bytes(labels))


IMAGES = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
LABELS = np.array([7, 0, 255], dtype=np.uint8)


@given(array=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=3)), gz=st.booleans())
def test_reads_what_was_written(
    array: np.ndarray, gz: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("idx") / ("a.gz" if gz else "a")
    path.write_bytes(gzip.compress(idx_bytes(array)) if gz else idx_bytes(array))
    assert np.array_equal(read_idx(path, array.ndim).numpy(), array)


@pytest.mark.parametrize("dash", ["-", "."])
@pytest.mark.parametrize("gz", [False, True])
@pytest.mark.parametrize(("split", "prefix"), [("train", "train"), ("test", "t10k")])
def test_all_the_usual_file_names(tmp_path: Path, dash: str, gz: bool, split, prefix: str) -> None:
    for array, kind in ((IMAGES, "images"), (LABELS, "labels")):
        raw = idx_bytes(array)
        name = f"{prefix}-{kind}{dash}idx{array.ndim}-ubyte"
        path = tmp_path / (name + ".gz" if gz else name)
        path.write_bytes(gzip.compress(raw) if gz else raw)
    data = idx_folder(tmp_path, split)
    assert data.images.shape == (3, 1, 4, 5)
    assert np.array_equal(data.images[:, 0].numpy(), IMAGES)
    assert data.labels is not None
    assert data.labels.tolist() == [7, 0, 255]


def test_a_file_cut_anywhere_is_refused_by_name(tmp_path: Path) -> None:
    write_split(tmp_path, IMAGES, LABELS)
    path = tmp_path / "train-images-idx3-ubyte"
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"train-images-idx3-ubyte must .* got"):
            idx_folder(tmp_path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(
        ValueError, match=r"must have 60 bytes of data for shape \(3, 4, 5\), got 61"
    ):
        idx_folder(tmp_path)


def test_a_gzip_file_cut_anywhere_is_refused_by_name(tmp_path: Path) -> None:
    write_split(tmp_path, IMAGES, LABELS)
    (tmp_path / "train-images-idx3-ubyte").unlink()
    path = tmp_path / "train-images-idx3-ubyte.gz"
    whole = gzip.compress(idx_bytes(IMAGES))
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"train-images-idx3-ubyte\.gz must"):
            idx_folder(tmp_path)
    path.write_bytes(b"not gzip at all")
    with pytest.raises(ValueError, match="must be a complete gzip file"):
        idx_folder(tmp_path)


def test_wrong_magic_number(tmp_path: Path) -> None:
    write_split(tmp_path, IMAGES, IMAGES)  # images where labels belong
    with pytest.raises(ValueError, match=r"labels.*must have magic number 0x00000801.*0x00000803"):
        idx_folder(tmp_path)


def test_counts_that_differ(tmp_path: Path) -> None:
    write_split(tmp_path, IMAGES, LABELS[:2])
    with pytest.raises(ValueError, match=r"must hold 3 labels, one per image in .*, got 2"):
        idx_folder(tmp_path)
    write_split(tmp_path, IMAGES[:0], LABELS[:0])
    with pytest.raises(ValueError, match=r"must hold images, got shape \(0, 4, 5\)"):
        idx_folder(tmp_path)


def test_missing_files_and_splits(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="train-images-idx3-ubyte"):
        idx_folder(tmp_path)
    write_split(tmp_path, IMAGES, LABELS)
    with pytest.raises(FileNotFoundError, match="t10k-images-idx3-ubyte"):
        idx_folder(tmp_path, "test")
    with pytest.raises(ValueError, match="split must be 'train' or 'test', got 'valid'"):
        idx_folder(tmp_path, "valid")  # type: ignore[arg-type]


def test_the_embedded_digits_are_500_of_each_class() -> None:
    data = digits()
    assert data.name == "digits"
    assert data.images.shape == (5000, 1, 28, 28)
    assert data.labels is not None
    assert data.labels.bincount().tolist() == [500] * 10
    assert data.images.flatten(1).unique(dim=0).shape[0] == 5000
    folder = REPOSITORY / "ganfast" / "data" / "digits"
    assert "CC BY-SA 3.0" in (folder / "LICENSE").read_text()
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 1_500_000


@pytest.mark.skipif(not MNIST.is_dir(), reason="needs the full MNIST (GANFAST_MNIST)")
def test_the_script_makes_the_embedded_digits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["embed_digits.py", str(MNIST), str(tmp_path)])
    runpy.run_path(str(REPOSITORY / "scripts" / "embed_digits.py"), run_name="__main__")
    made, embedded = idx_folder(tmp_path), digits()
    assert torch.equal(made.images, embedded.images)
    assert made.labels is not None
    assert embedded.labels is not None
    assert torch.equal(made.labels, embedded.labels)

    full = idx_folder(MNIST)
    assert full.labels is not None
    counts, expected = [0] * 10, []
    for index, label in enumerate(full.labels.tolist()):
        if counts[label] < 500:
            counts[label] += 1
            expected.append(index)
    assert torch.equal(embedded.images, full.images[expected])


def test_a_gzip_bomb_is_refused_without_its_content(tmp_path: Path) -> None:
    """Of a file that unpacks to far more than its header says, only what it says is read."""
    header = bytes((0, 0, 8, 3)) + struct.pack(">3I", 1, 2, 2)
    path = tmp_path / "bomb.gz"
    with gzip.open(path, "wb") as file:
        file.write(header)
        for _ in range(64):
            file.write(bytes(1 << 20))
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"must have 4 bytes of data .*, got 5 or more"):
        read_idx(path, 3)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20
