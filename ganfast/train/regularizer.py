"""Terms added to the discriminator's loss: gradient penalty, consistency, LeCam."""

from collections.abc import Callable
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
_AT_IMAGES = {"r1": ("r1",), "r2": ("r2",), "r1_r2": ("r1", "r2")}


class Regularizer:
    """The regularizers of one discriminator, as the options name them.

    Random points and shifts come from ``random`` and are the same in all processes. The state of
    ``lecam`` holds LeCam's averages. If ``active`` is False, there is none to compute.
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
        self.active = bool(options.lecam or options.consistency) or options.penalty != "none"
        # With start_step 1 the first call sets the averages to the batch's means.
        self.lecam = LeCam(decay=options.lecam_decay, start_step=1, distributed=True)
        self.lecam.to(random.device)
        self._factor: Tensor | None = None  # on the penalty's weight; a CUDA graph reads it
        if options.penalty_end != 1:
            self._factor = torch.ones((), device=random.device)

    def set_factor(self, factor: float) -> None:
        """Multiply the weight of the penalty by a factor, if the options schedule it."""
        if self._factor is not None:
            self._factor.fill_(factor)

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

    def sides_of_logits(self, gain: float) -> tuple[str, ...]:
        """Return which of R1 and R2 a step with this gain takes of the logits of the loss."""
        o = self._options
        if o.precision == "fp16" or o.compile or gain == 0:
            return ()  # neither has these second derivatives
        return _AT_IMAGES.get(o.penalty, ())

    def of_logits(
        self, real: Tensor, fake: Tensor, real_logits: Any, fake_logits: Any, gain: float
    ) -> list[Tensor]:
        """Return R1 and R2 from logits, at those images that require gradients."""
        gamma, terms = gain * self._options.penalty_weight, []
        if real.requires_grad:
            terms.append(penalties.r1_from_logits(real_logits, real, gamma=gamma))
        if fake.requires_grad:
            terms.append(penalties.r2_from_logits(fake_logits, fake, gamma=gamma))
        return self._scheduled(terms)

    def on_gradients(
        self,
        images: tuple[Tensor, Tensor],
        augmented: tuple[Tensor, Tensor],
        labels: tuple[Tensor, ...],
        gain: float,
        augment: Callable[[Tensor], Tensor],
    ) -> list[Tensor]:
        """Return the penalties of a step of the discriminator, in float32.

        R1 and R2 are taken with respect to the images, real and fake, before augmentation; the
        others at or between augmented images.
        """
        if gain == 0:
            return []
        o, d, terms = self._options, self._discriminator, []
        weight = gain * o.penalty_weight

        def seen(images: Tensor, *own: Tensor) -> Any:
            return d(augment(images), *own)

        real, fake = augmented
        with torch.autocast(real.device.type, enabled=False):
            sides = _AT_IMAGES.get(o.penalty, ())
            if "r1" in sides:
                terms.append(penalties.r1(seen, images[0], gamma=weight, args=labels))
            if "r2" in sides:
                terms.append(penalties.r2(seen, images[1], gamma=weight, args=labels))
            if o.penalty == "dragan":
                terms.append(
                    penalties.dragan(d, real, weight=weight, args=labels, generator=self._random)
                )
            if o.penalty in _BETWEEN:
                penalty, count = _BETWEEN[o.penalty], self._processes.count * len(real)
                alpha = torch.rand(count, generator=self._random, device=real.device)
                alpha = self._processes.part(alpha).to(real.dtype)
                terms.append(penalty(d, real, fake, weight=weight, args=labels, alpha=alpha))
        return self._scheduled(terms)

    def _scheduled(self, terms: list[Tensor]) -> list[Tensor]:
        return terms if self._factor is None else [self._factor * term for term in terms]


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
