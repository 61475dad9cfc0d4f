"""Drop-in for the loss of NVlabs/stylegan3 (``training/loss.py``).

In ``train.py``, change ``class_name='training.loss.StyleGAN2Loss'`` to::

    c.loss_kwargs = dnnlib.EasyDict(class_name='ganfast.compat.stylegan.StyleGAN2Loss')

Arguments, phases, accumulated gradients and the names of the reported statistics are the project's.
In the discriminator's phases the generator runs without recording gradients.

Two bugs of the project are fixed: path lengths of 0 have the gradient 0, not NaN, and a batch
smaller than ``pl_batch_shrink`` still uses one sample for them, where the project's average becomes
NaN for good. ``pl_no_weight_grad`` has no effect, as in the project on torch 1.11 and later.
"""

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ganfast import ops
from ganfast.penalties import squared_norms
from ganfast.regularizers import path_length_deviations

__all__ = ["StyleGAN2Loss"]

Phase = Literal["Gmain", "Greg", "Gboth", "Dmain", "Dreg", "Dboth"]
Report = Callable[[str, Tensor], object]


def _report_of_project() -> Report:
    from torch_utils import training_stats  # type: ignore[import-not-found]

    report: Report = training_stats.report
    return report


def _mean_softplus(logits: Tensor, sign: float, gain: float) -> Tensor:
    return ops.flat([logits], "softplus", [gain], [sign], [0])


class StyleGAN2Loss:
    r"""Non-saturating loss with R1 and path length regularization, each in its own phases.

    With r and f the discriminator's outputs for real and fake images and m the mean:

    ========== =====================================================
    ``main``   D: m[softplus(-r)] + m[softplus(f)]; G: m[softplus(-f)]
    ``reg``    D: r1_gamma / 2 m[\|grad r\|^2]; G: pl_weight m[(a - average of a)^2]
    ``both``   their sum
    ========== =====================================================

    Args:
        device, G, ..., blur_fade_kimg: as in the project.
        report: called with a name and a tensor of statistics; the project's
            ``training_stats.report`` if None.

    Raises:
        ModuleNotFoundError: ``report`` is None and the project cannot be imported.
    """

    def __init__(
        self,
        device: torch.device | str,
        G: Any,
        D: Any,
        augment_pipe: Callable[[Tensor], Tensor] | None = None,
        r1_gamma: float = 10,
        style_mixing_prob: float = 0,
        pl_weight: float = 0,
        pl_batch_shrink: int = 2,
        pl_decay: float = 0.01,
        pl_no_weight_grad: bool = False,
        blur_init_sigma: float = 0,
        blur_fade_kimg: float = 0,
        *,
        report: Report | None = None,
    ) -> None:
        self.device = device
        self.G = G
        self.D = D
        self.augment_pipe = augment_pipe
        self.r1_gamma = r1_gamma
        self.style_mixing_prob = style_mixing_prob
        self.pl_weight = pl_weight
        self.pl_batch_shrink = pl_batch_shrink
        self.pl_decay = pl_decay
        self.pl_no_weight_grad = pl_no_weight_grad
        self.pl_mean = torch.zeros([], device=device)
        self.blur_init_sigma = blur_init_sigma
        self.blur_fade_kimg = blur_fade_kimg
        self._report = _report_of_project() if report is None else report

    def run_G(self, z: Tensor, c: Tensor, update_emas: bool = False) -> tuple[Tensor, Tensor]:
        """Return images and their latents, which mix two styles with ``style_mixing_prob``."""
        ws = self.G.mapping(z, c, update_emas=update_emas)
        if self.style_mixing_prob > 0:
            layers = ws.shape[1]
            cutoff = torch.empty([], dtype=torch.int64, device=ws.device).random_(1, layers)
            mixed = torch.rand([], device=ws.device) < self.style_mixing_prob
            other = self.G.mapping(torch.randn_like(z), c, update_emas=False)
            # Compare on the device: a slice would wait for the number.
            later = torch.arange(layers, device=ws.device) >= cutoff
            ws = torch.where((mixed & later)[:, None], other, ws)
        return self.G.synthesis(ws, update_emas=update_emas), ws

    def run_D(
        self, img: Tensor, c: Tensor, blur_sigma: float = 0, update_emas: bool = False
    ) -> Tensor:
        """Return the outputs for blurred and augmented images."""
        size = math.floor(blur_sigma * 3)
        if size > 0:
            img = _blur(img, blur_sigma, size)
        if self.augment_pipe is not None:
            img = self.augment_pipe(img)
        logits: Tensor = self.D(img, c, update_emas=update_emas)
        return logits

    def accumulate_gradients(
        self,
        phase: Phase,
        real_img: Tensor,
        real_c: Tensor,
        gen_z: Tensor,
        gen_c: Tensor,
        gain: float,
        cur_nimg: int,
    ) -> None:
        """Accumulate the gradients of one phase, times ``gain``.

        Raises:
            ValueError: the phase is unknown.
        """
        if phase not in ("Gmain", "Greg", "Gboth", "Dmain", "Dreg", "Dboth"):
            raise ValueError(f"phase must be G or D with main, reg or both, got {phase!r}")
        main, reg = phase[1:] in ("main", "both"), phase[1:] in ("reg", "both")
        sigma = 0.0
        if self.blur_fade_kimg > 0:
            sigma = max(1 - cur_nimg / (self.blur_fade_kimg * 1e3), 0) * self.blur_init_sigma
        if phase[0] == "G":
            if main:
                self._generator(gen_z, gen_c, gain, sigma)
            if reg and self.pl_weight != 0:
                self._path_length(gen_z, gen_c, gain)
        else:
            reg = reg and self.r1_gamma != 0
            fake = self._fake(gen_z, gen_c, gain, sigma) if main else None
            if main or reg:
                self._real(real_img, real_c, gain, sigma, fake, reg)

    def _report_logits(self, side: str, logits: Tensor) -> None:
        self._report(f"Loss/scores/{side}", logits.detach())
        self._report(f"Loss/signs/{side}", logits.detach().sign())

    def _generator(self, gen_z: Tensor, gen_c: Tensor, gain: float, sigma: float) -> None:
        img, _ = self.run_G(gen_z, gen_c)
        logits = self.run_D(img, gen_c, blur_sigma=sigma)
        self._report_logits("fake", logits)
        self._report("Loss/G/loss", F.softplus(-logits.detach()))
        torch.autograd.backward(_mean_softplus(logits, -1, gain))

    def _path_length(self, gen_z: Tensor, gen_c: Tensor, gain: float) -> None:
        samples = max(gen_z.shape[0] // self.pl_batch_shrink, 1)
        img, ws = self.run_G(gen_z[:samples], gen_c[:samples])
        penalty = path_length_deviations(img, ws, self.pl_mean, self.pl_decay)
        self._report("Loss/pl_penalty", penalty.detach())
        self._report("Loss/G/reg", penalty.detach() * self.pl_weight)
        torch.autograd.backward(penalty.mean() * (self.pl_weight * gain))

    def _fake(self, gen_z: Tensor, gen_c: Tensor, gain: float, sigma: float) -> Tensor:
        """Accumulate the fake half of the discriminator's gradients; return the outputs."""
        with torch.no_grad():
            img, _ = self.run_G(gen_z, gen_c, update_emas=True)
        logits = self.run_D(img, gen_c, blur_sigma=sigma, update_emas=True)
        self._report_logits("fake", logits)
        torch.autograd.backward(_mean_softplus(logits, 1, gain))
        return logits.detach()

    def _real(
        self,
        real_img: Tensor,
        real_c: Tensor,
        gain: float,
        sigma: float,
        fake: Tensor | None,
        reg: bool,
    ) -> None:
        """Accumulate the real half, if there is a fake one, and R1."""
        img = real_img.detach().requires_grad_(reg)
        logits = self.run_D(img, real_c, blur_sigma=sigma)
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
        torch.autograd.backward(torch.stack(losses).sum())


def _blur(img: Tensor, sigma: float, size: int) -> Tensor:
    """Convolve rows and columns with 2^-(t / sigma)^2 for t up to size, with zero padding."""
    t = torch.arange(-size, size + 1, device=img.device)
    f = t.div(sigma).square().neg().exp2().to(img.dtype)
    channels = img.shape[1]
    f = (f / f.sum()).expand(channels, 1, 1, -1)
    img = F.conv2d(img, f, padding=(0, size), groups=channels)
    return F.conv2d(img, f.transpose(2, 3), padding=(size, 0), groups=channels)
