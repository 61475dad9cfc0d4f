"""Drop-in for the loss of NVlabs/stylegan2-ada-pytorch (``training/loss.py``).

In ``train.py``, change ``class_name='training.loss.StyleGAN2Loss'`` to::

    args.loss_kwargs = dnnlib.EasyDict(
        class_name='ganfast.compat.stylegan2_ada.StyleGAN2Loss', r1_gamma=spec.gamma)

Arguments, phases, accumulated gradients, their exchange between processes and the names of the
reported statistics are the project's. In the discriminator's phases the generator runs without
recording gradients. The two fixes of :mod:`ganfast.compat.stylegan` are here, too.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from ganfast.compat._stylegan import Phase, Phases, Report, chosen_report, mixed_styles

__all__ = ["StyleGAN2Loss"]


class StyleGAN2Loss(Phases):
    r"""Non-saturating loss with R1 and path length regularization, each in its own phases.

    The formulas, ``report`` and the errors are those of
    :class:`ganfast.compat.stylegan.StyleGAN2Loss`; the other arguments are the project's.
    """

    def __init__(
        self,
        device: torch.device | str,
        G_mapping: Any,
        G_synthesis: Any,
        D: Any,
        augment_pipe: Callable[[Tensor], Tensor] | None = None,
        style_mixing_prob: float = 0.9,
        r1_gamma: float = 10,
        pl_batch_shrink: int = 2,
        pl_decay: float = 0.01,
        pl_weight: float = 2,
        *,
        report: Report | None = None,
    ) -> None:
        super().__init__(
            device, augment_pipe, r1_gamma, style_mixing_prob, pl_weight, pl_batch_shrink, pl_decay
        )
        self._report = chosen_report(report)
        self.G_mapping, self.G_synthesis, self.D = G_mapping, G_synthesis, D

    def run_G(self, z: Tensor, c: Tensor, sync: bool) -> tuple[Tensor, Tensor]:
        """Return images and their latents, which mix two styles with ``style_mixing_prob``."""
        with _exchanging(self.G_mapping, sync):
            ws = self.G_mapping(z, c)
            if self.style_mixing_prob > 0:
                ws = mixed_styles(
                    ws,
                    lambda: self.G_mapping(torch.randn_like(z), c, skip_w_avg_update=True),
                    self.style_mixing_prob,
                )
        with _exchanging(self.G_synthesis, sync):
            return self.G_synthesis(ws), ws

    def run_D(self, img: Tensor, c: Tensor, sync: bool) -> Tensor:
        """Return the outputs for augmented images."""
        if self.augment_pipe is not None:
            img = self.augment_pipe(img)
        with _exchanging(self.D, sync):
            logits: Tensor = self.D(img, c)
        return logits

    def accumulate_gradients(
        self,
        phase: Phase,
        real_img: Tensor,
        real_c: Tensor,
        gen_z: Tensor,
        gen_c: Tensor,
        sync: bool,
        gain: float,
    ) -> None:
        """Accumulate the gradients of one phase, times ``gain``.

        Raises:
            ValueError: the phase is unknown.
        """
        self._accumulate(phase, real_img, real_c, gen_z, gen_c, gain, sync)

    def _images(self, z: Tensor, c: Tensor, for_D: bool, sync: bool) -> tuple[Tensor, Tensor]:
        return self.run_G(z, c, sync=sync)

    def _logits(self, img: Tensor, c: Tensor, fakes_for_D: bool, sync: bool) -> Tensor:
        return self.run_D(img, c, sync=sync)

    def _reaching_all(self, loss: Tensor, output: Tensor) -> Tensor:
        # DistributedDataParallel waits for a gradient of each parameter.
        return loss + 0 * output.mean()


def _exchanging(module: Any, sync: bool) -> AbstractContextManager[None]:
    """Calls of a module whose gradients processes exchange, or not."""
    if sync or not isinstance(module, DistributedDataParallel):
        return nullcontext()
    return module.no_sync()
