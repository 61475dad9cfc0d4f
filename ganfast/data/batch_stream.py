"""The endless, shuffled, resumable stream of training batches."""

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from ganfast.data.image_data import ImageData, to_float


class BatchStream(Iterator[tuple[Tensor, Tensor | None]]):
    """Endless batches: float32 images (B, C, H, W) in [-1, 1], and int64 labels (B,) or None.

    Every epoch visits the data in an order drawn from (seed, epoch) alone, and leaves out the last
    partial batch. `state_dict` and `load_state_dict` continue with exactly the next batch. A thread
    reads the next batch ahead.

    Args:
        data: the images.
        batch_size: images of a batch, over all parts.
        seed: of the order and the flips.
        part: (k, n) yields only the k-th of n equal parts of each batch, for one of n processes.
        mirror: flip each image from left to right with probability 1/2, anew in every epoch.

    Raises:
        ValueError: the batch size is not from 1 to the number of images or not a multiple of n, or
            the seed is negative.
    """

    def __init__(
        self,
        data: ImageData,
        batch_size: int,
        seed: int,
        part: tuple[int, int] = (0, 1),
        mirror: bool = False,
    ) -> None:
        if not 1 <= batch_size <= len(data):
            raise ValueError(
                f"batch_size must be from 1 to {len(data)}, the number of images in {data.name}, "
                f"got {batch_size}"
            )
        if batch_size % part[1]:
            raise ValueError(
                f"batch_size must be a multiple of {part[1]}, the number of processes, "
                f"got {batch_size}"
            )
        if seed < 0:
            raise ValueError(f"seed must be at least 0, got {seed}")
        self._data, self._part, self._mirror = data, part, mirror
        self._reader = ThreadPoolExecutor(1, "ganfast-batches")
        self._setting = {"seed": seed, "batch_size": batch_size, "images": len(data)}
        self._batches_per_epoch = len(data) // batch_size
        self._start(epoch=0, batch=0)

    def _start(self, epoch: int, batch: int) -> None:
        entropy = np.random.SeedSequence((self._setting["seed"], epoch))
        generator = torch.Generator().manual_seed(int(entropy.generate_state(1, np.uint64)[0]))
        self._order = torch.randperm(len(self._data), generator=generator)
        # Drawn after the order, which is the same with and without flips.
        self._flipped = torch.rand(len(self._data), generator=generator) < 0.5
        self._epoch, self._batch = epoch, batch
        self._coming: Future[tuple[Tensor, Tensor | None]] | None = None

    def __next__(self) -> tuple[Tensor, Tensor | None]:
        if self._batch == self._batches_per_epoch:
            self._start(self._epoch + 1, batch=0)
        batch = self._read(self._batch) if self._coming is None else self._coming.result()
        self._batch += 1
        more = self._batch < self._batches_per_epoch
        self._coming = self._reader.submit(self._read, self._batch) if more else None
        return batch

    def _read(self, batch: int) -> tuple[Tensor, Tensor | None]:
        size = self._setting["batch_size"]
        number, parts = self._part
        start = batch * size + number * (size // parts)
        chosen = self._order[start : start + size // parts]
        images, labels = self._data.images[chosen], self._data.labels
        if self._mirror:
            flipped = self._flipped[chosen]
            images[flipped] = images[flipped].flip(3)
        return to_float(images), None if labels is None else labels[chosen]

    def state_dict(self) -> dict[str, int]:
        """Return where the stream stands, and what it was built with."""
        return {**self._setting, "epoch": self._epoch, "batch": self._batch}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go to where another stream stood.

        Raises:
            ValueError: the seed, the batch size or the number of images differ, or a key is missing
                or out of range.
        """
        expected = {*self._setting, "epoch", "batch"}
        if set(state) != expected:
            raise ValueError(f"state must have the keys {sorted(expected)}, got {sorted(state)}")
        for key, value in self._setting.items():
            if state[key] != value:
                raise ValueError(
                    f"state must have {key} = {value}, as this stream has, got {state[key]}"
                )
        epoch, batch = state["epoch"], state["batch"]
        if epoch < 0 or not 0 <= batch <= self._batches_per_epoch:
            raise ValueError(
                f"state must have an epoch >= 0 and a batch from 0 to {self._batches_per_epoch}, "
                f"got epoch = {epoch}, batch = {batch}"
            )
        self._start(epoch, batch)
