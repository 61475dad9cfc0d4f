"""What careless and hostile users give: names, folders, archives, permissions, options."""

import io
import json
import os
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ganfast import cli, data
from ganfast._files import check_writable
from ganfast.data.opening import open_images
from ganfast.evaluation import names
from ganfast.features import load as load_features
from ganfast.models import checkpoint
from ganfast.models.registry import create

Run = Callable[..., tuple[int, str, str]]
BYTES = b"inv\xff\xfealid".decode("utf-8", "surrogateescape")
NAMES = ("new\nline", "-leading", "x" * 240, "sp ace", "%s{}#?", "ü 画像", BYTES)


def png(number: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(data.digits().images[number][0].numpy()).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    """Run a command; stdout and stderr take UTF-8 alone, as a terminal does."""

    def call(*arguments: object, features: str | None = "digits") -> tuple[int, str, str]:
        command, *rest = map(str, arguments)
        network = [] if features is None else ["--features", features]
        monkeypatch.setattr(sys, "argv", ["ganfast", command, *network, *rest])
        for name, number in (("stdout", 1), ("stderr", 2)):
            file = os.fdopen(os.dup(number), "w", encoding="utf-8", errors="strict")
            monkeypatch.setattr(sys, name, file)
        with pytest.raises(SystemExit) as stop:
            cli.main()
        sys.stdout.close()
        sys.stderr.close()
        printed, said = capfdbinary.readouterr()
        return int(stop.value.code or 0), printed.decode(), said.decode()

    return call


@pytest.fixture
def good(tmp_path: Path) -> Path:
    folder = tmp_path / "good"
    folder.mkdir()
    for i in range(5):
        (folder / f"{i}.png").write_bytes(png(i))
    return folder


def test_names_of_files_may_be_any(run: Run, good: Path, tmp_path: Path) -> None:
    odd, broken = tmp_path / "odd", tmp_path / "broken"
    odd.mkdir()
    broken.mkdir()
    for i, name in enumerate(NAMES):
        (odd / f"{name}.png").write_bytes(png(i))
        (broken / f"{name}.png").write_bytes(png(i))
        (broken / f"{name[:200]}.jpg").write_bytes(b"broken")
    code, one, _ = run("fid", odd, good, "--json", "--state", tmp_path / "state")
    assert code == 0
    code, _, said = run("fid", broken, good)
    assert code == 1
    assert "7 of 14 images cannot be used" in said
    for words in ("new\\nline.jpg", r"inv\xff\xfealid.jpg", "ü 画像.jpg"):
        assert words in said
    assert len(said.splitlines()) == 8
    arguments = ("eval", broken, good, "--metrics", "fid", "--on-error", "skip")
    code, two, _ = run(*arguments, "--json", "--state", tmp_path / "state")
    assert json.loads(two)["metrics"] == json.loads(one)["metrics"]
    code, printed, _ = run(*arguments, "--report", tmp_path / "page.html")
    assert code == 0
    assert r"inv\xff\xfealid.jpg" in printed
    assert r"inv\xff\xfealid.jpg" in (tmp_path / "page.html").read_text()


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_names_of_folders_may_be_any(
    run: Run, good: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    good.rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    more = ("--metrics", "fid", "--report", f"page{name[:9]}", "--state", f"state{name[:9]}")
    code, printed, _ = run("eval", *more, "--", name, f"./{name}//")
    assert code == 0
    assert "FD (digits)  0\n" in printed
    # The second time the shards are read, not made again with a warning.
    assert run("eval", *more, "--", name, name)[0] == 0
    assert run("fid", "--", f"{name[:9]}none", name)[0] == 1


@pytest.mark.parametrize("name", ["", " ", "\n"])
def test_a_name_of_nothing_is_not_the_folder_one_is_in(
    run: Run, good: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(good)
    code, _, said = run("fid", name, good)
    assert code == 1
    assert "inputs must be named, got " in said


def archive(path: Path, count: int) -> bytes:
    with tarfile.open(path, "w") as tar:
        for i in range(count):
            content = png(i)
            info = tarfile.TarInfo(f"{i}.png")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path.read_bytes()


def second_entry(whole: bytes) -> int:
    return 512 + -(-len(png(0)) // 512) * 512


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda whole: whole[: second_entry(whole)], "damaged or cut off after 1 entries"),
        (lambda whole: whole[: second_entry(whole) + 300], "damaged or cut off after 1 entries"),
        (
            lambda whole: whole[: second_entry(whole)] + b"\xff" + whole[second_entry(whole) + 1 :],
            "damaged or cut off after 1 entries",
        ),
        (lambda whole: whole * 2, "more follows its end, after 3 entries"),
    ],
)
def test_a_tar_file_is_read_whole_or_not_at_all(
    tmp_path: Path, damage: Callable[[bytes], bytes], words: str
) -> None:
    path = tmp_path / "a.tar"
    whole = archive(path, 3)
    assert len(open_images(path, 1)) == 3
    path.write_bytes(damage(whole))
    with pytest.raises(ValueError, match=f"must be a tar file: {words}"):
        open_images(path, 1)


def test_an_empty_tar_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.tar").touch()
    with pytest.raises(ValueError, match=r"a\.tar must be a tar file: it is empty") as error:
        open_images(tmp_path / "a.tar", 1)
    assert "\n" not in str(error.value)


def test_endings_may_be_in_capitals(tmp_path: Path) -> None:
    archive(tmp_path / "A.TAR", 2)
    with zipfile.ZipFile(tmp_path / "A.ZIP", "w") as packed:
        packed.writestr("a.PNG", png(0))
        packed.writestr("b.png", png(1))
    images = data.digits().images[:2].permute(0, 2, 3, 1).numpy()
    np.savez(tmp_path / "A", images)
    (tmp_path / "A.npz").rename(tmp_path / "A.NPZ")
    for name in ("A.TAR", "A.ZIP", "A.NPZ"):
        assert len(open_images(tmp_path / name, 1)) == 2


def test_statistics_say_what_was_left_out_and_not_read(
    run: Run, good: Path, tmp_path: Path
) -> None:
    (good / "x.png").write_bytes(b"broken")
    (good / "notes.txt").write_text("")
    out = tmp_path / "out.npz"
    code, printed, _ = run("stats", good, "-o", out, "--on-error", "skip")
    assert code == 0
    assert "5 images, 64 features" in printed
    assert "1 image was left out:" in printed
    assert "x.png must be a readable 8-bit image" in printed
    assert "1 file is not read as an image (.txt 1)" in printed


def test_a_state_that_keeps_nothing_says_so(
    run: Run, good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "means_of.py").write_text("def means(x):\n    return x.float().mean((2, 3))\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    arguments = ("fid", good, good, "--state", tmp_path / "state")
    code, printed, _ = run(*arguments, features="means_of:means")
    assert code == 0
    assert printed.count("are not in --state: they may change unseen") == 2
    assert "--state" not in run(*arguments)[1]


@pytest.mark.parametrize("option", ["--state", "--report", "-o"])
def test_a_file_where_a_folder_must_be(run: Run, good: Path, option: str) -> None:
    way = good / "0.png"
    arguments = {
        "--state": ("fid", good, good, "--state", way),
        "--report": ("eval", good, good, "--report", way / "page.html"),
        "-o": ("stats", good, "-o", way / "x" / "out.npz"),
    }[option]
    code, _, said = run(*arguments)
    assert code == 1
    assert said.endswith(f"{way} must be a folder, got a file\n")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs to be root")
@pytest.mark.parametrize("kind", ["image", "folder", "a.tar", "a.zip", "a.npz", "out"])
def test_what_may_not_be_read_or_written_is_named(
    good: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may read all: another user is played by errors of the system's own calls."""
    for part in (*tmp_path.parents, tmp_path, good):
        if part.stat().st_uid == os.geteuid() and str(part).startswith("/tmp"):
            part.chmod(part.stat().st_mode | 0o555)
    archive(tmp_path / "a.tar", 2)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("a.png", png(0))
    np.savez(tmp_path / "a.npz", np.zeros((2, 4, 4, 3), np.uint8))
    victim = {"image": good / "0.png", "folder": good, "out": tmp_path}.get(kind, tmp_path / kind)
    load_features("digits")
    victim.chmod(0o555 if kind == "out" else 0)
    os.seteuid(65534)
    try:
        if kind == "image":
            problem = open_images(good, 1).read(0, 5)[1][0]
            assert problem.startswith("0.png must be a readable 8-bit image, got [Errno 13]")
            return
        path = tmp_path / "new.npz" if kind == "out" else victim
        with pytest.raises(PermissionError) as error:
            check_writable(path) if kind == "out" else open_images(path, 1)
        assert error.value.filename == str(path)
    finally:
        os.seteuid(0)
        victim.chmod(0o755)


def test_the_inception_score_alone(run: Run, good: Path) -> None:
    code, printed, _ = run("eval", good, good, "--metrics", "is")
    assert code == 0
    assert "IS (digits), 5 splits" in printed


def test_a_metric_named_twice_is_one() -> None:
    assert names("fid, kid,fid") == ["fid", "kid"]


@pytest.mark.parametrize(
    "option", [("--threads", "100000"), ("--seed", str(2**32)), ("--seed", "-1")]
)
def test_numbers_out_of_range_are_of_the_command_line(
    run: Run, good: Path, option: tuple[str, str]
) -> None:
    code, _, said = run("eval", good, good, "--metrics", "kid", *option)
    assert code == 2
    assert "or equal to" in said


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: x\ny"),
     torch.OutOfMemoryError("CUDA out of memory. Tried to")],
)  # fmt: skip
def test_a_lack_of_memory_is_one_sentence(
    run: Run, good: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr("ganfast.evaluation.scoring.evaluate", full)
    code, _, said = run("fid", good, good)
    assert code == 1
    assert said.startswith("ganfast: there is not enough memory; make batches or images smaller")
    assert said.count("\n") == 1


def test_another_runtime_error_is_no_lack_of_memory(
    run: Run, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object, **options: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("ganfast.evaluation.scoring.evaluate", broken)
    monkeypatch.setattr(sys, "argv", ["ganfast", "fid", str(good), str(good)])
    with pytest.raises(RuntimeError, match="a bug"):
        cli.main()


@pytest.mark.parametrize("returned", ["x[:, 0, 0] * 1j", "x.new_zeros(len(x), 0)"])
def test_features_that_are_none_are_refused(
    run: Run, good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, returned: str
) -> None:
    module = f"odd_{abs(hash(returned))}"
    (tmp_path / f"{module}.py").write_text(f"def features(x):\n    return {returned}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    code, _, said = run("fid", good, good, features=f"{module}:features")
    assert code == 1
    assert "must return real features (N, D) with D >= 1" in said


def gan_file(path: Path, **changes: object) -> Path:
    options = {"model": "mlp-128", "channels": 1, "size": 8, "labels": 0, "sigmoid": False,
               "spectral_norm": False}  # fmt: skip
    gan = create("mlp-128", channels=1, size=8)
    state = {"ema": gan.generator.state_dict(), "discriminator": gan.discriminator.state_dict()}
    torch.save({"format": checkpoint.FORMAT, "options": options | changes, **state}, path)
    return path


def test_options_that_would_take_all_memory_take_none(tmp_path: Path) -> None:
    checkpoint.load_gan(gan_file(tmp_path / "a.pt"))
    with pytest.raises(ValueError, match=r"a\.pt: ema does not fit mlp-128: .* got "):
        checkpoint.load_gan(gan_file(tmp_path / "a.pt", size=1 << 24))


def test_files_of_other_objects_are_refused_in_one_line(tmp_path: Path) -> None:
    """torch's words take a page, and say how to load the file all the same."""
    from ganfast.features import weight_files

    path = tmp_path / "a.pt"
    torch.save({"x": np.zeros(3)}, path)
    words = r"it holds numpy\.\S+, which may run code when it is loaded$"
    with pytest.raises(ValueError, match=f"^\\S*a\\.pt cannot be read as a checkpoint: {words}"):
        checkpoint.load(path)
    with pytest.raises(ValueError, match=f"^\\S*a\\.pt must be a file of weights: {words}"):
        weight_files.read(path)


def test_whatever_torch_raises_on_a_broken_checkpoint_is_one_error(tmp_path: Path) -> None:
    """A pickle that ends within a number, which its checksum says is right."""
    whole, path = gan_file(tmp_path / "a.pt"), tmp_path / "b.pt"
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, b"\x80\x02X\x01" if name.endswith("data.pkl") else content)
    with pytest.raises(ValueError, match=r"b\.pt cannot be read as a checkpoint: "):
        checkpoint.load(path)
    shutil.copy(path, tmp_path / "b.pth")
    from ganfast.features import weight_files

    with pytest.raises(ValueError, match=r"b\.pth must be a file of weights: "):
        weight_files.read(tmp_path / "b.pth")
