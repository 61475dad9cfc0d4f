"""Every workflow on a folder of colour photographs, with and without labels."""

import json
import re
import sys

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from ganfast import cli, data
from ganfast.data.survey import Survey
from ganfast.models.checkpoint import load
from ganfast.train.journal import read_records
from ganfast.workflows import classifiers, gan, judge
from ganfast.workflows.gan import Config, fit_to
from ganfast.workflows.judge import judge_of
from ganfast.workflows.synthesize import Order, synthesize


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Noise around a colour, 40 pictures of each of three classes, of different sizes."""
    root, random = tmp_path_factory.mktemp("own") / "photos", np.random.default_rng(0)
    for label, colour in (
        ("amber", (220, 150, 20)),
        ("blue", (20, 40, 220)),
        ("green", (10, 200, 60)),
    ):
        (root / label).mkdir(parents=True)
        for i in range(40):
            size = random.integers(30, 60, 2)
            pixels = np.array(colour) + random.normal(0, 30, (*size, 3))
            picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
            picture.save(root / label / f"{i}.{'png' if i % 2 else 'jpg'}")
    return root


@pytest.fixture(scope="module")
def unlabelled(photos, tmp_path_factory):
    root = tmp_path_factory.mktemp("unlabelled")
    for i, path in enumerate(sorted(photos.rglob("*.png"))):
        (root / f"{i}.png").write_bytes(path.read_bytes())
    return root


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Judges that learn no longer than these images need."""
    monkeypatch.setattr(judge, "_FIT", classifiers.Fit(steps=60, check_every=20))
    monkeypatch.setattr(judge, "_STEPS", 20)


QUICK = ("--set", "steps=3", "--set", "score_every=3", "--set", "batch_size=8", "--device", "cpu")


def command(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["ganfast", *map(str, arguments)])
    try:
        cli.main()
        code = 0
    except SystemExit as end:
        code = end.code or 0
    return code, *capsys.readouterr()


def survey(side=500, grey=False, classes=(), count=1000):
    return Survey("x", count, side, (side, side), (side, side), grey, dict(classes))


@pytest.mark.parametrize(
    ("found", "changes", "expected"),
    [
        (survey(), {}, ("dcgan", 64, 3, 64)),
        (survey(side=63, grey=True), {}, ("dcgan", 32, 1, 64)),
        (survey(side=20, count=9), {}, ("dcgan", 28, 3, 9)),
        (survey(classes={"a": 500, "b": 500}), {}, ("cdcgan", 64, 3, 64)),
        (survey(classes={"a": 990, "b": 5, "c": 5}), {}, ("dcgan", 64, 3, 64)),  # too few of most
        (survey(classes={"a": 500, "b": 500}), {"model": "sngan"}, ("sngan", 64, 3, 64)),
        (survey(), {"size": 32, "channels": 1, "batch_size": 5}, ("dcgan", 32, 1, 5)),
    ],
)
def test_what_is_open_fits_the_images(found, changes, expected):
    config = fit_to(Config(data="x", **changes), found)
    assert (config.model, config.size, config.channels, config.batch_size) == expected
    assert config.classes == (len(found.classes) if config.model == "cdcgan" else 0)
    assert (config.score, config.best_by) == ("swd", "swd")


def test_digits_need_no_look():
    config = Config()
    assert config.whole
    assert (config.model, config.size, config.channels, config.labels) == ("dcgan", 28, 1, 10)
    assert (config.score, config.best_by) == ("digits", "fd")
    assert Config(channels=3).score == "swd"


def test_train_says_what_it_chose_and_goes_on(monkeypatch, capsys, photos, tmp_path):
    run = tmp_path / "run"
    code, printed, said = command(monkeypatch, capsys, "train", photos, "--out", run, *QUICK)
    assert code == 0, said
    assert "120 images in 3 classes" in said.splitlines()[0]
    assert "training cdcgan at 32 x 32, colour, 3 classes, batches of 8, score swd" in said
    assert "SWD x 1000, real vs real (two halves)" in printed
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert (config["model"], config["size"], config["channels"]) == ("cdcgan", 32, 3)
    with Image.open(run / "samples" / "step_000000.png") as sheet:
        assert sheet.mode == "RGB"
    records = read_records(run / "metrics.jsonl")
    assert {"swd", "swd_32", "swd_16"} <= set(records[0])

    # --resume RUN needs nothing else, and the cadence may change.
    code, printed, said = command(
        monkeypatch, capsys, "train", "--resume", run, "--set", "steps=5", "--set", "log_every=2",
        "--device", "cpu",
    )  # fmt: skip
    assert code == 0, said
    assert load(run / "checkpoint.pt")["step"] == 5
    code, printed, said = command(
        monkeypatch, capsys, "train", "--resume", run, "--set", "lr_g=1", "--device", "cpu"
    )
    assert (code, printed) == (1, "")
    assert "made with lr_g=" in said


def test_print_config_is_a_file_of_settings(monkeypatch, capsys, photos, tmp_path):
    code, printed, _ = command(
        monkeypatch, capsys, "train", photos, "--print-config", "--set", "lr_g=1e-3"
    )
    assert code == 0
    assert "# learning rate" in printed.lower() or "# Adam learning rates." in printed
    values = yaml.safe_load(printed)
    assert (values["lr_g"], values["data"]) == (1e-3, str(photos))
    fields = {f.name for f in Config.__dataclass_fields__.values() if f.init}
    assert set(values) == fields
    for name in fields:  # each has its meaning before it
        place = printed.index(f"\n{name}:") if not printed.startswith(f"{name}:") else 0
        assert printed[:place].rsplit("\n", 1)[-1].startswith("#"), name
    (tmp_path / "again.yaml").write_text(printed)
    _, again, _ = command(monkeypatch, capsys, "train", tmp_path / "again.yaml", "--print-config")
    assert again == printed
    for name in ("pretrain", "finetune", "rank"):
        code, printed, _ = command(monkeypatch, capsys, name, photos, "--print-config")
        assert code == 0
        assert yaml.safe_load(printed)["data"] == str(photos)


def test_synthesize_shows_the_classes(monkeypatch, capsys, photos, tmp_path):
    command(monkeypatch, capsys, "train", photos, "--out", tmp_path / "run", *QUICK)
    code, printed, said = command(
        monkeypatch, capsys, "synthesize", tmp_path / "run" / "checkpoint.pt", "--samples", 30,
        "--out", tmp_path / "made", "--format", "parquet", "--device", "cpu",
    )  # fmt: skip
    assert code == 0, said
    assert "FD (classifier of photos)" in printed
    import pyarrow.parquet as pq

    table = pq.read_table(tmp_path / "made" / "data.parquet")
    feature = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert feature["label"]["names"] == ["amber", "blue", "green"]
    labels = table["label"].to_pylist()
    assert sorted(labels) == [0] * 10 + [1] * 10 + [2] * 10
    assert len(table["image"][0].as_py()["bytes"]) > 100
    card = (tmp_path / "made" / "README.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert front["configs"] == [{"config_name": "default", "data_files": "data.parquet"}]
    assert "amber, blue, green" in card
    # The data set is one that training reads again.
    synthesize(tmp_path / "run" / "checkpoint.pt", tmp_path / "npz", Order(samples=30))
    again = data.load(tmp_path / "npz" / "data.npz", size=28)
    assert torch.equal(again.labels.bincount(), torch.tensor([10, 10, 10]))


def test_without_labels_views_are_recognized(monkeypatch, capsys, unlabelled, tmp_path):
    command(monkeypatch, capsys, "train", unlabelled, "--out", tmp_path / "run", *QUICK)
    checkpoint = tmp_path / "run" / "checkpoint.pt"
    made = tmp_path / "made"
    code, printed, said = command(
        monkeypatch, capsys, "synthesize", checkpoint, "--samples", 20, "--out", made,
        "--device", "cpu",
    )  # fmt: skip
    assert code == 0, said
    assert "FD (views of " in printed
    assert "inception score" not in printed
    with np.load(made / "data.npz") as arrays:
        assert arrays["images"].shape == (20, 3, 32, 32)
        assert not arrays["labels"].any()
    code, printed, said = command(
        monkeypatch, capsys, "synthesize", checkpoint, "--out", tmp_path / "x",
        "--confidence", 0.5, "--device", "cpu",
    )  # fmt: skip
    assert code == 1
    assert "confidence must be 0 for images without classes, got 0.5" in said
    for workflow in ("finetune", "rank"):
        code, _, said = command(monkeypatch, capsys, workflow, unlabelled, "--out", tmp_path / "y")
        assert code == 1
        assert "data must have labels, got none in" in said


def test_the_judge_is_trained_once_and_knows_its_classes(photos, tmp_path, monkeypatch):
    real = data.load(photos, size=28)
    found = judge_of(real, tmp_path)
    assert found.classes == 3
    assert (found.probabilities(real.images).argmax(1) == real.labels).float().mean() > 0.95
    monkeypatch.setattr("ganfast.workflows.classifiers.fit", None)
    again = judge_of(real, tmp_path)
    assert again.words == found.words
    assert torch.equal(again.probabilities(real.images), found.probabilities(real.images))


def test_finetune_rank_and_pretrain_on_own_images(monkeypatch, capsys, photos, tmp_path):
    gan_words = "gan=[model=cdcgan, steps=2, score_every=0, sample_every=0, size=28]"
    few = ("--set", "fit=[steps=20]", "--set", "synthetic=30", "--device", "cpu")
    code, printed, said = command(
        monkeypatch, capsys, "finetune", photos, "--out", tmp_path / "f", "--set", gan_words,
        "--set", "seeds=2", *few,
    )  # fmt: skip
    assert code == 0, said
    sizes = [line.split()[0] for line in printed.splitlines() if " ± " in line]
    assert sizes == ["50", "96"]  # the second is all that are not held out
    page = (tmp_path / "f" / "report.html").read_text()
    assert all(name in page for name in ("amber", "blue", "green", "classification accuracy score"))

    code, printed, said = command(
        monkeypatch, capsys, "rank", photos, "--out", tmp_path / "r", "--set", gan_words, *few
    )
    assert code == 0, said
    assert "Spearman" in printed
    code, printed, said = command(
        monkeypatch, capsys, "rank", photos, "--out", tmp_path / "r", "--set", gan_words, *few,
        "--json",
    )  # fmt: skip
    found = json.loads(printed)
    assert 0 <= min(of["real"]["accuracy"] for of in found["standings"].values()) <= 1
    assert set(found) == {"standings", "spearman", "kendall", "report"}

    code, printed, said = command(
        monkeypatch, capsys, "pretrain", photos, "--out", tmp_path / "p", "--set", "seeds=1",
        "--set", "pretrain_steps=2", "--set", "gan=[model=dcgan, steps=2, score_every=2, size=28]",
        "--device", "cpu",
    )  # fmt: skip
    assert code == 0, said
    assert "SWD x 1000 from scratch, 4 rounds" in printed


def test_an_autoencoder_on_own_images(monkeypatch, capsys, photos, tmp_path):
    code, printed, said = command(
        monkeypatch, capsys, "train", photos, "--model", "conv-autoencoder", "--out", tmp_path,
        "--set", "steps=3", "--set", "batch_size=8", "--device", "cpu",
    )  # fmt: skip
    assert code == 0, said
    assert "SWD x 1000, reconstructions" in printed


def test_more_classes_than_labels_are_refused(photos, tmp_path):
    from ganfast.workflows.train import train

    with pytest.raises(ValueError, match=r"labels must be at least 3, the classes of .*, got 2"):
        train(Config(data=str(photos), model="cdcgan", labels=2, batch_size=8), tmp_path)


def test_a_critics_outputs_are_not_called_probabilities(photos, tmp_path):
    from ganfast.workflows.train import train

    config = Config(
        data=str(photos), model="wgan", loss="wasserstein", steps=2, batch_size=8, size=28,
        log_every=1, score_every=2,
    )  # fmt: skip
    train(config, tmp_path)
    records = read_records(tmp_path / "metrics.jsonl")
    # The first round's output on real images, computed from the same weights and batch.
    fitted = gan.fitted(config)
    pair, real = gan.make(fitted), gan.real_images(fitted)
    images, _ = next(data.BatchStream(real, 8, fitted.seed))
    expected = float(pair.discriminator(images).mean())
    first = next(r for r in records if "d_real" in r)
    assert first["d_real"] == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_the_help_of_train_names_every_setting(monkeypatch, capsys):
    code, printed, _ = command(monkeypatch, capsys, "train", "-h")
    assert code == 0
    words = set(re.findall(r"\w+", printed))
    assert {f.name for f in Config.__dataclass_fields__.values() if f.init} <= words
