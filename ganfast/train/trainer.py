"""The training loop."""

import copy
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ganfast.augment import AdaptiveAugment
from ganfast.models.checkpoint import State
from ganfast.train import runstate
from ganfast.train.batches import Batch, Batches
from ganfast.train.checkpoint import Checkpoints
from ganfast.train.figures import Figures
from ganfast.train.graphs import Graphs
from ganfast.train.health import Health
from ganfast.train.log import Record
from ganfast.train.objective import Loss
from ganfast.train.options import TrainOptions, refuse_other
from ganfast.train.processes import Processes
from ganfast.train.reports import Reports
from ganfast.train.signals import StopSignal
from ganfast.train.steps import Steps

_ROLLBACKS = 3  # at most, in one run


class Trainer:
    """Train a generator against a discriminator and keep the generator's moving average.

    Writes ``checkpoint.pt``, those before it, ``best.pt`` and ``metrics.jsonl`` to ``out``. A run
    that was stopped and resumed ends with the same bits as one that was not, on the CPU with the
    same number of threads and with data that can resume.

    Where torch.distributed is initialized, all its processes train together: each on data of its
    own, with batches of one size; the first one writes, logs and scores.

    Args:
        generator: maps latents (N, *latent_shape), and labels (N,) where the options have classes,
            to images of the data's shape.
        discriminator: maps images, and labels, to logits: a tensor or a list of tensors.
        data: any iterable of batches, see ``Batches``.
        loss: has ``discriminator(real_logits, fake_logits)`` and ``generator(fake_logits)``.
        options: the settings of the run.
        out: folder of the run.
        score: called as ``score(ema)``, every ``score_every`` rounds, for figures to be logged.
        on_sample: called as ``on_sample(step, images)``, every ``sample_every`` rounds, with what
            the moving average makes of the same latents each time.
        on_record: called with each record that is logged.
        augment: applied to all images that the discriminator sees, differentiable; an
            ``AdaptiveAugment`` is told how sure it is of the real ones.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        data: Iterable[Any],
        loss: Loss,
        options: TrainOptions,
        out: str | Path,
        *,
        score: Callable[[nn.Module], Record] | None = None,
        on_sample: Callable[[int, Tensor], None] | None = None,
        on_record: Callable[[Record], None] | None = None,
        augment: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.device = _device(generator, "generator")
        if _device(discriminator, "discriminator") != self.device:
            raise ValueError("generator and discriminator must be on the same device")
        if options.cuda_graphs and self.device.type != "cuda":
            raise ValueError(f"cuda_graphs must be False on the device {self.device}: it is no GPU")
        self._processes = Processes()
        if options.cuda_graphs and self._processes.count > 1:
            raise ValueError("cuda_graphs must be False where several processes train")
        if options.patience and score is None:
            raise ValueError("patience must be 0 where there is no score")
        self._processes.start_alike(generator, discriminator)
        # On a GPU the compiler lays images out itself; torch 2.11's fails on weights laid out so.
        laid_out = options.channels_last and not (options.compile and self.device.type == "cuda")
        layout = torch.channels_last if laid_out else torch.contiguous_format
        self.generator = generator.to(memory_format=layout)  # type: ignore[call-overload]
        self.discriminator = discriminator.to(memory_format=layout)  # type: ignore[call-overload]
        self.ema = copy.deepcopy(generator).eval().requires_grad_(False)
        self.options, self.out = options, Path(out)
        self.score = score
        self.step, self.seconds, self.images, self.rollbacks = 0, 0.0, 0, 0
        self._begun = False
        self._batches = Batches(data, self.device, options.classes, layout)
        self._random = torch.Generator(self.device).manual_seed(options.seed)
        if isinstance(augment, nn.Module):
            augment.to(self.device)
        self._adaptive = augment if isinstance(augment, AdaptiveAugment) else None
        self._steps = self._make_steps(loss, augment)
        self._play = self._make_play()
        self._samples = self._fixed_samples()
        self._figures = Figures(options.log_every, self.device, self._processes)
        health = Health(getattr(loss, "kind", None) not in ("wasserstein", "relativistic"))
        self._reports = Reports(options, self._processes, health, score, on_sample, on_record)
        self._checkpoints = Checkpoints(self.out, options.keep_checkpoints)

    @property
    def checkpoint_path(self) -> Path:
        return self._checkpoints.newest

    @property
    def writes(self) -> bool:
        """Whether this process writes, logs and scores: the first one does."""
        return self._processes.first

    @property
    def best_path(self) -> Path:
        """Checkpoint with the lowest score, where the run is scored."""
        return self._checkpoints.best

    def run(self) -> bool:
        """Train to the last step, or until no score was better for long; False if it was stopped.

        Ctrl-C and SIGTERM stop it, with a checkpoint saved. It then goes on when called again, or
        in another process after ``resume``.

        Raises:
            FileExistsError: ``out`` holds a checkpoint that was not resumed.
            FloatingPointError: a loss is not finite, or the run has diverged and is to stop; the
                checkpoint is from before.
            TypeError, ValueError: the data's batches or the generator's images do not fit.
        """
        if self._processes.first and not self._begun and self.checkpoint_path.exists():
            raise FileExistsError(
                f"{self.checkpoint_path} exists: resume it, or train to another folder"
            )
        self.generator.train()
        self.discriminator.train()
        while True:
            try:
                return self._train()
            except FloatingPointError as error:
                if self.options.divergence != "roll_back":
                    raise
                self._roll_back(error)

    @property
    def ended(self) -> bool:
        """Whether there is nothing left to train."""
        patience = self.options.patience
        return self.step >= self.options.steps or 0 < patience <= self._reports.since_best

    def _train(self) -> bool:
        kept = self.step if self._begun else -1
        with StopSignal() as stop, self._reports.written(self.out, self.step, kept):
            if not self._begun:
                self._look()
            self._begun = True
            stopped = self._processes.any(stop.received)
            while not self.ended and not stopped:
                self._round()
                self._reports.advance()
                if self._due(self.options.log_every):
                    self._reports.write(self._record())
                self._look()
                stopped = self._processes.any(stop.received)
                if self._due(self.options.checkpoint_every) and not stopped:
                    self.save()
            if stopped or (self.ended and self.step < self.options.steps):
                self.save()
        return self.ended

    def _round(self) -> None:
        start, o = time.perf_counter(), self.options
        self._steps.set_rates(o.lr_factor(self.step) * 0.5**self.rollbacks)
        batches = [[self._batches.draw() for _ in range(o.accumulate)] for _ in range(o.d_steps)]
        own = sum(len(batch.images) for each in batches for batch in each)
        self.images += self._processes.count * own
        figures = self._play(batches, self.step * o.d_steps)
        self.step += 1
        self._figures.put(self.step, figures)
        self.seconds += time.perf_counter() - start

    def save(self) -> None:
        """Write the checkpoint; a crash meanwhile leaves the one before.

        Raises:
            FloatingPointError: a loss or a weight is not finite.
        """
        state = self._state()
        if self._processes.first:
            self._checkpoints.save(state)
        self._processes.wait()  # a roll-back of the others reads it

    def resume(self, path: str | Path | None = None) -> None:
        """Take up the run in ``out`` where its newest checkpoint, or the one at ``path``, left it.

        Raises:
            FileNotFoundError: there is no checkpoint.
            ValueError: it is damaged (the error names one that is not), or of other options
                (``steps`` may differ), architecture, device or number of processes.
        """
        state = self._checkpoints.load(None if path is None else Path(path))
        refuse_other(self.options, state["options"], free="steps")
        self._restore(state)
        self._begun = True
        self._processes.wait()  # none may write before all have read

    def _state(self) -> State:
        self._figures.means(self.step)  # raises where one is not finite
        state: State = {name: getattr(self, name) for name in _COUNTERS}
        state.update({name: getattr(self._reports, name) for name in _SCORES})
        state.update(options=asdict(self.options))
        state.update(runstate.capture(self._parts(), self._random, self._processes))
        own = {"data": self._batches.state_dict(), "figures": self._figures.rows.cpu()}
        state.update({name: self._processes.gathered(value) for name, value in own.items()})
        return state

    def _restore(self, state: State) -> None:
        runstate.restore(self._parts(), self._random, self._processes, state)
        for name in _COUNTERS:
            setattr(self, name, state[name])
        for name in _SCORES:
            setattr(self._reports, name, state[name])
        self._batches.load_state_dict(self._processes.own(state["data"]))
        self._figures.rows.copy_(self._processes.own(state["figures"]))
        self._play = self._make_play()

    def _parts(self) -> dict[str, Any]:
        adaptive = {} if self._adaptive is None else {"augment": self._adaptive}
        return {
            **adaptive,
            "generator": self.generator,
            "discriminator": self.discriminator,
            "ema": self.ema,
            "optimizer_g": self._steps.optimizer_g,
            "optimizer_d": self._steps.optimizer_d,
            "scaler": self._steps.scaler,
            "lecam": self._steps.regularizer.lecam,
            "health": self._reports.health,
        }

    def _make_steps(self, loss: Loss, augment: Callable[[Tensor], Tensor] | None) -> Steps:
        return Steps(
            self.generator, self.discriminator, loss, self.options, self._random, augment,
            self.ema, self._processes,
        )  # fmt: skip

    def _make_play(self) -> Callable[[Sequence[Sequence[Batch]], int], Tensor]:
        steps = self._steps
        if not self.options.cuda_graphs:
            return steps.round
        return Graphs(steps.round, steps.kind, self._random)

    def _fixed_samples(self) -> Batch:
        """Latents and, class after class, labels of the pictures."""
        count, classes = self.options.samples, self.options.classes
        given = (torch.arange(count, device=self.device) % classes,) if classes else ()
        return Batch(self._steps.draw(count), given)

    def _due(self, every: int) -> bool:
        return every > 0 and (self.step % every == 0 or self.step == self.options.steps)

    def _look(self) -> None:
        """Score and show the moving average, where it is time."""
        if self._due(self.options.score_every) and self._reports.score(self.step, self.ema):
            self._save_best()
        if self._due(self.options.sample_every):
            self._reports.sample(self.step, self.ema, self._samples)

    def _save_best(self) -> None:
        if self.step:
            state = self._state()
            if self._processes.first:
                self._checkpoints.save_best(state)

    def _roll_back(self, error: FloatingPointError) -> None:
        """Go back to the last sound checkpoint, with other latents and half the learning rates."""
        rollbacks = self.rollbacks + 1
        state = next(self._checkpoints.sound(), None)
        if state is None or rollbacks > _ROLLBACKS:
            raise error
        self._restore(state)
        warnings.warn(f"{error}; rolled back to step {self.step}", stacklevel=2)
        self.rollbacks = rollbacks
        self._random.manual_seed(self.options.seed + rollbacks)
        self._processes.wait()  # until all have read it
        if self._processes.first:
            self._checkpoints.forget_after(self.step)
        self.save()

    def _record(self) -> Record:
        start = time.perf_counter()
        means = self._figures.means(self.step)
        self.seconds += time.perf_counter() - start
        record = {"step": self.step, **means, "images_per_s": self.images / self.seconds}
        if self._adaptive is not None:
            record["augment_p"] = float(self._adaptive.p)
        return record


# What a checkpoint keeps of the trainer itself, and of its reports.
_COUNTERS = ("step", "seconds", "images", "rollbacks")
_SCORES = ("best", "since_best")


def _device(module: nn.Module, name: str) -> torch.device:
    for parameter in module.parameters():
        return parameter.device
    raise ValueError(f"{name} has no parameters to train")
