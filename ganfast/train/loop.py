"""The training loop: rounds that are logged, saved, stopped and resumed."""

import signal
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from ganfast._lock import hold
from ganfast.distributed import Processes
from ganfast.models.checkpoint import State
from ganfast.train.checkpoint import Checkpoints, capture, refuse_missing, refused, restore
from ganfast.train.journal import Journal, Record, Silent
from ganfast.train.options import refuse_other


class LoopOptions(Protocol):
    """The settings that the loop reads; the whole dataclass is kept in the checkpoint."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def steps(self) -> int: ...

    @property
    def log_every(self) -> int: ...

    @property
    def checkpoint_every(self) -> int: ...


class Loop(ABC):
    """Train round after round; a subclass says what a round is and what it is made of.

    A run that was stopped, killed or has crashed and is then resumed ends with the bits of one that
    ran through.

    Args:
        options: the settings of the run.
        out: folder of the run: ``checkpoint.pt``, those before it, and ``metrics.jsonl``.
        keep: number of the newest checkpoints to keep.
        random: generator of the run's random numbers, on the run's device.
        on_record: called with each record that is logged.
    """

    def __init__(
        self,
        options: LoopOptions,
        out: str | Path,
        keep: int,
        random: torch.Generator,
        on_record: Callable[[Record], None] | None = None,
    ) -> None:
        self.out, self.step = Path(out), 0
        self._options, self._random, self._on_record = options, random, on_record
        self._processes = Processes()
        self._checkpoints = Checkpoints(self.out, keep)
        self._journal: Journal = Silent()
        self._begun = False

    @abstractmethod
    def _round(self) -> None:
        """Train one round, and count it in ``step``."""

    @abstractmethod
    def _record(self) -> Record:
        """Return the figures to log. Raises FloatingPointError if one is not finite."""

    @abstractmethod
    def _parts(self) -> Mapping[str, Any]:
        """Return what has a state: networks, optimizers and the like."""

    @abstractmethod
    def _own_state(self) -> State:
        """Return the rest of the state. Raises FloatingPointError if a loss is not finite."""

    @abstractmethod
    def _restore_own(self, state: State) -> None:
        """Take back what ``_own_state`` returned."""

    def _look(self) -> None:  # noqa: B027 - most runs have nothing to look at
        """Score and show the networks, if it is time."""

    @property
    def checkpoint_path(self) -> Path:
        """The newest checkpoint."""
        return self._checkpoints.newest

    @property
    def writes(self) -> bool:
        """Whether this process writes, logs and scores: the first one does."""
        return self._processes.first

    @property
    def ended(self) -> bool:
        """Whether there is nothing left to train."""
        return self.step >= self._options.steps

    def run(self) -> bool:
        """Train to the end; return False if the run was stopped before it.

        Ctrl-C and SIGTERM stop the run and save it. It continues when called again, or in another
        process after ``resume``.

        Raises:
            BlockingIOError: another process trains to ``out``.
            FileExistsError: ``out`` holds a checkpoint that was not resumed.
            FloatingPointError: a loss is not finite; the checkpoint is from before.
        """
        if self.writes and not self._begun and self.checkpoint_path.exists():
            raise FileExistsError(
                f"{self.checkpoint_path} exists: resume it, or train to another folder"
            )
        with hold(self.out) if self.writes else nullcontext():
            return self._run()

    def _run(self) -> bool:
        with StopSignal() as stop, self._open_journal() as self._journal:
            if not self._begun:
                self._look()
            self._begun = True
            stopped = self._processes.any(stop.received)
            while not self.ended and not stopped:
                self._round()
                self._journal.advance()
                if self._due(self._options.log_every):
                    self._write(self._record())
                self._look()
                stopped = self._processes.any(stop.received)
                if self._due(self._options.checkpoint_every) and not stopped:
                    self.save()
            if stopped or (self.ended and self.step < self._options.steps):
                self.save()
        return self.ended

    def save(self) -> None:
        """Write the checkpoint; a crash meanwhile leaves the one before.

        Raises FloatingPointError if a loss or a weight is not finite.
        """
        state = self._state()
        if self.writes:
            self._checkpoints.save(state)
        self._processes.wait()  # a roll-back of the others reads it

    def resume(self, path: str | Path | None = None) -> None:
        """Continue the run in ``out`` from its newest checkpoint, or from the one at ``path``.

        Raises:
            FileNotFoundError: there is no checkpoint.
            ValueError: it is damaged (the error names one that is not), or of other options
                (``steps`` may differ), architecture, device or number of processes.
        """
        state = self._checkpoints.load(None if path is None else Path(path))
        refuse_missing(state, ("options",))
        refuse_other(self._options, state["options"], free=self._free_option)
        self._restore(state)
        self._begun = True
        self._processes.wait()  # none may write before all have read

    _free_option = "steps"  # that a resumed run may change
    _own_names: tuple[str, ...] = ()  # what ``_own_state`` returns

    def _state(self) -> State:
        own = self._own_state()
        parts = capture(self._parts(), self._random, self._processes)
        return {"step": self.step, "options": asdict(self._options), **own, **parts}

    def _restore(self, state: State) -> None:
        refuse_missing(state, ("step", *self._own_names))
        if not isinstance(state["step"], int):
            raise ValueError(f"the checkpoint's step must be an int, got {state['step']!r}")
        restore(self._parts(), self._random, self._processes, state)
        self.step = state["step"]
        with refused("progress"):
            self._restore_own(state)

    def _write(self, record: Record) -> None:
        self._journal.write(record)

    def _due(self, every: int) -> bool:
        return every > 0 and (self.step % every == 0 or self.step == self._options.steps)

    def _open_journal(self) -> Journal:
        if not self.writes:
            return Silent()
        kept = self.step if self._begun else -1  # older records of a resumed run stay
        path = self.out / "metrics.jsonl"
        return Journal(path, kept, self.step, self._options.steps, self._on_record)


class Descent:
    """Adam on one loss; its learning rate falls to 0 over ``steps`` as half a cosine, or stays.

    Args:
        parameters: to train.
        lr: learning rate at the start.
        steps: of the whole cosine; None keeps the rate.
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float, steps: int | None = None) -> None:
        self.optimizer = torch.optim.Adam(parameters, lr)
        self.decay = (
            None
            if steps is None
            else torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, steps)
        )

    def step(self, loss: Tensor) -> None:
        """Take one step down the gradient of ``loss``."""
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        self.optimizer.step()
        if self.decay is not None:
            self.decay.step()


class StopSignal:
    """Within the block, turn the first Ctrl-C, and the first SIGTERM, into ``received``.

    The next one of its kind acts. torchrun passes on a Ctrl-C as a SIGTERM that comes on top.
    """

    def __init__(self) -> None:
        self.received = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopSignal":
        if threading.current_thread() is threading.main_thread():  # Python allows it only there
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._before.clear()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = True
        before = self._before.pop(signal.Signals(number))
        signal.signal(number, before if before is not None else signal.SIG_DFL)
