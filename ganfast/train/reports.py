"""What is said of a run while it goes on, and how well it goes."""

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ganfast.train.batches import Batch
from ganfast.train.health import Health
from ganfast.train.journal import Journal, Silent
from ganfast.train.log import Record
from ganfast.train.options import TrainOptions
from ganfast.train.processes import Processes


class Reports:
    """Records, scores and pictures, made by the first process and known to all.

    Arguments as of :class:`ganfast.train.Trainer`. ``best`` is the lowest score so far, and
    ``since_best`` the number of scores since then.
    """

    def __init__(
        self,
        options: TrainOptions,
        processes: Processes,
        health: Health,
        score: Callable[[nn.Module], Record] | None,
        on_sample: Callable[[int, Tensor], None] | None,
        on_record: Callable[[Record], None] | None,
    ) -> None:
        self.health, self.best, self.since_best = health, math.inf, 0
        self._options, self._processes = options, processes
        self._score, self._on_sample, self._on_record = score, on_sample, on_record
        self._journal: Journal = Silent()

    @contextmanager
    def written(self, out: Path, step: int, kept: int) -> Iterator[None]:
        """Within the block, records go to the log in ``out``, of which those up to one are kept."""
        path, steps = out / "metrics.jsonl", self._options.steps
        if not self._processes.first:
            yield
            return
        with Journal(path, kept, step, steps, self._on_record) as self._journal:
            yield

    def advance(self) -> None:
        """A round is over."""
        self._journal.advance()

    def write(self, record: Record) -> None:
        """Log a record. Where the run has diverged, warn or raise, as the options say.

        Raises:
            FloatingPointError: it has.
        """
        self._journal.write(record)
        trouble = self.health.check(record)
        if trouble is None:
            return
        words = f"training has diverged at step {record['step']}: {trouble}"
        if self._options.divergence != "warn":
            raise FloatingPointError(words)
        warnings.warn(words, stacklevel=2)

    def score(self, step: int, ema: nn.Module) -> bool:
        """Score the moving average, where there is a score; whether it is the best so far.

        Raises as :meth:`write`, and ValueError where ``best_by`` is no score but patience needs it.
        """
        if self._score is None:
            return False
        own: dict[str, Any] = self._score(ema) if self._processes.first else {}
        record = {"step": step, **self._processes.from_first(own)}
        self.write(record)
        score = record.get(self._options.best_by)
        if score is None:
            if self._options.patience:
                raise ValueError(f"best_by must be one of the scores {sorted(record)}")
            return False
        better = bool(score < self.best)
        self.best = score if better else self.best
        self.since_best = 0 if better else self.since_best + 1
        return better

    def sample(self, step: int, ema: nn.Module, samples: Batch) -> None:
        """Hand out what the moving average makes of some latents, and labels."""
        if self._on_sample is not None and self._processes.first:
            with torch.no_grad():
                self._on_sample(step, ema(samples.images, *samples.given))
