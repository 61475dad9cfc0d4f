"""Vocoders: HiFi-GAN, BigVGAN, and RVC's and VITS' decoder."""

from collections.abc import Callable, Iterable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from bench.steps import networks
from bench.steps.trainer import Outputs, Trainer
from ganfast.compat import hifigan
from ganfast.losses import mel_filters

_RATE, _SIZE, _HOP, _MELS = 22_050, 1024, 256, 80
_SAMPLES = 8192


class _Block(nn.Module):
    """HiFi-GAN's residual block of version 3."""

    def __init__(self, width: int, kernel: int, dilations: tuple[int, int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv1d(width, width, kernel, 1, d * (kernel // 2), d)) for d in dilations
        )

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + layer(F.leaky_relu(x, 0.1))
        return x


class Decoder(nn.Module):
    """HiFi-GAN's generator, version 3: 256 samples for each frame."""

    def __init__(self, channels: int = _MELS, width: int = 256) -> None:
        super().__init__()
        self.first = weight_norm(nn.Conv1d(channels, width, 7, 1, 3))
        self.ups, self.blocks = nn.ModuleList(), nn.ModuleList()
        for rate, kernel in ((8, 16), (8, 16), (4, 8)):
            padding = (kernel - rate) // 2
            self.ups.append(
                weight_norm(nn.ConvTranspose1d(width, width // 2, kernel, rate, padding))
            )
            width //= 2
            dilated = ((3, (1, 2)), (5, (2, 6)), (7, (3, 12)))
            self.blocks.append(nn.ModuleList(_Block(width, k, d) for k, d in dilated))
        self.last = weight_norm(nn.Conv1d(width, 1, 7, 1, 3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for up, blocks in zip(self.ups, cast(Iterable[nn.ModuleList], self.blocks), strict=True):
            x = up(F.leaky_relu(x, 0.1))
            x = torch.stack([block(x) for block in blocks]).sum(0) / 3
        return torch.tanh(self.last(F.leaky_relu(x)))


def own_mel(x: Tensor, filters: Tensor) -> Tensor:
    """The logarithm of a mel spectrogram, as HiFi-GAN computes it; it looks at the samples, too."""
    if torch.min(x) < -1.0 or torch.max(x) > 1.0:
        x = x.clamp(-1, 1)
    window = torch.hann_window(_SIZE, dtype=x.dtype, device=x.device)
    x = F.pad(x, ((_SIZE - _HOP) // 2,) * 2, "reflect")[:, 0]
    found = torch.stft(x, _SIZE, _HOP, window=window, center=False, return_complex=True)
    magnitude = torch.sqrt(torch.view_as_real(found).pow(2).sum(-1) + 1e-9)
    return torch.log(torch.clamp(filters @ magnitude, min=1e-5))


class HiFiGAN(Trainer):
    """Least squares, feature matching and mel; nothing is frozen or detached."""

    def __init__(
        self,
        swapped: bool,
        discriminators: Callable[[], list[nn.Module]] | None = None,
        real_is_detached: bool = False,
    ) -> None:
        self.real_is_detached = real_is_detached
        self.generator = Decoder()
        self.discriminator = networks.Several((discriminators or _hifigan_discriminators)())
        self.audio = torch.rand(2, 1, _SAMPLES) * 2 - 1
        self.mel = torch.randn(2, _MELS, _SAMPLES // _HOP)
        self.filters = mel_filters(_RATE, _SIZE, _MELS).float()
        self.real_mel = own_mel(self.audio, self.filters)  # of the data set

    def generate(self) -> Outputs:
        return self.generator(self.mel)

    def criticize(self, fakes: Outputs) -> Outputs:
        return self.discriminator(self.audio), self.discriminator(fakes)

    def judge(self, fakes: Outputs) -> Outputs:
        return fakes, self.discriminator(self.audio), self.discriminator(fakes)

    def own_discriminator(self, outputs: Outputs) -> Tensor:
        loss = self.audio.new_zeros(())
        logged = []
        for real, fake in zip(*outputs, strict=True):
            of_real, of_fake = torch.mean((1 - real[-1]) ** 2), torch.mean(fake[-1] ** 2)
            loss = loss + of_real + of_fake
            logged += [of_real.item(), of_fake.item()]
        return loss

    def own_generator(self, outputs: Outputs) -> Tensor:
        fake, of_real, of_fake = outputs
        mel = F.l1_loss(self.real_mel, own_mel(fake, self.filters)) * 45
        matching = adversarial = mel.new_zeros(())
        for real_maps, fake_maps in zip(of_real, of_fake, strict=True):
            for real, generated in zip(real_maps, fake_maps, strict=True):
                real = real.detach() if self.real_is_detached else real
                matching = matching + torch.mean(torch.abs(real - generated))
            adversarial = adversarial + torch.mean((1 - fake_maps[-1]) ** 2)
        return adversarial + 2 * matching + mel

    def discriminator_loss(self, outputs: Outputs) -> Tensor:
        real, fake = ([maps[-1] for maps in of] for of in outputs)
        return hifigan.discriminator_loss(real, fake)[0]

    def generator_loss(self, outputs: Outputs) -> Tensor:
        fake, of_real, of_fake = outputs
        mel = hifigan.mel_spectrogram(fake[:, 0], _SIZE, _MELS, _RATE, _HOP, _SIZE, 0)
        adversarial, _ = hifigan.generator_loss([maps[-1] for maps in of_fake])
        matching = hifigan.feature_loss(of_real, of_fake)
        return adversarial + matching + F.l1_loss(self.real_mel, mel) * 45


def _hifigan_discriminators() -> list[nn.Module]:
    return [*_periods((2, 3, 5, 7, 11)), *(networks.ScaleDiscriminator(k) for k in range(3))]


def _periods(periods: Sequence[int]) -> list[nn.Module]:
    return [networks.PeriodDiscriminator(period) for period in periods]


def bigvgan(swapped: bool) -> HiFiGAN:
    """Periods and spectrograms of three resolutions; HiFi-GAN's losses and step."""
    sizes = (1024, 2048, 512)
    return HiFiGAN(
        swapped,
        lambda: [
            *_periods((2, 3, 5, 7, 11)),
            *(networks.SpectrogramDiscriminator(size) for size in sizes),
        ],
    )


def rvc(swapped: bool) -> HiFiGAN:
    """Six periods and one scale, features of real samples detached after the fact."""
    return HiFiGAN(
        swapped,
        lambda: [networks.ScaleDiscriminator(0), *_periods((2, 3, 5, 7, 11, 17))],
        real_is_detached=True,
    )
