"""A DCGAN as tutorials train it, and adversarial distillation with heads on features."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.steps import networks
from bench.steps.trainer import Outputs, Trainer
from ganfast.losses import AdversarialLoss
from ganfast.models import dcgan


class DCGAN(Trainer):
    """PyTorch's tutorial: cross-entropy of probabilities, labels made anew, nothing frozen."""

    def __init__(self, swapped: bool) -> None:
        self.generator = dcgan.Generator(100, 64, 3, 64)
        self.discriminator = dcgan.Discriminator(64, 3, 64)
        self.images, self.z = torch.rand(32, 3, 64, 64) * 2 - 1, torch.randn(32, 100)
        self.loss = AdversarialLoss("bce")

    def generate(self) -> Outputs:
        return self.generator(self.z)

    def criticize(self, fakes: Outputs) -> Outputs:
        return self.discriminator(self.images), self.discriminator(fakes)

    def judge(self, fakes: Outputs) -> Outputs:
        return self.discriminator(fakes)

    def own_discriminator(self, outputs: Outputs) -> Tensor:
        loss = self.images.new_zeros(())
        logged = []
        for logits, target in zip(outputs, (1.0, 0.0), strict=True):
            probabilities = logits.sigmoid().view(-1)
            labels = torch.full_like(probabilities, target)
            loss = loss + F.binary_cross_entropy(probabilities, labels)
            logged.append(probabilities.mean().item())
        return loss

    def own_generator(self, outputs: Outputs) -> Tensor:
        probabilities = outputs.sigmoid().view(-1)
        return F.binary_cross_entropy(probabilities, torch.ones_like(probabilities))

    def discriminator_loss(self, outputs: Outputs) -> Tensor:
        return self.loss.discriminator(*outputs)

    def generator_loss(self, outputs: Outputs) -> Tensor:
        return self.loss.generator(outputs)


class _Heads(nn.Module):
    """A trained discriminator of each stage of a network that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, 64, 1), nn.GroupNorm(8, 64), nn.LeakyReLU(0.2),
                nn.Conv2d(64, 64, 3, 1, 1), nn.GroupNorm(8, 64), nn.LeakyReLU(0.2),
                nn.Conv2d(64, 1, 1),
            )
            for width in (64, 128, 256, 512, 512)
        )  # fmt: skip

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        return [head(x) for head, x in zip(self.heads, features, strict=True)]


class Distillation(Trainer):
    """A student of one step: hinge by heads on a fixed network's features, squares to a teacher."""

    def __init__(self, swapped: bool) -> None:
        self.generator = networks.UNet(3, 5)
        self.discriminator = _Heads()
        self.features = networks.Perception()
        self.images, self.noise, self.teacher = torch.randn(3, 2, 3, 64, 64)
        self.loss = AdversarialLoss("hinge", map_reduction="mean")

    def modules(self) -> list[nn.Module]:
        return [*super().modules(), self.features]

    def generate(self) -> Outputs:
        return self.generator(self.noise)

    def criticize(self, fakes: Outputs) -> Outputs:
        return tuple(self.discriminator(self.features(x)) for x in (self.images, fakes))

    def judge(self, fakes: Outputs) -> Outputs:
        return fakes, self.discriminator(self.features(fakes))

    def own_discriminator(self, outputs: Outputs) -> Tensor:
        loss = self.images.new_zeros(())
        for real, fake in zip(*outputs, strict=True):
            loss = loss + F.relu(torch.ones_like(real) - real).mean()
            loss = loss + F.relu(torch.ones_like(fake) + fake).mean()
        total: Tensor = loss / 5
        return total

    def own_generator(self, outputs: Outputs) -> Tensor:
        fakes, logits = outputs
        adversarial = self.images.new_zeros(())
        for x in logits:
            adversarial = adversarial - x.mean()
        loss: Tensor = adversarial / 5 + F.mse_loss(fakes, self.teacher) * 2.5
        return loss

    def discriminator_loss(self, outputs: Outputs) -> Tensor:
        return self.loss.discriminator(*outputs)

    def generator_loss(self, outputs: Outputs) -> Tensor:
        fakes, logits = outputs
        return self.loss.generator(logits) + F.mse_loss(fakes, self.teacher) * 2.5
