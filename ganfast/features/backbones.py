"""Convolutional layers of AlexNet, VGG16 and SqueezeNet 1.1, with torchvision's indices."""

from collections import OrderedDict
from collections.abc import Iterator

import torch
from torch import Tensor, nn


class Fire(nn.Module):
    """SqueezeNet's module: 1 x 1 to few channels, then 1 x 1 and 3 x 3 side by side."""

    def __init__(self, channels: int, few: int, each: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, few, 1)
        self.expand1x1 = nn.Conv2d(few, each, 1)
        self.expand3x3 = nn.Conv2d(few, each, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, H, W) to (N, 2 each, H, W)."""
        x = self.squeeze(x).relu_()
        return torch.cat([self.expand1x1(x), self.expand3x3(x)], 1).relu_()


def _alexnet() -> Iterator[nn.Module]:
    yield nn.Conv2d(3, 64, 11, 4, 2)
    yield nn.ReLU(inplace=True)
    yield nn.MaxPool2d(3, 2)
    yield nn.Conv2d(64, 192, 5, padding=2)
    yield nn.ReLU(inplace=True)
    yield nn.MaxPool2d(3, 2)
    for channels, out in ((192, 384), (384, 256), (256, 256)):
        yield nn.Conv2d(channels, out, 3, padding=1)
        yield nn.ReLU(inplace=True)


def _vgg16() -> Iterator[nn.Module]:
    channels = 3
    for out, layers in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        if channels > 3:
            yield nn.MaxPool2d(2)
        for _ in range(layers):
            yield nn.Conv2d(channels, out, 3, padding=1)
            yield nn.ReLU(inplace=True)
            channels = out


def _squeezenet() -> Iterator[nn.Module]:
    yield nn.Conv2d(3, 64, 3, 2)
    yield nn.ReLU(inplace=True)
    channels = 64
    for few, each, layers in ((16, 64, 2), (32, 128, 2), (48, 192, 2)):
        yield nn.MaxPool2d(3, 2, ceil_mode=True)
        for _ in range(layers):
            yield Fire(channels, few, each)
            channels = 2 * each
    for _ in range(2):
        yield Fire(channels, 64, 256)
        channels = 512


_LAYERS = {"alex": _alexnet, "vgg": _vgg16, "squeeze": _squeezenet}


class Slices(nn.Module):
    """The layers of a network in slices, whose outputs are its features.

    Layer i of torchvision's ``features`` in slice k is ``slice{k}.{i}``, as in the state dicts of
    the lpips package; k counts from 1.

    Args:
        net: ``alex``, ``vgg`` or ``squeeze``.
        ends: index after the last layer of each slice.
    """

    def __init__(self, net: str, ends: tuple[int, ...]) -> None:
        super().__init__()
        layers = list(_LAYERS[net]())
        for k, (start, end) in enumerate(zip((0, *ends), ends, strict=False), 1):
            part = OrderedDict((str(index), layers[index]) for index in range(start, end))
            self.add_module(f"slice{k}", nn.Sequential(part))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the features of each slice for images (N, 3, H, W)."""
        features = []
        for part in self.children():
            x = part(x)
            features.append(x)
        return features
