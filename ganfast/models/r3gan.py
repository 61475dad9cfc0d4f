r"""R3GAN's residual networks without normalization (Huang et al. 2024, arXiv:2501.05441).

Generator and discriminator have the same stages in opposite order. A stage is a run of blocks

.. math:: x + W_3 \, a(W_2 \, a(W_1 x + b_1) + b_2)

with a 1 x 1, a grouped 3 x 3 and a 1 x 1 convolution, and a leaky ReLU with a slope of 0.2. Between
stages, maps are resampled with the filter [1, 3, 3, 1] / 8. Nothing is normalized: the scale is in
the initial weights, and each block starts as the identity.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ganfast.models.common import check_labels, stages, wrong_shape
from ganfast.stylegan import bias_act, conv2d, downsample2d, upsample2d

_EXPANSION = 2  # hidden channels of a block, over its channels
_SLOPE = 0.2
_GAIN = math.sqrt(2 / (1 + _SLOPE**2))  # keeps the scale of what the activation gets
_EMBEDDING = 64  # size of a label's embedding beside the latent


def widths_of(width: int, size: int, wide: int = 32) -> list[int]:
    """Return the channels of each stage, from the smallest maps on.

    Args:
        width: channels of all stages up to ``wide`` pixels. Each doubling above halves them.
        size: side of the images: 28, 32, 64, 128 or 256.
        wide: side of the largest maps that have the full width.
    """
    side, doublings = stages(size)
    sides = [side * 2**k for k in range(doublings + 1)]
    return [width // max(1, s // wide) for s in sides]


class Generator(nn.Module):
    """Map latents (N, latent_dim) ~ N(0, 1), and labels (N,), to images (N, channels, size, size).

    The images are not bounded: what is outside of [-1, 1] is clipped when it is shown.

    Args:
        widths: channels of each stage, from the smallest maps on; see :func:`widths_of`.
        channels, size: channels and side of the images: 28, 32, 64, 128 or 256 pixels.
        latent_dim: size of one latent.
        classes: number of labels, or 0 for a generator that takes none.
        blocks: residual blocks in each stage.
        group: channels in each group of the 3 x 3 convolutions.

    Raises:
        ValueError: the size is another one, or the widths do not fit.
    """

    def __init__(
        self,
        widths: Sequence[int] = (768, 768, 768, 768),
        channels: int = 3,
        size: int = 32,
        latent_dim: int = 64,
        classes: int = 0,
        blocks: int = 2,
        group: int = 16,
    ) -> None:
        super().__init__()
        side = _check_widths(widths, size, group)
        self.latent_dim, self.classes = latent_dim, classes
        self.embedding = _embedding(classes, _EMBEDDING, 1.0) if classes else None
        inputs = latent_dim + (_EMBEDDING if classes else 0)
        self.basis = nn.Parameter(torch.randn(widths[0], side, side))
        self.scale = _linear(inputs, widths[0])
        total = blocks * len(widths)
        layers: list[nn.Module] = []
        for k, width in enumerate(widths):
            if k:
                layers.append(_Resampling(widths[k - 1], width, up=True))
            layers += [_Block(width, group, total) for _ in range(blocks)]
        self.layers = nn.Sequential(*layers)
        self.colours = _Convolution(widths[-1], channels, 1)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        if latents.shape[1:] != (self.latent_dim,):
            raise wrong_shape("latents", latents, self.latent_dim)
        if self.embedding is not None:
            embedded = self.embedding(check_labels(labels, len(latents)))
            latents = torch.cat([latents, embedded], 1)
        scale = self.scale(latents)
        x = self.basis.to(scale.dtype) * scale[:, :, None, None]
        if self.colours.weight.is_contiguous(memory_format=torch.channels_last):
            x = x.contiguous(memory_format=torch.channels_last)
        images: Tensor = self.colours(self.layers(x))
        return images


class Discriminator(nn.Module):
    r"""Map images (N, channels, size, size), and labels (N,), to logits (N,).

    With labels y, features :math:`\phi` of the image x and an embedding v, the logit is
    :math:`v_y^T \phi(x)`.

    Args:
        widths, channels, size, classes, blocks, group: as for :class:`Generator`.
        sigmoid: return probabilities instead of logits.

    Raises:
        ValueError: the size is another one, or the widths do not fit.
    """

    def __init__(
        self,
        widths: Sequence[int] = (768, 768, 768, 768),
        channels: int = 3,
        size: int = 32,
        classes: int = 0,
        blocks: int = 2,
        group: int = 16,
        sigmoid: bool = False,
    ) -> None:
        super().__init__()
        side = _check_widths(widths, size, group)
        self.shape, self.classes = (channels, size, size), classes
        self.extraction = _Convolution(channels, widths[-1], 1)
        total = blocks * len(widths)
        layers: list[nn.Module] = []
        for k in reversed(range(len(widths))):
            layers += [_Block(widths[k], group, total) for _ in range(blocks)]
            if k:
                layers.append(_Resampling(widths[k], widths[k - 1], up=False))
        self.layers = nn.Sequential(*layers)
        self.basis = _Convolution(widths[0], widths[0], side, groups=widths[0], padded=False)
        self.linear = _linear(widths[0], widths[0] if classes else 1)
        self.embedding = (
            _embedding(classes, widths[0], 1 / math.sqrt(widths[0])) if classes else None
        )
        self.ending = nn.Sigmoid() if sigmoid else nn.Identity()

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        if images.shape[1:] != self.shape:
            raise wrong_shape("images", images, *self.shape)
        features = self.linear(self.basis(self.layers(self.extraction(images))).flatten(1))
        if self.embedding is not None:
            features = features * self.embedding(check_labels(labels, len(images)))
        logits: Tensor = self.ending(features.sum(1))
        return logits


class _Convolution(nn.Conv2d):
    """A convolution without bias, whose second derivative does not loop over its groups."""

    def __init__(
        self,
        inner: int,
        outer: int,
        kernel: int,
        groups: int = 1,
        gain: float = 1.0,
        padded: bool = True,
    ) -> None:
        padding = kernel // 2 if padded else 0
        super().__init__(inner, outer, kernel, padding=padding, groups=groups, bias=False)
        _start(self.weight, gain)

    def forward(self, x: Tensor) -> Tensor:
        return conv2d(x, self.weight, padding=self.padding, groups=self.groups)  # type: ignore[arg-type]


class _Activation(nn.Module):
    """A leaky ReLU with a bias for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return bias_act(x, self.bias.to(x.dtype), act="lrelu", alpha=_SLOPE, gain=1)


class _Block(nn.Module):
    """A residual block.

    Args:
        width: its channels.
        group: channels in each group of the 3 x 3 convolution.
        total: blocks of the network, whose number scales the initial weights (Zhang et al. 2019,
            arXiv:1901.09321).
    """

    def __init__(self, width: int, group: int, total: int) -> None:
        super().__init__()
        hidden, gain = _EXPANSION * width, _GAIN * total ** (-1 / 4)
        self.layers = nn.Sequential(
            _Convolution(width, hidden, 1, gain=gain),
            _Activation(hidden),
            _Convolution(hidden, hidden, 3, groups=hidden // group, gain=gain),
            _Activation(hidden),
            _Convolution(hidden, width, 1, gain=0.0),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.layers(x)
        return out


class _Resampling(nn.Module):
    """Doubles the size, or halves it, and changes the number of channels."""

    filter: Tensor

    def __init__(self, inner: int, outer: int, up: bool) -> None:
        super().__init__()
        self.up = up
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
        self.register_buffer("filter", torch.outer(taps, taps), persistent=False)
        self.convolution = nn.Identity() if inner == outer else _Convolution(inner, outer, 1)

    def forward(self, x: Tensor) -> Tensor:
        if self.up:
            return upsample2d(self.convolution(x), self.filter)
        out: Tensor = self.convolution(downsample2d(x, self.filter))
        return out


def _linear(inner: int, outer: int) -> nn.Linear:
    layer = nn.Linear(inner, outer, bias=False)
    _start(layer.weight, 1.0)
    return layer


def _embedding(classes: int, outer: int, gain: float) -> nn.Embedding:
    """Return a linear map of one-hot labels, with the initial weights of one."""
    layer = nn.Embedding(classes, outer)
    nn.init.normal_(layer.weight, 0.0, gain / math.sqrt(classes))
    return layer


def _start(weight: Tensor, gain: float) -> None:
    nn.init.normal_(weight, 0.0, gain / math.sqrt(weight[0].numel()))


def _check_widths(widths: Sequence[int], size: int, group: int) -> int:
    """Return the side of the smallest maps. Raises ValueError unless the widths fit."""
    side, doublings = stages(size)
    if len(widths) != doublings + 1:
        raise ValueError(
            f"widths must hold {doublings + 1} numbers for {size} pixels, got {list(widths)}"
        )
    for width in widths:
        if width < 1 or _EXPANSION * width % group:
            raise ValueError(
                f"widths must be multiples of {math.ceil(group / _EXPANSION)}, half of a group "
                f"of {group}, got {list(widths)}"
            )
    return side
