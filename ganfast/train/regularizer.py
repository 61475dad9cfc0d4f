"""Terms added to the discriminator's loss: gradient penalty, consistency, LeCam."""

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
    """The regularizers of one discriminator, as the options name them.

    Random points and shifts come from ``random`` and are the same in all processes. The state of
    ``lecam`` holds LeCam's averages.
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
        # With start_step 1 the first call sets the averages to the batch's means.
        self.lecam = LeCam(decay=options.lecam_decay, start_step=1, distributed=True)
        self.lecam.to(random.device)

    def on_logits(
        self, real: Tensor, labels: tuple[Tensor, ...], real_logits: Any, fake_logits: Any
    ) -> list[Tensor]:
        """Return the LeCam and consistency terms, in the precision of the forward pass."""
        o, terms = self._options, []
        if o.lecam:
            terms.append(o.lecam * self.lecam(real_logits, fake_logits))
        if o.consistency:
            moved = self._discriminator(shifted(real, self._random, self._processes), *labels)
            terms.append(consistency(real_logits, moved, weight=o.consistency))
        return terms

    def gain(self, d_step: int) -> float:
        """Return the factor on the penalty's weight in step ``d_step``; 0 means no penalty."""
        o = self._options
        return 0.0 if o.penalty == "none" else penalties.lazy_gain(d_step, o.penalty_every)

    def on_gradients(
        self, real: Tensor, fake: Tensor, labels: tuple[Tensor, ...], d_step: int
    ) -> list[Tensor]:
        """Return the penalties of the discriminator's step ``d_step`` (from 0), in float32."""
        o, gain = self._options, self.gain(d_step)
        if gain == 0:
            return []
        d, weight, terms = self._discriminator, gain * o.penalty_weight, []
        with torch.autocast(real.device.type, enabled=False):
            if o.penalty in ("r1", "r1_r2"):
                terms.append(penalties.r1(d, real, gamma=weight, args=labels))
            if o.penalty in ("r2", "r1_r2"):
                terms.append(penalties.r2(d, fake, gamma=weight, args=labels))
            if o.penalty == "dragan":
                terms.append(
                    penalties.dragan(d, real, weight=weight, args=labels, generator=self._random)
                )
            if o.penalty in _BETWEEN:
                penalty, count = _BETWEEN[o.penalty], self._processes.count * len(real)
                alpha = torch.rand(count, generator=self._random, device=real.device)
                alpha = self._processes.part(alpha).to(real.dtype)
                terms.append(penalty(d, real, fake, weight=weight, args=labels, alpha=alpha))
        return terms


def shifted(images: Tensor, random: torch.Generator, processes: Processes | None = None) -> Tensor:
    """Shift each image (N, C, H, W) by up to an eighth of its sides, repeating its border.

    With ``processes``, every process draws the shifts of all and uses its share.
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
    # Indexing on both sides of the channels puts them last.
    return images[sample, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
