"""From images as they are stored to features: resize, normalise, and a feature net."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ganfast.features.resize import Mode, resize

# Normalised images and the layers that are wanted, to those layers: "features" and maybe more.
Net = Callable[[Tensor, tuple[str, ...]], Mapping[str, Tensor]]

_GREY = (0.299, 0.587, 0.114)  # of red, green and blue, as Pillow mixes them


@dataclass
class Encoder:
    """Images, uint8 of any size, to a mapping of layers to features (N, D), float32.

    ``layers`` says what there is: always ``"features"``, for some nets ``"logits"`` and
    ``"spatial"``. ``channels`` is 3 (RGB) or 1 (grey); ``size`` is the side that images are resized
    to by ``mode``; then (x - ``shift``) / ``scale`` for each channel. With ``size`` 0 the net gets
    the uint8 images as they are. ``label`` is what a Fréchet distance on the features is called;
    ``settings`` is all that changes the numbers.
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
        """Features of images (N, C, H, W), or of a list of images (C, H, W) of mixed sizes.

        Raises TypeError for images that are not uint8, and ValueError for another shape or number
        of channels, no images, or a layer that the net does not have.
        """
        unknown = set(layers) - set(self.layers)
        if unknown:
            raise ValueError(f"layers: {self.label} has {self.layers}, got {layers}")
        with torch.inference_mode():
            batches = self._prepare(images)
            found = [self.net(batch, layers) for batch in batches]
            return {layer: _rows([part[layer] for part in found], layer) for layer in layers}

    def of_floats(self, images: Tensor) -> Tensor:
        """Features of images in [0, 255] (N, 1 or 3, H, W), which are not rounded to bytes.

        Raises ValueError for another shape, numbers that are not finite, or a net that takes bytes.
        """
        if images.ndim != 4 or images.shape[1] not in (1, 3):
            raise ValueError(f"images: expected (N, 1 or 3, H, W), got {tuple(images.shape)}")
        if self.size == 0:
            raise ValueError(f"{self.label} takes the bytes of images; here they are floats")
        if not images.isfinite().all():
            raise ValueError("images must be finite, got NaN or infinity")
        if self.channels == 3:
            images = images.expand(-1, 3, -1, -1)
        elif images.shape[1] == 3:
            images = (images * images.new_tensor(_GREY).view(3, 1, 1)).sum(1, keepdim=True)
        with torch.inference_mode():
            x = self._normalised(images.to(self.device))
            return _rows([self.net(x, ("features",))["features"]], "features")

    def _prepare(self, images: Tensor | Sequence[Tensor]) -> list[Tensor]:
        """One batch where images have one size in the end, else one for each run of a size."""
        listed = [images] if isinstance(images, Tensor) else [image[None] for image in images]
        if not listed or len(listed[0]) == 0:
            raise ValueError("images: expected at least 1, got 0")
        for image in listed:
            if image.dtype != torch.uint8:
                raise TypeError(f"images: expected uint8 in [0, 255], got {image.dtype}")
            if image.ndim != 4 or image.shape[1] != self.channels or 0 in image.shape:
                raise ValueError(
                    f"images: expected {self.channels} channels and some pixels, "
                    f"(N, {self.channels}, H, W), got {tuple(image.shape)}"
                )
        runs: list[list[Tensor]] = []
        for image in listed:
            if runs and runs[-1][0].shape[2:] == image.shape[2:]:
                runs[-1].append(image)
            else:
                runs.append([image])
        batches = [torch.cat(run).to(self.device) for run in runs]
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
        raise ValueError(f"the feature net gave {layer} of shape {tuple(rows.shape)}, not (N, D)")
    return rows
