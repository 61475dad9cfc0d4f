"""Autoencoders fit the GANs that start from them; noise in training alone."""

import pytest
import torch

from ganfast.models import autoencoder, dcgan
from ganfast.models.classifier import Classifier


@pytest.mark.parametrize(
    "net",
    [
        autoencoder.Autoencoder(12),
        autoencoder.ConvAutoencoder(12),
        autoencoder.Denoising(autoencoder.ConvAutoencoder(12, size=28)),
    ],
    ids=["dense", "conv", "denoising"],
)
def test_shapes_ranges_and_gradients(net):
    torch.manual_seed(0)
    images = torch.rand(5, 1, 28, 28) * 2 - 1
    assert net.encoder(images).shape == (5, 12)
    decoded = net(images)
    assert decoded.shape == images.shape
    assert decoded.abs().max() <= 1
    (decoded - images).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad.abs().sum() > 0, name
    with pytest.raises(ValueError, match=r"got \(5, 1, 20, 28\)"):
        net(images[:, :, :20])


def test_the_convolutional_one_fits_a_dcgan():
    net = autoencoder.ConvAutoencoder()
    dcgan.Generator().load_state_dict(net.decoder.state_dict())
    mine, theirs = net.encoder.state_dict(), dcgan.Discriminator().state_dict()
    differ = [key for key in theirs if mine[key].shape != theirs[key].shape]
    assert mine.keys() == theirs.keys()
    assert differ == ["layers.5.weight", "layers.5.bias"]  # codes in place of one logit


def test_noise_in_training_alone():
    torch.manual_seed(0)
    inner = autoencoder.Autoencoder(4)
    net = autoencoder.Denoising(inner, sigma=0.5)
    images = torch.rand(3, 1, 28, 28)
    seen = []
    inner.encoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    net(images), net(images), net.eval()(images)
    assert not torch.equal(seen[0], seen[1])
    assert torch.equal(seen[2], images)
    noise = torch.cat([seen[0] - images, seen[1] - images])
    assert noise.std().item() == pytest.approx(0.5, rel=5 / (2 * noise.numel()) ** 0.5)
    with pytest.raises(ValueError, match="sigma must be positive, got 0"):
        autoencoder.Denoising(inner, 0)


@pytest.mark.parametrize(("classes", "channels", "size"), [(10, 1, 28), (3, 2, 32)])
def test_the_classifier(classes, channels, size):
    net = Classifier(classes, 4, channels, size)
    assert net(torch.randn(6, channels, size, size)).shape == (6, classes)
    with pytest.raises(ValueError, match="images must have shape"):
        net(torch.randn(6, channels, size + 1, size))
