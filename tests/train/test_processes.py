"""Two processes with half of each batch do what one does with all of it, and resume to the bit."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import processes
import pytest
import torch
import torch.distributed as dist
from torch import nn

from ganfast import cli
from ganfast.models.checkpoint import load
from ganfast.train import loss_by_name

sys.path.insert(0, str(Path(__file__).parent))
import toy

CASES = {
    "r1+lecam": ("non_saturating", {"penalty": "r1", "penalty_every": 2, "lecam": 0.3}),
    "wgan_gp": ("wasserstein", {"penalty": "wgan_gp", "clip_gradients": 0.5}),
    "relativistic average": ("relativistic_average", {"accumulate": 2}),
    "lists+cr": ("hinge", {"consistency": 1.0}),
    "burn-in": (
        "relativistic",
        {
            "penalty": "r1_r2",
            "burn_in_kimg": 0.1,
            "lr_end": 0.5,
            "penalty_end": 0.1,
            "beta2_end": 0.99,
            "ema_kimg": 0.02,
        },
    ),
}
STEPS = 12


class Stream(toy.Stream):
    """This process's part of what one alone would get; dies before some batch."""

    def __init__(self, last=None):
        super().__init__()
        self.left = last

    def __next__(self):
        if self.left is not None:
            if not self.left:
                os.kill(os.getpid(), signal.SIGKILL)
            self.left -= 1
        images, _ = super().__next__()
        rank, count = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        return images.chunk(count)[rank], None


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(36, 1), nn.Sequential(nn.Linear(36, 4), nn.Tanh())

    def forward(self, images):
        return [self.a(images.flatten(1)), self.b(images.flatten(1))]


def make(out, name, last=None, **more):
    kind, changes = CASES[name]
    torch.manual_seed(1)
    g = nn.Sequential(nn.Linear(4, 36), nn.Tanh(), nn.Unflatten(1, (1, 6, 6)))
    d = nn.Sequential(nn.Flatten(), nn.Linear(36, 10), nn.Softplus())
    # A relativistic loss has no gradient in the last bias, but rounding, which Adam enlarges.
    d.append(nn.Linear(10, 1, bias="relativistic" not in name))
    return toy.trainer(
        out / name, g=g, d=Two() if "lists" in name else d, data=Stream(last),
        loss=loss_by_name(kind), **{"steps": STEPS, "lr_g": 1e-3, "lr_d": 1e-3, **changes, **more},
    )  # fmt: skip


def with_dropout_and_batch_norm(out, last=None):
    return toy.trainer(out / "dropout", data=Stream(last), steps=STEPS, lecam=0.1, log_every=2)


def train_all(rank, folder):
    for name in CASES:
        assert make(folder / "two", name).run()
    for out, last in ((folder / "two", None), (folder / "killed", 15)):
        with_dropout_and_batch_norm(out, last).run()


def resume(rank, folder):
    trainer = with_dropout_and_batch_norm(folder / "killed")
    trainer.resume()
    assert trainer.run()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    both = processes.start(2, folder, train_all, folder).processes
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [-signal.SIGKILL] * 2
    return folder


@pytest.mark.parametrize("name", CASES)
def test_two_halves_are_the_whole(folder, tmp_path, name):
    assert make(tmp_path, name).run()
    one, two = (load(out / name / "checkpoint.pt") for out in (tmp_path, folder / "two"))
    for part in ("generator", "discriminator", "ema", "lecam"):
        for key, value in one[part].items():
            torch.testing.assert_close(two[part][key], value, rtol=1e-4, atol=1e-6, msg=key)
    start = nn.Sequential(nn.Linear(4, 36))
    assert not torch.equal(one["generator"]["0.weight"], start[0].weight)
    assert two["images"] == one["images"] == STEPS * 2 * 8 * CASES[name][1].get("accumulate", 1)


def test_killed_processes_resume_to_the_bit(folder):
    processes.run(2, folder, resume, folder)
    from test_trainer import assert_same_state, records

    whole, killed = (load(folder / out / "dropout/checkpoint.pt") for out in ("two", "killed"))
    for state in (whole, killed):
        del state["seconds"]
    assert whole["step"] == STEPS
    assert_same_state(whole, killed)
    assert records(folder / "two" / "dropout") == records(folder / "killed" / "dropout")
    assert not torch.equal(*whole["rng"])  # each draws its own dropout


def test_one_process_does_not_resume_what_two_have_made(folder):
    trainer = with_dropout_and_batch_norm(folder / "two")
    with pytest.raises(ValueError, match="made by 2 processes, this run has 1"):
        trainer.resume()


@pytest.mark.slow
def test_torchrun_trains_what_one_process_does(tmp_path, monkeypatch, capsys):
    settings = {"model": "mlp-128", "limit": 20, "batch_size": 32, "steps": 4, "score_every": 2}
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
         "-m", "ganfast", "train", "--out", tmp_path / "two", *words],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("report.html") == 1
    monkeypatch.setattr(sys, "argv", ["ganfast", "train", "--out", str(tmp_path / "one"), *words])
    with pytest.raises(SystemExit, match="0"):
        cli.main()
    one, two = (load(tmp_path / out / "checkpoint.pt") for out in ("one", "two"))
    for part in ("ema", "discriminator"):
        for key, value in one[part].items():
            torch.testing.assert_close(two[part][key], value, rtol=1e-4, atol=1e-5, msg=key)
    assert two["best"] == pytest.approx(one["best"], rel=1e-3)
