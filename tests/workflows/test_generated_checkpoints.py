"""`ganfast eval` takes the checkpoints of every command that trains."""

import dataclasses

import torch

from ganfast.data import to_uint8
from ganfast.evaluation.generators import from_checkpoint
from ganfast.workflows import gan
from ganfast.workflows.demo import options
from ganfast.workflows.gan import Config
from ganfast.workflows.train import train


def images(path, samples):
    source = from_checkpoint(path, samples, 3, 1, torch.device("cpu"))
    return torch.stack(source.read(0, samples)[0])


def test_a_class_conditional_one_makes_all_classes_in_turn(tmp_path):
    train(Config(model="cdcgan", limit=10, steps=2, score_every=0, sample_every=0), tmp_path)
    path = tmp_path / "checkpoint.pt"
    made = images(path, 12)
    _, pair = gan.from_checkpoint(path)
    with torch.random.fork_rng():
        torch.manual_seed(3 * 1_000_003)
        latents = torch.randn(64, 64)
    with torch.no_grad():
        expected = to_uint8(pair.generator(latents, torch.arange(64) % 10))[:12]
    assert torch.equal(made, expected)


def test_the_demos_checkpoint_says_what_it_is(tmp_path):
    config = dataclasses.replace(options(2, 0), score_every=0, sample_every=0)
    assert (config.model, config.latent_dim) == ("cdcgan", 64)
    train(config, tmp_path)
    assert images(tmp_path / "checkpoint.pt", 5).shape == (5, 1, 28, 28)
