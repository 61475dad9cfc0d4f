"""Each workflow from end to end with little work, stopped and resumed, and its errors."""

import dataclasses
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ganfast import cli, data
from ganfast.models import dcgan
from ganfast.train.regularizer import shifted
from ganfast.workflows import finetune, gan, pretext, pretrain, rank
from ganfast.workflows.classifiers import Fit
from ganfast.workflows.gan import Config
from ganfast.workflows.train import train

TINY = ("model=cdcgan", "steps=3", "batch_size=16", "score_every=0", "sample_every=0")
FIT = Fit(steps=2, check_every=1, batch_size=16)
FINETUNE = finetune.Settings(
    sizes=(30, 60), seeds=2, synthetic=40, gan=TINY, fit=FIT, adapt=True, test=100
)
RANK = rank.Settings(test=100, synthetic=60, gan=TINY, draws=50, fit=FIT)
PRETRAIN = pretrain.Settings(
    pretrain_steps=3,
    seeds=2,
    gan=("model=dcgan", "steps=4", "batch_size=16", "score_every=2", "limit=10"),
)


def test_finetune_is_resumed_and_says_what_came_out(tmp_path, monkeypatch, few_digits):
    whole = finetune.finetune(FINETUNE, tmp_path / "whole")
    assert set(whole.accuracies) == {(n, m) for n in (30, 60) for m in FINETUNE.modes}
    assert all(len(a) == 2 and 0 <= min(a) <= max(a) <= 1 for a in whole.accuracies.values())
    page = (tmp_path / "whole/report.html").read_text()
    assert "both - real, points [95 %]" in page
    assert page.count("data:image/png") == 1

    done, accuracy = [], finetune._Size.accuracy

    def stops(self, mode, seed):
        if len(done) == 7:
            raise KeyboardInterrupt
        done.append(mode)
        return accuracy(self, mode, seed)

    monkeypatch.setattr(finetune._Size, "accuracy", stops)
    with pytest.raises(KeyboardInterrupt):
        finetune.finetune(FINETUNE, tmp_path / "parts")
    monkeypatch.setattr(finetune._Size, "accuracy", accuracy)
    assert finetune.finetune(FINETUNE, tmp_path / "parts") == whole
    with pytest.raises(FileExistsError, match="another ratio"):
        finetune.finetune(dataclasses.replace(FINETUNE, ratio=2.0), tmp_path / "parts")


def test_no_image_of_the_test_is_trained_on(tmp_path, monkeypatch):
    seen = []

    def fit(net, train, validation, *rest):
        seen.extend([train[0], validation[0]])
        return 0

    monkeypatch.setattr(finetune.classifiers, "fit", fit)
    drawn, next_ = [], data.BatchStream.__next__
    monkeypatch.setattr(
        data.BatchStream, "__next__", lambda self: drawn.append(next_(self)[0]) or next_(self)
    )
    settings = dataclasses.replace(FINETUNE, sizes=(60,), seeds=1)
    finetune.finetune(settings, tmp_path)
    pool, test = finetune.classifiers.split(data.digits(), 100, seed=0)
    held = {image.numpy().tobytes() for image in test[0]}
    allowed = {image.numpy().tobytes() for image in pool[0][:60]}
    validation = {image.numpy().tobytes() for image in pool[0][:12]}
    assert drawn
    for images in drawn:
        batch = {image.numpy().tobytes() for image in data.to_uint8(images)}
        assert batch <= allowed - validation
    real = [i.numpy().tobytes() for images in seen for i in images]
    assert not held & set(real)


def test_the_union_has_its_ratio(tmp_path):
    pool, test = finetune.classifiers.split(data.digits(), 100, seed=0)
    settings = dataclasses.replace(FINETUNE, ratio=0.5, synthetic=96)
    size = finetune._Size(settings, 60, pool, test, tmp_path, "cpu", False)
    synthetic = torch.zeros(96, 1, 28, 28, dtype=torch.uint8), torch.zeros(96).long()
    images, labels = size._union(synthetic)
    assert len(images) == len(labels) == 96 + 4 * 48  # 192 real ones, two for each synthetic
    assert torch.equal(images[96:144], size._real[0])


def test_labels_by_a_teacher_and_given_images(tmp_path):
    digits = data.digits()
    np.savez(tmp_path / "data.npz", images=digits.images[:40], labels=np.full(40, 3))
    settings = dataclasses.replace(
        FINETUNE, sizes=(30,), seeds=1, labels="teacher", dataset=str(tmp_path / "data.npz")
    )
    pool, test = finetune.classifiers.split(digits, 100, seed=0)
    size = finetune._Size(settings, 30, pool, test, tmp_path, "cpu", False)
    images, labels = size._synthetic(0)
    assert torch.equal(images, digits.images[:40])
    teacher = size._net(0)
    size._fit(teacher, size._real, 0)
    assert torch.equal(labels, finetune.classifiers.probabilities(teacher, images).argmax(1))
    natural = dataclasses.replace(
        settings, dataset="", gan=("model=mlp-128", "steps=2", "score_every=0", "sample_every=0")
    )
    other = finetune._Size(natural, 30, pool, test, tmp_path / "out", "cpu", False)
    assert other._synthetic(0)[0].shape == (40, 1, 28, 28)
    asked = dataclasses.replace(natural, labels="generator")
    with pytest.raises(ValueError, match="labels must be teacher for 'mlp-128'"):
        finetune.finetune(asked, tmp_path / "other")


def test_what_modes_share_is_trained_once(tmp_path, monkeypatch):
    fits, fit = [], finetune.classifiers.fit
    monkeypatch.setattr(finetune.classifiers, "fit", lambda *a: fits.append(a[1]) or fit(*a))
    digits = data.digits()
    np.savez(tmp_path / "data.npz", images=digits.images[:40], labels=np.full(40, 3))
    settings = dataclasses.replace(
        FINETUNE, sizes=(60,), seeds=1, labels="teacher", dataset=str(tmp_path / "data.npz")
    )
    pool, test = finetune.classifiers.split(digits, 100, seed=0)
    size = finetune._Size(settings, 60, pool, test, tmp_path, "cpu", False)
    accuracy = {mode: size.accuracy(mode, 0) for mode in settings.modes}
    assert len(fits) == 5  # one for each mode, the teacher being "real"
    assert size.accuracy("synthetic", 0) == accuracy["synthetic"]  # what started from it left it

    net = size._net(0)
    for images in (size._synthetic(0), size._real):
        fit(net, images, size._validation, settings.fit, 0)
    assert finetune.classifiers.accuracies(net, test) == accuracy["pretrained"]


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        (finetune.Settings, {"sizes": (10,)}, "sizes must be 20 images or more"),
        (finetune.Settings, {"labels": "me"}, "labels must be one of generator, teacher"),
        (finetune.Settings, {"ratio": 0.0}, r"ratio must be in \(0, inf\), got 0"),
        (rank.Settings, {"models": ("a:b",)}, "models must be two or more"),
        (rank.Settings, {"draws": 0}, "draws must be at least 1"),
        (pretrain.Settings, {"method": "magic"}, "method must be one of autoencoder"),
        (pretrain.Settings, {"method": "transfer"}, "source must be given for transfer"),
        (pretrain.Settings, {"source": "x"}, "source must be empty for autoencoder, got .x."),
    ],
)
def test_settings_are_checked(kind, changes, message):
    with pytest.raises(ValueError, match=message):
        kind(**changes)


def test_too_few_images_are_named(tmp_path):
    with pytest.raises(ValueError, match="sizes must be at most 4900, got 4950"):
        finetune.finetune(dataclasses.replace(FINETUNE, sizes=(4950,)), tmp_path)


def test_rank_is_resumed_and_ranks(tmp_path, monkeypatch, few_digits):
    result = rank.rank(RANK, tmp_path)
    assert len(result.standings) == 8
    order = [float(row[1]) for row in result.rows()]
    assert order == sorted(order, reverse=True)
    assert result.agreement_real.diagonal().tolist() == [1.0] * 8
    page = (tmp_path / "report.html").read_text()
    assert "Kendall" in page
    monkeypatch.setattr(rank.classifiers, "fit", None)  # all is there: nothing is trained again
    again = rank.rank(RANK, tmp_path)
    assert again.standings == result.standings
    assert str(again.spearman) == str(result.spearman)  # which may be nan
    files = [str(p) for p in sorted((tmp_path / "classifiers").iterdir())[:3]]
    given = rank.rank(dataclasses.replace(RANK, models=tuple(files)), tmp_path / "given")
    assert list(given.standings) == files
    assert set(given.standings.values()) <= set(result.standings.values())


def test_rank_wants_a_conditional_gan(tmp_path):
    settings = dataclasses.replace(RANK, gan=("model=mlp-128",))
    with pytest.raises(ValueError, match="gan must be class-conditional, such as model=cdcgan"):
        rank.rank(settings, tmp_path)


@pytest.mark.parametrize(
    "method", ["autoencoder", "denoising", "rotation", "contrastive", "classifier"]
)
@pytest.mark.parametrize("model", ["dcgan", "wgan"])
def test_what_is_learned_first_fits_the_gan(method, model):
    config = Config(model=model, limit=10)
    real = gan.real_images(config)
    found = pretext.pretext_weights(method, config, real, steps=2, seed=0)
    pair = gan.make(config)
    parts = {"discriminator"} | (
        {"generator"} if "auto" in method or method == "denoising" else set()
    )
    assert set(found) == parts
    for part, weights in found.items():
        rows = pretext.take(getattr(pair, part), weights)
        other = [row.name for row in rows if row.status != "taken"]
        assert all("in the source" in row.status for row in rows if row.name in other)
        last = max(int(row.name.split(".")[1]) for row in rows)
        assert other == (
            [] if part == "generator" else [f"layers.{last}.weight", f"layers.{last}.bias"]
        )
        for row in rows:
            if row.status == "taken":
                assert torch.equal(getattr(pair, part).state_dict()[row.name], weights[row.name])


def test_every_weight_is_in_the_table():
    module = torch.nn.Linear(2, 3)
    before = module.bias.detach().clone()
    weights = {"weight": torch.ones(3, 2), "bias": torch.ones(4), "extra": torch.ones(1)}
    rows = dict(pretext.take(module, weights))
    assert rows["weight"] == "taken"
    assert "4 in the source, 3 here" in rows["bias"]
    assert rows["extra"] == "not in the network"
    assert torch.equal(module.bias, before)
    assert pretext.take(module, {"weight": torch.ones(3, 2)})[1].status.startswith("not in the")
    with pytest.raises(ValueError, match="weights must have names and shapes of Linear"):
        pretext.take(module, {"a": torch.ones(1)})


def test_first_losses_are_their_definitions():
    torch.manual_seed(0)
    a, b = torch.randn(4, 5), torch.randn(4, 5)
    x = torch.cat([a, b])
    expected = 0.0
    for i in range(8):
        similar = [float(torch.cosine_similarity(x[i], x[j], 0)) / 0.3 for j in range(8)]
        others = sum(np.exp(s) for j, s in enumerate(similar) if j != i)
        expected -= np.log(np.exp(similar[(i + 4) % 8]) / others) / 8
    assert float(pretext.contrastive_loss(a, b, 0.3)) == pytest.approx(expected, rel=1e-5)

    net = dcgan.Discriminator(2, outputs=4).eval()
    images = torch.randn(3, 1, 28, 28)
    losses = [F.cross_entropy(net(images.rot90(k, (2, 3))), torch.full((3,), k)) for k in range(4)]
    torch.testing.assert_close(pretext.rotation_loss(net, images), sum(losses) / 4)
    assert shifted(images, torch.Generator()).shape == images.shape


def test_pretrain_is_resumed_and_has_equal_budgets(tmp_path, few_digits):
    result = pretrain.pretrain(PRETRAIN, tmp_path)
    assert [[step for step, _ in c] for c in result.scratch] == [[0, 2, 4, 6, 7]] * 2
    assert [[step for step, _ in c] for c in result.pretrained] == [[0, 2, 4]] * 2
    assert result.last[2].n == 2
    page = (tmp_path / "report.html").read_text()
    assert "64x64x7x7 in the source, 1x64x7x7 here: not taken" in page
    again = pretrain.pretrain(PRETRAIN, tmp_path)
    assert again == result
    with pytest.raises(FileExistsError, match="another method"):
        pretrain.pretrain(dataclasses.replace(PRETRAIN, method="rotation"), tmp_path)


def test_transfer_starts_from_a_checkpoint(tmp_path, few_digits):
    config = Config(model="dcgan", limit=10, steps=2, score_every=0, sample_every=0)
    train(config, tmp_path / "source")
    source = str(tmp_path / "source" / "checkpoint.pt")
    settings = dataclasses.replace(PRETRAIN, method="transfer", source=source, seeds=1)
    result = pretrain.pretrain(settings, tmp_path / "out")
    assert all(row.status == "taken" for rows in result.taken.values() for row in rows)
    assert [step for step, _ in result.scratch[0]] == [0, 2, 4]
    with pytest.raises(FileNotFoundError, match="there is no checkpoint"):
        pretext.pretext_weights("transfer", config, None, 1, 0, "none.pt")
    with pytest.raises(ValueError, match="model must be dcgan or wgan for 'rotation'"):
        pretext.pretext_weights("rotation", Config(model="sngan"), None, 1, 0)


@pytest.mark.parametrize(
    ("command", "changes", "code", "sentence"),
    [
        ("finetune", ["--set", "sizs=[50]"], 2, "unknown field 'sizs'; did you mean 'sizes'"),
        ("finetune", ["--set", "gan=[stpes=2]"], 1, "unknown field 'stpes'; did you mean 'steps'"),
        ("finetune", ["--set", "gan=[model=dcgan]"], 1, "labels must be teacher for 'dcgan'"),
        ("finetune", ["--set", "dataset=nofolder"], 1, "there is no data set nofolder"),
        ("finetune", ["--set", "classifier=none.pt"], 1, "there is no classifier none.pt"),
        ("finetune", ["--set", "fit=[stpes=2]"], 2, "unknown field 'stpes'; did you mean 'steps'"),
        ("finetune", ["--set", "fit=[steps=0]"], 2, "steps must be at least 1, got 0"),
        ("finetune", ["--set", "sizes=[a]"], 2, "sizes must be an int, got 'a'"),
        ("rank", ["--set", "gan=[stpes=2]"], 1, "unknown field 'stpes'; did you mean 'steps'"),
        ("rank", ["--set", "gan=[model=dcgan]"], 1, "gan must be class-conditional"),
        ("rank", ["--set", "dataset=nofolder"], 1, "there is no data set nofolder"),
        ("rank", ["--model", "a.pt", "--model", "b.pt"], 1, "there is no classifier a.pt"),
        ("pretrain", ["--set", "gan=[stpes=2]"], 1, "unknown field 'stpes'; did you mean 'steps'"),
        ("train", ["--set", "loss=lsgan"], 2, "did you mean 'least_squares'?"),
        ("train", ["--set", "loss=WGAN"], 2, "did you mean 'wasserstein'?"),
        ("train", ["--set", "loss=vanilla"], 2, "did you mean 'non_saturating'?"),
        ("train", ["--set", "loss=ragan"], 2, "did you mean 'relativistic_average'?"),
        ("train", ["--model", "cyclgan"], 2, "did you mean 'cyclegan'?"),
        ("train", ["--model", "conv-autoencodr"], 2, "did you mean 'conv-autoencoder'?"),
        ("rank", ["--model", "a:b"], 2, "models must be two or more"),
        ("pretrain", ["--set", "gan=[model=dcgan, score_every=0]"], 1, "score_every above 0"),
        ("pretrain", ["--set", "method=transfer"], 2, "source must be given"),
        ("synthesize", ["none.pt"], 1, "there is no checkpoint none.pt"),
        ("synthesize", ["none.pt", "--reject", "2"], 2, "reject must be in"),
    ],
)
def test_the_commands_say_what_is_wrong(
    monkeypatch, capsys, tmp_path, command, changes, code, sentence
):
    arguments = ["ganfast", command, *changes, "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as stop:
        cli.main()
    printed, said = capsys.readouterr()
    assert (stop.value.code, printed) == (code, "")
    assert sentence in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_the_commands_print_their_tables(monkeypatch, capsys, tmp_path, few_digits):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["ganfast", *arguments, "--device", "cpu"])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert stop.value.code in (0, None)
        return capsys.readouterr().out

    words = "gan=[model=cdcgan, steps=2, score_every=0, sample_every=0]"
    fit = "fit={steps: 2, check_every: 2, batch_size: 8}"
    common = ["--set", words, "--set", fit, "--set", "synthetic=20", "--set", "test=100"]
    out = run(
        "finetune", *common, "--set", "sizes=[20]", "--set", "seeds=1",
        "--out", str(tmp_path / "f"),
    )  # fmt: skip
    assert "one seed: no interval" in out
    assert f"report: {tmp_path / 'f' / 'report.html'}" in out
    out = run("rank", *common, "--set", "draws=5", "--out", str(tmp_path / "r"))
    assert "Kendall's tau-b" in out
    words = "gan=[model=dcgan, steps=2, score_every=1, limit=10]"
    out = run(
        "pretrain", "--set", words, "--set", "seeds=1", "--set", "pretrain_steps=1",
        "--out", str(tmp_path / "p"),
    )  # fmt: skip
    assert "FD (digits) after autoencoder, 2 rounds" in out
    checkpoint = str(tmp_path / "r/gan/checkpoint.pt")
    out = run("synthesize", checkpoint, "--samples", "20", "--out", str(tmp_path / "s"))
    assert "nearer to a real image" in out
