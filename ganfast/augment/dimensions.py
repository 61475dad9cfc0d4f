"""DiffAugment of waveforms, volumes and videos, in plain PyTorch."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ganfast._checks import FLOATING
from ganfast.augment.diff_augment import PIECES
from ganfast.reference import along_samples, colored, compute_dtype, cut, translated


def augment_signals(
    x: Tensor,
    policy: str = "gain,translation,cutout",
    *,
    generator: torch.Generator | None = None,
    p: Tensor | None = None,
) -> Tensor:
    """Augment each waveform at random, differentiably, as DiffAugment does images.

    * ``gain``: times U(0.5, 1.5);
    * ``translation``: by up to an eighth of the length, with zeros from outside;
    * ``cutout``: zeros in half of the length, centred anywhere.

    Args:
        x: signals (N, C, T); float64, float32, float16 or bfloat16.
        policy: pieces separated by commas, applied in their order.
        generator: a generator of x's device; torch's default if None.
        p: scalar on x's device, the probability that a sample is augmented; 1 if None.

    Returns:
        Signals like x. Differentiable to any order.

    Raises:
        TypeError: x is not floating point.
        ValueError: the policy names an unknown piece, or x has another shape.
    """
    return _augmented(x, policy, ("gain", *PIECES[1:]), "(N, C, T)", (2,), generator, p)


def augment_volumes(
    x: Tensor,
    policy: str = "color,translation,cutout",
    *,
    generator: torch.Generator | None = None,
    p: Tensor | None = None,
) -> Tensor:
    """Augment each volume at random, differentiably, as DiffAugment does images.

    * ``color``: + U(-0.5, 0.5), times U(0, 2) about the mean of each voxel's channels, times
      U(0.5, 1.5) about the volume's mean;
    * ``translation``: by up to an eighth of each axis, with zeros from outside;
    * ``cutout``: zeros in a box of half of each axis, centred anywhere.

    Args:
        x: volumes (N, C, D, H, W).
        policy, generator, p: as in :func:`augment_signals`.

    Returns, Raises:
        as :func:`augment_signals`.
    """
    return _augmented(x, policy, PIECES, "(N, C, D, H, W)", (2, 3, 4), generator, p)


def augment_videos(
    x: Tensor,
    policy: str = "color,translation,cutout",
    *,
    generator: torch.Generator | None = None,
    p: Tensor | None = None,
) -> Tensor:
    """Augment each video at random, differentiably, with the same numbers for all of its frames.

    The pieces are those of :func:`ganfast.DiffAugment`, on height and width; the contrast changes
    about the mean of the whole video, so that motion and time stay what they are.

    Args:
        x: videos (N, C, T, H, W).
        policy, generator, p: as in :func:`augment_signals`.

    Returns, Raises:
        as :func:`augment_signals`.
    """
    return _augmented(x, policy, PIECES, "(N, C, T, H, W)", (3, 4), generator, p)


def _augmented(
    x: Tensor,
    policy: str,
    pieces: Sequence[str],
    shape: str,
    axes: Sequence[int],
    generator: torch.Generator | None,
    p: Tensor | None,
) -> Tensor:
    if not isinstance(x, Tensor) or x.dtype not in FLOATING:
        got = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"x must be a floating-point tensor, got {got}")
    if x.dim() != shape.count(",") + 1 or x.numel() == 0:
        raise ValueError(f"x must have shape {shape} without empty axes, got {list(x.shape)}")
    names = [name.strip() for name in policy.split(",") if name.strip()]
    if not set(names) <= set(pieces):
        raise ValueError(f"policy must be made of {', '.join(pieces)}, got {policy!r}")
    y = wide = compute_dtype(x)

    def numbers(count: int) -> Tensor:
        return torch.rand(len(x), count, device=x.device, generator=generator).to(y.dtype)

    for name in names:
        if name == "gain":
            y = y * (along_samples(numbers(1), y) + 0.5)
        elif name == "color":
            y = colored(y, numbers(3))
        elif name == "translation":
            y = translated(y, numbers(len(axes)), axes)
        else:
            y = cut(y, numbers(len(axes)), axes)
    if p is not None:
        y = torch.where(along_samples(numbers(1) < p, y), y, wide)
    return y.to(x.dtype)
