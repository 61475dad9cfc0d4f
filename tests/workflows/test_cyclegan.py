"""CycleGAN in the loop: its losses by hand, its pools in the checkpoint, and its data."""

import copy
import sys

import pytest
import torch
from PIL import Image
from torch import nn

from ganfast import cli, data
from ganfast.losses import AdversarialLoss
from ganfast.models.checkpoint import load
from ganfast.train import TrainOptions
from ganfast.train.cyclegan import CycleTrainer, Discriminators, Generators, PairStream
from ganfast.workflows.cyclegan import CycleConfig, CycleScore, cycle, domains

SMALL = {"width": 2, "blocks": 1, "depth": 1, "batch_size": 4, "pool": 6, "sample_every": 0}


def config(**changes):
    return CycleConfig(**{**SMALL, "steps": 6, "score_every": 3, "checkpoint_every": 3, **changes})


def linear():
    return nn.Sequential(nn.Flatten(), nn.Linear(9, 9), nn.Unflatten(1, (1, 3, 3)))


def test_the_steps_are_those_of_the_paper(tmp_path):
    """One round by hand, with a pool that lets fakes through."""
    torch.manual_seed(0)
    f_g, d_a, d_b = [linear(), linear()], linear(), linear()
    plain = copy.deepcopy((*f_g, d_a, d_b))
    real = torch.randn(5, 2, 1, 3, 3)
    options = TrainOptions(steps=1, betas_g=(0.5, 0.9), betas_d=(0.5, 0.9), lr_g=0.1, lr_d=0.1)
    trainer = CycleTrainer(
        Generators(*f_g), Discriminators(d_a, d_b), [real], AdversarialLoss("least_squares"),
        options, tmp_path, cycle=3.0, identity=2.0, pool=0, shown=real[:2],
    )  # fmt: skip
    assert trainer.run()

    g, f, p_a, p_b = plain
    a, b = real.unbind(1)
    optimizer = torch.optim.Adam([*p_a.parameters(), *p_b.parameters()], 0.1, (0.5, 0.9))
    fakes = (f(b).detach(), g(a).detach())
    sum(
        (d(x) - 1).square().mean() + d(y).square().mean()
        for d, x, y in ((p_a, a, fakes[0]), (p_b, b, fakes[1]))
    ).backward()
    optimizer.step()
    optimizer = torch.optim.Adam([*g.parameters(), *f.parameters()], 0.1, (0.5, 0.9))
    loss = (p_a(f(b)) - 1).square().mean() + (p_b(g(a)) - 1).square().mean()
    loss = loss + 3 * ((f(g(a)) - a).abs().mean() + (g(f(b)) - b).abs().mean())
    loss = loss + 2 * ((f(a) - a).abs().mean() + (g(b) - b).abs().mean())
    loss.backward()
    optimizer.step()
    for mine, theirs in zip((*f_g, d_a, d_b), plain, strict=True):
        for x, y in zip(mine.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-5)


def test_a_resumed_run_ends_with_the_same_bits(tmp_path):
    whole = cycle(config(), tmp_path / "whole")
    assert whole.finished
    cycle(config(steps=3), tmp_path / "parts")
    assert cycle(config(), tmp_path / "parts", resume=True).errors == whole.errors
    a, b = (load(tmp_path / part / "checkpoint.pt") for part in ("whole", "parts"))
    for part in ("generator", "discriminator", "ema", "pool_a", "pool_b"):
        assert a[part].keys() == b[part].keys()
        assert all(torch.equal(value, b[part][key]) for key, value in a[part].items())
    assert a["pool_a"]["images"].shape == (6, 1, 28, 28)
    page = (tmp_path / "whole" / "report.html").read_text()
    assert "digits and digits:inverted: 6 steps" in page


@pytest.mark.parametrize(
    ("b", "undo"),
    [("digits:inverted", lambda x: 255 - x), ("digits:rotated", lambda x: x.rot90(-1, (2, 3)))],
)
def test_no_image_is_in_both_domains(b, undo):
    one, two = domains(config(b=b))
    assert len(one) == len(two) == 2500
    back = {x.numpy().tobytes() for x in undo(two.images)}
    digits = {x.numpy().tobytes() for x in data.digits().images}
    assert back <= digits
    assert not back & {x.numpy().tobytes() for x in one.images}


def test_errors_are_zero_for_the_right_translation():
    one, two = domains(config())
    pairs = torch.stack([data.to_float(x.images[:50]) for x in (one, two)], 1)
    score = CycleScore(pairs, lambda x: 255 - x)

    class Negative(nn.Module):
        def forward(self, x):
            return -x

    right = score(Generators(Negative(), Negative()))
    assert right["cycle_error"] == 0
    assert right["translation_error"] == pytest.approx(0, abs=1e-6)
    lazy = score(Generators(nn.Identity(), nn.Identity()))
    assert lazy["cycle_error"] == 0
    assert lazy["translation_error"] == lazy["untranslated"] > 1


def test_two_folders(tmp_path):
    random = torch.Generator().manual_seed(0)
    for name in "ab":
        (tmp_path / name).mkdir()
        for i in range(10):
            pixels = torch.randint(0, 255, (16, 16, 3), generator=random, dtype=torch.uint8)
            Image.fromarray(pixels.numpy()).save(tmp_path / name / f"{i}.png")
    folders = {"a": str(tmp_path / "a"), "b": str(tmp_path / "b"), "size": 16, "channels": 3}
    result = cycle(config(steps=2, sample_every=1, **folders), tmp_path / "out")
    assert result.translation_error is None
    with Image.open(tmp_path / "out/samples/step_000002.png") as sheet:
        assert sheet.size == (2 * 34 + 2, 4 * 34 + 2)  # two held-out pairs


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"size": 30}, ValueError, "size must be a multiple of 4, got 30"),
        ({"b": "digits:tilted"}, ValueError, "inverted, rotated, got 'tilted'"),
        ({"b": "nowhere"}, FileNotFoundError, "nowhere"),
        ({"batch_size": 5000}, ValueError, "batch_size must be from 1 to 2000"),
        ({"cycle": -1.0}, ValueError, "cycle must be in"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, changes, error, message):
    with pytest.raises(error, match=message):
        cycle(config(**changes), tmp_path)


def test_other_shapes_of_the_domains_are_named():
    one = data.ImageData(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), None, "x")
    two = data.ImageData(torch.zeros(4, 3, 8, 8, dtype=torch.uint8), None, "y")
    with pytest.raises(ValueError, match=r"images of one shape, got \[\(1, 8, 8\), \(3, 8, 8\)\]"):
        PairStream(one, two, 2, 0)


def test_the_command(monkeypatch, capsys, tmp_path):
    words = [f"{k}={v}" for k, v in {**SMALL, "steps": 2}.items()]
    arguments = [part for word in words for part in ("--set", word)]
    arguments += ["--out", str(tmp_path), "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["ganfast", "train", "--model", "cyclegan", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code
    assert "cycle error, step 2" in capsys.readouterr().out
