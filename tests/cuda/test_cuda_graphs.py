"""Rounds replayed as CUDA graphs train as rounds that are launched piece by piece."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from ganfast.augment import AdaptiveAugment
from ganfast.train.step_graphs import GraphedStep

sys.path.insert(0, str(Path(__file__).parents[1] / "train"))
import toy
from test_trainer import PARTS, flat, state

CASES = {
    "lazy r1": {
        "d_steps": 1,
        "penalty": "r1",
        "penalty_every": 2,
        "lecam": 0.1,
        "lr_decay": "linear",
    },
    "wgan_gp, clipped": {"penalty": "wgan_gp", "clip_gradients": 0.5, "clip_weights": 0.3},
    "accumulated": {"accumulate": 2, "g_steps": 2, "consistency": 1.0},
    "burn-in": {
        "d_steps": 1,
        "penalty": "r1_r2",
        "burn_in_kimg": 0.1,
        "lr_end": 0.5,
        "penalty_end": 0.1,
        "ema_kimg": 0.02,
    },
    "reused, bf16": {"reuse_fakes": True, "d_steps": 1, "precision": "bf16"},
}


def trainer(out, adaptive=False, **changes):
    torch.manual_seed(1)
    g = nn.Sequential(
        nn.Linear(4, 16),
        nn.BatchNorm1d(16),
        nn.Linear(16, 36),
        nn.Tanh(),
        nn.Unflatten(1, (1, 6, 6)),
    )
    d = nn.Sequential(nn.Flatten(), nn.Linear(36, 10), nn.Softplus(), nn.Linear(10, 1))
    hooks = {"augment": AdaptiveAugment("translation,cutout", kimg=0.5)} if adaptive else {}
    return toy.trainer(out, g=g.cuda(), d=d.cuda(), hooks=hooks, **changes)


def assert_close(a, b):
    for part in PARTS:
        mine, others = flat(a[part]), flat(b[part])
        for key, value in mine.items():
            if isinstance(value, torch.Tensor) and not key.endswith("/lr"):
                torch.testing.assert_close(
                    value.float(), others[key].float(), rtol=1e-3, atol=1e-4, msg=part + key
                )


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("adaptive", [False, True])
def test_replayed_rounds_are_the_rounds(tmp_path, name, adaptive):
    states = []
    for graphs in (False, True):
        out = tmp_path / str(graphs)
        made = trainer(out, adaptive, steps=16, cuda_graphs=graphs, **CASES[name])
        assert made.run()
        states.append(state(made))
    assert isinstance(made._play_round, GraphedStep)
    assert len(made._play_round._captured) == (2 if name == "lazy r1" else 1)
    assert_close(*states)


def test_a_run_goes_on_after_resume_and_with_new_graphs(tmp_path):
    whole = trainer(tmp_path / "whole", steps=16, cuda_graphs=True)
    assert whole.run()
    assert trainer(tmp_path / "parts", steps=8, cuda_graphs=True).run()
    second = trainer(tmp_path / "parts", steps=16, cuda_graphs=True)
    second.resume()
    assert second.run()
    assert_close(state(whole), state(second))


def test_batches_of_another_shape_are_named(tmp_path):
    data = [torch.rand(8, 1, 6, 6)] * 9 + [torch.rand(4, 1, 6, 6)]
    with pytest.raises(ValueError, match=r"must keep shape \[8, 1, 6, 6\] .* got \[4, "):
        trainer(tmp_path, data=data, cuda_graphs=True).run()
