"""Image to image: pix2pix, CycleGAN and pix2pixHD."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.steps import networks
from bench.steps.trainer import Outputs, Trainer
from ganfast.compat import pix2pix, spade
from ganfast.losses import AdversarialLoss, cycle_loss, feature_matching, identity_loss, pixel_loss


def _own_bce(prediction: Tensor, target: float) -> Tensor:
    """GANLoss of pix2pix: a label that is expanded to the prediction at every call."""
    label = torch.tensor(target, dtype=prediction.dtype, device=prediction.device)
    return F.binary_cross_entropy_with_logits(prediction, label.expand_as(prediction))


def _own_square(prediction: Tensor, target: float) -> Tensor:
    label = torch.tensor(target, dtype=prediction.dtype, device=prediction.device)
    return F.mse_loss(prediction, label.expand_as(prediction))


class Pix2Pix(Trainer):
    """A U-Net and patches; cross-entropy and L1."""

    freezes = True

    def __init__(self, swapped: bool) -> None:
        self.generator = networks.UNet(3, 7)
        self.discriminator = networks.PatchDiscriminator(6)
        self.source, self.target = torch.rand(2, 2, 3, 128, 128) * 2 - 1
        self.criterion = pix2pix.GANLoss("vanilla")

    def modules(self) -> list[nn.Module]:
        return [*super().modules(), self.criterion]

    def generate(self) -> Outputs:
        return self.generator(self.source)

    def _logits(self, images: Tensor) -> Tensor:
        logits: Tensor = self.discriminator(torch.cat([self.source, images], 1))[-1]
        return logits

    def criticize(self, fakes: Outputs) -> Outputs:
        return self._logits(self.target), self._logits(fakes)

    def judge(self, fakes: Outputs) -> Outputs:
        return fakes, self._logits(fakes)

    def own_discriminator(self, outputs: Outputs) -> Tensor:
        real, fake = outputs
        return (_own_bce(fake, 0.0) + _own_bce(real, 1.0)) * 0.5

    def own_generator(self, outputs: Outputs) -> Tensor:
        fakes, logits = outputs
        return _own_bce(logits, 1.0) + F.l1_loss(fakes, self.target) * 100

    def discriminator_loss(self, outputs: Outputs) -> Tensor:
        real, fake = outputs
        loss: Tensor = (self.criterion(fake, False) + self.criterion(real, True)) * 0.5
        return loss

    def generator_loss(self, outputs: Outputs) -> Tensor:
        fakes, logits = outputs
        loss: Tensor = self.criterion(logits, True) + pixel_loss(self.target, fakes) * 100
        return loss


class CycleGAN(Trainer):
    """Two translators, two discriminators; least squares, cycles and identities."""

    freezes = True

    def __init__(self, swapped: bool) -> None:
        self.generator = nn.ModuleList(networks.translator(6, 32) for _ in range(2))
        self.discriminator = nn.ModuleList(networks.PatchDiscriminator(3, 32) for _ in range(2))
        self.a, self.b = torch.rand(2, 1, 3, 128, 128) * 2 - 1
        self.adversarial = AdversarialLoss("least_squares")

    def generate(self) -> Outputs:
        to_b, to_a = self.generator
        fake_b, fake_a = to_b(self.a), to_a(self.b)
        return fake_b, fake_a, to_a(fake_b), to_b(fake_a), to_a(self.a), to_b(self.b)

    def criticize(self, fakes: Outputs) -> Outputs:
        of_a, of_b = self.discriminator
        return [
            (of_b(self.b)[-1], of_b(fakes[0])[-1]),
            (of_a(self.a)[-1], of_a(fakes[1])[-1]),
        ]

    def judge(self, fakes: Outputs) -> Outputs:
        of_a, of_b = self.discriminator
        return fakes, (of_b(fakes[0])[-1], of_a(fakes[1])[-1])

    def own_discriminator(self, outputs: Outputs) -> Tensor:
        loss = self.a.new_zeros(())
        for real, fake in outputs:
            loss = loss + (_own_square(real, 1.0) + _own_square(fake, 0.0)) * 0.5
        total: Tensor = loss
        return total

    def own_generator(self, outputs: Outputs) -> Tensor:
        (_, _, rec_a, rec_b, same_a, same_b), (of_b, of_a) = outputs
        loss = _own_square(of_b, 1.0) + _own_square(of_a, 1.0)
        loss = loss + F.l1_loss(rec_a, self.a) * 10 + F.l1_loss(rec_b, self.b) * 10
        return loss + F.l1_loss(same_a, self.a) * 5 + F.l1_loss(same_b, self.b) * 5

    def discriminator_loss(self, outputs: Outputs) -> Tensor:
        of_b, of_a = outputs
        both = self.adversarial.discriminator([of_b[0], of_a[0]], [of_b[1], of_a[1]])
        return 0.5 * both

    def generator_loss(self, outputs: Outputs) -> Tensor:
        (_, _, rec_a, rec_b, same_a, same_b), (of_b, of_a) = outputs
        loss = self.adversarial.generator([of_b, of_a])
        loss = loss + cycle_loss(self.a, rec_a, self.b, rec_b)
        return loss + identity_loss(self.a, same_a, self.b, same_b)


class Pix2PixHD(Trainer):
    """Discriminators of three scales; least squares and the matching of their features."""

    def __init__(self, swapped: bool) -> None:
        self.generator = networks.translator(4, 32, 8)
        self.discriminator = nn.ModuleList(
            networks.PatchDiscriminator(11, 64, nn.InstanceNorm2d) for _ in range(3)
        )
        self.labels, self.target = torch.rand(1, 8, 128, 128), torch.rand(1, 3, 128, 128) * 2 - 1
        self.criterion = spade.Pix2PixHDGANLoss(use_lsgan=True)

    def generate(self) -> Outputs:
        return self.generator(self.labels)

    def _features(self, images: Tensor) -> list[list[Tensor]]:
        x, found = torch.cat([self.labels, images], 1), []
        for discriminator in self.discriminator:
            found.append(discriminator(x))
            x = F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)
        return found

    def criticize(self, fakes: Outputs) -> Outputs:
        return self._features(self.target), self._features(fakes)

    def judge(self, fakes: Outputs) -> Outputs:
        return fakes, self._features(self.target), self._features(fakes)

    def own_discriminator(self, outputs: Outputs) -> Tensor:
        real, fake = outputs
        loss = self.target.new_zeros(())
        for of_real, of_fake in zip(real, fake, strict=True):
            loss = loss + 0.5 * (_own_square(of_real[-1], 1.0) + _own_square(of_fake[-1], 0.0))
        return loss

    def own_generator(self, outputs: Outputs) -> Tensor:
        _, real, fake = outputs
        loss = self.target.new_zeros(())
        for of_real, of_fake in zip(real, fake, strict=True):
            loss = loss + _own_square(of_fake[-1], 1.0)
            for r, f in zip(of_real[:-1], of_fake[:-1], strict=True):
                loss = loss + F.l1_loss(f, r.detach()) * (10 * 4 / 5 / 3)
        return loss

    def discriminator_loss(self, outputs: Outputs) -> Tensor:
        real, fake = outputs
        loss: Tensor = 0.5 * (self.criterion(real, True) + self.criterion(fake, False))
        return loss

    def generator_loss(self, outputs: Outputs) -> Tensor:
        _, real, fake = outputs
        matching = feature_matching(
            [maps[:-1] for maps in real], [maps[:-1] for maps in fake], weight=10 * 4 / 5 / 3
        )
        loss: Tensor = self.criterion(fake, True) + matching
        return loss
