"""Every script of examples/ runs as a user would run it, and gives what it promises."""

import json
import re
import runpy
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ganfast import data, features, losses, metrics

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Run a script on the CPU in an empty folder and return what it prints."""
    monkeypatch.chdir(tmp_path)

    def run(name: str, *arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments, "--device", "cpu"])
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out

    return run


class PlainHinge:
    """The hinge loss as the papers write it."""

    def __init__(self, kind: str) -> None:
        assert kind == "hinge"

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()

    def generator(self, fake: Tensor) -> Tensor:
        return -fake.mean()


def test_the_fused_loss_trains_as_the_formula_does(run, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("--loss", "hinge", "--steps", "20", "--batch-size", "16")
    fused = run("drop_in_loss", *arguments)
    monkeypatch.setattr(losses, "AdversarialLoss", PlainHinge)
    plain = run("drop_in_loss", *arguments)
    pattern = r"step 20: loss_d (\S+), loss_g (\S+)\n"
    expected = [float(number) for number in re.fullmatch(pattern, plain).groups()]
    found = [float(number) for number in re.fullmatch(pattern, fused).groups()]
    assert found == pytest.approx(expected, abs=2e-3)  # printed to 1e-3


def test_own_networks_train_and_resume(run) -> None:
    batch = ("--batch-size", "8")
    assert "out/own: checkpoint.pt" in run(
        "own_trainer", "--steps", "3", "--out", "out/own", *batch
    )
    with pytest.raises(FileExistsError, match="resume"):
        run("own_trainer", "--steps", "3", "--out", "out/own", *batch)
    run("own_trainer", "--steps", "5", "--out", "out/own", "--resume", *batch)
    records = Path("out/own/metrics.jsonl").read_text().splitlines()
    assert [json.loads(record)["step"] for record in records] == [3, 5]
    with Image.open("out/own/samples.png") as sheet:
        assert sheet.size == (8 * (2 * 28 + 2) + 2,) * 2


def test_own_images_are_read_from_a_folder(run, tmp_path: Path) -> None:
    photos = tmp_path / "photos" / "holiday"
    photos.mkdir(parents=True)
    for index in range(4):
        Image.new("RGB", (40, 60), (60 * index, 0, 255)).save(photos / f"{index}.jpg")
    arguments = ("--images", "photos", "--steps", "2", "--batch-size", "4", "--size", "28")
    printed = run("own_data", *arguments)
    assert printed.endswith("metrics.jsonl and 16 images\n")
    written = sorted(Path("runs/own-data").glob("*.png"))
    assert len(written) == 16
    with Image.open(written[0]) as image:
        assert (image.size, image.mode) == ((28, 28), "RGB")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty holds no images"):
        run("own_data", "--images", "empty")


def test_own_images_are_drawn_where_no_folder_is_given(run) -> None:
    assert run("own_data", "--steps", "1", "--size", "28", "--out", "drawn").startswith("drawn: ")


def test_fid_of_two_folders_is_that_of_their_features(run) -> None:
    name, value = run("fid_of_two_folders").strip().split(": ")
    images = data.digits().images[:600]
    net = features.digits()
    with torch.no_grad():
        real = features.extract(net, images[:300])
        fake = features.extract(net, images[300:] // 2)
    expected = metrics.frechet_distance_from_features(real, fake)
    assert name == "FD (digits)"
    assert float(value) == pytest.approx(float(expected), rel=1e-4)


def test_fid_needs_two_folders_or_none(run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run("fid_of_two_folders", "only-one")
    assert "give two folders, or none" in capsys.readouterr().err


def test_every_example_is_tested() -> None:
    names = set(re.findall(r'run\(\s*"(\w+)"', Path(__file__).read_text()))
    assert {path.stem for path in EXAMPLES.glob("*.py")} == names
