"""Networks that several trainers share, to the shapes of their papers."""

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

Features = list[Tensor]


class Layers(nn.ModuleList):
    """Layers in a row, with a leaky ReLU after each but the last; all results, logits last."""

    def __init__(self, layers: Sequence[nn.Module], slope: float = 0.1) -> None:
        super().__init__(layers)
        self.slope = slope

    def forward(self, x: Tensor) -> Features:
        found = []
        for k, layer in enumerate(self):
            x = layer(x)
            if k < len(self) - 1:
                x = F.leaky_relu(x, self.slope)
            found.append(x)
        return found


class PeriodDiscriminator(nn.Module):
    """HiFi-GAN's, for one period."""

    def __init__(self, period: int) -> None:
        super().__init__()
        self.period = period
        widths = (1, 32, 128, 512, 1024)
        layers: list[nn.Module] = [
            weight_norm(nn.Conv2d(a, b, (5, 1), (3, 1), (2, 0)))
            for a, b in itertools.pairwise(widths)
        ]
        layers += [
            weight_norm(nn.Conv2d(1024, 1024, (5, 1), 1, (2, 0))),
            weight_norm(nn.Conv2d(1024, 1, (3, 1), 1, (1, 0))),
        ]
        self.layers = Layers(layers)

    def forward(self, x: Tensor) -> Features:
        x = F.pad(x, (0, -x.shape[-1] % self.period), "reflect")
        x = x.view(*x.shape[:-1], -1, self.period)
        found: Features = self.layers(x)
        return found


class ScaleDiscriminator(nn.Module):
    """HiFi-GAN's, for waveforms averaged over a factor."""

    def __init__(self, poolings: int) -> None:
        super().__init__()
        norm = weight_norm if poolings else spectral_norm
        self.poolings = poolings
        self.layers = Layers(
            [
                norm(nn.Conv1d(a, b, kernel, stride, kernel // 2, groups=groups))
                for a, b, kernel, stride, groups in (
                    (1, 128, 15, 1, 1),
                    (128, 128, 41, 2, 4),
                    (128, 256, 41, 2, 16),
                    (256, 512, 41, 4, 16),
                    (512, 1024, 41, 4, 16),
                    (1024, 1024, 41, 1, 16),
                    (1024, 1024, 5, 1, 1),
                    (1024, 1, 3, 1, 1),
                )
            ]
        )

    def forward(self, x: Tensor) -> Features:
        for _ in range(self.poolings):
            x = F.avg_pool1d(x, 4, 2, 2)
        found: Features = self.layers(x)
        return found


class SpectrogramDiscriminator(nn.Module):
    """UnivNet's and BigVGAN's, on magnitudes of one resolution; or DAC's, on complex numbers."""

    def __init__(self, size: int, complex_numbers: bool = False) -> None:
        super().__init__()
        self.size, self.complex = size, complex_numbers
        first = 2 if complex_numbers else 1
        shapes = [(first, (3, 9), 1)] + 3 * [(32, (3, 9), 2)] + [(32, (3, 3), 1)]
        layers: list[nn.Module] = [
            weight_norm(nn.Conv2d(a, 32, kernel, (1, stride), (1, kernel[1] // 2)))
            for a, kernel, stride in shapes
        ]
        self.layers = Layers([*layers, weight_norm(nn.Conv2d(32, 1, 3, 1, 1))])

    def forward(self, x: Tensor) -> Features:
        window = torch.hann_window(self.size, dtype=x.dtype, device=x.device)
        spectrum = torch.stft(
            x[:, 0], self.size, self.size // 4, window=window, return_complex=True
        ).transpose(1, 2)
        if self.complex:
            planes = torch.stack([spectrum.real, spectrum.imag], 1)
        else:
            planes = torch.sqrt(torch.view_as_real(spectrum).square().sum(-1) + 1e-9)[:, None]
        found: Features = self.layers(planes)
        return found


class Several(nn.ModuleList):
    """Discriminators of the same input."""

    def forward(self, x: Tensor) -> list[Features]:
        return [discriminator(x) for discriminator in self]


class PatchDiscriminator(nn.Module):
    """pix2pix's, of 70 x 70 patches."""

    def __init__(self, channels: int, width: int = 64, norm: type[nn.Module] = nn.BatchNorm2d):
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1)]
        for a, b, stride in ((1, 2, 2), (2, 4, 2), (4, 8, 1)):
            layers.append(
                nn.Sequential(nn.Conv2d(a * width, b * width, 4, stride, 1), norm(b * width))
            )
        self.layers = Layers([*layers, nn.Conv2d(8 * width, 1, 4, 1, 1)], 0.2)

    def forward(self, x: Tensor) -> Features:
        found: Features = self.layers(x)
        return found


class ResidualBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 3, 1, 1), nn.InstanceNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1), nn.InstanceNorm2d(width),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.layers(x)
        return y


def translator(blocks: int, width: int = 64, channels: int = 3) -> nn.Sequential:
    """CycleGAN's residual generator; with 4 halvings and 9 blocks pix2pixHD's is alike."""
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 7, 1, 3), nn.InstanceNorm2d(width)]
    layers.append(nn.ReLU())
    for a, b in ((1, 2), (2, 4)):
        layers += [nn.Conv2d(a * width, b * width, 3, 2, 1), nn.InstanceNorm2d(b * width)]
        layers.append(nn.ReLU())
    layers += [ResidualBlock(4 * width) for _ in range(blocks)]
    for a, b in ((4, 2), (2, 1)):
        layers += [nn.ConvTranspose2d(a * width, b * width, 3, 2, 1, 1)]
        layers += [nn.InstanceNorm2d(b * width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(width, 3, 7, 1, 3), nn.Tanh())


class UNet(nn.Module):
    """pix2pix's generator."""

    def __init__(self, channels: int, levels: int, width: int = 64) -> None:
        super().__init__()
        widths = [min(8, 2**k) * width for k in range(levels)]
        self.down = nn.ModuleList(
            nn.Conv2d(a, b, 4, 2, 1) for a, b in zip([channels, *widths], widths, strict=False)
        )
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(a * (1 if k == levels - 1 else 2), b, 4, 2, 1)
            for k, (a, b) in reversed(list(enumerate(zip(widths, [3, *widths], strict=False))))
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(w) for w in widths[1:-1])
        self.up_norms = nn.ModuleList(nn.BatchNorm2d(w) for w in reversed(widths[:-1]))

    def forward(self, x: Tensor) -> Tensor:
        kept: list[Tensor] = []
        for k, layer in enumerate(self.down):
            x = layer(F.leaky_relu(x, 0.2) if k else x)
            if 0 < k <= len(self.norms):
                x = self.norms[k - 1](x)
            kept.append(x)
        for k, layer in enumerate(self.up):
            x = layer(F.relu(x if k == 0 else torch.cat([x, kept[-1 - k]], 1)))
            if k < len(self.up_norms):
                x = self.up_norms[k](x)
        return torch.tanh(x)


class Perception(nn.Module):
    """VGG-16's five stages, as LPIPS reads them."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        before = 3
        for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
            layers: list[nn.Module] = [nn.MaxPool2d(2)] if len(self.stages) else []
            for _ in range(count):
                layers += [nn.Conv2d(before, width, 3, 1, 1), nn.ReLU()]
                before = width
            self.stages.append(nn.Sequential(*layers))
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> Features:
        found = []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found


def perceptual_distance(real: Features, fake: Features) -> Tensor:
    """LPIPS with weights of 1."""
    total = real[0].new_zeros(())
    for r, f in zip(real, fake, strict=True):
        r, f = (t / (t.square().sum(1, keepdim=True).sqrt() + 1e-10) for t in (r, f))
        total = total + (r - f).square().sum(1).mean()
    return total
