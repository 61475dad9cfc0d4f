"""Every format gives the same images and classes, whole and shard by shard."""

import io
import json
import re
import shutil
import sys
from pathlib import Path

import h5py
import image_formats as formats
import lmdb
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from image_formats import FORMATS, label, pictures, png

from ganfast import data
from ganfast.data import image_source, joined, opening
from ganfast.data.opening import expanded, open_images

COUNT = 300


def pixels_of(source) -> torch.Tensor:
    images, problems = source.read(0, len(source))
    assert problems == {}
    return torch.stack(images).permute(0, 2, 3, 1)


def words(kind: str, count: int) -> list[str] | None:
    if not kind:
        return None
    return [label(i) if kind == "names" else str(i % 3) for i in range(count)]


@pytest.mark.parametrize("few", [32, 0], ids=["opened at once", "opened one by one"])
@pytest.mark.parametrize("name", FORMATS)
def test_formats(tmp_path: Path, monkeypatch, name: str, few: int) -> None:
    monkeypatch.setattr(opening, "_FEW", few)
    monkeypatch.setattr(image_source, "_SMALLEST", 32)
    images = pictures(COUNT)
    make, kind = FORMATS[name]
    source = data.open_source(make(images, tmp_path), 3)
    if few == 0 and name in ("gzipped tar", "zip", "npz"):
        assert isinstance(source, joined.Several)
    order = sorted(range(COUNT), key=label) if name in ("folder", "zip") else list(range(COUNT))
    labels = words(kind, COUNT)
    if few == 0 and name in ("gzipped tar",):
        labels = None if kind == "" else labels
    assert len(source) == COUNT
    assert (pixels_of(source).numpy() == images[order]).all()
    assert source.labels == (labels and [labels[i] for i in order])
    # The shards hold each image once, under its number, and read it in any order.
    seen = []
    shards = source.shards()
    assert len({shard.name for shard in shards}) == len(shards)
    for shard in reversed(shards):
        opened = shard.open()
        for image, number in zip(pixels_of(opened), shard.numbers, strict=False):
            if number < COUNT:
                assert (image.numpy() == images[order[number]]).all()
            seen.append(number)
        assert (opened.labels is None) == (labels is None)
        assert opened.labels is None or len(opened.labels) == len(opened)
    assert len(seen) == len(set(seen)) == COUNT
    assert len({shard.key() for shard in shards}) == len(shards)


def test_training_takes_them(tmp_path: Path) -> None:
    images = pictures(18)
    for name in ("WebDataset", "parquet", "npy", "csv list"):
        path = tmp_path / name
        path.mkdir()
        found = data.load(FORMATS[name][0](images, path), size=8)
        assert (found.images.permute(0, 2, 3, 1).numpy() == images).all()
        if FORMATS[name][1] == "names":
            assert [found.class_names[y] for y in found.labels] == words("names", 18)


def test_new_images_change_the_shards_they_fall_into(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(image_source, "_SMALLEST", 16)
    path = formats.folder(pictures(200), tmp_path)
    before = {shard.name: shard.key() for shard in open_images(path, 3).shards()}
    assert len(before) == 13
    assert {shard.name: shard.key() for shard in open_images(path, 3).shards()} == before
    (path / "cat" / "another.png").write_bytes(png(pictures(1)[0]))
    after = {shard.name: shard.key() for shard in open_images(path, 3).shards(len(before))}
    assert after.keys() == before.keys()
    assert sum(after[name] != before[name] for name in after) == 1
    (path / "cat" / "000000.png").write_bytes(png(pictures(2)[1]) + b" ")
    changed = {shard.name: shard.key() for shard in open_images(path, 3).shards(len(before))}
    assert sum(changed[name] != after[name] for name in after) == 1


def test_patterns(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a-09.tar", "a-10.tar", "b.tar", "x{1}.tar"):
        formats.write_tar(tmp_path / name, [("a.png", png(pictures(1)[0]))])
    assert expanded("a-{09..10}.tar") == ["a-09.tar", "a-10.tar"]
    assert expanded("a-{9..10}.tar") == ["a-9.tar", "a-10.tar"]
    assert expanded("{a-{09,10},b}.tar") == ["a-09.tar", "a-10.tar", "b.tar"]
    assert expanded("{{b,a-{1,2}},c}{x,y}") == [
        *("bx", "by", "a-1x", "a-1y", "a-2x", "a-2y", "cx", "cy")
    ]
    assert expanded("a-{010..009}.tar") == ["a-010.tar", "a-009.tar"]
    assert expanded("a-{1..2.tar") == ["a-{1..2.tar"]
    assert expanded("{b,a-09}.tar::a-10.tar") == ["b.tar", "a-09.tar", "a-10.tar"]
    assert expanded("*-*.tar") == ["a-09.tar", "a-10.tar"]
    chain = "simplecache::s3://bucket/{0..1}.tar::s3://other/2.tar"
    assert expanded(chain) == [
        "simplecache::s3://bucket/0.tar", "simplecache::s3://bucket/1.tar", "s3://other/2.tar"
    ]  # fmt: skip
    assert len(open_images("x{1}.tar", 3)) == 1  # a file of this name wins
    Path("folder").mkdir()
    Path("d.zip").write_bytes(b"")
    Path("empty.tar").write_bytes(b"")
    for wrong, sentence in (
        ("c-*.tar", r"c-\*\.tar must match files, got none"),
        ("a-{09..11}.tar", r"a-11\.tar must be a file, got nothing"),
        ("{1}.tar", r"must have \{000\.\.099\} or \{a,b\} in braces, got \{1\}"),
        ("{b.tar,a-{09..10}.tar,c.zip}", r"c\.zip must be a file, got nothing"),
        ("{b.tar,d.zip}", "files of one of the kinds .*, got .tar and .zip"),
        ("b.tar::folder", "folder must be a file, got a folder"),
        ("b.tar::", r"b\.tar:: must be a file, got no name"),
        ("::", ":: must be a file, got no name"),
        ("empty.tar", r"empty\.tar must be a tar file: it is empty"),
    ):
        with pytest.raises((FileNotFoundError, ValueError), match=sentence):
            open_images(wrong, 3)


@pytest.mark.parametrize("few", [32, 0], ids=["opened at once", "opened one by one"])
@pytest.mark.parametrize("ending", ["tar", "zip", "npy", "txt", "parquet", "png"])
def test_a_file_that_is_named_twice_is_refused(
    tmp_path: Path, monkeypatch, ending: str, few: int
) -> None:
    """By the same name, by a pattern, through a link, by another path or another URL."""
    monkeypatch.setattr(opening, "_FEW", few)
    monkeypatch.chdir(tmp_path)
    images = pictures(2)
    (tmp_path / "0.png").write_bytes(png(images[0]))
    formats.write_tar(tmp_path / "a.tar", [("0.png", png(images[0]))])
    formats.npy(images, tmp_path).rename("a.npy")
    formats.zip_file(images, tmp_path).rename("a.zip")
    pyarrow.parquet.write_table(formats.table(images), "a.parquet")
    Path("a.txt").write_text("0.png\n")
    Path("a.png").write_bytes(png(images[0]))
    Path("linked").mkdir()
    Path("linked", f"b.{ending}").symlink_to(tmp_path / f"a.{ending}")
    for spec in ("a.X::a.X", "{a,a}.X", "a.X::./a.X", "a.X::*a.X", f"a.X::{tmp_path}/a.X",
                 "linked/b.X::a.X", f"file://{tmp_path}/a.X::simplecache::file://{tmp_path}/a.X",
                 f"a.X::file://{tmp_path}/a.X"):  # fmt: skip
        with pytest.raises(ValueError, match=r"must hold each file once, got .*a\.\w+"):
            open_images(spec.replace("X", ending), 3)
    if ending not in ("txt", "png"):
        shutil.copy(f"a.{ending}", "linked")
        assert len(open_images("linked", 3)) in (2, 4)  # two files
        Path("linked", f"c.{ending}").symlink_to(f"a.{ending}")
        with pytest.raises(ValueError, match=r"linked must hold each file once, got .* are one"):
            open_images("linked", 3)


def test_images_that_a_list_names_again_are_counted(tmp_path: Path) -> None:
    """They count as often as they are named, as resampled sets mean it, and a note says so."""
    for i, image in enumerate(pictures(3)):
        (tmp_path / f"{i}.png").write_bytes(png(image))
    for name, lines in (("a", ["0", "1", "./0", "2", "1", "0"]), ("b", ["0", "1"])):
        (tmp_path / f"{name}.txt").write_text("".join(f"{line}.png\n" for line in lines))
    source = open_images(tmp_path / "a.txt", 3)
    assert len(source) == 6
    assert image_source.notes_of(source) == [
        f"{tmp_path}/a.txt: 3 images are named again, and count again"
    ]
    assert open_images(f"{tmp_path}/{{a,b}}.txt", 3).repeats == 3
    assert image_source.notes_of(open_images(tmp_path / "b.txt", 3)) == []


def test_images_by_pattern(tmp_path: Path) -> None:
    formats.folder(pictures(9), tmp_path)
    assert len(open_images(str(tmp_path / "images" / "cat" / "*.png"), 3)) == 3


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.txt", "a.png\nnotes.doc\n", r"a\.txt: line 2 must name an image, got 'notes\.doc'"),
        ("a.csv", "path,label\na.png,cat\nb.png,\n",
         "must give all or no images a class, got 1 for 2"),
        ("a.csv", "a.png,cat\n\nb.doc,dog\n", "line 2 must name an image"),
        ("a.txt", "\n", "must hold images"),
    ],
)  # fmt: skip
def test_lists_that_are_none(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=words):
        open_images(tmp_path / name, 3)


def test_images_that_a_table_does_not_hold_are_named(tmp_path: Path) -> None:
    """As ``imagefolder`` writes them: a name in place of the bytes."""
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    content = png(pictures(1)[0])
    rows = [{"bytes": content, "path": None}, {"bytes": None, "path": "/home/b.png"}, None,
            {"bytes": b"no image", "path": None}]  # fmt: skip
    table = pyarrow.table({"image": pyarrow.array(rows, kind)})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet", row_group_size=3)
    images, problems = open_images(tmp_path / "a.parquet", 3).read(0, 4)
    assert len(images) == 1
    assert sorted(problems) == [1, 2, 3]
    assert "row 1 must hold the bytes of an image, got only the name /home/b.png" in problems[1]
    assert "row 2 must hold the bytes of an image, got nothing" in problems[2]
    assert "row 3 must be a readable 8-bit image" in problems[3]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"x": [1, 2]}, "one column of images or else one of lists of numbers, got none"),
        ({"a": [[1.0]], "b": [[2.0]]}, "lists of numbers, got a, b"),
        ({"a": [b"\x89PNG"], "b": [b"\x89PNG"]}, "got a, b"),
    ],
)
def test_tables_without_the_one_column(tmp_path: Path, columns, words: str) -> None:
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=words):
        open_images(tmp_path / "a.parquet", 3)


def test_folders_of_several_splits_are_refused(tmp_path: Path) -> None:
    formats.parquet(pictures(6), tmp_path)
    folder = tmp_path / "hub"
    one = next((folder / "data").iterdir())
    (folder / "data" / "test-00000-of-00001.parquet").write_bytes(one.read_bytes())
    with pytest.raises(ValueError, match=r"must hold one split, got test, train: name its files"):
        open_images(folder, 3)
    assert len(open_images(str(folder / "**" / "train-*"), 3)) == 6
    (tmp_path / "dict" / "train").mkdir(parents=True)
    (tmp_path / "dict" / "train" / "data-00000-of-00001.arrow").write_bytes(b"")
    (tmp_path / "dict" / "dataset_dict.json").write_text("{}")
    with pytest.raises(ValueError, match="one split of a data set, got the folder of train"):
        open_images(tmp_path / "dict", 3)


def test_classes_of_some_samples_alone_are_an_error(tmp_path: Path) -> None:
    content = png(pictures(1)[0])
    path = formats.write_tar(
        tmp_path / "a.tar", [("a.png", content), ("b.png", content), ("b.cls", b"3")]
    )
    with pytest.raises(ValueError, match=r"must have a class for every image, got none for a\.png"):
        _ = open_images(path, 3).labels
    path = formats.write_tar(tmp_path / "b.tar", [("a.png", content), ("a.json", b"{")])
    with pytest.raises(ValueError, match=r"a\.json must be text with a class"):
        _ = open_images(path, 3).labels


def test_what_samples_hold_besides_images_is_counted(tmp_path: Path) -> None:
    content = png(pictures(1)[0])
    files = [("a.png", content), ("a.cls", b"3"), ("a.txt", b"a cat"), ("b.json", b"{}")]
    source = open_images(formats.write_tar(tmp_path / "a.tar", files), 3)
    assert source.labels == ["3"]
    assert source.unread == {".txt": 1, ".json": 1}


def test_a_sample_has_one_image_of_its_own(tmp_path: Path) -> None:
    """Masks and depths beside it are named, and in a tar that is no WebDataset nothing is left."""
    x = pictures(4)
    beside = [("0.png", png(x[0])), ("0.mask.png", png(x[1])), ("1.mask.png", png(x[2]))]
    samples = [*beside, ("0.cls", b"a"), ("1.cls", b"b"), ("1.jpg.png", png(x[3]))]
    source = data.open_source(formats.write_tar(tmp_path / "samples.tar", samples), 3)
    assert list(source.entries) == ["0.png", "1.mask.png", "1.jpg.png"]  # none of 1 is plain
    assert dict(source.unread) == {".mask.png": 1}
    plain = data.open_source(formats.write_tar(tmp_path / "plain.tar", beside), 3)
    assert list(plain.entries) == [name for name, _ in beside]
    assert not plain.unread


@pytest.mark.parametrize("folder", ["..", ".hidden", "../.hidden", "absolute", "."])
def test_all_images_of_a_list_are_read(tmp_path: Path, monkeypatch, folder: str) -> None:
    """Also from other folders, and from hidden ones."""
    lists = tmp_path / ".lists"
    where = tmp_path / ".absolute" if folder == "absolute" else lists / folder
    lists.mkdir()
    where.mkdir(exist_ok=True)
    names = [f"{where if folder == 'absolute' else folder}/{i}.png" for i in range(4)]
    for i, image in enumerate(pictures(4)):
        (where / f"{i}.png").write_bytes(png(image))
    lines = [f"{name} {'ab'[i % 2]}" for i, name in enumerate(names)]
    (lists / "list.txt").write_text("\n".join([*lines, "2.png c"]))
    (lists / "2.png").write_bytes(png(pictures(1)[0]))
    source = open_images(lists / "list.txt", 3)
    assert source.read(0, len(source))[1] == {}
    assert source.labels == ["a", "b", "a", "b", "c"]
    monkeypatch.chdir(lists)
    assert len(open_images(f"{names[0][:-5]}{{0..3}}.png", 3)) == 4
    assert len(open_images(f"{names[0][:-5]}[0-1].png", 3)) == 2


def test_a_tar_of_a_folder_beside(tmp_path: Path) -> None:
    """As `TarFile.add` names its files."""
    formats.write_tar(tmp_path / "a.tar", [(f"../{i}.png", png(x)) for i, x in
                                           enumerate(pictures(3))])  # fmt: skip
    assert len(open_images(tmp_path / "a.tar", 3)) == 3


def test_arrays_with_other_channels_are_named(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((5, 8, 8, 4), np.uint8))
    words = r"a\.npy must hold images of 1 or 3 channels, got \(5, 8, 8, 4\)"
    with pytest.raises(ValueError, match=words):
        open_images(tmp_path / "a.npy", 3)


def test_mapped_arrays_are_not_read(tmp_path: Path) -> None:
    """A file of a thousand times more than is there, which only a map can stand for."""
    images = pictures(4)
    np.savez(tmp_path / "a.npz", images)
    source = open_images(tmp_path / "a.npz", 3)
    content = bytearray((tmp_path / "a.npz").read_bytes())
    place = content.index(images[3].tobytes())
    content[place] ^= 255
    with open(tmp_path / "a.npz", "r+b") as file:
        file.write(content)
    changed = source.read(3, 4)[0][0]
    assert int(changed[0, 0, 0]) == int(images[3, 0, 0, 0]) ^ 255


@pytest.mark.parametrize("kind", ["npy", "npz", "pt", "safetensors", "parquet", "arrow"])
def test_features_in_files(tmp_path: Path, kind: str) -> None:
    x = np.random.default_rng(0).normal(size=(50, 7)).astype(np.float32)
    path = tmp_path / f"a.{kind}"
    if kind == "npy":
        np.save(path, x)
    elif kind == "npz":
        np.savez(path, features=x, labels=np.arange(50))
    elif kind == "pt":
        torch.save(torch.from_numpy(x), path)
    elif kind == "safetensors":
        from safetensors.torch import save_file

        save_file({"features": torch.from_numpy(x)}, path)
    else:
        values = pyarrow.array(x.tolist(), pyarrow.list_(pyarrow.float32(), 7))
        table = pyarrow.table({"embedding": values, "id": list(range(50))})
        if kind == "parquet":
            pyarrow.parquet.write_table(table, path, row_group_size=20)
        else:
            with pyarrow.ipc.new_file(path, table.schema) as out:
                out.write_table(table)
    source = open_images(path, 3)
    assert source.is_features
    rows = torch.cat([shard.open().rows(0, len(shard.numbers)) for shard in source.shards()])
    assert (rows.numpy() == x).all()
    with pytest.raises(ValueError, match="must hold images, got features"):
        data.open_source(path, 3)


@pytest.mark.parametrize("few", [32, 1], ids=["opened at once", "opened one by one"])
def test_features_in_several_tables(tmp_path: Path, monkeypatch, few: int) -> None:
    """Each with several row groups, which are the parts of one source or a source of their own."""
    monkeypatch.setattr(opening, "_FEW", few)
    x = np.random.default_rng(0).normal(size=(50, 7)).astype(np.float32)
    for name, part in (("a", x[:30]), ("b", x[30:])):
        values = pyarrow.array(part.tolist(), pyarrow.list_(pyarrow.float32(), 7))
        table = pyarrow.table({"embedding": values})
        pyarrow.parquet.write_table(table, tmp_path / f"{name}.parquet", row_group_size=8)
    source = open_images(f"{tmp_path}/*.parquet", 3)
    shards = [shard.open() for shard in source.shards()]
    rows = torch.cat([found.rows(0, len(found)) for found in shards])
    assert (rows.numpy() == x).all()
    found = source if few == 32 else shards[0]
    for start, stop in ((0, 3), (5, 19), (7, 8), (16, 24), (3, len(found))):
        assert (found.rows(start, stop).numpy() == x[start:stop]).all()


@pytest.mark.parametrize("dtype", ["<f2", ">f4", "<f8"])
def test_features_in_hdf5(tmp_path: Path, dtype: str) -> None:
    x = np.random.default_rng(0).normal(size=(300, 7)).astype(dtype)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("group/features", data=x, chunks=(7, 7), compression="gzip")
        file["ids"] = np.arange(300)
    source = open_images(tmp_path / "a.h5", 3)
    assert source.is_features
    rows = torch.cat([shard.open().rows(0, len(shard.numbers)) for shard in source.shards()])
    assert rows.dtype == {"<f2": torch.float16, ">f4": torch.float32, "<f8": torch.float64}[dtype]
    assert (rows.numpy() == x).all()


def _external(file) -> None:
    file.create_dataset("imgs", (2, 4, 4, 3), "u1", external=[("other.bin", 0, 96)])


def _virtual(file) -> None:
    layout = h5py.VirtualLayout((2, 4, 4, 3), "u1")
    layout[:] = h5py.VirtualSource("other.h5", "imgs", (2, 4, 4, 3))
    file.create_virtual_dataset("imgs", layout)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_external, "must hold its images itself, got imgs in other files"),
        (_virtual, "must hold its images itself, got imgs in other files"),
        (lambda file: file.__setitem__("imgs", h5py.ExternalLink("other.h5", "imgs")),
         r"must hold one uint8 array of images .*, got \{\}"),
        (lambda file: file.create_dataset("imgs", (1 << 30, 4, 4, 3), "u1", chunks=True),
         "must not expand to more than 100 times its size"),
        (lambda file: file.create_dataset("imgs", data=np.zeros((2, 5, 5, 4), "u1")),
         r"must hold images of 1 or 3 channels, got \(2, 5, 5, 4\)"),
        (lambda file: file.create_dataset("imgs", (0, 4, 4, 3), "u1"),
         "must hold images, got none"),
    ],
    ids=["external", "virtual", "link", "bomb", "channels", "empty"],
)  # fmt: skip
def test_hdf5_that_is_refused(tmp_path: Path, make, words: str) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["imgs"] = np.zeros((2, 4, 4, 3), "u1")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        make(file)
    with pytest.raises(ValueError, match=f"a.h5 {words}"):
        open_images(tmp_path / "a.h5", 3)


def test_a_damaged_chunk_is_named(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        array = file.create_dataset(
            "imgs", data=pictures(100), chunks=(10, 8, 8, 3), compression="gzip"
        )
        place = array.id.get_chunk_info(5).byte_offset
    content = bytearray((tmp_path / "a.h5").read_bytes())
    content[place : place + 20] = bytes(20)
    (tmp_path / "a.h5").write_bytes(content)
    source = open_images(tmp_path / "a.h5", 3)
    assert len(source.read(0, 50)[0]) == 50
    with pytest.raises(ValueError, match=r"a\.h5 must be a readable HDF5 file: .*data"):
        source.read(50, 60)
    (tmp_path / "b.h5").write_bytes(content[:500])
    with pytest.raises(ValueError, match=r"b\.h5 must be a readable HDF5 file"):
        open_images(tmp_path / "b.h5", 3)


def test_lmdb_of_one_file_and_of_several_folders(tmp_path: Path) -> None:
    images = pictures(6)
    one = formats.lmdb(images, tmp_path) / "data.mdb"
    assert open_images(one, 3).unread == {"no ending": 1}
    shutil.copy(one, tmp_path / "b.lmdb")
    assert (pixels_of(open_images(tmp_path / "b.lmdb", 3)).numpy() == images).all()
    (tmp_path / "more").mkdir()
    formats.lmdb(pictures(5), tmp_path / "more")
    (tmp_path / "b.lmdb").unlink()
    assert len(open_images(tmp_path, 3)) == 6 + 5
    key = open_images(one, 3).key
    assert key is not None
    formats.lmdb(pictures(7)[1:], tmp_path)  # writes over it
    assert open_images(one, 3).key != key


def test_lmdb_that_is_refused(tmp_path: Path) -> None:
    path = formats.lmdb(pictures(60), tmp_path) / "data.mdb"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"data\.mdb must have [\d,]+ bytes, got"):
        open_images(path, 3)
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(ValueError, match=r"data\.mdb must be an LMDB file"):
        open_images(path, 3)
    path.write_bytes(content)
    with lmdb.open(str(path.parent), map_size=1 << 26) as data, data.begin(write=True) as writing:
        writing.put(b"16-00000", png(pictures(1, 16)[0]))
    words = "must hold each image once, got the sizes 16, 8, with keys such as 16-00000"
    with pytest.raises(ValueError, match=words):
        open_images(path, 3)


@pytest.mark.parametrize("package", ["h5py", "lmdb", "pyarrow"])
def test_files_whose_package_is_missing(tmp_path: Path, monkeypatch, package: str) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    kind, extra = {"h5py": ("h5", "hdf5"), "lmdb": ("mdb", "lmdb"),
                   "pyarrow": ("parquet", "parquet")}[package]  # fmt: skip
    (tmp_path / f"a.{kind}").write_bytes(b"x")
    with pytest.raises(ModuleNotFoundError, match=rf"needs {package}: pip install .*\[{extra}\]"):
        open_images(tmp_path / f"a.{kind}", 3)


def test_lists_of_unequal_length_are_no_features(tmp_path: Path) -> None:
    table = pyarrow.table({"x": [[1.0, 2.0], [3.0]]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    (shard,) = open_images(tmp_path / "a.parquet", 3).shards()
    with pytest.raises(ValueError, match="lists of one length"):
        shard.open().rows(0, 2)


def test_other_saved_files_are_no_images(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(3)}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match="one uint8 tensor of images"):
        open_images(tmp_path / "a.pt", 3)
    np.save(tmp_path / "a.npy", np.zeros(3))
    with pytest.raises(ValueError, match=re.escape("must hold one uint8 array of images")):
        open_images(tmp_path / "a.npy", 3)
    file = io.BytesIO()
    np.save(file, np.array(["text"], object), allow_pickle=True)
    (tmp_path / "a.npy").write_bytes(file.getvalue())
    with pytest.raises(ValueError, match="must hold numbers"):
        open_images(tmp_path / "a.npy", 3)


def test_a_list_of_saved_shards_is_no_more_than_a_list(tmp_path: Path) -> None:
    formats.arrow(pictures(6), tmp_path)
    (tmp_path / "saved" / "state.json").write_text(json.dumps({"_data_files": [{"other": 1}]}))
    (tmp_path / "saved" / "cache-1.arrow").unlink()
    assert len(open_images(tmp_path / "saved", 3)) == 6
