"""CycleGAN's residual generator and PatchGAN discriminator (Zhu et al. 2017, arXiv:1703.10593)."""

from torch import Tensor, nn

from ganfast.models.common import start_dcgan


class Generator(nn.Module):
    """Map images (N, inputs, H, W) to images (N, outputs, H, W) in [-1, 1].

    H and W are multiples of 4.

    Args:
        inputs, outputs: channels of the two domains.
        width: channels of the largest maps; 64 in the paper.
        blocks: residual blocks; in the paper 9 from 256 pixels on, 6 below.
    """

    def __init__(self, inputs: int = 3, outputs: int = 3, width: int = 64, blocks: int = 9) -> None:
        super().__init__()
        self.inputs = inputs
        self.layers = nn.Sequential(
            nn.ReflectionPad2d(3),
            nn.Conv2d(inputs, width, 7),
            *_normed(width),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            *_normed(2 * width),
            nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1),
            *_normed(4 * width),
            *(_Residual(4 * width) for _ in range(blocks)),
            nn.ConvTranspose2d(4 * width, 2 * width, 3, stride=2, padding=1, output_padding=1),
            *_normed(2 * width),
            nn.ConvTranspose2d(2 * width, width, 3, stride=2, padding=1, output_padding=1),
            *_normed(width),
            nn.ReflectionPad2d(3),
            nn.Conv2d(width, outputs, 7),
            nn.Tanh(),
        )
        self.apply(start_dcgan)

    def forward(self, images: Tensor) -> Tensor:
        multiples = all(side % 4 == 0 for side in images.shape[2:])
        if images.dim() != 4 or images.shape[1] != self.inputs or not multiples:
            raise ValueError(
                f"images must have shape (N, {self.inputs}, H, W) with H and W multiples of 4, "
                f"got {tuple(images.shape)}"
            )
        out: Tensor = self.layers(images)
        return out


class Discriminator(nn.Module):
    """Map images (N, channels, H, W) to a map of logits, one for each patch.

    Args:
        channels: channels of the images.
        width: channels of the largest maps; 64 in the paper.
        depth: strided layers; 3 make patches of 70 pixels, 2 of 34, 1 of 16.
        sigmoid: return probabilities instead of logits.
    """

    def __init__(
        self, channels: int = 3, width: int = 64, depth: int = 3, sigmoid: bool = False
    ) -> None:
        super().__init__()
        self.channels = channels
        layers: list[nn.Module] = [
            nn.Conv2d(channels, width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
        ]
        inner = width
        for k in range(1, depth + 1):
            outer = width * min(2**k, 8)
            layers += [
                nn.Conv2d(inner, outer, 4, stride=2 if k < depth else 1, padding=1),
                nn.InstanceNorm2d(outer),
                nn.LeakyReLU(0.2, inplace=True),
            ]
            inner = outer
        layers.append(nn.Conv2d(inner, 1, 4, padding=1))
        if sigmoid:
            layers.append(nn.Sigmoid())
        self.layers = nn.Sequential(*layers)
        self.apply(start_dcgan)

    def forward(self, images: Tensor) -> Tensor:
        if images.dim() != 4 or images.shape[1] != self.channels:
            raise ValueError(
                f"images must have shape (N, {self.channels}, H, W), got {tuple(images.shape)}"
            )
        logits: Tensor = self.layers(images)
        return logits


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(width, width, 3),
            *_normed(width),
            nn.ReflectionPad2d(1),
            nn.Conv2d(width, width, 3),
            nn.InstanceNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.layers(x)
        return out


def _normed(width: int) -> list[nn.Module]:
    return [nn.InstanceNorm2d(width), nn.ReLU(inplace=True)]
