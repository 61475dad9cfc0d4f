"""Real images from whatever the user iterates over."""

import io
import pickle
from collections.abc import Iterable, Iterator
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class _Stateful(Protocol):
    def state_dict(self) -> Any: ...

    def load_state_dict(self, state: Any, /) -> Any: ...


class Batches:
    """Draw image batches without end from any iterable, started again whenever it ends.

    A batch is a tensor of images, a tuple or list whose first item is one, or a dict with one under
    "images". Data with ``state_dict`` and ``load_state_dict`` resume exactly where they were.
    """

    def __init__(self, data: Iterable[Any], device: torch.device) -> None:
        if not isinstance(data, Iterable):
            raise TypeError(f"data must be an iterable of batches, got {type(data).__name__}")
        self._data, self._device = data, device
        self._iterator: Iterator[Any] | None = None

    def draw(self) -> Tensor:
        """The next images (N, ...), floating, on the device."""
        if self._iterator is None:
            self._iterator = iter(self._data)
        batch = next(self._iterator, None)
        if batch is None:
            self._iterator = iter(self._data)
            batch = next(self._iterator, None)
            if batch is None:
                raise ValueError(
                    "data gave no batch: it is empty, or an iterator that cannot start again"
                )
        images = _images(batch)
        if not isinstance(images, Tensor):
            raise TypeError(
                "data must give tensors, tuples or lists that start with one, or dicts with "
                f'"images"; got {type(batch).__name__} with {type(images).__name__} for images'
            )
        if not images.is_floating_point():
            raise TypeError(
                f"data must give floating images in the generator's range, got {images.dtype}; "
                "ganfast.data.to_float maps uint8 to [-1, 1]"
            )
        if images.dim() < 2 or len(images) == 0:
            raise ValueError(f"data must give images (N, ...), got shape {tuple(images.shape)}")
        return images.to(self._device, non_blocking=True)

    def state_dict(self) -> Any:
        """Where the data stand, or None where they cannot say."""
        if not isinstance(self._data, _Stateful):
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
        """Go to where other data stood. Raises ValueError where only one of the two can say."""
        if isinstance(self._data, _Stateful) != (state is not None):
            with_state = "checkpoint's" if state is not None else "given"
            raise ValueError(f"only the {with_state} data can resume (state_dict), not both")
        if isinstance(self._data, _Stateful):
            self._data.load_state_dict(state)
            self._iterator = None


def _images(batch: Any) -> Any:
    if isinstance(batch, dict):
        return batch.get("images")
    if isinstance(batch, tuple | list):
        return batch[0] if batch else None
    return batch
