"""StyleGAN2-ADA and R3GAN, with the penalties of their discriminators.

Their projects freeze each network in the other's half, and run the generator anew in each. What is
swapped is the operations of their networks, too.
"""

import itertools
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.steps.trainer import Outputs, Trainer
from ganfast import stylegan
from ganfast.losses import AdversarialLoss, RelativisticLoss

_GAIN = 2**0.5


class Operations:
    """The operations of StyleGAN's networks, as plain PyTorch or as ganfast's."""

    def __init__(self, swapped: bool) -> None:
        self.swapped = swapped

    def activated(self, x: Tensor, b: Tensor, gain: float = _GAIN) -> Tensor:
        if self.swapped:
            return stylegan.bias_act(x, b, act="lrelu", gain=gain)
        y = F.leaky_relu(x + b.view(-1, *[1] * (x.dim() - 2)), 0.2)
        return y * gain if gain != 1 else y

    def upsampled(self, x: Tensor, f: Tensor) -> Tensor:
        if self.swapped:
            return stylegan.upsample2d(x, f)
        n, c, h, w = x.shape
        x = F.pad(x.view(n, c, h, 1, w, 1), (0, 1, 0, 0, 0, 1)).reshape(n, c, 2 * h, 2 * w)
        return self._filtered(F.pad(x, (2, 1, 2, 1)), 4 * f, 1)

    def downsampled(self, x: Tensor, f: Tensor) -> Tensor:
        if self.swapped:
            return stylegan.downsample2d(x, f)
        return self._filtered(F.pad(x, (1, 1, 1, 1)), f, 2)

    def blurred(self, x: Tensor, f: Tensor) -> Tensor:
        if self.swapped:
            return stylegan.upfirdn2d(x, f, padding=2)
        return self._filtered(F.pad(x, (2, 2, 2, 2)), f, 1)

    def convolved(self, x: Tensor, w: Tensor, groups: int = 1, stride: int = 1) -> Tensor:
        padding = 0 if stride > 1 else w.shape[-1] // 2
        convolution = stylegan.conv2d if self.swapped else F.conv2d
        y: Tensor = convolution(x, w, None, stride, padding, 1, groups)
        return y

    @staticmethod
    def _filtered(x: Tensor, f: Tensor, stride: int) -> Tensor:
        f = f.to(x.dtype).flip((0, 1)).expand(x.shape[1], 1, *f.shape)
        return F.conv2d(x, f, stride=stride, groups=x.shape[1])


def _binomial() -> Tensor:
    return stylegan.setup_filter([1, 3, 3, 1])


class _Network(nn.Module):
    """Weights by name, of unit variance and scaled as they are used, and the 4 x 4 filter."""

    f: Tensor

    def __init__(self, swapped: bool) -> None:
        super().__init__()
        self.ops = Operations(swapped)
        self.weights = nn.ParameterDict()
        self.f = _binomial()

    def add(self, name: str, *shape: int) -> None:
        self.weights[name] = nn.Parameter(
            torch.randn(shape) if len(shape) > 1 else torch.zeros(shape)
        )

    def weight(self, name: str) -> Tensor:
        w = cast(Tensor, self.weights[name])
        return w if w.dim() == 1 else w / w[0].numel() ** 0.5


class StyleDiscriminator(_Network):
    """StyleGAN2's residual discriminator, at a half of its width."""

    def __init__(self, swapped: bool, size: int, widths: list[int]) -> None:
        super().__init__(swapped)
        self.widths = widths
        self.add("rgb", widths[0], 3, 1, 1)
        self.add("rgb_b", widths[0])
        for k, (a, b) in enumerate(itertools.pairwise(widths)):
            for name, shape in (("0", (a, a, 3, 3)), ("1", (b, a, 3, 3)), ("skip", (b, a, 1, 1))):
                self.add(f"{k}_{name}", *shape)
            self.add(f"{k}_0_b", a)
            self.add(f"{k}_1_b", b)
        last = widths[-1]
        self.add("last", last, last + 1, 3, 3)
        self.add("last_b", last)
        self.add("dense", last, last * (size // 2 ** (len(widths) - 1)) ** 2)
        self.add("dense_b", last)
        self.add("out", 1, last)

    def forward(self, x: Tensor) -> Tensor:
        x = self.ops.activated(self.ops.convolved(x, self.weight("rgb")), self.weight("rgb_b"))
        for k in range(len(self.widths) - 1):
            skip = self.ops.downsampled(x, self.f)
            skip = self.ops.convolved(skip, self.weight(f"{k}_skip"))
            x = self.ops.convolved(x, self.weight(f"{k}_0"))
            x = self.ops.activated(x, self.weight(f"{k}_0_b"))
            x = self.ops.blurred(x, self.f)
            x = self.ops.convolved(x, self.weight(f"{k}_1"), stride=2)
            x = self.ops.activated(x, self.weight(f"{k}_1_b"), 1.0) + skip * 0.5**0.5
        deviation = (
            (x.var(0, unbiased=False) + 1e-8).sqrt().mean().expand(x.shape[0], 1, *x.shape[2:])
        )
        x = self.ops.convolved(torch.cat([x, deviation], 1), self.weight("last"))
        x = self.ops.activated(x, self.weight("last_b")).flatten(1)
        x = self.ops.activated(x @ self.weight("dense").t(), self.weight("dense_b"))
        return x @ self.weight("out").t()


class StyleGenerator(_Network):
    """StyleGAN2's generator with skips to RGB; styles are affine maps of the latents."""

    def __init__(self, swapped: bool, widths: list[int], latent: int = 256) -> None:
        super().__init__(swapped)
        self.widths = widths
        self.add("const", 1, widths[0], 4, 4)
        before = widths[0]
        for k, width in enumerate(widths):
            for name, a in (("0", before), ("1", width)):
                self.add(f"{k}_{name}", width, a, 3, 3)
                self.add(f"{k}_{name}_style", a, latent)
                self.add(f"{k}_{name}_b", width)
            self.add(f"{k}_rgb", 3, width, 1, 1)
            before = width

    def _modulated(self, x: Tensor, z: Tensor, name: str, up: bool) -> Tensor:
        styles = z @ self.weight(f"{name}_style").t() + 1
        w = self.weight(name)
        norms = (w.square().sum((2, 3)) @ styles.square().t() + 1e-8).rsqrt().t()
        x = x * styles[:, :, None, None]
        x = self.ops.convolved(self.ops.upsampled(x, self.f) if up else x, w)
        return self.ops.activated(x * norms[:, :, None, None], self.weight(f"{name}_b"))

    def forward(self, z: Tensor) -> Tensor:
        x = self.weights["const"].expand(z.shape[0], -1, -1, -1)
        image = None
        for k in range(len(self.widths)):
            x = self._modulated(x, z, f"{k}_0", k > 0)
            x = self._modulated(x, z, f"{k}_1", False)
            rgb = self.ops.convolved(x, self.weight(f"{k}_rgb"))
            image = rgb if image is None else self.ops.upsampled(image, self.f) + rgb
        assert image is not None
        return image


class Penalized(Trainer):
    """Logits, and their gradients at the images that a penalty takes, are what networks give."""

    freezes = True
    images: Tensor
    z: Tensor

    def generate(self) -> Outputs:
        with torch.no_grad():
            return self.generator(self.z)

    def regenerate(self, fakes: Outputs) -> Outputs:
        return self.generator(self.z)

    def _with_gradient(self, images: Tensor) -> tuple[Tensor, Tensor]:
        images = images.detach().requires_grad_()
        logits = self.discriminator(images)
        (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
        return logits, gradient


class StyleGAN2(Penalized):
    """The logistic loss with R1 of 64 x 64 images, in one step."""

    def __init__(self, swapped: bool) -> None:
        widths = [64, 128, 256, 256, 256]
        self.generator = StyleGenerator(swapped, widths[::-1])
        self.discriminator = StyleDiscriminator(swapped, 64, widths)
        self.images, self.z = torch.rand(4, 3, 64, 64) * 2 - 1, torch.randn(4, 256)

    def criticize(self, fakes: Outputs) -> Outputs:
        return self._with_gradient(self.images), self.discriminator(fakes)

    def judge(self, fakes: Outputs) -> Outputs:
        return self.discriminator(fakes)

    def own_discriminator(self, outputs: Outputs) -> Tensor:
        (real, gradient), fake = outputs
        penalty = gradient.square().sum([1, 2, 3]) * 5
        loss: Tensor = F.softplus(fake).mean() + (F.softplus(-real) + penalty[:, None]).mean()
        return loss

    def own_generator(self, outputs: Outputs) -> Tensor:
        return F.softplus(-outputs).mean()

    def discriminator_loss(self, outputs: Outputs) -> Tensor:
        (real, gradient), fake = outputs
        penalty = gradient.square().sum([1, 2, 3]).mean() * 5
        loss: Tensor = AdversarialLoss("non_saturating").discriminator(real, fake) + penalty
        return loss

    def generator_loss(self, outputs: Outputs) -> Tensor:
        return AdversarialLoss("non_saturating").generator(outputs)


class _Stage(_Network):
    """Two residual blocks of R3GAN: 1 x 1 to twice the width, grouped 3 x 3, 1 x 1."""

    def __init__(self, swapped: bool, width: int) -> None:
        super().__init__(swapped)
        self.groups = 2 * width // 16
        for k in range(2):
            self.add(f"{k}_0", 2 * width, width, 1, 1)
            self.add(f"{k}_1", 2 * width, 16, 3, 3)
            self.add(f"{k}_2", width, 2 * width, 1, 1)
            self.add(f"{k}_0_b", 2 * width)
            self.add(f"{k}_1_b", 2 * width)

    def forward(self, x: Tensor) -> Tensor:
        for k in range(2):
            y = self.ops.convolved(x, self.weight(f"{k}_0"))
            y = self.ops.activated(y, self.weight(f"{k}_0_b"), 1.0)
            y = self.ops.convolved(y, self.weight(f"{k}_1"), self.groups)
            y = self.ops.activated(y, self.weight(f"{k}_1_b"), 1.0)
            x = x + self.ops.convolved(y, self.weight(f"{k}_2"))
        return x


class _R3Generator(_Network):
    def __init__(self, swapped: bool, width: int, stages: int, latent: int) -> None:
        super().__init__(swapped)
        self.add("basis", 1, width, 4, 4)
        self.add("first", width, latent)
        self.stages = nn.ModuleList(_Stage(swapped, width) for _ in range(stages))
        self.add("rgb", 3, width, 1, 1)

    def forward(self, z: Tensor) -> Tensor:
        x = self.weights["basis"] * (z @ self.weight("first").t())[:, :, None, None]
        for k, stage in enumerate(self.stages):
            x = stage(self.ops.upsampled(x, self.f) if k else x)
        return self.ops.convolved(x, self.weight("rgb"))


class _R3Discriminator(_Network):
    def __init__(self, swapped: bool, width: int, stages: int) -> None:
        super().__init__(swapped)
        self.add("rgb", width, 3, 1, 1)
        self.stages = nn.ModuleList(_Stage(swapped, width) for _ in range(stages))
        self.add("basis", width, 1, 4, 4)
        self.add("out", 1, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.ops.convolved(x, self.weight("rgb"))
        for k, stage in enumerate(self.stages):
            x = stage(self.ops.downsampled(x, self.f) if k else x)
        loss: Tensor = (x * self.weights["basis"][:, 0]).sum((2, 3)) @ self.weight("out").t()
        return loss


class R3GAN(Penalized):
    """The relativistic loss with R1 and R2 of 32 x 32 images, at a quarter of the width."""

    def __init__(self, swapped: bool) -> None:
        self.generator = _R3Generator(swapped, 192, 4, 64)
        self.discriminator = _R3Discriminator(swapped, 192, 4)
        self.images, self.z = torch.rand(4, 3, 32, 32) * 2 - 1, torch.randn(4, 64)
        self.loss = RelativisticLoss("logistic")

    def criticize(self, fakes: Outputs) -> Outputs:
        return self._with_gradient(self.images), self._with_gradient(fakes)

    def judge(self, fakes: Outputs) -> Outputs:
        return self.discriminator(self.images), self.discriminator(fakes)

    def own_discriminator(self, outputs: Outputs) -> Tensor:
        (real, of_real), (fake, of_fake) = outputs
        penalty = of_real.square().sum([1, 2, 3]) + of_fake.square().sum([1, 2, 3])
        loss: Tensor = (F.softplus(fake - real) + 0.5 * penalty[:, None]).mean()
        return loss

    def own_generator(self, outputs: Outputs) -> Tensor:
        real, fake = outputs
        return F.softplus(real - fake).mean()

    def discriminator_loss(self, outputs: Outputs) -> Tensor:
        (real, of_real), (fake, of_fake) = outputs
        penalty = (of_real.square().sum([1, 2, 3]) + of_fake.square().sum([1, 2, 3])).mean()
        total: Tensor = self.loss.discriminator(real, fake) + 0.5 * penalty
        return total

    def generator_loss(self, outputs: Outputs) -> Tensor:
        return self.loss.generator(*outputs)
