"""The script of all systems, with two steps of one of each kind."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SCRIPT = Path(__file__).parents[2] / "scripts" / "results.py"


@pytest.fixture
def results():
    spec = importlib.util.spec_from_file_location("results_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_system_is_one_that_can_be_asked_for(results):
    kinds = (
        results.gan.Config,
        results.cyclegan.CycleConfig,
        results.autoencoder.AutoencoderConfig,
    )
    systems = (results.GANS, results.CYCLES, results.AUTOENCODERS)
    for kind, of_kind in zip(kinds, systems, strict=True):
        for words in of_kind.values():
            results.config.read(kind, None, words.split())
    assert len({results._slug(name) for of_kind in systems for name in of_kind}) == 19


def test_the_page_of_emoji_and_what_was_reached_before(
    results, tmp_path, monkeypatch, restored_threads
):
    photos = tmp_path / "photos"
    photos.mkdir()
    random = np.random.default_rng(0)
    for i in range(70):
        pixels = random.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(photos / f"{i}.png")
    for words in results.EMOJI.values():
        results.config.read(results.gan.Config, None, [*words.split(), f"data={photos}"])
    arguments = [
        "--emoji",
        str(photos),
        "--steps",
        "2",
        "--only",
        "DCGAN, emoji",
        "--threads",
        "1",
        "--seeds",
        "3",
    ]
    folders = ["--out", str(tmp_path / "out"), "--docs", str(tmp_path / "docs")]
    monkeypatch.setattr(sys, "argv", ["results.py", *arguments, *folders])
    results.main()
    page = (tmp_path / "docs" / "results-emoji.md").read_text()
    assert "A trial with 2 steps" in page
    assert "| DCGAN, emoji 3 | 2 | 128 |" in page
    assert "--set seed=3" in page
    assert str(tmp_path) not in page
    for picture in ("emoji-curves", "dcgan-emoji-3"):
        assert (tmp_path / f"docs/pictures/{picture}.png").exists()
    monkeypatch.setattr(results.recipe, "train", None)  # nothing is trained again
    monkeypatch.setattr(sys, "argv", ["results.py", *arguments, *folders, "--so-far"])
    results.main()
    assert (tmp_path / "docs" / "results-emoji.md").read_text() == page
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--seeds", "3", "4"])
    results.main()
    page = (tmp_path / "docs" / "results-emoji.md").read_text()
    assert "; DCGAN, emoji 4; " in page.partition("Not trained yet: ")[2]
    assert "| DCGAN, emoji 3 | 2 |" in page


def test_the_page_and_what_was_made_before(results, tmp_path, monkeypatch, restored_threads):
    arguments = ["--steps", "2", "--only", "MLP 128-256", "--threads", "1"]
    folders = ["--out", str(tmp_path / "out"), "--docs", str(tmp_path / "docs")]
    monkeypatch.setattr(sys, "argv", ["results.py", *arguments, *folders])
    results.main()
    page = (tmp_path / "docs" / "results.md").read_text()
    assert "A trial with 2 steps" in page
    assert "| BCE, MLP 128-256 |" in page
    assert "ganfast train --out runs/bce-mlp-128-256 --set model=mlp-256" in page
    assert (tmp_path / "docs/pictures/bce-mlp-128-256.png").exists()
    monkeypatch.setattr(results.recipe, "train", None)  # nothing is trained again
    results.main()
    assert (tmp_path / "docs" / "results.md").read_text() == page
    monkeypatch.setitem(results.GANS, "BCE, MLP 128-256", "model=mlp-256 lr_g=1e-3")
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--so-far"])
    results.main()
    page = (tmp_path / "docs" / "results.md").read_text()
    assert "; BCE, MLP 128-256; " in page.partition("Not trained yet: ")[2]
    assert "| BCE, MLP 128-256 |" not in page  # what other settings reached
