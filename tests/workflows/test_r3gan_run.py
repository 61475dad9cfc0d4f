"""Runs of an R3GAN by its settings: the recipe, exact resume with ADA, bf16, compile, processes."""

import sys
from pathlib import Path

import pytest
import torch

from ganfast.models.checkpoint import load, load_gan
from ganfast.train.config import from_mapping, read
from ganfast.train.journal import read_records
from ganfast.workflows import gan
from ganfast.workflows.train import train

sys.path.insert(0, str(Path(__file__).parents[1] / "train"))
from test_trainer import assert_same_state

SMALL = {"model": "r3gan-64", "batch_size": 4, "limit": 2, "score_every": 0, "log_every": 1}


def config(**changes):
    return from_mapping(gan.Config, SMALL | {"steps": 4, "sample_every": 0} | changes)


def test_the_model_brings_its_recipe():
    made = config(steps=100, batch_size=50, size=64)
    assert (made.loss, made.penalty) == ("relativistic", "r1_r2")
    assert (made.betas_g, made.betas_d, made.beta2_end) == ((0, 0.9), (0, 0.9), 0.99)
    assert (made.penalty_weight, made.penalty_end, made.lr_end) == (2, 0.1, 0.25)
    assert (made.burn_in_kimg, made.ema_kimg) == (5, 0.125)
    assert config(size=256).penalty_weight == 150
    assert config().penalty_weight == 0.05  # of digits
    own = config(loss="hinge", penalty_weight=7.0, burn_in_kimg=1.0)
    assert (own.loss, own.penalty_weight, own.burn_in_kimg) == ("hinge", 7, 1)
    constant = config(burn_in_kimg=0)
    assert (constant.lr_end, constant.penalty_end, constant.beta2_end) == (1, 1, None)
    others = from_mapping(gan.Config, {"model": "dcgan"})
    assert (others.loss, others.penalty, others.burn_in_kimg) == ("non_saturating", "none", 0)
    with pytest.raises(TypeError, match="steps must be an int, got 'two'"):
        config(steps="two")


def test_gamma_fits_a_size_that_the_data_choose(tmp_path):
    from PIL import Image

    for i in range(4):
        Image.new("RGB", (40, 40), (9 * i, 0, 0)).save(tmp_path / f"{i}.png")
    fitted = gan.fitted(from_mapping(gan.Config, {"model": "r3gan-64", "data": str(tmp_path)}))
    assert (fitted.size, fitted.penalty_weight) == (32, 0.05)
    own = {"model": "r3gan-64", "data": str(tmp_path), "penalty_weight": 3.0}
    assert gan.fitted(from_mapping(gan.Config, own)).penalty_weight == 3


def test_a_run_with_ada_resumes_to_the_bit(tmp_path):
    changes = {
        "model": "cr3gan-64",
        "augment": "ada",
        "adaptive_kimg": 0.02,
        "burn_in_kimg": 0.02,
        "ema_kimg": 0.01,
    }
    assert config(**changes).adaptive == 0.6
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(config(**changes), whole)
    train(config(**changes, steps=3), parts)
    written = read(gan.Config, parts / "config.yaml", ["steps=4"])
    torch.manual_seed(99)
    train(written, parts, resume=True)
    one, other = (load(out / "checkpoint.pt") for out in (whole, parts))
    for state in (one, other):
        for name in ("seconds", "options"):
            state.pop(name)
    assert_same_state(one, other)
    found, expected = (read_records(out / "metrics.jsonl") for out in (parts, whole))
    for records in (found, expected):
        for record in records:
            record.pop("images_per_s")
    assert found == expected
    assert all(0 <= record["augment_p"] <= 0.8 for record in expected)
    assert {"lr_g", "penalty_weight", "beta2", "ema_kimg"} <= expected[-1].keys()
    made, options = load_gan(whole / "checkpoint.pt")
    assert options["model"] == "cr3gan-64"
    assert made.generator(torch.zeros(2, 64), torch.tensor([0, 1])).shape == (2, 1, 28, 28)


@pytest.mark.parametrize("policy", ["ada", "r3gan", "color,cutout"])
def test_a_probability_that_is_scheduled(tmp_path, policy):
    train(config(augment=policy, augment_p=0.4, burn_in_kimg=0.008, steps=3), tmp_path)
    seen = [record["augment_p"] for record in read_records(tmp_path / "metrics.jsonl")]
    assert seen == pytest.approx([0, 0.2, 0.4])


def test_bf16_trains_nearly_as_float32(tmp_path):
    weights = []
    for precision in ("fp32", "bf16"):
        train(config(precision=precision, steps=2), tmp_path / precision)
        state = load(tmp_path / precision / "checkpoint.pt")["discriminator"]
        weights.append(torch.cat([x.flatten() for x in state.values()]))
    assert not torch.equal(*weights)
    torch.testing.assert_close(*weights, rtol=0, atol=2e-3)


@pytest.mark.slow
def test_compiled_networks_train_as_they_are(tmp_path):
    weights = []
    for compiled in (False, True):
        train(config(compile=compiled, steps=2), tmp_path / str(compiled))
        state = load(tmp_path / str(compiled) / "checkpoint.pt")["generator"]
        weights.append(torch.cat([x.flatten() for x in state.values()]))
    torch.testing.assert_close(*weights, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"augment": "ada", "augment_p": 0.3, "adaptive": 0.6},
            "adaptive must be 0 with augment_p",
        ),
        ({"augment_p": 0.3}, "augment_p must not be set if augment is empty, got 0.3"),
        ({"augment": "ada", "loss": "wasserstein"}, "adaptive must be 0 for loss 'wasserstein'"),
        ({"augment": "ada", "adaptive_limit": 1.5}, r"adaptive_limit must be in \(0, 1.0\]"),
    ],
)
def test_settings_that_do_not_fit_each_other(changes, message):
    with pytest.raises(ValueError, match=message):
        config(**changes)
