"""The training loop: rounds that are logged, saved, stopped and resumed."""

import signal
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import CosineAnnealingLR

from ganfast._lock import hold
from ganfast.distributed import Processes
from ganfast.models.checkpoint import State
from ganfast.train.checkpoint import Checkpoints, capture, refuse_incomplete, refused, restore
from ganfast.train.journal import Journal, Record
from ganfast.train.options import CADENCE, refuse_other


class Loop(ABC):
    """Train round after round; a subclass defines the round and the state.

    A resumed run ends with the same bits as an uninterrupted one, even after a crash.

    Args:
        options: a dataclass with ``steps``, ``log_every`` and ``checkpoint_every``, which a
            checkpoint keeps whole.
        out: folder of the run, for ``checkpoint.pt``, earlier checkpoints and ``metrics.jsonl``.
        keep: number of newest checkpoints to keep.
        random: generator of the run's random numbers, on the run's device.
        on_record: called with each record that is logged.
    """

    #: Options that a resumed run may change.
    _free: frozenset[str] = CADENCE | {"steps"}
    _own_names: tuple[str, ...] = ()  # the keys of ``_own_state``

    def __init__(
        self,
        options: Any,
        out: str | Path,
        keep: int,
        random: torch.Generator,
        on_record: Callable[[Record], None] | None = None,
    ) -> None:
        self.out, self.step = Path(out), 0
        self._options, self._random, self._on_record = options, random, on_record
        self._processes = Processes()
        self._checkpoints = Checkpoints(self.out, keep)
        self._journal: Journal | None = None  # the first process has one while it trains
        self._begun = False

    @abstractmethod
    def _round(self) -> None:
        """Train one round and increment ``step``."""

    @abstractmethod
    def _record(self) -> Record:
        """Return the values to log. Raises FloatingPointError if one is not finite."""

    @abstractmethod
    def _parts(self) -> Mapping[str, Any]:
        """Return every object with a ``state_dict``: networks, optimizers and others."""

    def _own_state(self) -> State:
        """Return the rest of the state. Raises FloatingPointError if a loss is not finite."""
        return {}

    def _restore_own(self, state: State) -> None:  # noqa: B027 - most runs have only parts
        """Restore what ``_own_state`` returned."""

    def _evaluate(self) -> None:  # noqa: B027 - most runs have neither scores nor samples
        """Score the networks and save sample images, if due."""

    @property
    def checkpoint_path(self) -> Path:
        """The newest checkpoint."""
        return self._checkpoints.newest

    @property
    def writes(self) -> bool:
        """True in the first process, which writes, logs and scores."""
        return self._processes.first

    @property
    def ended(self) -> bool:
        """True when nothing is left to train."""
        return bool(self.step >= self._options.steps)

    def run(self) -> bool:
        """Train to the end; return False if Ctrl-C or SIGTERM stopped the run, which is then saved.

        Raises:
            BlockingIOError: another process trains to ``out``.
            FileExistsError: ``out`` holds a checkpoint that was not resumed.
            FloatingPointError: a loss is not finite. The checkpoint is from before.
        """
        if self.writes and not self._begun and self.checkpoint_path.exists():
            raise FileExistsError(
                f"{self.checkpoint_path} exists: resume it, or train to another folder"
            )
        in_any_process = self._processes.any if self._processes.count > 1 else bool
        with (
            hold(self.out) if self.writes else nullcontext(),
            StopSignal() as stop,
            self._open_journal() as self._journal,
        ):
            bar = None if self._journal is None else self._journal.bar
            if not self._begun:
                self._evaluate()
            self._begun = True
            stopped = in_any_process(stop.received)
            while not self.ended and not stopped:
                self._round()
                if bar is not None:
                    bar.update()
                if self._due(self._options.log_every):
                    self._write(self._record())
                self._evaluate()
                stopped = in_any_process(stop.received)
                if self._due(self._options.checkpoint_every) and not stopped:
                    self.save()
            if stopped or (self.ended and self.step < self._options.steps):
                self.save()
        return self.ended

    def save(self) -> None:
        """Write the checkpoint; a crash meanwhile leaves the previous one.

        Raises:
            FloatingPointError: a loss or a weight is not finite.
        """
        state = self._state()
        if self.writes:
            self._checkpoints.save(state)
        self._processes.wait()  # the others may read it when they roll back

    def resume(self, path: str | Path | None = None) -> None:
        """Continue the run in ``out`` from its newest checkpoint, or from the one at ``path``.

        Raises:
            FileNotFoundError: there is no checkpoint.
            ValueError: the checkpoint is damaged (the error names an intact one), or its options
                other than ``steps``, architecture, device or number of processes differ.
        """
        state = self._checkpoints.load(None if path is None else Path(path))
        refuse_incomplete(state, ("options",))
        refuse_other(self._options, state["options"], self._free)
        self._restore(state)
        self._begun = True
        self._processes.wait()  # no process may write before all have read

    def _state(self) -> State:
        own = self._own_state()
        parts = capture(self._parts(), self._random, self._processes)
        return {"step": self.step, "options": asdict(self._options), **own, **parts}

    def _restore(self, state: State) -> None:
        refuse_incomplete(state, ("step", *self._own_names))
        if not isinstance(state["step"], int):
            raise ValueError(f"the checkpoint's step must be an int, got {state['step']!r}")
        restore(self._parts(), self._random, self._processes, state)
        self.step = state["step"]
        with refused("progress"):
            self._restore_own(state)

    def _write(self, record: Record) -> None:
        if self._journal is not None:
            self._journal.write(record)

    def _due(self, every: int) -> bool:
        return every > 0 and (self.step % every == 0 or self.step == self._options.steps)

    def _open_journal(self) -> AbstractContextManager[Journal | None]:
        if not self.writes:
            return nullcontext()
        kept = self.step if self._begun else -1  # a resumed run keeps its older records
        path = self.out / "metrics.jsonl"
        return Journal(path, kept, self.step, self._options.steps, self._on_record)


class Descent:
    """Adam on one loss; its rate falls to 0 along half a cosine of so many steps, or stays."""

    def __init__(self, parameters: Iterable[Tensor], lr: float, steps: int | None = None) -> None:
        self.optimizer = torch.optim.Adam(parameters, lr)
        self.decay = CosineAnnealingLR(self.optimizer, steps) if steps is not None else None

    def step(self, loss: Tensor) -> None:
        """Take one step down the gradient of ``loss``."""
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        self.optimizer.step()
        if self.decay is not None:
            self.decay.step()


class StopSignal:
    """Within the block, the first Ctrl-C and the first SIGTERM only set ``received``.

    The second signal of a kind takes effect. torchrun follows a Ctrl-C by a SIGTERM of its own.
    """

    def __init__(self) -> None:
        self.received = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopSignal":
        # Python allows signal handlers in the main thread alone.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                # A handler that was not set from Python is None.
                self._before[number] = signal.signal(number, self._receive) or signal.SIG_DFL
        return self

    def __exit__(self, *_: object) -> None:
        for number in list(self._before):
            signal.signal(number, self._before.pop(number))

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = True
        signal.signal(number, self._before.pop(number))
