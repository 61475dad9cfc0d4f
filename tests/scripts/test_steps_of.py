"""The steps of a checkout: a small project with R3GAN's files, and folders of something else."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from bench.steps.projects import PROJECTS
from scripts import steps_of

_FILES = {
    "Networks.py": """
import pkg_resources
from torch import nn

class Generator(nn.Module):
    def __init__(self, noise, widths, cardinalities, blocks, factor):
        super().__init__()
        assert widths == [192] * 4
        self.layer = nn.Linear(noise, 3 * 32 * 32)

    def forward(self, x, y=None):
        return self.layer(x).view(-1, 3, 32, 32)

class Discriminator(nn.Module):
    def __init__(self, widths, cardinalities, blocks, factor):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.Softplus(), nn.Conv2d(4, 1, 15))

    def forward(self, x, y=None):
        return self.layers(x).view(len(x))
""",
    "Trainer.py": """
calls = []

class AdversarialTraining:
    def __init__(self, g, d):
        pass

    def AccumulateDiscriminatorGradients(self, *arguments):
        calls.append("d")

    def AccumulateGeneratorGradients(self, *arguments):
        calls.append("g")
""",
}


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "R3GAN").mkdir()
    for name, text in _FILES.items():
        (tmp_path / "R3GAN" / name).write_text(text)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("R3GAN", "pkg_resources"):
            del sys.modules[name]


def test_each_way_of_a_project_that_is_known_by_a_file(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps_of.main(checkout, rounds=2)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("R3GAN")
    assert [line.split()[0] for line in lines[1:]] == ["own", "import"]
    assert lines[1].endswith("own / own 1.00")
    assert sys.modules["R3GAN.Trainer"].calls == ["d", "g"] * 3  # two rounds after the first


def test_another_folder_is_refused_with_what_it_should_hold(tmp_path: Path) -> None:
    with pytest.raises(typer.BadParameter, match=r"config_v3.json, .*Trainer.py, got ") as caught:
        steps_of.main(tmp_path)
    assert all(project.file in str(caught.value) for project in PROJECTS)
