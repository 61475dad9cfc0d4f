"""Differentiable augmentation of a discriminator's images, with a strength that adapts.

The discriminator trains on augmented real and augmented fake images; the generator's gradient
flows through the augmentation.
"""

import torch
from torch import Tensor, nn

from ganfast import ops
from ganfast.distributed import mean_over_processes, process_count

PIECES = ("color", "translation", "cutout")


def draw(
    samples: int,
    device: torch.device | str | None = None,
    generator: torch.Generator | None = None,
    p: Tensor | None = None,
) -> Tensor:
    """Draw the numbers of :func:`ganfast.ops.augment` on the device.

    Args:
        samples: N.
        device: the images' device.
        generator: a generator of that device; torch's default if None.
        p: scalar on that device, the probability that a sample is augmented; 1 if None.

    Returns:
        float32 (N, 7), uniform in [0, 1); with p (N, 8), whose last column is below 0 with
        probability p.
    """
    u = torch.rand(samples, 7 if p is None else 8, device=device, generator=generator)
    if p is not None:
        u[:, 7] -= p
    return u


def _stages(policy: str) -> list[list[str]]:
    """The pieces of a policy, split into runs in the order that one launch applies."""
    stages: list[list[str]] = []
    last = len(PIECES)
    for name in filter(None, (part.strip() for part in policy.split(","))):
        if name not in PIECES:
            raise ValueError(f"policy must be made of {', '.join(PIECES)}, got {policy!r}")
        if PIECES.index(name) <= last:
            stages.append([])
        last = PIECES.index(name)
        stages[-1].append(name)
    return stages


def DiffAugment(
    x: Tensor,
    policy: str | None = "",
    channels_first: bool = True,
    generator: torch.Generator | None = None,
    p: Tensor | None = None,
) -> Tensor:
    """Augment each image at random, differentiably (Zhao et al. 2020, arXiv:2006.10738).

    The signature is that of the paper's code, with ``generator`` and ``p`` added.

    * ``color``: brightness + U(-0.5, 0.5), saturation times U(0, 2) about each pixel's mean,
      contrast times U(0.5, 1.5) about the image's mean;
    * ``translation``: by up to an eighth of height and width, with zeros from outside;
    * ``cutout``: zeros in a box of half the height and width, centred anywhere.

    ``"color,translation,cutout"`` takes one pass; pieces in another order, or repeated, take one
    pass for each run in this order. :func:`ganfast.ops.augment` gives the formula.

    Args:
        x: images (N, C, H, W) with any number of channels; float64, float32, float16 or bfloat16.
        policy: pieces separated by commas, applied in their order; an empty policy and None
            return x.
        channels_first: False for images (N, H, W, C).
        generator: a generator of x's device; torch's default if None.
        p: scalar on x's device, the probability that an image is augmented; 1 if None.

    Returns:
        Images like x, also in their memory format: channels_last stays channels_last, where the
        paper's code returns contiguous images. Differentiable to any order, so R1 can be taken with
        respect to x.

    Raises:
        TypeError: x is not floating point.
        ValueError: the policy names an unknown piece, or x has another shape.
    """
    stages = _stages(policy or "")
    if x.shape[:1] == (0,):  # of an empty batch nothing is augmented
        return x
    if not channels_first:
        x = x.permute(0, 3, 1, 2)
    first = None
    for stage in stages:
        u = draw(x.shape[0], x.device, generator, p)
        if first is None:
            first = u
        elif p is not None:  # all pieces augment the same images
            u[:, 7] = first[:, 7]
        x = ops.augment(x, u, *(piece in stage for piece in PIECES))
    return x if channels_first else x.permute(0, 2, 3, 1)


class AdaptiveAugment(nn.Module):
    r"""DiffAugment of each image with a probability that follows the discriminator's overfitting.

    The heuristic of StyleGAN2-ADA (Karras et al. 2020, arXiv:2006.06676): every few steps

    .. math:: p \leftarrow p + \frac{n}{n_{total}} \operatorname{sign}(r - r_{target}), \quad
              r = \operatorname{mean} \operatorname{sign} D(x_{real}),

    where n images were seen since the last change. The augmentations are DiffAugment's, applied to
    an image all together or not at all. Nothing is read from the device, and the whole state is in
    the state_dict.

    Args:
        policy: see :func:`DiffAugment`.
        target: target of r.
        kimg: thousands of real images in which p can rise from 0 to 1.
        interval: updates between changes of p.
        p: first value.
        limit: largest p. Near 1 the generator may learn the augmentations.
        distributed: take r over all processes of torch.distributed, with equal batches.

    Raises:
        ValueError: an argument is out of range, or the policy names an unknown piece.
    """

    p: Tensor
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
        super().__init__()
        _stages(policy)
        if not -1 <= target <= 1:
            raise ValueError(f"target must be in [-1, 1], got {target}")
        if not kimg > 0:
            raise ValueError(f"kimg must be positive, got {kimg}")
        if interval < 1:
            raise ValueError(f"interval must be at least 1, got {interval}")
        if not 0 <= p <= limit <= 1:
            raise ValueError(
                f"p and limit must be in the order 0 <= p <= limit <= 1, got {p} and {limit}"
            )
        self.policy, self.target, self.kimg, self.interval = policy, target, kimg, interval
        self.limit, self.distributed = limit, distributed
        self.register_buffer("p", torch.tensor(float(p)))
        # Since the last change of p: updates, images, and the sum of the mean signs.
        for name in ("updates", "images", "signs"):
            self.register_buffer(name, torch.zeros(()))

    def forward(
        self, x: Tensor, channels_first: bool = True, generator: torch.Generator | None = None
    ) -> Tensor:
        """Apply :func:`DiffAugment` to each image of x with probability p."""
        return DiffAugment(x, self.policy, channels_first, generator, self.p)

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
