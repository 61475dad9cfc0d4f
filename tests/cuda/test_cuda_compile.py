"""The trainer's networks under torch.compile on a GPU."""

import warnings
from pathlib import Path

import pytest
import torch

from ganfast.losses import AdversarialLoss
from ganfast.models import dcgan
from ganfast.train import Trainer, TrainOptions


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_compiled_networks_train_where_channels_last_is_asked_for(
    tmp_path: Path, precision: str
) -> None:
    torch.manual_seed(0)
    networks = dcgan.Generator(16, 8, 3, 64).cuda(), dcgan.Discriminator(8, 3, 64).cuda()
    before = [[p.clone() for p in net.parameters()] for net in networks]
    options = TrainOptions(
        steps=2, latent_dim=16, compile=True, channels_last=True, precision=precision
    )
    data = [torch.rand(8, 3, 64, 64) * 2 - 1 for _ in range(2)]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*is not compiled")
        assert Trainer(*networks, data, AdversarialLoss("bce"), options, tmp_path).run()
    for net, old in zip(networks, before, strict=True):
        for parameter, was in zip(net.parameters(), old, strict=True):
            assert parameter.isfinite().all()
            assert not torch.equal(parameter, was)
