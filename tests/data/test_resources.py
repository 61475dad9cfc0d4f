"""What inputs may cost: decoded bytes, arrays that nobody asked for, files that lie."""

import gzip
import io
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ganfast import _npz
from ganfast.data import file_source, image_files
from ganfast.data.idx import read_idx
from ganfast.data.image_files import Room
from ganfast.data.opening import open_images
from ganfast.features import weight_files
from ganfast.metrics import load_moments
from ganfast.models import checkpoint
from ganfast.workflows.synthesize import load_dataset
from tests.measured import peak

MEGA = 1 << 20
EXPANDS = "must not expand to more than 100 times its size"


def zeros_npz(path: Path, *, images: int = 0, other: int = 0) -> None:
    """An npz of so many MiB of black images, and of so many in another member."""
    arrays = {}
    if images:
        arrays["images"] = np.zeros((images, 512, 512, 4), np.uint8).reshape(-1, 512, 512, 4)
    if other:
        arrays["other"] = np.zeros((other, MEGA), np.uint8)
    np.savez_compressed(path, **arrays)


READ = "import sys; from pathlib import Path; path = Path(sys.argv[1])\n"
REFUSED = "try: {}\nexcept ValueError as error: print(str(error)[:400])"
READERS = {
    "nothing": READ + "import ganfast.data, ganfast.metrics, ganfast.workflows.synthesize",
    "images": READ + "from ganfast.data.opening import open_images\n"
    + REFUSED.format("open_images(path, 3)"),
    "moments": READ + "from ganfast.metrics import load_moments\n"
    + REFUSED.format("load_moments(path)"),
    "data set": READ + "from ganfast.workflows.synthesize import load_dataset\n"
    + REFUSED.format("load_dataset(path)"),
}  # fmt: skip


@pytest.mark.slow
def test_an_npz_that_expands_is_refused_before_it_does(tmp_path: Path) -> None:
    """Half a GiB of zeros in half a MiB, for each reader: at most 64 MiB more than nothing."""
    path = tmp_path / "bomb.npz"
    count = 512
    np.savez_compressed(
        path, images=np.zeros((count, 512, 512, 4), np.uint8), labels=np.zeros(count, np.int64),
        mu=np.zeros(8192), sigma=np.zeros((8192, 8192)),
    )  # fmt: skip
    assert path.stat().st_size < 4 * MEGA
    least, _ = peak(READERS["nothing"], tmp_path, path)
    for name in ("images", "moments", "data set"):
        most, said = peak(READERS[name], tmp_path, path)
        assert EXPANDS in said, name
        assert most - least < 64, name


def test_a_huge_member_that_nobody_asked_for_is_not_read(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "a.npz"
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
    np.savez_compressed(
        path, images=images, labels=np.arange(3), mu=np.zeros(3), sigma=np.eye(3),
        other=np.zeros((200, MEGA), np.uint8),
    )  # fmt: skip
    most = []
    empty = np.empty
    monkeypatch.setattr(_npz.np, "empty", lambda n, *rest: most.append(n) or empty(n, *rest))
    assert len(open_images(path, 3)) == 3
    assert len(load_moments(path).mean) == 3
    assert len(load_dataset(path)[1]) == 3
    assert max(most) < 1000


def in_directory(content: bytes, offset: int, form: str, value: int) -> bytes:
    """Overwrite a field of the first entry of a zip file's directory."""
    place = content.index(b"PK\x01\x02") + offset
    size = struct.calcsize(form)
    return content[:place] + struct.pack(form, value) + content[place + size :]


@pytest.mark.parametrize(("offset", "value"), [(20, 2**31), (24, 100), (24, 2**31)])
def test_a_directory_that_lies_does_not_matter(tmp_path: Path, offset: int, value: int) -> None:
    """Its packed size (20) or its size (24): the file is refused, and no memory is taken."""
    path = tmp_path / "a.npz"
    zeros_npz(path, images=128)
    path.write_bytes(in_directory(path.read_bytes(), offset, "<I", value))
    with pytest.raises(ValueError, match=r"a\.npz must be a \.npz file of arrays"):
        open_images(path, 3)


def test_a_header_that_lies_does_not_matter(tmp_path: Path) -> None:
    for shape in ((1 << 40, 4, 4, 3), (5, 4, 4, 3), (1, 4, 4, 3), (-1, 4, 4, 3)):
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive, archive.open("x.npy", "w") as out:
            described = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(out, described)
            out.write(bytes(2 * 4 * 4 * 3))
        with pytest.raises(ValueError, match=r"a\.npz must be a \.npz file of arrays"):
            open_images(tmp_path / "a.npz", 3)


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.xz"])
def test_archives_of_zeros(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    zeros, small = bytes(80 * MEGA), io.BytesIO()
    Image.new("RGB", (3, 3)).save(small, "PNG")
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.png", zeros)
            archive.writestr("b.png", small.getvalue())
        images, problems = open_images(path, 3).read(0, 2)
        assert len(images) == 1
        assert EXPANDS in problems[0]
        return
    with tarfile.open(path, f"w:{kind[4:]}") as tar:
        info = tarfile.TarInfo("a.png")
        info.size = len(zeros)
        tar.addfile(info, io.BytesIO(zeros))
    with pytest.raises(ValueError, match=EXPANDS):
        open_images(path, 3)


def test_an_idx_file_of_zeros(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    header = bytes((0, 0, 8, 3)) + struct.pack(">3I", 80 * 1024, 32, 32)
    path.write_bytes(gzip.compress(header + bytes(80 * MEGA)))
    with pytest.raises(ValueError, match=EXPANDS):
        read_idx(path, 3)


def test_a_packed_checkpoint_is_refused(tmp_path: Path) -> None:
    torch.save({"format": checkpoint.FORMAT, "x": torch.zeros(1 << 20)}, tmp_path / "a.pt")
    with (
        zipfile.ZipFile(tmp_path / "a.pt") as whole,
        zipfile.ZipFile(tmp_path / "b.pt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in whole.namelist():
            packed.writestr(name, whole.read(name))
    with pytest.raises(ValueError, match=r"compressed, which torch\.save never does"):
        checkpoint.load(tmp_path / "b.pt")


@pytest.mark.parametrize("length", [10, 1 << 20, 1 << 40, (1 << 64) - 1])
def test_a_safetensors_header_that_lies(tmp_path: Path, length: int) -> None:
    path = tmp_path / "a.safetensors"
    head = b'{"x":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}'
    for content in (head, b"{}", b""):
        path.write_bytes(struct.pack("<Q", length) + content)
        with pytest.raises(ValueError, match="must be a file of weights"):
            weight_files.read(path)
    path.write_bytes(struct.pack("<Q", len(head)) + head)
    with pytest.raises(ValueError, match="must be a file of weights"):
        weight_files.read(path)


PIXEL_LIMIT = """
import os, sys
from ganfast.data.opening import open_images
import warnings; warnings.simplefilter("error")
images, problems = open_images(__import__("pathlib").Path(sys.argv[1]), 1).read(0, 1)
print([tuple(image.shape) for image in images], problems)
"""


def png_of(width: int, height: int) -> bytes:
    """A black image, without an array of it."""
    row = zlib.compressobj(1)
    packed = b"".join(row.compress(bytes(1 + width)) for _ in range(height)) + row.flush()

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed)
            + chunk(b"IEND", b""))  # fmt: skip


def test_the_limit_of_pixels_is_raised_in_python(tmp_path: Path, monkeypatch) -> None:
    """Also past the limit of Pillow's own, which is an error from twice as many on."""
    (tmp_path / "a.png").write_bytes(png_of(60, 50))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    monkeypatch.setattr(image_files, "_MAX_PIXELS", 1000)
    monkeypatch.setattr(image_files, "MAX_PIXELS", 2000)
    source = open_images(tmp_path, 1)
    said = source.read(0, 1)[1][0]
    assert "exceeds limit of 2000 pixels; GANFAST_MAX_PIXELS in the environment allows" in said
    monkeypatch.setattr(image_files, "MAX_PIXELS", 3000)
    assert source.read(0, 1)[0][0].shape == (1, 50, 60)


def test_the_limit_of_pixels_is_raised_in_the_environment(tmp_path: Path) -> None:
    program = "import os; os.environ['GANFAST_MAX_PIXELS'] = '{}'\n" + PIXEL_LIMIT
    (tmp_path / "a.png").write_bytes(png_of(60, 50))
    assert "[(1, 50, 60)]" in peak(program.format(3000), tmp_path, tmp_path)[1]
    said = peak(program.format(2999), tmp_path, tmp_path)[1]
    assert "GANFAST_MAX_PIXELS in the environment allows more" in said


def test_room_is_shared_and_one_that_is_too_large_goes_alone() -> None:
    room = Room(10)
    with room.of(4), room.of(6):
        pass
    with room.of(1000):
        pass
    assert room._used == 0


def test_threads_never_decode_more_than_there_is_room_for(tmp_path: Path, monkeypatch) -> None:
    most = []

    class Watched(Room):
        def of(self, size: int):
            context = super().of(size)
            most.append(self._used)
            return context

    monkeypatch.setattr(image_files, "_ROOM", Watched(100 * 100 * image_files._BYTES * 2))
    for i in range(20):
        (tmp_path / f"{i:02}.png").write_bytes(png_of(100, 100))
    images, problems = open_images(tmp_path, 3).read(0, 20)
    assert len(images) == 20
    assert not problems
    assert max(most) <= 100 * 100 * image_files._BYTES * 2


@pytest.mark.parametrize(
    "error",
    [zlib.error("a"), struct.error("b"), MemoryError(), OSError("c"), RuntimeError("d"),
     AssertionError("e"), RecursionError("f"), IndexError("g"), KeyError("h")],
)  # fmt: skip
def test_whatever_a_decoder_raises_is_a_problem_of_one_image(
    tmp_path: Path, monkeypatch, error: Exception
) -> None:
    def broken(self: Image.Image, mode: str) -> Image.Image:
        raise error

    (tmp_path / "a.png").write_bytes(png_of(3, 3))
    monkeypatch.setattr(Image.Image, "convert", broken)
    images, problems = open_images(tmp_path, 3).read(0, 1)
    assert images == []
    assert problems[0].startswith("a.png must be a readable 8-bit image, got ")
    assert not problems[0].endswith("got ")


@pytest.mark.parametrize("error", [struct.error("b"), MemoryError(), OSError(5, "Input/output")])
def test_whatever_an_archive_raises_for_one_entry_is_a_problem_of_one_image(
    tmp_path: Path, monkeypatch, error: Exception
) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.png", png_of(3, 3))
    source = open_images(tmp_path / "a.zip", 3)

    def broken(*arguments: object) -> io.BytesIO:
        raise error

    monkeypatch.setattr(file_source, "limited", broken)
    problems = source.read(0, 1)[1]
    assert problems[0].startswith("a.png: ")
    assert problems[0] != "a.png: "


FEATURES = "def few(images): return images[:, :, :4, :4].float().flatten(1)\n"
FID = """
import sys
from ganfast import cli
sys.argv = ["ganfast", "fid", *sys.argv[1:], "--threads", "2"]
try:
    cli.main()
except SystemExit as end:
    print("code", end.code)
"""


@pytest.mark.slow
@pytest.mark.parametrize("features", ["digits", "own:few"])
def test_large_images_are_held_a_few_at_a_time(tmp_path: Path, features: str) -> None:
    """A batch of 32 images of 3000 x 3000, resized or not: at most 1 GiB more than small ones.

    They take 864 MB as bytes, twice that as they are read ahead, and 4 GB as Pillow decodes them.
    """
    (tmp_path / "own.py").write_text(FEATURES)
    pixels = np.random.default_rng(0).integers(0, 256, (375, 375, 3), dtype=np.uint8)
    for name, side in (("small", 30), ("large", 3000)):
        (tmp_path / name).mkdir()
        image = Image.fromarray(pixels).resize((side, side))
        image.save(tmp_path / name / "00.jpg")
        for i in range(1, 34):
            (tmp_path / name / f"{i:02}.jpg").symlink_to(tmp_path / name / "00.jpg")
    program = FID.replace('"fid"', '"eval"')
    arguments = ("--features", features, "--metrics", "fid", "--report", tmp_path / "page.html")
    least, _ = peak(program, tmp_path, "small", "small", *arguments)
    most, said = peak(program, tmp_path, "large", "small", *arguments)
    assert "code 0" in said
    assert most - least < (400 if features == "digits" else 1024)


@pytest.mark.slow
def test_the_rest_of_a_refused_folder_is_looked_at_one_by_one(tmp_path: Path) -> None:
    """Which names what is broken among large images, that nobody needs."""
    Image.new("RGB", (3000, 3000)).save(tmp_path / "01.jpg")
    (tmp_path / "00.jpg").write_bytes(b"broken")
    for i in range(2, 100):
        (tmp_path / f"{i:02}.jpg").symlink_to(tmp_path / "01.jpg")
    most, said = peak(FID, tmp_path, tmp_path, tmp_path, "--features", "digits")
    assert "code 1" in said
    assert "1 of 100 images cannot be used" in said
    assert most < 1536  # all of them together take 2.7 GB
