"""Real images, and their labels, from any iterable of batches."""

import io
import pickle
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Batch(NamedTuple):
    """Images (N, ...), floating, and a tuple of labels (N,), empty for networks without classes."""

    images: Tensor
    labels: tuple[Tensor, ...]


class Batches:
    """Draw image batches without end from any iterable, which is restarted whenever it ends.

    A batch is a tensor of images, a tuple or list that starts with one, or a dict with one under
    "images". Data with ``state_dict`` and ``load_state_dict`` resume exactly where they stopped.

    Args:
        data, device: the iterable, and the device of the batches.
        classes: number of labels, or 0. If above 0, a batch has labels from 0 to classes - 1, int64
            (N,), as its second item or under "labels".
        memory_format: of images (N, C, H, W).

    Raises:
        TypeError: ``data`` is not iterable.
    """

    def __init__(
        self,
        data: Iterable[Any],
        device: torch.device,
        classes: int = 0,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> None:
        if not isinstance(data, Iterable):
            raise TypeError(f"data must be an iterable of batches, got {type(data).__name__}")
        self._data: Any = data
        self._device, self._classes, self._memory_format = device, classes, memory_format
        self._resumes = hasattr(data, "state_dict") and hasattr(data, "load_state_dict")
        self._iterator: Iterator[Any] | None = None

    def draw(self) -> Batch:
        """Return the next batch, on the device.

        Raises:
            TypeError: the batch is of another kind, or its images or labels have another dtype.
            ValueError: there is no batch, it is empty, or its labels are out of range.
        """
        if self._iterator is None:
            self._iterator = iter(self._data)
        batch = next(self._iterator, None)
        if batch is None:
            self._iterator = iter(self._data)
            batch = next(self._iterator, None)
            if batch is None:
                raise ValueError(
                    "data must give a batch, got none: it is empty, or cannot start again"
                )
        images = _part(batch, 0, "images")
        if not isinstance(images, Tensor):
            raise TypeError(
                "data must give tensors, tuples or lists that start with one, or dicts with "
                f'"images", got {type(batch).__name__} with {type(images).__name__} for images'
            )
        if not images.is_floating_point():
            raise TypeError(
                f"data must give floating images in the generator's range, got {images.dtype}; "
                "ganfast.data.to_float maps uint8 to [-1, 1]"
            )
        if images.dim() < 2 or len(images) == 0:
            raise ValueError(f"data must give images (N, ...), got shape {tuple(images.shape)}")
        if images.dim() == 4:
            images = images.to(memory_format=self._memory_format)
        images = images.to(self._device, non_blocking=True)
        return Batch(images, self._labels(batch, len(images)) if self._classes else ())

    def _labels(self, batch: Any, count: int) -> tuple[Tensor]:
        labels = _part(batch, 1, "labels")
        if not isinstance(labels, Tensor) or labels.dtype != torch.int64:
            kind = labels.dtype if isinstance(labels, Tensor) else type(labels).__name__
            raise TypeError(
                'data must give int64 labels as second item or under "labels", since classes is '
                f"{self._classes}, got {kind}"
            )
        if labels.shape != (count,):
            raise ValueError(
                f"data must give labels of shape ({count},), got {tuple(labels.shape)}"
            )
        if labels.device.type == "cpu":  # on a GPU the check would make the host wait
            low, high = int(labels.min()), int(labels.max())
            if low < 0 or high >= self._classes:
                raise ValueError(
                    f"data must give labels from 0 to {self._classes - 1}, got {low} to {high}"
                )
        return (labels.to(self._device, non_blocking=True),)

    def state_dict(self) -> Any:
        """Return the position in the data, or None if they have no ``state_dict``.

        Raises:
            TypeError: the data's state holds objects that a checkpoint cannot load again.
        """
        if not self._resumes:
            return None
        state, copy = self._data.state_dict(), io.BytesIO()
        torch.save(state, copy)
        copy.seek(0)
        try:
            torch.load(copy, weights_only=True)
        except pickle.UnpicklingError as error:
            raise TypeError(
                "data.state_dict() must hold tensors, numbers, strings, lists and dicts alone, "
                "or no checkpoint of it could be loaded again"
            ) from error
        return state

    def load_state_dict(self, state: Any) -> None:
        """Continue from the position of other data.

        Raises:
            ValueError: only one of the two has a position.
        """
        if self._resumes != (state is not None):
            with_state = "checkpoint's" if state is not None else "given"
            raise ValueError(f"only the {with_state} data can resume (state_dict), not both")
        if self._resumes:
            self._data.load_state_dict(state)
            self._iterator = None


def _part(batch: Any, index: int, name: str) -> Any:
    """Return an item of a tuple, a list or a dict; a bare tensor is the first item."""
    if isinstance(batch, dict):
        return batch.get(name)
    if isinstance(batch, tuple | list):
        return batch[index] if len(batch) > index else None
    return batch if index == 0 else None
