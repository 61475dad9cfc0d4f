"""A run from a configuration, its files, and what does not fit."""

import sys
import types

import numpy as np
import pytest
import torch
from PIL import Image

from ganfast import cli, data, features
from ganfast.models.checkpoint import load
from ganfast.train.journal import read_records
from ganfast.workflows import gan
from ganfast.workflows.gan import Config
from ganfast.workflows.train import interpolation, train
from ganfast.workflows.training_scores import encode

SMALL = {"model": "mlp-128", "limit": 20, "steps": 6, "score_every": 3, "checkpoint_every": 3}


def config(**changes):
    return Config(**{**SMALL, "log_every": 2, "sample_every": 3, **changes})


def test_a_run_writes_its_files_and_goes_on(tmp_path):
    result = train(config(), tmp_path / "whole")
    assert result.finished
    assert [step for step, _ in result.scores] == [0, 3, 6]
    names = {p.name for p in (tmp_path / "whole").iterdir()}
    expected = {"checkpoint.pt", "checkpoint-00000003.pt", "metrics.jsonl", "samples"}
    expected |= {"config.yaml"}
    assert names - {"best.pt"} == expected | {"curves.png", "interpolation.png", "report.html"}
    with Image.open(tmp_path / "whole" / "interpolation.png") as picture:
        assert picture.size == (8 * (28 * 2 + 2) + 2,) * 2
        assert len(set(np.asarray(picture).ravel())) > 20
    assert "mlp-128 on digits: 6 steps (finished)" in (tmp_path / "whole/report.html").read_text()

    train(config(steps=3), tmp_path / "parts")
    train(config(), tmp_path / "parts", resume=True)
    a, b = (load(tmp_path / part / "checkpoint.pt") for part in ("whole", "parts"))
    for key, value in a["ema"].items():
        assert torch.equal(value, b["ema"][key]), key
    with pytest.raises(FileExistsError, match="holds a run"):
        train(config(), tmp_path / "parts")


@pytest.mark.parametrize("adaptive", [{}, {"adaptive": 0.1, "adaptive_kimg": 0.5}])
def test_augmented_runs_resume_to_the_bit(tmp_path, adaptive):
    policy = {"augment": "color,translation,cutout", "penalty": "r1", **adaptive}
    train(config(**policy), tmp_path / "whole")
    train(config(steps=3, **policy), tmp_path / "parts")
    torch.manual_seed(99)
    train(config(**policy), tmp_path / "parts", resume=True)
    train(config(), tmp_path / "plain")
    a, b, c = (
        load(tmp_path / part / "checkpoint.pt")["discriminator"]
        for part in ("whole", "parts", "plain")
    )
    assert all(torch.equal(value, b[key]) for key, value in a.items())
    assert not all(torch.equal(value, c[key]) for key, value in a.items())


def test_a_checkpoint_alone_gives_the_networks_back(tmp_path):
    train(config(model="cdcgan", steps=2, batch_size=16, spectral_norm=True), tmp_path)
    saved, pair = gan.from_checkpoint(tmp_path / "checkpoint.pt")
    assert (saved.model, saved.classes, saved.latent_dim) == ("cdcgan", 10, 64)
    state = load(tmp_path / "checkpoint.pt")
    assert not pair.generator.training
    for part, module in (("ema", pair.generator), ("discriminator", pair.discriminator)):
        mine = module.state_dict()
        assert mine.keys() == state[part].keys()
        assert all(torch.equal(mine[key], value) for key, value in state[part].items())


def test_a_run_starts_from_another(tmp_path):
    train(config(steps=2), tmp_path)
    state = load(tmp_path / "checkpoint.pt")
    pair = gan.make(config(start=str(tmp_path / "checkpoint.pt"), freeze_d=1, seed=9))
    for part, module in (("generator", pair.generator), ("discriminator", pair.discriminator)):
        assert all(torch.equal(module.state_dict()[k], v) for k, v in state[part].items())
    trained = [p.requires_grad for p in pair.discriminator.parameters()]
    assert trained == [False, False, True, True]


def test_images_of_other_sizes(tmp_path):
    real = gan.real_images(config(model="dcgan", size=64))
    assert real.images.shape == (200, 1, 64, 64)
    digits = data.digits()
    assert torch.equal(gan.first_of_each(digits, 20).labels.bincount(), torch.full((10,), 20))
    # Up and down again, a digit is still read as itself.
    large = data.load("digits", size=64)
    read = encode(features.load("digits"), large.images[::10], ("logits",))["logits"].argmax(1)
    assert (read == digits.labels[::10]).float().mean() > 0.98
    score = gan.score_of(config(), real, "cpu")
    assert score.of_images(score._real)["fd"] == pytest.approx(0, abs=1e-6)


def test_the_ends_of_an_interpolation_are_the_latents():
    pair, seen = gan.make(config()), []
    pair.generator.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    interpolation(pair.generator, config(seed=5), "cpu", side=4)
    rows = seen[0].view(4, 4, 100)
    ends = torch.randn(2, 4, 100, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(rows[:, 0], ends[0])
    torch.testing.assert_close(rows[:, -1], ends[1], rtol=1e-5, atol=1e-5)
    assert rows.std().item() == pytest.approx(1, abs=0.1)  # on the way, too


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "dcgn"}, "did you mean 'dcgan'"),
        ({"limit": 1}, r"batch_size must be from 1 to 10, the number of images in digits, got 64"),
        ({"model": "dcgan", "size": 30}, "size must be one of 28, 32, 64, 128, 256, got 30"),
        ({"channels": 2}, r"channels must be 1 \(grey\) or 3 \(RGB\), got 2"),
        ({"background": "blu"}, "background must be a colour such as white or #808080, got 'blu'"),
        ({"on_error": "go"}, "on_error must be one of stop, skip, got 'go'"),
        ({"score": "dinov3"}, "features must be one of inception"),
        ({"loss": "hing"}, "loss must be one of"),
        ({"loss": "wasserstein", "label_smoothing": 0.1}, "label_smoothing must be 0"),
        ({"loss": "hinge", "sigmoid": True}, "from_probs must be False"),
        ({"augment": "colour"}, "augment must be ada, r3gan, or made of color"),
        ({"freeze_d": 2}, "freeze_d must be below 2"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        train(config(**changes), tmp_path)
    assert not (tmp_path / "checkpoint.pt").exists()


def test_labels_are_asked_for(tmp_path):
    for i in range(8):
        Image.new("L", (28, 28), i).save(tmp_path / f"{i}.png")
    with pytest.raises(ValueError, match="data must have labels for 'cdcgan', got none"):
        train(config(model="cdcgan", data=str(tmp_path), batch_size=4), tmp_path / "run")
    # Without labels another model trains on the folder.
    result = train(config(data=str(tmp_path), model="", batch_size=4), tmp_path / "run")
    assert result.score == "SWD x 1000"
    assert [step for step, _ in result.scores] == [0, 3, 6]


def command(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["ganfast", "train", *arguments])
    code = 0
    try:
        cli.main()
    except SystemExit as stop:
        code = stop.code or 0
    return code, *capsys.readouterr()


def test_the_command(monkeypatch, capsys, tmp_path):
    (tmp_path / "run.yaml").write_text("model: mlp-128\nlimit: 10\nsteps: 900\nlr_g: 1e-3\n")
    code, printed, _ = command(
        monkeypatch, capsys, str(tmp_path / "run.yaml"), "--out", str(tmp_path / "run"),
        "--set", "steps=2", "--device", "cpu",
    )  # fmt: skip
    assert code == 0
    assert "FD (digits), step 2" in printed
    assert load(tmp_path / "run" / "checkpoint.pt")["options"]["lr_g"] == 1e-3

    for arguments, wanted, sentence in (
        (["--set", "stepz=2"], 2, "unknown field 'stepz'; did you mean 'steps'"),
        (["--set", "latent_dim=2"], 2, "unknown field 'latent_dim'"),
        (["--set", "steps=two"], 2, "steps must be an int, got 'two'"),
        (["--resume", "--overwrite"], 2, "--resume and --overwrite exclude each other"),
        (["--device", "cuda:9"], 2, "device must be"),
        (["none.yaml"], 1, "there is no configuration file none.yaml"),
        (["--resume", "--set", "model=mlp-128"], 1, "there is no checkpoint"),
    ):
        code, printed, said = command(
            monkeypatch, capsys, *arguments, "--out", str(tmp_path / "other")
        )
        assert (code, printed) == (wanted, "")
        assert sentence in said
        assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"adaptive": 0.6}, "adaptive must not be set if augment is empty, got 0.6"),
        (
            {"adaptive": 0.6, "augment": "color", "loss": "wasserstein"},
            "adaptive must be 0 for loss 'wasserstein', got 0.6",
        ),
        ({"adaptive": 1.0, "augment": "color"}, r"adaptive must be in \[0, 1"),
        ({"adaptive_kimg": 0.0}, "adaptive_kimg must be"),
        (
            {"cuda_graphs": True, "precision": "fp16"},
            "cuda_graphs must be False for precision fp16",
        ),
    ],
)
def test_settings_that_do_not_fit_each_other(changes, message):
    with pytest.raises(ValueError, match=message):
        config(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sigmoid": "maybe"}, "sigmoid must be true or false, got 'maybe'"),
        ({"compile": 1}, "compile must be true or false, got 1"),
        ({"wandb": True}, "wandb must be text, got True"),
        ({"augment": 3}, "augment must be text, got 3"),
    ],
)
def test_settings_of_another_type(changes, message):
    with pytest.raises(TypeError, match=message):
        config(**changes)


def test_wandb_is_asked_for_by_name(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match="wandb is not installed"):
        train(config(wandb="digits"), tmp_path)
    assert not (tmp_path / "checkpoint.pt").exists()


def test_wandb_gets_every_figure_and_goes_on_in_the_same_run(tmp_path, monkeypatch):
    started, logged = [], []

    class Run:
        def log(self, figures, step):
            logged.append((step, figures))

    def init(**given):
        started.append(given)
        return Run()

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    train(config(wandb="digits", steps=4, log_every=4, score_every=0), tmp_path)
    train(config(wandb="digits", log_every=4, score_every=0), tmp_path, resume=True)
    first, second = started
    assert (first["project"], first["dir"]) == ("digits", str(tmp_path))
    assert first["id"] == second["id"]
    assert first["resume"] == "allow"
    assert first["config"]["model"] == "mlp-128"
    records = read_records(tmp_path / "metrics.jsonl")
    assert [step for step, _ in logged] == [4, 6]
    assert [{"step": step, **figures} for step, figures in logged] == records
    train(config(wandb="digits", steps=4, score_every=0), tmp_path, overwrite=True)
    assert started[-1]["id"] != first["id"]


def test_tensorboard_is_asked_for_by_name(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ValueError, match="tensorboard is not installed"):
        train(config(tensorboard=True), tmp_path)


def test_tensorboard_gets_every_figure(tmp_path, monkeypatch):
    written = []

    class SummaryWriter:
        def __init__(self, folder):
            assert folder == str(tmp_path / "tensorboard")

        def add_scalar(self, name, value, step):
            written.append((name, value, step))

        def flush(self):
            pass

    module = types.SimpleNamespace(SummaryWriter=SummaryWriter)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    train(config(tensorboard=True, steps=2, score_every=0), tmp_path)
    assert {(name, step) for name, _, step in written} >= {("loss_d", 2), ("diversity", 2)}
