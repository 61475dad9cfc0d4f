"""What is added to the discriminator's loss: gradient penalty, consistency, LeCam."""

from typing import Any

import torch
from torch import Tensor, nn

from ganfast import penalties
from ganfast.distributed import Processes
from ganfast.losses import LeCam
from ganfast.regularizers import consistency
from ganfast.train.options import TrainOptions

_BETWEEN = {  # at points between real and fake images
    "wgan_gp": penalties.wgan_gp,
    "wgan_lp": penalties.wgan_lp,
    "zero_centered": penalties.zero_centered,
}


class Regularizer:
    """The regularizers that the options name, for one discriminator.

    Random points and shifts are drawn from ``random``, in all processes alike. LeCam's averages are
    ``self.lecam``'s state.
    """

    def __init__(
        self,
        options: TrainOptions,
        discriminator: nn.Module,
        random: torch.Generator,
        processes: Processes,
    ) -> None:
        self._options, self._discriminator = options, discriminator
        self._random, self._processes = random, processes
        # In its first call the averages become the batch's means.
        self.lecam = LeCam(decay=options.lecam_decay, start_step=1, distributed=True)
        self.lecam.to(random.device)

    def on_logits(
        self, real: Tensor, given: tuple[Tensor, ...], real_logits: Any, fake_logits: Any
    ) -> list[Tensor]:
        """LeCam and consistency, in the precision of the forward."""
        o, terms = self._options, []
        if o.lecam:
            terms.append(o.lecam * self.lecam(real_logits, fake_logits))
        if o.consistency:
            moved = self._discriminator(shifted(real, self._random, self._processes), *given)
            terms.append(consistency(real_logits, moved, weight=o.consistency))
        return terms

    def gain(self, number: int) -> float:
        """How many times its weight the penalty has in step ``number``; 0 where there is none."""
        o = self._options
        return 0.0 if o.penalty == "none" else penalties.lazy_gain(number, o.penalty_every)

    def on_gradients(
        self, real: Tensor, fake: Tensor, given: tuple[Tensor, ...], number: int
    ) -> list[Tensor]:
        """The penalty of the discriminator's optimizer step ``number`` (from 0), in float32."""
        o, gain = self._options, self.gain(number)
        if gain == 0:
            return []
        d, weight, terms = self._discriminator, gain * o.penalty_weight, []
        with torch.autocast(real.device.type, enabled=False):
            if o.penalty in ("r1", "r1_r2"):
                terms.append(penalties.r1(d, real, gamma=weight, args=given))
            if o.penalty in ("r2", "r1_r2"):
                terms.append(penalties.r2(d, fake, gamma=weight, args=given))
            if o.penalty == "dragan":
                terms.append(
                    penalties.dragan(d, real, weight=weight, args=given, generator=self._random)
                )
            if o.penalty in _BETWEEN:
                penalty, count = _BETWEEN[o.penalty], self._processes.count * len(real)
                alpha = torch.rand(count, generator=self._random, device=real.device)
                alpha = self._processes.part(alpha).to(real.dtype)
                terms.append(penalty(d, real, fake, weight=weight, args=given, alpha=alpha))
        return terms


def shifted(images: Tensor, random: torch.Generator, processes: Processes | None = None) -> Tensor:
    """Each image (N, C, H, W) moved by up to an eighth of its sides, its border repeated.

    The shifts of all processes' images are drawn, where others draw them, too.
    """
    n, _, height, width = images.shape
    count = n * (processes.count if processes else 1)
    rows, columns = (
        torch.randint(-(s // 8), s // 8 + 1, (count, 1), generator=random, device=images.device)
        for s in (height, width)
    )
    if processes:
        rows, columns = processes.part(rows), processes.part(columns)
    rows = torch.arange(height, device=images.device) + rows
    columns = torch.arange(width, device=images.device) + columns
    rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    sample = torch.arange(n, device=images.device)[:, None, None]
    # The channels go last where indices stand around them.
    return images[sample, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
