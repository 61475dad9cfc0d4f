"""Every GAN of the registry: shapes, ranges, gradients, parameter counts, and errors."""

import pytest
import torch
from torch import nn

from ganfast import models
from ganfast.models import conditional, cyclegan, dcgan, mlp, sngan


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


#: Those that are not R3GANs of other widths.
CHEAP = [name for name in models.GANS if "r3gan" not in name or name.endswith("-64")]


def calls(gan, n):
    """Arguments that both networks take after their first."""
    return (torch.arange(n) % gan.classes,) if gan.classes else ()


@pytest.mark.parametrize(
    ("name", "size"),
    [
        (name, size)
        for name in CHEAP
        for size in (28, 32, 64, 128, 256)
        if (size == 28 or name != "sngan") and (size < 256 or name == "r3gan-64")
    ],
)
def test_a_gan_fits_itself(name, size):
    torch.manual_seed(0)
    gan = models.create(name, channels=2, size=size)
    images = gan.generator(torch.randn(6, gan.latent_dim), *calls(gan, 6))
    assert images.shape == (6, 2, size, size)
    assert "r3gan" in name or images.abs().max() <= 1
    logits = gan.discriminator(images, *calls(gan, 6))
    assert logits.shape == (6,)
    logits.square().sum().backward()
    for module in (gan.generator, gan.discriminator):
        for key, parameter in module.named_parameters():
            # Of a block that starts as the identity only the last layer learns at first.
            waits = "r3gan" in name and ".layers." in key and not key.endswith(".4.weight")
            assert waits or parameter.grad.abs().sum() > 0, key


@pytest.mark.parametrize("name", CHEAP)
def test_a_sigmoid_is_that_of_the_logits(name):
    x = torch.rand(5, 1, 28, 28) * 2 - 1
    outputs = []
    for sigmoid in (False, True):
        torch.manual_seed(3)
        gan = models.create(name, sigmoid=sigmoid)
        torch.manual_seed(4)  # for dropout
        outputs.append(gan.discriminator(x, *calls(gan, 5)))
    torch.testing.assert_close(outputs[1], outputs[0].sigmoid())


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        # PyTorch's own DCGAN example, which has no bias in the last layer of G and at D's ends.
        (dcgan.Generator(100, 64, 3, 64), 3_576_704 + 3),
        (dcgan.Discriminator(64, 3, 64), 2_765_568 + 64 + 1),
        # As the networks' own repository prints them, in millions 11.378 and 2.765.
        (cyclegan.Generator(), 11_378_179),
        (cyclegan.Discriminator(), 2_764_737),
        # PyTorch's MNIST example.
        (models.classifier.Classifier(), 1_199_882),
        # Added up from the paper's tables: linear, three blocks, the end.
        (
            sngan.Generator(),
            128 * 4096
            + 4096
            + 3 * (2 * (9 * 256**2 + 256) + 256**2 + 256 + 4 * 256)
            + 2 * 256
            + 9 * 256 * 3
            + 3,
        ),
        (
            sngan.Discriminator(),
            (27 * 128 + 128 + 9 * 128**2 + 128 + 3 * 128 + 128)
            + 3 * 2 * (9 * 128**2 + 128)
            + 128**2
            + 128
            + 129,
        ),
        (mlp.Generator(), 101 * 256 + 257 * 512 + 513 * 1024 + 1025 * 784),
        (mlp.Discriminator(), 785 * 1024 + 1025 * 512 + 513 * 256 + 257),
        (models.create("mlp-256").generator, 101 * 128 + 129 * 256 + 257 * 784),
        (models.create("mlp-128").generator, 101 * 128 + 129 * 784),
        (models.create("mlp-128").discriminator, 785 * 128 + 129),
    ],
    ids=lambda value: None if isinstance(value, nn.Module) else str(value),
)
def test_parameter_counts_are_those_of_the_known_architectures(module, expected):
    assert count(module) == expected


def test_sngan_at_the_papers_size():
    images = sngan.Generator(8, 4)(torch.randn(2, 8))
    assert images.shape == (2, 3, 32, 32)
    assert sngan.Discriminator(4)(images).shape == (2,)
    assert sngan.Generator(8, 4, 1, 64)(torch.randn(2, 8)).shape == (2, 1, 64, 64)


def test_the_shortcut_is_convolved_before_it_is_doubled():
    """1 x 1 after doubling, as the paper draws it, gives the same."""
    torch.manual_seed(0)
    block = sngan._Up(3, 4)
    x = torch.randn(2, 3, 5, 5)
    doubled = nn.functional.interpolate(x, scale_factor=2.0)
    torch.testing.assert_close(sngan._doubled(block.shortcut(x)), block.shortcut(doubled))


def test_the_patch_of_the_patch_discriminator():
    """One logit sees 70 pixels: the gradient says which."""
    discriminator = cyclegan.Discriminator(1, 4)
    for module in discriminator.modules():  # its statistics reach over the whole image
        if isinstance(module, nn.InstanceNorm2d):
            module.forward = lambda x: x
    image = torch.randn(1, 1, 128, 128, requires_grad=True)
    logits = discriminator(image)
    assert logits.shape == (1, 1, 14, 14)
    (gradient,) = torch.autograd.grad(logits[0, 0, 7, 7], image)
    seen = gradient[0, 0].abs() > 0
    assert (seen.any(0).sum(), seen.any(1).sum()) == (70, 70)


def test_the_cycle_generator_keeps_the_size():
    generator = cyclegan.Generator(1, 2, width=4, blocks=1)
    assert generator(torch.zeros(2, 1, 28, 32)).shape == (2, 2, 28, 32)
    with pytest.raises(ValueError, match=r"multiples of 4, got \(2, 1, 30, 32\)"):
        generator(torch.zeros(2, 1, 30, 32))
    with pytest.raises(ValueError, match=r"\(N, 3, H, W\), got \(2, 1, 32, 32\)"):
        cyclegan.Discriminator()(torch.zeros(2, 1, 32, 32))


def test_labels_matter_to_both_networks():
    torch.manual_seed(0)
    gan = models.create("cdcgan")
    gan.generator.eval(), gan.discriminator.eval()
    z, zeros, ones = torch.randn(4, 64), torch.zeros(4).long(), torch.ones(4).long()
    assert not torch.equal(gan.generator(z, zeros), gan.generator(z, ones))
    x = gan.generator(z, zeros)
    assert not torch.equal(gan.discriminator(x, zeros), gan.discriminator(x, ones))


def test_the_projection_is_the_papers():
    torch.manual_seed(0)
    d = conditional.Discriminator(classes=3, width=4, features=5).eval()
    x, y = torch.randn(7, 1, 28, 28), torch.arange(7) % 3
    phi = d.activation(d.body(x))
    expected = phi @ d.linear.weight[0] + d.linear.bias + (phi * d.projection.weight[y]).sum(1)
    torch.testing.assert_close(d(x, y), expected)


def test_errors_name_what_is_wrong():
    with pytest.raises(ValueError, match="did you mean 'dcgan'"):
        models.create("dcgn")
    with pytest.raises(ValueError, match="size must be one of 28, 32, 64, 128, 256, got 30"):
        models.create("dcgan", size=30)
    with pytest.raises(ValueError, match="classes must be at least 1 for 'cdcgan', got 0"):
        models.create("cdcgan", classes=0)
    gan = models.create("cdcgan")
    with pytest.raises(TypeError, match="labels must be an int64 tensor, got NoneType"):
        gan.generator(torch.zeros(2, 64), None)
    with pytest.raises(TypeError, match=r"got torch\.float32"):
        gan.discriminator(torch.zeros(2, 1, 28, 28), torch.zeros(2))
    with pytest.raises(ValueError, match=r"labels must have shape \(2,\), got \(3,\)"):
        gan.generator(torch.zeros(2, 64), torch.zeros(3).long())
    with pytest.raises(ValueError, match=r"\(N, 100\), got \(2, 99\)"):
        mlp.Generator()(torch.zeros(2, 99))
    with pytest.raises(ValueError, match=r"\(N, 1, 28, 28\), got \(2, 784\)"):
        mlp.Discriminator()(torch.zeros(2, 784))
