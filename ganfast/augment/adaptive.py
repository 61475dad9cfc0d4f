"""Augmentation by a policy, with a probability that is set or that follows the discriminator."""

import torch
from torch import Tensor, nn

from ganfast.augment.ada import ada
from ganfast.augment.diff_augment import DiffAugment, stages
from ganfast.distributed import mean_over_processes, process_count

#: Strengths of the groups of :func:`ganfast.augment.ada`, by the name of a policy.
STRENGTHS = {
    "ada": {"blit": 1.0, "geometry": 1.0, "color": 1.0, "cutout": 0.0},
    "r3gan": {"blit": 1.0, "geometry": 1.0, "color": 0.5, "cutout": 1.0},
}


def check_policy(policy: str, argument: str = "policy") -> None:
    """Raise ValueError unless :class:`Augment` has the policy."""
    if policy in STRENGTHS:
        return
    try:
        stages(policy)
    except ValueError:
        raise ValueError(
            f"{argument} must be {', '.join(STRENGTHS)}, or made of color, translation, cutout, "
            f"got {policy!r}"
        ) from None


class Augment(nn.Module):
    """Augmentation of each image with a probability that you may change.

    Args:
        policy: ``"ada"`` for blits, geometry and colour of StyleGAN2-ADA, ``"r3gan"`` for these
            with half the colour and with cutout, see :func:`ganfast.augment.ada`; or pieces of
            :func:`ganfast.augment.DiffAugment`, which apply to an image all together or not at all.
        p: the probability. It is a buffer: ``augment.p.fill_(0.3)`` changes it.

    Raises:
        ValueError: the policy names an unknown piece, or p is not in [0, 1].
    """

    p: Tensor

    def __init__(self, policy: str = "color,translation,cutout", *, p: float = 1.0) -> None:
        super().__init__()
        check_policy(policy)
        if not 0 <= p <= 1:
            raise ValueError(f"p must be in [0, 1], got {p}")
        self.policy = policy
        self.register_buffer("p", torch.tensor(float(p)))

    def forward(
        self, x: Tensor, channels_first: bool = True, generator: torch.Generator | None = None
    ) -> Tensor:
        """Augment the images (N, C, H, W), or (N, H, W, C) without ``channels_first``."""
        if self.policy not in STRENGTHS:
            return DiffAugment(x, self.policy, channels_first, generator, self.p)
        if channels_first:
            return ada(x, self.p, **STRENGTHS[self.policy], generator=generator)
        y = ada(x.permute(0, 3, 1, 2), self.p, **STRENGTHS[self.policy], generator=generator)
        return y.permute(0, 2, 3, 1)


class AdaptiveAugment(Augment):
    r"""Augmentation with a probability that follows the discriminator's overfitting.

    The heuristic of StyleGAN2-ADA (Karras et al. 2020, arXiv:2006.06676): every few steps

    .. math:: p \leftarrow p + \frac{n}{n_{total}} \operatorname{sign}(r - r_{target}), \quad
              r = \operatorname{mean} \operatorname{sign} D(x_{real}),

    where n images were seen since the last change. Nothing is read from the device, and the whole
    state is in the state_dict.

    Args:
        policy: see :class:`Augment`.
        target: target of r.
        kimg: thousands of real images in which p can rise from 0 to 1.
        interval: updates between changes of p.
        p: first value.
        limit: largest p. Near 1 the generator may learn the augmentations.
        distributed: take r over all processes of torch.distributed, with equal batches.

    Raises:
        ValueError: an argument is out of range, or the policy names an unknown piece.
    """

    updates: Tensor
    images: Tensor
    signs: Tensor

    def __init__(
        self,
        policy: str = "color,translation,cutout",
        *,
        target: float = 0.6,
        kimg: float = 500.0,
        interval: int = 4,
        p: float = 0.0,
        limit: float = 1.0,
        distributed: bool = False,
    ) -> None:
        if not 0 <= p <= limit <= 1:
            raise ValueError(
                f"p and limit must be in the order 0 <= p <= limit <= 1, got {p} and {limit}"
            )
        super().__init__(policy, p=p)
        if not -1 <= target <= 1:
            raise ValueError(f"target must be in [-1, 1], got {target}")
        if not kimg > 0:
            raise ValueError(f"kimg must be positive, got {kimg}")
        if interval < 1:
            raise ValueError(f"interval must be at least 1, got {interval}")
        self.target, self.kimg, self.interval = target, kimg, interval
        self.limit, self.distributed = limit, distributed
        # Since the last change of p: updates, images, and the sum of the mean signs.
        for name in ("updates", "images", "signs"):
            self.register_buffer(name, torch.zeros(()))

    @torch.no_grad()
    def update(self, real_logits: Tensor) -> None:
        """Count the signs of D(real); call it in each step of D. Every ``interval`` calls change p.

        Args:
            real_logits: D's outputs for a batch of augmented real images (N, ...).
        """
        mean, images = real_logits.detach().sign().mean(dtype=torch.float32), real_logits.shape[0]
        if self.distributed:
            (mean,) = mean_over_processes([mean])
            images *= process_count()
        self.updates += 1
        self.images += images
        self.signs += mean
        due = self.updates >= self.interval
        direction = torch.sign(self.signs / self.updates - self.target)
        step = due * direction * self.images / (1000 * self.kimg)
        self.p.add_(step).clamp_(0, self.limit)
        for seen in (self.updates, self.images, self.signs):
            seen.masked_fill_(due, 0)
