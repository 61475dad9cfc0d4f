"""The phases that the losses of StyleGAN2-ADA and StyleGAN3 share."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from ganfast import ops
from ganfast.penalties import squared_norms
from ganfast.regularizers import path_length_deviations

Phase = Literal["Gmain", "Greg", "Gboth", "Dmain", "Dreg", "Dboth"]
Report = Callable[[str, Tensor], object]


def chosen_report(report: Report | None) -> Report:
    """Return the function for statistics, the project's if None."""
    if report is not None:
        return report
    from torch_utils import training_stats  # type: ignore[import-not-found]

    return cast(Report, training_stats.report)


def check_phase(phase: str) -> None:
    """Raise ValueError unless the phase is known."""
    if phase not in get_args(Phase):
        raise ValueError(f"phase must be G or D with main, reg or both, got {phase!r}")


def faded(sigma: float, kimg: float, images: int) -> float:
    """Return a blur that falls to 0 along a line over so many thousands of images."""
    return sigma * max(1 - images / (kimg * 1e3), 0) if kimg > 0 else 0.0


def blur(img: Tensor, sigma: float) -> Tensor:
    """Convolve rows and columns with 2^-(t / sigma)^2 for t up to 3 sigma, with zero padding."""
    size = math.floor(sigma * 3)
    if size == 0:
        return img
    t = torch.arange(-size, size + 1, device=img.device)
    f = t.div(sigma).square().neg().exp2().to(img.dtype)
    channels = img.shape[1]
    f = (f / f.sum()).expand(channels, 1, 1, -1)
    img = F.conv2d(img, f, padding=(0, size), groups=channels)
    return F.conv2d(img, f.transpose(2, 3), padding=(size, 0), groups=channels)


def _mean_softplus(logits: Tensor, sign: float, gain: float) -> Tensor:
    return ops.flat([logits], "softplus", [gain], [sign], [0])


def mixed_styles(ws: Tensor, other: Callable[[], Tensor], probability: float) -> Tensor:
    """Return latents (N, layers, D) whose last layers are, with a probability, the others'."""
    layers = ws.shape[1]
    cutoff = torch.empty([], dtype=torch.int64, device=ws.device).random_(1, layers)
    mixed = torch.rand([], device=ws.device) < probability
    # Compare on the device: a slice would wait for the number.
    later = torch.arange(layers, device=ws.device) >= cutoff
    return torch.where((mixed & later)[:, None], other(), ws)


class Phases(ABC):
    """The phases of a loss: attributes of the projects' classes, and what each phase computes."""

    _report: Report

    def __init__(
        self,
        device: torch.device | str,
        augment_pipe: Callable[[Tensor], Tensor] | None,
        r1_gamma: float,
        style_mixing_prob: float,
        pl_weight: float,
        pl_batch_shrink: int,
        pl_decay: float,
    ) -> None:
        self.device = device
        self.augment_pipe = augment_pipe
        self.r1_gamma = r1_gamma
        self.style_mixing_prob = style_mixing_prob
        self.pl_weight = pl_weight
        self.pl_batch_shrink = pl_batch_shrink
        self.pl_decay = pl_decay
        self.pl_mean = torch.zeros([], device=device)

    @abstractmethod
    def _images(self, z: Tensor, c: Tensor, for_D: bool, sync: bool) -> tuple[Tensor, Tensor]:
        """Return images and their latents, for the phases of the discriminator or generator."""

    @abstractmethod
    def _logits(self, img: Tensor, c: Tensor, fakes_for_D: bool, sync: bool) -> Tensor:
        """Return outputs for images, which may be fakes in the discriminator's phases."""

    def _reaching_all(self, loss: Tensor, output: Tensor) -> Tensor:
        """The loss, where it needs a gradient, of 0, in all parameters behind an output."""
        return loss

    def _accumulate(
        self,
        phase: Phase,
        real_img: Tensor,
        real_c: Tensor,
        gen_z: Tensor,
        gen_c: Tensor,
        gain: float,
        sync: bool,
    ) -> None:
        """Accumulate the gradients of one phase, exchanged between processes if ``sync``."""
        check_phase(phase)
        main, reg = phase[1:] in ("main", "both"), phase[1:] in ("reg", "both")
        if phase[0] == "G":
            reg = reg and self.pl_weight != 0
            if main:
                self._generator(gen_z, gen_c, gain, sync and not reg)
            if reg:
                self._path_length(gen_z, gen_c, gain, sync)
        else:
            reg = reg and self.r1_gamma != 0
            fake = self._fake(gen_z, gen_c, gain) if main else None
            if main or reg:
                self._real(real_img, real_c, gain, fake, reg, sync)

    def _report_logits(self, side: str, logits: Tensor) -> None:
        self._report(f"Loss/scores/{side}", logits.detach())
        self._report(f"Loss/signs/{side}", logits.detach().sign())

    def _generator(self, gen_z: Tensor, gen_c: Tensor, gain: float, sync: bool) -> None:
        img, _ = self._images(gen_z, gen_c, for_D=False, sync=sync)
        logits = self._logits(img, gen_c, fakes_for_D=False, sync=False)
        self._report_logits("fake", logits)
        self._report("Loss/G/loss", F.softplus(-logits.detach()))
        torch.autograd.backward(_mean_softplus(logits, -1, gain))

    def _path_length(self, gen_z: Tensor, gen_c: Tensor, gain: float, sync: bool) -> None:
        samples = max(gen_z.shape[0] // self.pl_batch_shrink, 1)
        img, ws = self._images(gen_z[:samples], gen_c[:samples], for_D=False, sync=sync)
        penalty = path_length_deviations(img, ws, self.pl_mean, self.pl_decay)
        self._report("Loss/pl_penalty", penalty.detach())
        self._report("Loss/G/reg", penalty.detach() * self.pl_weight)
        loss = penalty.mean() * (self.pl_weight * gain)
        torch.autograd.backward(self._reaching_all(loss, img))

    def _fake(self, gen_z: Tensor, gen_c: Tensor, gain: float) -> Tensor:
        """Accumulate the fake half of the discriminator's gradients; return the outputs."""
        with torch.no_grad():
            img, _ = self._images(gen_z, gen_c, for_D=True, sync=False)
        # The pass over real images exchanges the gradients of both.
        logits = self._logits(img, gen_c, fakes_for_D=True, sync=False)
        self._report_logits("fake", logits)
        torch.autograd.backward(_mean_softplus(logits, 1, gain))
        return logits.detach()

    def _real(
        self,
        real_img: Tensor,
        real_c: Tensor,
        gain: float,
        fake: Tensor | None,
        reg: bool,
        sync: bool,
    ) -> None:
        """Accumulate the real half, if there is a fake one, and R1."""
        img = real_img.detach().requires_grad_(reg)
        logits = self._logits(img, real_c, fakes_for_D=False, sync=sync)
        self._report_logits("real", logits)
        losses = []
        if fake is not None:
            losses.append(_mean_softplus(logits, -1, gain))
            self._report("Loss/D/loss", F.softplus(fake) + F.softplus(-logits.detach()))
        if reg:
            penalty = squared_norms(logits, img)
            losses.append(penalty.mean() * (self.r1_gamma / 2 * gain))
            self._report("Loss/r1_penalty", penalty.detach())
            self._report("Loss/D/reg", penalty.detach() * (self.r1_gamma / 2))
        torch.autograd.backward(self._reaching_all(torch.stack(losses).sum(), logits))
