"""Images that are left out are counted, and the first of them named, whatever they are."""

import json
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from ganfast import cli, data, features
from ganfast.data import image_source
from ganfast.data.opening import open_images
from ganfast.evaluation import collect, problems
from ganfast.evaluation.problems import Problems
from tests import processes

Run = Callable[..., tuple[int, str, str]]
GOOD, BROKEN = 20, 12


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object) -> tuple[int, str, str]:
        words = ["ganfast", *map(str, arguments), "--features", "digits"]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return (int(stop.value.code or 0), *capsys.readouterr())

    return call


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Digits in two classes, and every fifth or so of the files broken."""
    root = tmp_path / "images"
    for i, image in enumerate(data.digits().images[: GOOD + BROKEN]):
        path = root / str(i % 2) / f"{i:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if i % 8 in (1, 4, 6):
            path.write_bytes(b"broken")
        else:
            Image.fromarray(image[0].numpy()).save(path)
    return root


@pytest.fixture
def real(tmp_path: Path) -> Path:
    (tmp_path / "real").mkdir()
    for i, image in enumerate(data.digits().images[100:120]):
        Image.fromarray(image[0].numpy()).save(tmp_path / "real" / f"{i}.png")
    return tmp_path / "real"


def test_a_report_counts_all_and_names_the_first(
    run: Run, real: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(problems, "LISTED", 3)
    page = tmp_path / "page.html"
    arguments = ("eval", real, folder, "--metrics", "fid", "--on-error", "skip")
    code, printed, _ = run(*arguments, "--report", page)
    assert code == 0
    assert "12 images were left out, of which 3 are named:" in printed
    names = sorted(path.relative_to(folder) for path in folder.rglob("*.png")
                   if path.read_bytes() == b"broken")  # fmt: skip
    assert [str(name) in printed for name in names] == [True] * 3 + [False] * 9
    assert "12 images were left out, of which 3 are named" in page.read_text()
    found = json.loads(run(*arguments, "--json")[1])
    assert found["left_out_count"] == 12
    assert len(found["left_out"]) == 3


def test_a_state_gives_the_same_count(
    run: Run, real: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_source, "_SMALLEST", 7)
    arguments = ("fid", real, folder, "--on-error", "skip", "--json")
    plain = json.loads(run(*arguments)[1])
    for _ in range(2):
        found = json.loads(run(*arguments, "--state", tmp_path / "state")[1])
        assert found["left_out_count"] == 12
        assert found["left_out"] == plain["left_out"]
        assert found["metrics"] == pytest.approx(plain["metrics"], rel=1e-9)


def test_labels_are_those_of_the_images_that_are_left(run: Run, folder: Path) -> None:
    """Were the labels off by one image, the classes within the set would differ from it."""
    arguments = ("eval", folder, folder, "--metrics", "fid_intra", "--on-error", "skip", "--json")
    code, printed, _ = run(*arguments)
    assert code == 0
    found = json.loads(printed)
    assert found["metrics"]["fid_intra"] == pytest.approx(0, abs=1e-9)
    assert found["left_out_count"] == 24


def _of_all_processes(rank: int, folder: Path) -> None:
    image_source._SMALLEST = 7
    encoder = features.load("digits")
    source = open_images(folder, encoder.channels)
    found = collect.collect(source, collect.Work(encoder, on_error="skip"))
    assert found.n == GOOD
    assert len(found.problems) == BROKEN
    broken = [path for path in sorted(folder.rglob("*.png")) if path.read_bytes() == b"broken"]
    for words, path in zip(found.problems.words, broken, strict=True):
        assert words.startswith(str(path.relative_to(folder)))
    assert bool(found.rows) == (rank == 0)  # the others need none


def test_processes_count_what_all_have_left_out(folder: Path, tmp_path: Path) -> None:
    processes.run(2, tmp_path, _of_all_processes, folder)


def test_a_million_broken_images_take_little_memory() -> None:
    found = Problems()
    tracemalloc.start()
    for first in range(0, 1_000_000, 1000):
        found.add({i: f"a/folder/of/images/{i:08}.png: broken" for i in range(first, first + 1000)})
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found) == 1_000_000
    assert found.words[99] == "a/folder/of/images/00000099.png: broken"
    assert len(found.words) == 100
    assert most < 32 << 20


def test_a_long_sentence_is_cut() -> None:
    found = Problems()
    found.add({3: "x" * 10_000})
    assert len(found.words[0]) == 300
    assert len(found) == 1
