"""Autoencoders learn to reconstruct, and their samples come from a normal of the codes."""

import dataclasses
import signal

import pytest
import torch
from safetensors.torch import load

from ganfast import data
from ganfast.train import checkpoint
from ganfast.workflows import autoencoder
from ganfast.workflows.autoencoder import AutoencoderConfig, sample_normal


@pytest.mark.parametrize("model", autoencoder.MODELS)
def test_a_run_writes_what_it_learned(tmp_path, few_digits, model):
    config = AutoencoderConfig(model=model, steps=40, latent_dim=8, batch_size=32, lr=3e-3)
    result = autoencoder.autoencode(config, tmp_path)
    assert result.error < result.error_of_mean
    assert min(result.of_reconstructions, result.of_samples) > result.of_real > 0
    net = autoencoder.make(dataclasses.replace(config, size=28, channels=1))
    net.load_state_dict(load((tmp_path / "autoencoder.safetensors").read_bytes()))
    _, held = autoencoder.classifiers.split(data.digits(), 250, seed=0)
    with torch.no_grad():
        back = net.eval()(data.to_float(held[0]))
    assert float((back - data.to_float(held[0])).square().mean()) == pytest.approx(result.error)
    page = (tmp_path / "report.html").read_text()
    assert f"ganfast train: {model}" in page
    assert page.count("data:image/png") == 2
    with pytest.raises(FileExistsError, match="holds a run"):
        autoencoder.autoencode(config, tmp_path)


def test_a_killed_run_goes_on_to_the_same_bits(tmp_path, monkeypatch, few_digits):
    settings = {"model": "denoising-autoencoder", "steps": 9, "checkpoint_every": 3}
    config = AutoencoderConfig(**settings, latent_dim=8, log_every=2)
    assert autoencoder.autoencode(config, tmp_path / "whole")
    train = autoencoder.AutoencoderLoop._round

    def dies(loop):
        if loop.step == 5:
            raise SystemExit
        return train(loop)

    with monkeypatch.context() as patch:
        patch.setattr(autoencoder.AutoencoderLoop, "_round", dies)
        with pytest.raises(SystemExit):
            autoencoder.autoencode(config, tmp_path / "killed")
    with pytest.raises(FileExistsError, match="holds a run"):
        autoencoder.autoencode(config, tmp_path / "killed")
    torch.manual_seed(99)
    assert autoencoder.autoencode(config, tmp_path / "killed", resume=True)
    whole, killed = (tmp_path / name for name in ("whole", "killed"))
    for name in ("autoencoder.safetensors", "metrics.jsonl"):
        assert (whole / name).read_bytes() == (killed / name).read_bytes()
    other = AutoencoderConfig(**settings, latent_dim=8, log_every=2, lr=0.1)
    with pytest.raises(ValueError, match=r"made with lr=0\.001, this run has lr=0\.1"):
        autoencoder.autoencode(other, killed, resume=True)


def test_a_signal_saves_and_it_goes_on(tmp_path, monkeypatch, few_digits):
    config = AutoencoderConfig(steps=20, latent_dim=8)
    train = autoencoder.AutoencoderLoop._round

    def told(loop):
        if loop.step == 6:
            signal.raise_signal(signal.SIGTERM)
        return train(loop)

    with monkeypatch.context() as patch:
        patch.setattr(autoencoder.AutoencoderLoop, "_round", told)
        assert autoencoder.autoencode(config, tmp_path) is None
    assert checkpoint.load(tmp_path / "checkpoint.pt")["step"] == 7
    assert autoencoder.autoencode(config, tmp_path, resume=True)


def test_draws_have_the_codes_moments():
    torch.manual_seed(0)
    codes = torch.randn(500, 3) @ torch.tensor([[2.0, 1, 0], [0, 1, 0], [0, 0, 0]]) + 5
    drawn = sample_normal(codes, 100_000, seed=1).double()
    torch.testing.assert_close(drawn.mean(0), codes.double().mean(0), rtol=0, atol=0.05)
    torch.testing.assert_close(drawn.T.cov(), codes.double().T.cov(), rtol=0.05, atol=0.05)
    assert torch.equal(sample_normal(codes, 5, 1), sample_normal(codes, 5, 1))
    assert drawn[:, 2].std() < 1e-6  # a direction without spread has none


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"model": "vae"}, ValueError, "model must be one of autoencoder"),
        ({"steps": 0}, ValueError, "steps must be at least 1"),
        ({"lr": 0.0}, ValueError, "lr must be positive"),
        ({"latent_dim": 1.5}, TypeError, "latent_dim must be an int"),
    ],
)
def test_settings_are_checked(changes, error, message):
    with pytest.raises(error, match=message):
        AutoencoderConfig(**changes)
