"""DiffAugment: colour, translation and cutout of all images, in one pass."""

import torch
from torch import Tensor

from ganfast import ops

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


def stages(policy: str) -> list[list[str]]:
    """Return the pieces of a policy, split into runs in the order that one launch applies."""
    found: list[list[str]] = []
    last = len(PIECES)
    for name in filter(None, (part.strip() for part in policy.split(","))):
        if name not in PIECES:
            raise ValueError(f"policy must be made of {', '.join(PIECES)}, got {policy!r}")
        if PIECES.index(name) <= last:
            found.append([])
        last = PIECES.index(name)
        found[-1].append(name)
    return found


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
    runs = stages(policy or "")
    if x.shape[:1] == (0,):  # of an empty batch nothing is augmented
        return x
    if not channels_first:
        x = x.permute(0, 3, 1, 2)
    first = None
    for stage in runs:
        u = draw(x.shape[0], x.device, generator, p)
        if first is None:
            first = u
        elif p is not None:  # all pieces augment the same images
            u[:, 7] = first[:, 7]
        x = ops.augment(x, u, *(piece in stage for piece in PIECES))
    return x if channels_first else x.permute(0, 2, 3, 1)
