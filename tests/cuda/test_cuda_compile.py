"""The trainer's networks under torch.compile on a GPU."""

import warnings
from pathlib import Path

import pytest
import torch
from torch._dynamo.utils import counters

from ganfast.losses import AdversarialLoss
from ganfast.models import dcgan
from ganfast.train import Trainer, TrainOptions


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_compiled_networks_train_where_channels_last_is_asked_for(
    tmp_path: Path, precision: str
) -> None:
    torch.manual_seed(0)
    networks = dcgan.Generator(16, 8, 3, 64).cuda(), dcgan.Discriminator(8, 3, 64).cuda()
    options = TrainOptions(
        steps=2, latent_dim=16, compile=True, channels_last=True, precision=precision
    )
    data = [torch.rand(8, 3, 64, 64) * 2 - 1 for _ in range(2)]
    torch.compiler.reset()
    counters.clear()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*is not compiled")
        assert Trainer(*networks, data, AdversarialLoss("bce"), options, tmp_path).run()
    assert counters["stats"]["unique_graphs"] >= len(networks)
    for net in networks:
        assert all(parameter.isfinite().all() for parameter in net.parameters())
