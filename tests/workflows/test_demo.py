"""The demo from end to end with few steps, and its parts."""

import json
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from ganfast import data, features
from ganfast.metrics import frechet_distance_from_features
from ganfast.train.options import refuse_other
from ganfast.workflows import demo
from ganfast.workflows.demo import Result, options
from ganfast.workflows.training_scores import FrechetScore


def start(out, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "ganfast", "demo", "--out", out, "--threads", "1", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def records(out):
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "images_per_s"} for row in rows]


@pytest.mark.slow
def test_stopped_and_resumed_it_writes_what_an_unstopped_run_writes(tmp_path):
    parts, whole = tmp_path / "parts", tmp_path / "whole"

    unstopped = start(whole, "--steps", "30")  # at the same time, on the other core
    process = start(parts, "--steps", "30")
    assert any(line.startswith("step 25/30: loss_d ") for line in process.stderr)
    process.send_signal(signal.SIGINT)
    printed, said = process.communicate()
    stopped = torch.load(parts / "checkpoint.pt", weights_only=True)["step"]
    assert 25 <= stopped <= 30
    assert (parts / "report.html").exists()
    if stopped < 30:
        assert process.returncode == 130
        assert f"--out {parts} --steps 30 --seed 0 --device cpu --resume" in said
        assert "stopped early, of 30" in (parts / "report.html").read_text()

    printed, said = start(parts, "--steps", "30", "--resume").communicate()
    printed, said = unstopped.communicate()
    assert unstopped.returncode == 0, said

    a = torch.load(parts / "checkpoint.pt", weights_only=True)
    b = torch.load(whole / "checkpoint.pt", weights_only=True)
    for part in ("generator", "discriminator", "ema"):
        for key, value in a[part].items():
            assert torch.equal(value, b[part][key]), f"{part} {key}"
    assert records(parts) == records(whole)
    assert [r["step"] for r in records(whole)] == [0, 25, 30, 30]
    assert sorted(p.name for p in (whole / "samples").iterdir()) == [
        "step_000000.png",
        "step_000030.png",
    ]
    assert "FD (digits), after 30 steps" in printed
    assert f"report: {whole / 'report.html'}" in printed
    page = (whole / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 4
    assert "30 steps (finished)" in page
    with Image.open(whole / "curves.png") as picture:
        assert len(set(np.asarray(picture.convert("L")).ravel())) > 20


class Memory(nn.Module):
    """A generator that gives the real images, whatever the latents."""

    def __init__(self, images):
        super().__init__()
        self.images, self.at = images, 0

    def forward(self, latents):
        part = self.images[self.at : self.at + len(latents)]
        self.at += len(part)
        return part


def test_scores_of_a_perfect_generator():
    digits, net = data.digits(), features.load("digits")
    some = data.ImageData(digits.images[:600], digits.labels[:600], "digits")
    score = FrechetScore(net, some, (64,))
    assert score(Memory(data.to_float(some.images)))["fd"] == pytest.approx(0, abs=1e-6)
    real = features.extract(features.digits(), some.images)
    # Not every other image: MNIST's come in turns from two groups of writers.
    mixed = real[torch.randperm(600, generator=torch.Generator().manual_seed(9))]
    halves = frechet_distance_from_features(mixed[:300], mixed[300:])
    assert score.real_against_real() == pytest.approx(halves, rel=0.5)


class Labelled(Memory):
    """A generator that gives real images of the labels."""

    def forward(self, latents, labels):
        return self.images[labels * 500 + self.at % 500]


def test_samples_are_read_by_the_classifier():
    digits = data.digits()
    order = digits.labels.argsort(stable=True)
    score = FrechetScore(features.load("digits"), digits, (64,), classes=10)
    shares = demo._recognized(score, Labelled(data.to_float(digits.images[order])))
    assert shares == [1.0] * 10
    shares = demo._recognized(score, Labelled(data.to_float(digits.images[order.roll(500)])))
    assert shares == [0.0] * 10


def test_losses_are_timed_side_by_side():
    fused, plain = demo.loss_times(8, "cpu", repeats=5)
    assert 0 < fused < 1e6
    assert 0 < plain < 1e6


def test_the_table_says_what_came_out():
    result = Result(
        finished=True,
        step=7,
        fd_untrained=200.0,
        fd_end=10.0,
        fd_real=1.0,
        images_per_s=1234.0,
        class_shares=[0.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5],
        loss_us_fused=10.0,
        loss_us_plain=25.0,
        seconds=125.0,
    )
    table = "\n".join(map(str, demo.rows(result)))
    assert "10.0 (5.0% of untrained)" in table
    assert "50.0%" in table
    assert "0 100 50 50" in table
    assert "2.50 x as fast" in table
    assert "2:05 min" in table


def test_settings_are_those_of_a_run_that_can_be_lengthened():
    short, long = options(30, 1), options(60, 1)
    refuse_other(long, vars(short), frozenset({"steps"}))
    with pytest.raises(ValueError, match="seed=2"):
        refuse_other(long, vars(options(30, 2)), frozenset({"steps"}))
