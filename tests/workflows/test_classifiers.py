"""Classifiers learn, stop early and forget their domain; files and figures come back."""

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given as drawn
from hypothesis import strategies as st
from scipy import stats
from torch import nn

from ganfast import data
from ganfast.models.classifier import Classifier
from ganfast.workflows import classifiers
from ganfast.workflows.classifiers import Fit
from ganfast.workflows.run_folder import ResultCache
from ganfast.workflows.seed_statistics import difference, in_words, summary


def halves(n=400):
    """Images that are bright above or below, and which."""
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % 2
    images = torch.randint(0, 120, (n, 1, 12, 12), generator=random)
    images[labels == 0, :, :6] += 130
    images[labels == 1, :, 6:] += 130
    return images.to(torch.uint8), labels


def net(classes=2, size=12):
    torch.manual_seed(0)
    return Classifier(classes, 4, 1, size)


def test_it_learns_and_keeps_its_best_weights():
    images, labels = halves()
    train, validation, test = (
        (images[s], labels[s]) for s in (slice(200), slice(200, 300), slice(300, 400))
    )
    model = net()
    steps = classifiers.fit(model, train, validation, Fit(steps=60, check_every=10), seed=0)
    assert steps <= 60
    assert classifiers.accuracy(model, test) == 1.0
    again = net()
    classifiers.fit(again, train, validation, Fit(steps=60, check_every=10), seed=0)
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True)
    )


def test_training_ends_when_nothing_gets_better(monkeypatch):
    losses = iter([5.0, 3.0, 4.0, 4.0, 1.0])
    weights = []

    def loss(model, validation):
        weights.append([p.clone() for p in model.parameters()])
        return next(losses)

    monkeypatch.setattr(classifiers, "validation_loss", loss)
    model = net()
    settings = Fit(steps=100, check_every=5, patience=2, batch_size=8)
    assert classifiers.fit(model, halves(), halves(), settings, seed=0) == 20
    for best, kept in zip(weights[1], model.parameters(), strict=True):
        assert torch.equal(best, kept)


def test_validation_loss_is_cross_entropy():
    images, labels = halves(50)
    model = net().eval()
    with torch.no_grad():
        expected = F.cross_entropy(model(data.to_float(images)).double(), labels)
    assert classifiers.validation_loss(model, (images, labels)) == pytest.approx(float(expected))


def test_the_domain_is_told_by_the_head_and_hidden_by_the_body():
    """Gradients of the domain's cross-entropy: plain in the head, times -strength in the body."""
    model = net().eval()
    a, b = (data.to_float(halves()[0][part]) for part in (slice(6), slice(6, 16)))
    adversary = classifiers._Domain(model)
    progress, weights = 0.3, list(model.body.parameters())
    strength = 2 / (1 + math.exp(-10 * progress)) - 1
    head = list(adversary.parameters())
    found = torch.autograd.grad(adversary(a, b, progress), [*head, *weights])
    target = torch.tensor([1.0] * 6 + [0.0] * 10)
    logits = adversary.head(model.body(torch.cat([a, b]))).squeeze(1)
    plain = torch.autograd.grad(
        F.binary_cross_entropy_with_logits(logits, target), [*head, *weights]
    )
    for k, (x, y) in enumerate(zip(found, plain, strict=True)):
        torch.testing.assert_close(x, y if k < len(head) else -strength * y)
        assert y.abs().sum() > 0


def test_adapting_sees_the_other_domain():
    images, labels = halves(64)
    seen, model = [], net()
    model.body.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    other = torch.full_like(images, 255)
    fit = Fit(steps=1, batch_size=8)
    classifiers.fit(model, (images, labels), (images, labels), fit, 0, other)
    assert torch.equal(seen[1][8:], torch.ones(8, 1, 12, 12))
    assert torch.equal(seen[1][:8], seen[0])


def test_another_network_is_not_adapted():
    with pytest.raises(TypeError, match="ganfast Classifier to be adapted, got Linear"):
        classifiers._Domain(nn.Linear(1, 1))


@drawn(test=st.integers(10, 190), seed=st.integers(0, 5))
def test_a_split_keeps_shares_and_loses_nothing(test, seed):
    labels = torch.tensor([0] * 100 + [1] * 60 + [2] * 40)
    images = torch.arange(200, dtype=torch.uint8).view(200, 1, 1, 1)
    pool, held = classifiers.split(data.ImageData(images, labels, "x"), test, seed)
    assert len(held[0]) == test
    both = torch.cat([pool[0], held[0]]).flatten()
    assert torch.equal(both.sort().values, images.flatten())
    assert torch.equal(labels[pool[0].flatten().long()], pool[1])
    for n, part in ((test, held[1]), (20, pool[1][:20] if len(pool[1]) >= 20 else None)):
        if part is not None:
            expected = torch.tensor([0.5, 0.3, 0.2]) * n
            shares = part.bincount(minlength=3)
            if n == test:
                assert (shares - expected).abs().max() <= 2


def test_wrong_splits_are_named():
    digits = data.digits()
    with pytest.raises(ValueError, match="test must be from 1 to 4999 images, got 5000"):
        classifiers.split(digits, 5000, 0)
    with pytest.raises(ValueError, match="data must have labels, got none in x"):
        classifiers.split(data.ImageData(digits.images, None, "x"), 10, 0)


def test_classifiers_come_back_from_files(tmp_path, monkeypatch):
    model = Classifier(3, 5, 2, 20).eval()
    classifiers.save_classifier(model, tmp_path / "a.safetensors")
    back = classifiers.classifier(str(tmp_path / "a.safetensors"))
    x = torch.randn(4, 2, 20, 20)
    assert torch.equal(back(x), model(x))
    torch.jit.trace(model, x).save(str(tmp_path / "b.pt"))
    torch.testing.assert_close(classifiers.classifier(str(tmp_path / "b.pt"))(x), model(x))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine_for_test.py").write_text(
        "import torch\ndef net():\n    return torch.nn.Flatten()\nready = torch.nn.ReLU()\n"
        "def none():\n    return 3\n"
    )
    assert isinstance(classifiers.classifier("mine_for_test:net"), nn.Flatten)
    assert isinstance(classifiers.classifier("mine_for_test:ready"), nn.ReLU)
    (tmp_path / "c.safetensors").write_bytes(b"nonsense")
    (tmp_path / "c.pt").write_bytes(b"nonsense")
    for name, error, message in (
        ("c.safetensors", ValueError, "is not a classifier of"),
        ("c.pt", ValueError, "is not TorchScript"),
        ("d.pt", FileNotFoundError, "there is no classifier"),
        ("mine_for_test:no", ValueError, "this module:callable cannot be imported"),
        ("no_module_here:no", ValueError, "this module:callable cannot be imported"),
        ("mine_for_test:none", ValueError, "must return a torch module, got int"),
        ("resnet", ValueError, "classifier must be module:callable"),
    ):
        with pytest.raises(error, match=message):
            classifiers.classifier(name)


@drawn(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=31))
def test_summaries_are_scipys(values):
    found = summary(values)
    assert found.mean == pytest.approx(np.mean(values), abs=1e-9)
    assert found.std == pytest.approx(np.std(values, ddof=1), abs=1e-9)
    if found.std > 1e-6:
        interval = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
        assert (found.low, found.high) == pytest.approx(interval, rel=1e-3, abs=1e-3 * found.std)


def test_differences_in_words():
    assert difference([3, 2], [1, 1]).mean == 1.5
    better = difference([2.0, 2.1, 2.2], [1.0, 1.1, 1.2])
    assert in_words(better).endswith(": better")
    assert in_words(better, "lower").endswith(": worse")
    assert in_words(difference([1, -1], [0, 0])).endswith("no difference to be seen")
    assert in_words(summary([1.0])) == "one seed: no interval"
    assert math.isnan(summary([1.0]).std)
    with pytest.raises(ValueError, match="one length, got 1 and 2"):
        difference([1], [1, 2])


def test_rounds_are_made_once(tmp_path):
    path, made = tmp_path / "rounds.json", []

    def make(value):
        def run():
            made.append(value)
            return {"x": value}

        return run

    rounds = ResultCache(path, {"a": (1, 2)}, overwrite=False)
    assert rounds((50, "real", 0), make(1.5)) == {"x": 1.5}
    again = ResultCache(path, {"a": (1, 2)}, overwrite=False)
    assert again((50, "real", 0), make(9.0)) == {"x": 1.5}
    assert again((50, "real", 1), make(2.5)) == {"x": 2.5}
    assert made == [1.5, 2.5]
    with pytest.raises(FileExistsError, match="another a: --overwrite"):
        ResultCache(path, {"a": (1, 3)}, overwrite=False)
    fresh = ResultCache(path, {"a": (1, 3)}, overwrite=True)
    assert fresh((50, "real", 0), make(7.0)) == {"x": 7.0}
    assert json.loads(path.read_text())["rounds"] == [[[50, "real", 0], {"x": 7.0}]]
    path.write_text("{")
    with pytest.raises(ValueError, match="cannot be read"):
        ResultCache(path, {}, overwrite=False)
