"""Drop-in for the loss of NVlabs/stylegan3 (``training/loss.py``).

In ``train.py``, change ``class_name='training.loss.StyleGAN2Loss'`` to::

    c.loss_kwargs = dnnlib.EasyDict(class_name='ganfast.compat.stylegan.StyleGAN2Loss')

Arguments, phases, accumulated gradients and the names of the reported statistics are the project's.
In the discriminator's phases the generator runs without recording gradients.

Two bugs of the project are fixed: path lengths of 0 have the gradient 0, not NaN, and a batch
smaller than ``pl_batch_shrink`` still uses one sample for them, where the project's average becomes
NaN for good. ``pl_no_weight_grad`` has no effect, as in the project on torch 1.11 and later.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ganfast.compat._stylegan import (
    Phase,
    Phases,
    Report,
    blur,
    chosen_report,
    faded,
    mixed_styles,
)

__all__ = ["StyleGAN2Loss"]


class StyleGAN2Loss(Phases):
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
        super().__init__(
            device, augment_pipe, r1_gamma, style_mixing_prob, pl_weight, pl_batch_shrink, pl_decay
        )
        self._report = chosen_report(report)
        self.G, self.D = G, D
        self.pl_no_weight_grad = pl_no_weight_grad
        self.blur_init_sigma = blur_init_sigma
        self.blur_fade_kimg = blur_fade_kimg
        self._sigma = 0.0

    def run_G(self, z: Tensor, c: Tensor, update_emas: bool = False) -> tuple[Tensor, Tensor]:
        """Return images and their latents, which mix two styles with ``style_mixing_prob``."""
        ws = self.G.mapping(z, c, update_emas=update_emas)
        if self.style_mixing_prob > 0:
            ws = mixed_styles(
                ws,
                lambda: self.G.mapping(torch.randn_like(z), c, update_emas=False),
                self.style_mixing_prob,
            )
        return self.G.synthesis(ws, update_emas=update_emas), ws

    def run_D(
        self, img: Tensor, c: Tensor, blur_sigma: float = 0, update_emas: bool = False
    ) -> Tensor:
        """Return the outputs for blurred and augmented images."""
        img = blur(img, blur_sigma)
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
        self._sigma = faded(self.blur_init_sigma, self.blur_fade_kimg, cur_nimg)
        self._accumulate(phase, real_img, real_c, gen_z, gen_c, gain, sync=True)

    def _images(self, z: Tensor, c: Tensor, for_D: bool, sync: bool) -> tuple[Tensor, Tensor]:
        return self.run_G(z, c, update_emas=for_D)

    def _logits(self, img: Tensor, c: Tensor, fakes_for_D: bool, sync: bool) -> Tensor:
        return self.run_D(img, c, blur_sigma=self._sigma, update_emas=fakes_for_D)
