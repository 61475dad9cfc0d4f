"""From stored images to features: resize, normalise, and run a feature network."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import torch
from torch import Tensor

from ganfast.features.resize import Mode, resize

# From normalised images and the names of layers to these layers, "features" and maybe more.
Net = Callable[[Tensor, tuple[str, ...]], Mapping[str, Tensor]]

_LARGE = 1 << 20  # pixels
_ONE_LARGE = threading.Lock()  # resizing takes several times the memory of an image

_GREY = (0.299, 0.587, 0.114)  # of red, green and blue, as Pillow mixes them


@dataclass
class Encoder:
    """Maps uint8 images of any size to the layers of a feature network, float32 (N, D) each.

    Attributes:
        net: the network.
        label: what a Fréchet distance on the features is called.
        layers: what there is: always ``"features"``, and for some networks ``"logits"`` and
            ``"spatial"``.
        channels: 3 (RGB) or 1 (grey).
        size: side that images are resized to; 0 passes the uint8 images on as they are.
        mode: how they are resized.
        shift, scale: each channel becomes (x - shift) / scale.
        device, dtype: of the network.
        settings: everything that changes the numbers.
    """

    net: Net
    label: str
    layers: tuple[str, ...]
    channels: int
    size: int
    mode: Mode
    shift: Sequence[float] = (0.0,)
    scale: Sequence[float] = (1.0,)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.float32
    settings: dict[str, str] = field(default_factory=dict)

    def __call__(
        self, images: Tensor | Sequence[Tensor], layers: tuple[str, ...] = ("features",)
    ) -> dict[str, Tensor]:
        """Compute layers of images (N, C, H, W), or of a list of images (C, H, W) of mixed sizes.

        Raises:
            TypeError: the images are not uint8.
            ValueError: they have another shape or number of channels, there are none, or the
                network has no such layer.
        """
        if not set(layers) <= set(self.layers):
            raise ValueError(f"layers must be some of {self.layers} for {self.label}, got {layers}")
        listed = [images] if isinstance(images, Tensor) else [image[None] for image in images]
        for image in listed:
            if image.dtype != torch.uint8:
                raise TypeError(f"images must be uint8 in [0, 255], got {image.dtype}")
        return self._layers(listed, layers)

    @property
    def shrinks(self) -> bool:
        """Whether `shrunk` resizes large images."""
        return self.size > 0 and self.mode != "none"

    def shrunk(self, image: Tensor) -> Tensor:
        """Resize a uint8 image (C, H, W) of more than a million pixels; return others as they are.

        A list of what it returns goes to `of_shrunk`: large images need not be held together.
        """
        if not self.shrinks or image.shape[1] * image.shape[2] <= _LARGE:
            return image
        with _ONE_LARGE, torch.inference_mode():
            return resize(image[None], self.size, self.mode)[0]

    def of_shrunk(self, images: Sequence[Tensor], layers: tuple[str, ...]) -> dict[str, Tensor]:
        """Compute layers of images that went through `shrunk`."""
        return self._layers([image[None] for image in images], layers)

    def _layers(self, images: list[Tensor], layers: tuple[str, ...]) -> dict[str, Tensor]:
        with torch.inference_mode():
            batches = self._prepare(images)
            found = [self.net(batch, layers) for batch in batches]
            return {layer: _rows([part[layer] for part in found], layer) for layer in layers}

    def of_floats(self, images: Tensor) -> Tensor:
        """Compute features of images in [0, 255] (N, 1 or 3, H, W) without rounding them to bytes.

        Raises:
            ValueError: the images have another shape or are not finite, or the network takes bytes.
        """
        if images.ndim != 4 or images.shape[1] not in (1, 3):
            raise ValueError(f"images must have shape (N, 1 or 3, H, W), got {tuple(images.shape)}")
        if self.size == 0:
            raise ValueError(f"images must be uint8 for {self.label}, got floats")
        if not images.isfinite().all():
            raise ValueError("images must be finite, got NaN or infinity")
        if self.channels == 3:
            images = images.expand(-1, 3, -1, -1)
        elif images.shape[1] == 3:
            images = (images * images.new_tensor(_GREY).view(3, 1, 1)).sum(1, keepdim=True)
        with torch.inference_mode():
            x = self._normalised(images.to(self.device))
            return _rows([self.net(x, ("features",))["features"]], "features")

    def _prepare(self, listed: list[Tensor]) -> list[Tensor]:
        """One batch if all images end up at one size, else one for each run of a size."""
        if not listed or len(listed[0]) == 0:
            raise ValueError("images must hold at least 1 image, got 0")
        for image in listed:
            if image.ndim != 4 or image.shape[1] != self.channels or 0 in image.shape:
                raise ValueError(
                    f"images must have {self.channels} channels and at least 1 pixel, "
                    f"(N, {self.channels}, H, W), got {tuple(image.shape)}"
                )
        runs = groupby(listed, key=lambda image: (image.shape[2:], image.dtype))
        batches = [torch.cat(list(run)).to(self.device) for _, run in runs]
        if self.size == 0:
            return batches
        floats = [self._normalised(batch) for batch in batches]
        return [torch.cat(floats)] if self.mode != "none" else floats

    def _normalised(self, batch: Tensor) -> Tensor:
        x = resize(batch, self.size, self.mode)
        shift, scale = (x.new_tensor(v).view(-1, 1, 1) for v in (self.shift, self.scale))
        x = (x - shift).div_(scale).to(self.dtype)
        return x.contiguous(memory_format=torch.channels_last)


def _rows(parts: list[Tensor], layer: str) -> Tensor:
    rows = torch.cat([part.float() for part in parts])
    if rows.ndim != 2:
        raise ValueError(
            f"the feature network must return {layer} (N, D), got shape {tuple(rows.shape)}"
        )
    return rows
