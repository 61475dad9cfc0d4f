"""The multi-scale sliced Wasserstein distance of images, which needs no network."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

_SIDE = 7  # of a neighbourhood, in pixels
_SMALLEST = 14  # side of the coarsest level: 16 for powers of two, as in the paper
_BLUR = (1.0, 4.0, 6.0, 4.0, 1.0)  # over 16, in each direction
_BATCH = 256  # images whose pyramids are held at a time


class PyramidDistance(NamedTuple):
    """Distances times 1,000, as the paper prints them."""

    mean: float  # over all levels
    levels: dict[int, float]  # by the side of the level in pixels, the finest first


class PyramidDescriptors:
    r"""Neighbourhoods of the Laplacian pyramids of images, to compare with those of others.

    Each image gives ``neighbourhoods`` patches of 7 x 7 pixels from every level of its pyramid. The
    levels halve the side as long as it is even and stays at least 14. Each channel of the patches
    is normalized to mean 0 and variance 1 over the set. The distance of two sets is the mean over
    random unit directions u of their 1-Wasserstein distance,

    .. math:: \frac{1}{n} \sum_i |\mathrm{sort}(u^T x)_i - \mathrm{sort}(u^T y)_i|.

    Fine levels see sharpness and noise, coarse ones the shape of what is shown. None sees a change
    of the brightness or contrast of the whole set, as it is normalized away.

    Args:
        images: uint8 (N, C, H, H) with H of at least 14.
        neighbourhoods: patches of an image and level.
        seed: of the places of the patches.

    Raises:
        TypeError: the images are not uint8.
        ValueError: they have another shape.

    Source: Karras et al. 2018, arXiv:1710.10196, section 5.
    """

    def __init__(self, images: Tensor, neighbourhoods: int = 128, seed: int = 0) -> None:
        if images.dtype != torch.uint8:
            raise TypeError(f"images must be uint8, got {images.dtype}")
        if images.dim() != 4 or images.shape[2] != images.shape[3] or images.shape[3] < _SMALLEST:
            raise ValueError(
                f"images must have shape (N, C, H, H) with H >= {_SMALLEST}, "
                f"got {tuple(images.shape)}"
            )
        if not len(images):
            raise ValueError("images must be 1 or more, got 0")
        if neighbourhoods < 1:
            raise ValueError(f"neighbourhoods must be at least 1, got {neighbourhoods}")
        self.channels, self.side = images.shape[1], images.shape[3]
        random = torch.Generator().manual_seed(seed)
        parts: dict[int, list[Tensor]] = {}
        for batch in torch.split(images, _BATCH):
            for level in pyramid(batch.to(torch.float32)):
                patches = _patches(level, neighbourhoods, random)
                parts.setdefault(level.shape[3], []).append(patches)
        self.levels = {side: _normalized(torch.cat(of)) for side, of in parts.items()}

    def distance(
        self, other: "PyramidDescriptors", directions: int = 512, seed: int = 0
    ) -> PyramidDistance:
        """Return the distance to ``other`` images of the same size over random directions.

        Of the larger set a random subset is compared, as large as the smaller set.

        Raises:
            ValueError: the images have another shape, or there are no directions.
        """
        if (self.channels, self.side) != (other.channels, other.side):
            raise ValueError(
                f"other must be of images of {self.channels} channels and {self.side} pixels, "
                f"got {other.channels} and {other.side}"
            )
        if directions < 1:
            raise ValueError(f"directions must be at least 1, got {directions}")
        random = torch.Generator().manual_seed(seed)
        found = {}
        for side, one in self.levels.items():
            two = other.levels[side]
            n = min(len(one), len(two))
            one, two = (
                x if len(x) == n else x[torch.randperm(len(x), generator=random)[:n]]
                for x in (one, two)
            )
            u = F.normalize(torch.randn(one.shape[1], directions, generator=random), dim=0)
            total = 0.0
            for part in torch.split(u, 64, dim=1):
                a, b = ((part.T @ x.T).sort(dim=1).values for x in (one, two))
                total += float((a - b).abs().double().mean(1).sum())
            found[side] = 1000 * total / directions
        return PyramidDistance(sum(found.values()) / len(found), found)


def swd(
    x: Tensor, y: Tensor, *, neighbourhoods: int = 128, directions: int = 512, seed: int = 0
) -> PyramidDistance:
    """Multi-scale sliced Wasserstein distance of images.

    Args:
        x, y: uint8 (N, C, H, H) and (M, C, H, H). The paper takes 16,384 of each; fewer raise the
            distance, so compare with that of two halves of the real images.
        neighbourhoods, directions, seed: as for :class:`PyramidDescriptors` and its `distance`.

    Raises:
        TypeError, ValueError: as :class:`PyramidDescriptors`.

    Example:
        >>> images = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8)
        >>> swd(images, images).mean
        0.0
    """
    one, two = (PyramidDescriptors(images, neighbourhoods, seed) for images in (x, y))
    return one.distance(two, directions, seed)


def pyramid(images: Tensor) -> list[Tensor]:
    """Return the levels of the Laplacian pyramid of (N, C, H, H), the finest first.

    Each level but the last is what its halved copy lacks; the last is the halved image itself.
    """
    levels = []
    while images.shape[3] % 2 == 0 and images.shape[3] // 2 >= _SMALLEST:
        smaller = _blurred(images, 1.0)[:, :, ::2, ::2]
        spread = torch.zeros_like(images)
        spread[:, :, ::2, ::2] = smaller
        levels.append(images - _blurred(spread, 4.0))
        images = smaller
    return [*levels, images]


def _blurred(images: Tensor, gain: float) -> Tensor:
    """Blur with the binomial filter of five pixels in both directions, mirrored at the borders."""
    n, c, h, w = images.shape
    row = torch.tensor(_BLUR) / 16
    kernel = (gain * row[:, None] * row[None, :])[None, None]
    padded = F.pad(images.reshape(n * c, 1, h, w), (2, 2, 2, 2), mode="reflect")
    return F.conv2d(padded, kernel).view(n, c, h, w)


def _patches(level: Tensor, count: int, random: torch.Generator) -> Tensor:
    """Return patches (N count, C 7 7) from random places of each image (N, C, H, H)."""
    n, c, h, _ = level.shape
    y, x = torch.randint(0, h - _SIDE + 1, (2, n * count, 1, 1), generator=random)
    reach = torch.arange(_SIDE)
    image = torch.arange(n).repeat_interleave(count).view(-1, 1, 1)
    rows, columns = y + reach.view(1, -1, 1), x + reach.view(1, 1, -1)
    found: Tensor = level[image, :, rows, columns]  # (N count, 7, 7, C)
    return found.permute(0, 3, 1, 2).reshape(n * count, c * _SIDE**2)


def _normalized(patches: Tensor) -> Tensor:
    """Normalize each channel of (M, C 7 7) to mean 0 and variance 1; a constant one becomes 0."""
    x = patches.view(len(patches), -1, _SIDE**2)
    centred = x - x.mean((0, 2), dtype=torch.float64, keepdim=True).float()
    std = centred.square().mean((0, 2), dtype=torch.float64, keepdim=True).sqrt().float()
    return centred.div_(std.where(std > 0, 1.0)).view(len(patches), -1)
