"""R3GAN against its published sizes, the public code's numbers, and its initial weights."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ganfast import models
from ganfast.models import r3gan


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


#: Model, size, parameters of G and D, and billions of multiply-adds of either for one image.
PUBLISHED = [
    ("r3gan-768", 32, 20_732_160, 20_683_776, 7.0254),  # CIFAR-10, without class layers
    ("r3gan-768", 64, 22_429_824, 22_381_440, 13.0739),  # FFHQ-64
    ("r3gan-768", 256, 23_057_952, 23_009_568, 28.8292),  # FFHQ-256
    ("r3gan-1536", 32, 82_752_000, 82_655_232, 28.0887),  # ImageNet-32, without class layers
    ("r3gan-1536", 64, 103_408_128, 103_311_360, 112.6852),  # ImageNet-64, without class layers
    ("r3gan-128", 64, 912_064, 904_000, 0.5747),
    ("r3gan-256", 128, 3_032_768, 3_016_640, 2.9712),
    ("r3gan-384", 256, 6_326_544, 6_302_352, 8.9599),
]


@pytest.mark.parametrize(("name", "size", "of_g", "of_d", "macs"), PUBLISHED)
def test_sizes_are_the_published_ones(
    name: str, size: int, of_g: int, of_d: int, macs: float
) -> None:
    with torch.device("meta"):
        gan = models.create(name, channels=3, size=size)
        counts = []
        images = torch.randn(1, 64)
        for network in (gan.generator, gan.discriminator):
            with FlopCounterMode(display=False) as counter:
                images = network(images)
            counts.append(counter.get_total_flops() / 2e9)
    assert (parameters(gan.generator), parameters(gan.discriminator)) == (of_g, of_d)
    assert counts == pytest.approx([macs, macs], rel=1e-4)


def fill(module: nn.Module) -> None:
    """Set the weights to a closed form of their place, in the order of the parameters."""
    for k, p in enumerate(module.parameters()):
        i = torch.arange(p.numel(), dtype=torch.float64)
        fan = p[0].numel() if p.dim() > 1 else 100
        values = torch.sin(1.7 * i * i + k) * math.sqrt(2 / fan)
        with torch.no_grad():
            p.copy_(values.view(p.shape))


#: What the public code gives for these weights, in float32: a pixel of four images, the deviation
#: of all pixels, logits, squared norms of their gradients, and the norm of the penalty's gradient
#: with respect to the first convolution.
PUBLIC = [
    (
        32, 0, [-0.7891483, -0.7538484, -0.6771984, -0.7769135], 0.3538834,
        [0.3572555, 0.4315397, 0.03835, 0.3199173],
        [0.01183266, 0.01178998, 0.01397236, 0.01122046], 0.01325664,
    ),
    (
        64, 3, [0.4673079, 0.6187525, 0.4496417, 0.6104448], 0.8808557,
        [2.9257398, -1.2388213, -1.2380761, -1.0461371],
        [0.002986714, 0.001643353, 0.0019214, 0.001552311], 0.002797554,
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("size", "classes", "pixel", "spread", "logits", "squares", "slope"), PUBLIC
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_same_weights_give_the_public_codes_numbers(
    size: int,
    classes: int,
    pixel: list[float],
    spread: float,
    logits: list[float],
    squares: list[float],
    slope: float,
    layout: torch.memory_format,
    dtype: torch.dtype,
) -> None:
    widths = r3gan.widths_of(16, size)
    g = r3gan.Generator(widths, 3, size, classes=classes)
    d = r3gan.Discriminator(widths, 3, size, classes=classes)
    for module in (g, d):
        fill(module)
        module.to(dtype).to(memory_format=layout)
    i = torch.arange(4 * 64, dtype=torch.float64)
    latents = (1.4 * torch.sin(0.9 * i * i + 0.3)).view(4, 64).to(dtype)
    labels = (torch.tensor([0, 1, 2, 1]),) if classes else ()
    images = g(latents, *labels).detach().requires_grad_()

    def near(found: Tensor, expected: object) -> None:
        torch.testing.assert_close(
            found.double(), torch.tensor(expected).double(), rtol=1e-5, atol=1e-5 * spread
        )

    near(images[:, 0, 5, -3], pixel)
    near(images.std(), spread)
    found = d(images, *labels)
    near(found, logits)
    (gradient,) = torch.autograd.grad(found.sum(), images, create_graph=True)
    square = gradient.square().sum((1, 2, 3))
    near(square * 100, [100 * s for s in squares])
    (slopes,) = torch.autograd.grad(square.mean(), d.extraction.weight)
    near(slopes.norm() * 100, 100 * slope)


def test_widths_halve_above_the_widest_maps() -> None:
    assert r3gan.widths_of(768, 256) == [768] * 4 + [384, 192, 96]
    assert r3gan.widths_of(1536, 64, 64) == [1536] * 5
    assert r3gan.widths_of(64, 28) == [64] * 3


def test_the_first_weights() -> None:
    torch.manual_seed(0)
    widths = r3gan.widths_of(256, 32)
    g, d = r3gan.Generator(widths, classes=5), r3gan.Discriminator(widths, classes=5)
    total = 8
    for network in (g, d):
        blocks = [m for m in network.modules() if isinstance(m, r3gan._Block)]
        assert len(blocks) == total
        for block in blocks:
            first, _, second, _, last = block.layers
            assert second.groups == 2 * 256 // 16
            for layer, fan in ((first, 256), (second, 16 * 9)):
                gain = math.sqrt(2 / 1.04) * total ** (-1 / 4)
                assert float(layer.weight.detach().std()) == pytest.approx(
                    gain / fan**0.5, rel=0.02
                )
            assert not last.weight.any()
        x = torch.randn(2, 256, 8, 8)
        assert torch.equal(blocks[0](x), x)
    # The scale: the basis and the classes have deviations of 1 and 1 / sqrt(classes).
    assert float(g.basis.detach().std()) == pytest.approx(1, rel=0.05)
    assert float(g.embedding.weight.detach().std()) == pytest.approx(5**-0.5, rel=0.2)
    assert float(d.embedding.weight.detach().std()) == pytest.approx((5 * 256) ** -0.5, rel=0.1)
    images = g(torch.randn(64, 64), torch.arange(64) % 5)
    assert 0.2 < float(images.detach().std()) < 2  # nothing is normalized, and nothing explodes


def test_sigmoid_and_labels() -> None:
    torch.manual_seed(0)
    widths = r3gan.widths_of(16, 28)
    d = r3gan.Discriminator(widths, 1, 28, classes=3, sigmoid=True)
    x = torch.randn(4, 1, 28, 28)
    one, other = (d(x, torch.full((4,), label)) for label in (0, 1))
    assert not torch.equal(one, other)
    assert ((one > 0) & (one < 1)).all()


def test_half_precision_keeps_bf16_between_the_layers() -> None:
    torch.manual_seed(0)
    widths = r3gan.widths_of(16, 32)
    g, d = r3gan.Generator(widths), r3gan.Discriminator(widths)
    kinds = set()
    for network in (g, d):
        for module in network.modules():
            if isinstance(module, r3gan._Block | r3gan._Resampling | r3gan._Activation):
                module.register_forward_hook(lambda m, i, out: kinds.add(out.dtype))
    latents = torch.randn(4, 64)
    with torch.autocast("cpu", torch.bfloat16):
        images = g(latents)
        logits = d(images)
    assert kinds == {torch.bfloat16}
    expected = g(latents)
    assert (images - expected).abs().max() < 0.03 * expected.abs().max()
    assert logits.dtype == torch.bfloat16


def test_errors_name_what_is_wrong() -> None:
    with pytest.raises(ValueError, match=r"widths must hold 4 numbers for 32 pixels, got \[8\]"):
        r3gan.Generator([8])
    with pytest.raises(ValueError, match="widths must be multiples of 8, half of a group of 16"):
        r3gan.Discriminator([20] * 4)
    with pytest.raises(ValueError, match="size must be one of 28, 32, 64, 128, 256, got 48"):
        models.create("r3gan-64", size=48)
    with pytest.raises(ValueError, match="spectral_norm must be False for 'r3gan-64', got True"):
        models.create("r3gan-64", spectral_norm=True)
    with pytest.raises(TypeError, match="labels must be an int64 tensor, got NoneType"):
        models.create("cr3gan-64").generator(torch.zeros(2, 64))
