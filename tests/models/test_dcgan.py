"""Shapes, ranges, the paper's start, and gradients that reach every weight."""

import pytest
import torch
from torch import nn

from ganfast.models import dcgan


@pytest.mark.parametrize(("latent_dim", "width", "channels"), [(64, 32, 1), (5, 2, 3)])
def test_shapes_ranges_and_gradients(latent_dim, width, channels):
    torch.manual_seed(0)
    generator = dcgan.Generator(latent_dim, width, channels)
    discriminator = dcgan.Discriminator(width, channels)
    images = generator(torch.randn(6, latent_dim))
    assert images.shape == (6, channels, 28, 28)
    assert images.abs().max() <= 1
    logits = discriminator(images)
    assert logits.shape == (6,)
    logits.square().sum().backward()
    for module in (generator, discriminator):
        for name, parameter in module.named_parameters():
            assert parameter.grad.abs().sum() > 0, name


@torch.no_grad()
def test_the_start_is_the_papers():
    torch.manual_seed(0)
    for module in (dcgan.Generator(), dcgan.Discriminator()):
        for part in module.modules():
            if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
                n = part.weight.numel()
                assert abs(part.weight.mean()) < 5 * 0.02 / n**0.5
                assert part.weight.std().item() == pytest.approx(0.02, rel=5 / (2 * n) ** 0.5)
                assert part.bias is None or not part.bias.any()
            elif isinstance(part, nn.BatchNorm2d):
                assert part.weight.mean().item() == pytest.approx(
                    1, abs=5 * 0.02 / len(part.weight) ** 0.5
                )
                assert not part.bias.any()


def test_logits_are_not_squashed():
    discriminator = dcgan.Discriminator(2)
    with torch.no_grad():
        discriminator.layers[-2].weight.mul_(1e4)
    assert discriminator(torch.rand(8, 1, 28, 28)).abs().max() > 1


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(N, 64\), got \(2, 63\)"):
        dcgan.Generator()(torch.zeros(2, 63))
    with pytest.raises(ValueError, match=r"\(N, 1, 28, 28\), got \(2, 1, 32, 32\)"):
        dcgan.Discriminator()(torch.zeros(2, 1, 32, 32))
