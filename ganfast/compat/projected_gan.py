"""Drop-in for the loss of autonomousvision/projected-gan (``training/loss.py``).

In ``train.py``, change ``class_name='training.loss.ProjectedGANLoss'`` to::

    c.loss_kwargs = dnnlib.EasyDict(class_name='ganfast.compat.projected_gan.ProjectedGANLoss')

Arguments, phases, accumulated gradients and the names of the reported statistics are the project's.
In the discriminator's phase the generator runs without recording gradients. The discriminator
returns the logits of all heads in one tensor, (B, positions of all heads), whose mean is taken.
"""

from typing import Any

import torch
from torch import Tensor

from ganfast import ops
from ganfast.compat._stylegan import Phase, Report, blur, check_phase, chosen_report, faded

__all__ = ["ProjectedGANLoss"]


class ProjectedGANLoss:
    """Hinge loss of the projected discriminator, D: m[relu(1 - r)] + m[relu(1 + f)]; G: -m[f].

    ``report`` and the errors are those of :class:`ganfast.compat.stylegan.StyleGAN2Loss`; the other
    arguments are the project's.
    """

    def __init__(
        self,
        device: torch.device | str,
        G: Any,
        D: Any,
        G_ema: Any,
        blur_init_sigma: float = 0,
        blur_fade_kimg: float = 0,
        *,
        report: Report | None = None,
    ) -> None:
        self.device, self.G, self.D, self.G_ema = device, G, D, G_ema
        self.blur_init_sigma, self.blur_fade_kimg = blur_init_sigma, blur_fade_kimg
        self._report = chosen_report(report)

    def run_G(self, z: Tensor, c: Tensor, update_emas: bool = False) -> Tensor:
        """Return images."""
        ws = self.G.mapping(z, c, update_emas=update_emas)
        images: Tensor = self.G.synthesis(ws, c, update_emas=False)
        return images

    def run_D(
        self, img: Tensor, c: Tensor, blur_sigma: float = 0, update_emas: bool = False
    ) -> Tensor:
        """Return the logits of all heads for blurred images, (B, positions)."""
        logits: Tensor = self.D(blur(img, blur_sigma), c)
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
        """Accumulate the gradients of one phase; ``gain`` is unused, as in the project.

        Raises:
            ValueError: the phase is unknown.
        """
        check_phase(phase)
        if phase in ("Greg", "Dreg"):
            return
        kimg = self.blur_fade_kimg if self.blur_fade_kimg > 1 else 0  # as in the project
        sigma = faded(self.blur_init_sigma, kimg, cur_nimg)
        if phase[0] == "G":
            logits = self.run_D(self.run_G(gen_z, gen_c), gen_c, sigma)
            self._backward("fake", logits, "identity", -1.0, "Loss/G/loss")
            return
        with torch.no_grad():
            fake = self.run_G(gen_z, gen_c, update_emas=True)
        of_fake = self._backward("fake", self.run_D(fake, gen_c, sigma), "hinge", 1.0)
        logits = self.run_D(real_img.detach(), real_c, sigma)
        of_real = self._backward("real", logits, "hinge", -1.0)
        self._report("Loss/D/loss", of_fake + of_real)

    def _backward(
        self, side: str, logits: Tensor, f: str, sign: float, name: str | None = None
    ) -> Tensor:
        """Back-propagate m[relu(1 + sign x)], or sign m[x], and report; return the loss."""
        weight, a = (sign, 0.0) if f == "identity" else (1.0, sign)
        loss = ops.flat([logits], f, [weight], [a], [1.0])
        self._report(f"Loss/scores/{side}", logits.detach())
        self._report(f"Loss/signs/{side}", logits.detach().sign())
        if name is not None:
            self._report(name, loss.detach())
        torch.autograd.backward(loss)
        return loss.detach()
