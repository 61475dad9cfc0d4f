"""Codecs and tokenizers: DAC, VQGAN, and a 1-D tokenizer."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from bench.steps import networks
from bench.steps.trainer import Outputs, Trainer
from ganfast.compat import dac
from ganfast.losses import (
    AdversarialLoss,
    LeCam,
    adaptive_weight_loss,
    feature_matching,
    mel_filters,
    one_pass,
)

_SCALES = ((2048, 320), (1024, 160), (512, 80), (256, 40), (128, 20), (64, 10), (32, 5))


class _Snake(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + (self.alpha * x).sin().square() / (self.alpha + 1e-9)


class _Unit(nn.Module):
    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _Snake(width), weight_norm(nn.Conv1d(width, width, 7, 1, 3 * dilation, dilation)),
            _Snake(width), weight_norm(nn.Conv1d(width, width, 1)),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.layers(x)
        return y


def codec(width: int, rates: tuple[int, ...]) -> nn.Sequential:
    """DAC's encoder and decoder, with widths that double and halve; no codebooks."""
    layers: list[nn.Module] = [weight_norm(nn.Conv1d(1, width, 7, 1, 3))]
    for rate in rates:
        layers += [_Unit(width, d) for d in (1, 3, 9)]
        layers += [
            _Snake(width),
            weight_norm(nn.Conv1d(width, 2 * width, 2 * rate, rate, rate // 2)),
        ]
        width *= 2
    for rate in reversed(rates):
        layers += [
            _Snake(width),
            weight_norm(nn.ConvTranspose1d(width, width // 2, 2 * rate, rate, rate // 2)),
        ]
        width //= 2
        layers += [_Unit(width, d) for d in (1, 3, 9)]
    return nn.Sequential(
        *layers, _Snake(width), weight_norm(nn.Conv1d(width, 1, 7, 1, 3)), nn.Tanh()
    )


class DAC(Trainer):
    """Least squares, feature matching and mels of seven scales, at a third of the codec's width."""

    import_freezes = True

    def __init__(self, swapped: bool) -> None:
        self.swapped = swapped
        self.generator = codec(24, (2, 4, 8, 8))
        self.discriminator = networks.Several(
            [
                *(networks.PeriodDiscriminator(period) for period in (2, 3, 5, 7, 11)),
                *(networks.SpectrogramDiscriminator(size, True) for size in (2048, 1024, 512)),
            ]
        )
        self.audio = torch.rand(1, 1, 8192) * 2 - 1
        self.filters = {size: mel_filters(44_100, size, mels).float() for size, mels in _SCALES}
        self.mels = dac.MelSpectrogramLoss(
            n_mels=[mels for _, mels in reversed(_SCALES)],
            window_lengths=[size for size, _ in reversed(_SCALES)],
            mel_fmin=[0] * 7,
            mel_fmax=[None] * 7,
            pow=1.0,
            mag_weight=0.0,
            clamp_eps=1e-5,
        )

    def generate(self) -> Outputs:
        return self.generator(self.audio)

    def criticize(self, fakes: Outputs) -> Outputs:
        if self.swapped:
            return one_pass(self.discriminator, self.audio, fakes)[::-1]
        return self.discriminator(fakes), self.discriminator(self.audio)

    def judge(self, fakes: Outputs) -> Outputs:
        return fakes, self.discriminator(fakes), self.discriminator(self.audio)

    def own_discriminator(self, outputs: Outputs) -> Tensor:
        loss = self.audio.new_zeros(())
        for fake, real in zip(*outputs, strict=True):
            loss = loss + torch.mean(fake[-1] ** 2) + torch.mean((1 - real[-1]) ** 2)
        return loss

    def own_generator(self, outputs: Outputs) -> Tensor:
        fake, of_fake, of_real = outputs
        adversarial = matching = mel = fake.new_zeros(())
        for x in of_fake:
            adversarial = adversarial + torch.mean((1 - x[-1]) ** 2)
        for of_f, of_r in zip(of_fake, of_real, strict=True):
            for f, r in zip(of_f[:-1], of_r[:-1], strict=True):
                matching = matching + F.l1_loss(f, r.detach())
        for size, _ in _SCALES:
            fake_mel, real_mel = (self._mel(x, size) for x in (fake, self.audio))
            mel = mel + F.l1_loss(fake_mel.clamp(1e-5).log10(), real_mel.clamp(1e-5).log10())
        loss: Tensor = adversarial + 2 * matching + 15 * mel
        return loss

    def _mel(self, x: Tensor, size: int) -> Tensor:
        window = torch.hann_window(size, dtype=x.dtype, device=x.device)
        found = torch.stft(x[:, 0], size, size // 4, window=window, return_complex=True)
        filters = self.filters[size].to(x)
        return filters @ found.abs()

    def discriminator_loss(self, outputs: Outputs) -> Tensor:
        return AdversarialLoss("least_squares").discriminator(outputs[1], outputs[0])

    def generator_loss(self, outputs: Outputs) -> Tensor:
        fake, of_fake, of_real = outputs
        adversarial = AdversarialLoss("least_squares").generator(of_fake)
        matching = feature_matching(
            [maps[:-1] for maps in of_real], [maps[:-1] for maps in of_fake], weight=2.0
        )
        loss: Tensor = adversarial + matching + 15 * self.mels(_Signal(fake), _Signal(self.audio))
        return loss


class _Signal:
    """What DAC's losses read of an audiotools signal."""

    def __init__(self, audio: Tensor) -> None:
        self.audio_data, self.sample_rate = audio, 44_100


class _Residual(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(32, before), nn.SiLU(), nn.Conv2d(before, after, 3, 1, 1),
            nn.GroupNorm(32, after), nn.SiLU(), nn.Conv2d(after, after, 3, 1, 1),
        )  # fmt: skip
        self.skip = nn.Identity() if before == after else nn.Conv2d(before, after, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.skip(x) + self.layers(x)
        return y


class Autoencoder(nn.Module):
    """VQGAN's encoder and decoder, with a residual block a level and no attention or codebook."""

    def __init__(self, width: int = 64, factors: tuple[int, ...] = (1, 2, 2, 4)) -> None:
        super().__init__()
        down: list[nn.Module] = [nn.Conv2d(3, width, 3, 1, 1)]
        before = width
        for factor in factors:
            down += [_Residual(before, factor * width)]
            before = factor * width
            down += [nn.Conv2d(before, before, 3, 2, 1)]
        up: list[nn.Module] = []
        for factor in reversed(factors):
            up += [nn.Upsample(scale_factor=2), nn.Conv2d(before, before, 3, 1, 1)]
            up += [_Residual(before, factor * width)]
            before = factor * width
        self.layers = nn.Sequential(*down, *up, nn.GroupNorm(32, before), nn.SiLU())
        self.last = nn.Conv2d(before, 3, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(self.layers(x))
        return y


class VQGAN(Trainer):
    """Hinge, L1 and LPIPS, weighted by their gradients at the last layer.

    Lightning freezes each network in the other's half and runs the autoencoder in both; the
    project's loss measures the reconstruction in both, too.
    """

    freezes = True

    def __init__(self, swapped: bool) -> None:
        self.generator = Autoencoder()
        self.discriminator = networks.PatchDiscriminator(3)
        self.perception = networks.Perception()
        self.images = torch.rand(2, 3, 64, 64) * 2 - 1

    def modules(self) -> list[nn.Module]:
        return [*super().modules(), self.perception]

    def generate(self) -> Outputs:
        with torch.no_grad():
            return self.generator(self.images)

    def regenerate(self, fakes: Outputs) -> Outputs:
        return self.generator(self.images)

    def criticize(self, fakes: Outputs) -> Outputs:
        return fakes, self.discriminator(self.images)[-1], self.discriminator(fakes)[-1]

    def judge(self, fakes: Outputs) -> Outputs:
        return fakes, *self._features(fakes), self.discriminator(fakes)[-1]

    def _features(self, fakes: Tensor) -> tuple[networks.Features, networks.Features]:
        return self.perception(self.images), self.perception(fakes)

    def _nll(self, fakes: Tensor, real: networks.Features, fake: networks.Features) -> Tensor:
        distance = networks.perceptual_distance(real, fake)
        return torch.mean(torch.abs(self.images - fakes) + distance)

    def own_discriminator(self, outputs: Outputs) -> Tensor:
        fakes, real, fake = outputs
        self._nll(fakes, *self._features(fakes))
        return 0.5 * (torch.mean(F.relu(1 - real)) + torch.mean(F.relu(1 + fake)))

    def own_generator(self, outputs: Outputs) -> Tensor:
        fakes, real, fake, logits = outputs
        nll = self._nll(fakes, real, fake)
        g = -torch.mean(logits)
        layer = self.generator.last.weight
        of_nll = torch.autograd.grad(nll, layer, retain_graph=True)[0]
        of_g = torch.autograd.grad(g, layer, retain_graph=True)[0]
        weight = torch.norm(of_nll) / (torch.norm(of_g) + 1e-4)
        return nll + torch.clamp(weight, 0, 1e4).detach() * 0.8 * g

    def discriminator_loss(self, outputs: Outputs) -> Tensor:
        return AdversarialLoss("hinge", scale=0.5).discriminator(*outputs[1:])

    def generator_loss(self, outputs: Outputs) -> Tensor:
        fakes, real, fake, logits = outputs
        rec = F.l1_loss(fakes, self.images)
        nll = rec + networks.perceptual_distance(real, fake)
        layer = self.generator.last.weight
        return adaptive_weight_loss(nll, -logits.mean(), fakes, layer, weight=0.8)[0]


class Tokenizer(Trainer):
    """The 1-D tokenizer's second stage: hinge with LeCam, a fixed weight, LPIPS and squares."""

    freezes = True

    def __init__(self, swapped: bool) -> None:
        self.swapped = swapped
        self.generator = Autoencoder()
        self.discriminator = networks.PatchDiscriminator(3, 128, nn.InstanceNorm2d)
        self.perception = networks.Perception()
        self.images = torch.rand(2, 3, 64, 64) * 2 - 1
        self.averages = torch.zeros(2)
        self.lecam = LeCam("means", decay=0.999)

    def modules(self) -> list[nn.Module]:
        return [*super().modules(), self.perception, self.lecam]

    def generate(self) -> Outputs:
        return self.generator(self.images)

    def criticize(self, fakes: Outputs) -> Outputs:
        if self.swapped:
            real, fake = one_pass(self.discriminator, self.images, fakes)
        else:
            real, fake = self.discriminator(self.images), self.discriminator(fakes)
        return real[-1], fake[-1]

    def judge(self, fakes: Outputs) -> Outputs:
        real, fake = self.perception(self.images), self.perception(fakes)
        return fakes, real, fake, self.discriminator(fakes)[-1]

    def own_discriminator(self, outputs: Outputs) -> Tensor:
        real, fake = outputs
        loss = 0.5 * (torch.mean(F.relu(1 - real)) + torch.mean(F.relu(1 + fake)))
        means = torch.stack([torch.mean(real), torch.mean(fake)])
        lecam = torch.mean(F.relu(means[0] - self.averages[1]).pow(2)) + torch.mean(
            F.relu(self.averages[0] - means[1]).pow(2)
        )
        self.averages = self.averages * 0.999 + means.detach() * (1 - 0.999)
        return loss + 0.001 * lecam

    def own_generator(self, outputs: Outputs) -> Tensor:
        fakes, real, fake, logits = outputs
        rec = F.mse_loss(self.images, fakes)
        return rec + 1.1 * networks.perceptual_distance(real, fake) - 0.1 * torch.mean(logits)

    def discriminator_loss(self, outputs: Outputs) -> Tensor:
        loss = AdversarialLoss("hinge", scale=0.5).discriminator(*outputs)
        total: Tensor = loss + 0.001 * self.lecam(*outputs)
        return total

    def generator_loss(self, outputs: Outputs) -> Tensor:
        fakes, real, fake, logits = outputs
        distance = F.mse_loss(fakes, self.images) + 1.1 * networks.perceptual_distance(real, fake)
        return distance + 0.1 * AdversarialLoss("hinge").generator(logits)
