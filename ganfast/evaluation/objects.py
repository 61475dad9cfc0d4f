"""Python objects as inputs: tensors, data sets, loaders, generators, features and moments."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ganfast.data import ImageData
from ganfast.data.image_source import Arrays, FeatureArray, Prepare, Read, Source, as_bytes
from ganfast.evaluation.progress import progress_bar
from ganfast.evaluation.scores import FeatureSet
from ganfast.features import Encoder
from ganfast.metrics import FrechetStatistics, Moments

Range = tuple[float, float]
Opened = Source | FeatureSet
_COLUMNS = ("image", "img", "images", "pixel_values", "jpg", "png")  # of data sets of dicts


def opened(
    side: Any, name: str, encoder: Callable[[], Encoder], samples: int | None, seed: int,
    value_range: Range | None, layers: tuple[str, ...], keep: int | None, batch_size: int,
    quiet: bool,
) -> Opened:  # fmt: skip
    """Return an input in a form that the evaluation takes.

    Args:
        side: any of what `ganfast.evaluate` takes, but paths.
        name: what it is called.
        encoder: returns the feature network, which is loaded only for images.
        samples, seed: of a function.
        value_range: of floats, by default [0, 1], and [-1, 1] from functions.
        layers, keep, batch_size, quiet: of an iterable, whose images go through the network at
            once; ``keep`` is how many features are kept, and None keeps all.

    Raises:
        TypeError, ValueError: it is none of these, or its content does not fit.
    """
    if isinstance(side, Source | FeatureSet):
        return side
    if isinstance(side, FrechetStatistics | Moments):
        return FeatureSet(name, side.n, {"features": side})
    if isinstance(side, ImageData):
        labels = None if side.labels is None else side.labels.tolist()
        return Arrays(side.images, side.name, encoder().channels, labels)
    if isinstance(side, Tensor | np.ndarray):
        return _of_array(side, name, encoder, value_range or (0.0, 1.0))
    if isinstance(side, nn.Module) or (callable(side) and not isinstance(side, Iterable)):
        return _of_function(side, name, encoder(), samples, seed, value_range or (-1.0, 1.0))
    if hasattr(side, "__getitem__") and hasattr(side, "__len__"):
        return Items(side, name, encoder().channels, value_range or (0.0, 1.0))
    if isinstance(side, Iterable):
        images = _images(side, name, encoder().channels, value_range or (0.0, 1.0))
        batches = iter(lambda: list(islice(images, batch_size)), [])
        return _through_network(batches, name, encoder(), layers, keep, quiet)
    raise TypeError(
        f"{name} must be a path, images, features, moments, a data set, a loader or a generator, "
        f"got {type(side).__name__}"
    )


class Items(Source):
    """The items of a data set that are images: alone, first in a tuple, or under a known name."""

    def __init__(self, items: Any, name: str, channels: int, value_range: Range) -> None:
        self.name, self.channels = name, channels
        self._items, self._range = items, value_range

    def __len__(self) -> int:
        return len(self._items)

    def read(self, start: int, stop: int, prepare: Prepare | None = None) -> Read:
        images = []
        for number in range(start, stop):
            image = _pixels(_image_of(self._items[number], self.name), self.name)
            if image.ndim != 3:
                raise ValueError(
                    f"{self.name} must hold images (C, H, W), got shape {tuple(image.shape)}"
                )
            image = as_bytes(image[None], self.name, self._range, self.channels)[0]
            images.append(image if prepare is None else prepare(image))
        return images, {}


def _of_array(
    side: Tensor | np.ndarray[Any, Any], name: str, encoder: Callable[[], Encoder],
    value_range: Range,
) -> Opened:  # fmt: skip
    array = side.detach().cpu() if isinstance(side, Tensor) else torch.from_numpy(side.copy())
    if array.ndim == 2 and array.is_floating_point():
        return FeatureArray(array, name, None)
    if array.ndim != 4:
        raise ValueError(
            f"{name} must be images (N, C, H, W) or float features (N, D), "
            f"got {array.dtype} {tuple(array.shape)}"
        )
    channels = encoder().channels
    return Arrays(as_bytes(_channels_first(array), name, value_range, channels), name, channels)


def _of_function(
    side: Any, name: str, encoder: Encoder, samples: int | None, seed: int, value_range: Range
) -> Opened:
    from ganfast.evaluation.generators import GeneratedImages, sampler_of

    if samples is None:
        raise ValueError(f"samples must be given for {name}, got None")

    sampler = sampler_of(side, name, encoder.device) if isinstance(side, nn.Module) else None

    def images(n: int) -> Tensor:
        return _pixels(side(n) if sampler is None else sampler(n), name)

    function = images if sampler is None or value_range != (-1.0, 1.0) else sampler
    return GeneratedImages(function, name, None, samples, seed, encoder.channels, value_range)


def _through_network(
    batches: Iterator[list[Tensor]], name: str, encoder: Encoder, layers: tuple[str, ...],
    keep: int | None, quiet: bool,
) -> FeatureSet:  # fmt: skip
    """Compute the features of batches that come once, of which one is held at a time."""
    statistics: dict[str, FrechetStatistics] = {}
    rows: dict[str, list[Tensor]] = {layer: [] for layer in layers}
    n = 0
    with progress_bar(name, None, quiet) as bar:
        for batch in batches:
            n += len(batch)
            for layer, x in encoder(batch, layers).items():
                statistics.setdefault(layer, FrechetStatistics(x.shape[1])).update(x)
                if keep is None or n <= keep:
                    rows[layer].append(x.cpu())
            bar.update(len(batch))
    if n < 2:
        raise ValueError(f"{name} must hold at least 2 images, got {n}")
    side = FeatureSet(name, n, dict(statistics))
    if keep is None or n <= keep:
        side.features = {layer: torch.cat(parts) for layer, parts in rows.items()}
        side.numbers = list(range(n))
    return side


def _images(side: Iterable[Any], name: str, channels: int, value_range: Range) -> Iterator[Tensor]:
    """Yield the uint8 images (C, H, W) of batches, or of single images."""
    for item in side:
        images = _pixels(_image_of(item, name), name)
        if images.ndim == 3:
            images = images[None]
        if images.ndim != 4:
            raise ValueError(
                f"{name} must hold images (C, H, W) or batches, got shape {tuple(images.shape)}"
            )
        if len(images):
            yield from as_bytes(images, name, value_range, channels)


def _image_of(item: Any, name: str) -> Any:
    """Return the images of an item, which may have labels beside them."""
    if isinstance(item, Mapping):
        found = next((column for column in _COLUMNS if column in item), None)
        if found is None:
            raise ValueError(f"{name} must have one of {', '.join(_COLUMNS)}, got {list(item)}")
        return item[found]
    if isinstance(item, tuple | list):
        if not item:
            raise ValueError(f"{name} must hold images, got an empty {type(item).__name__}")
        return item if isinstance(item, list) and _is_image(item[-1]) else item[0]
    return item


def _is_image(item: Any) -> bool:
    return hasattr(item, "convert") or getattr(item, "ndim", 0) == 3


def _pixels(image: Any, name: str) -> Tensor:
    """Return an image, or a batch or list of them, as a tensor with channels before pixels."""
    if isinstance(image, Tensor):
        return image.detach().cpu()
    if isinstance(image, np.ndarray):
        return _channels_first(torch.from_numpy(image.copy()))
    if hasattr(image, "convert"):  # of Pillow, as ganfast.data reads files
        mode = "L" if image.mode in ("1", "L") else "RGB"
        pixels = torch.from_numpy(np.array(image.convert(mode), np.uint8))
        return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)
    if isinstance(image, Sequence) and image and not isinstance(image, str):
        parts = [_pixels(part, name) for part in image]
        if len({part.shape for part in parts}) == 1:
            return torch.stack(parts)
    kind = type(image).__name__
    more = ": join paths with '::'" if isinstance(image, str | PurePath) else ""
    raise TypeError(f"{name} must hold images, got {kind}{more}")


def _channels_first(array: Tensor) -> Tensor:
    """Images with channels last, as NumPy has them, with channels before pixels."""
    if array.ndim in (3, 4) and array.shape[-1] in (1, 3) and array.shape[-3] not in (1, 3):
        return array.movedim(-1, -3)
    return array
