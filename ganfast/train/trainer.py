"""The training loop."""

import copy
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ganfast.train import runstate
from ganfast.train.batches import Batch, Batches
from ganfast.train.checkpoint import Checkpoints, State
from ganfast.train.figures import Figures
from ganfast.train.health import Health
from ganfast.train.log import JsonLog, Record
from ganfast.train.objective import Loss
from ganfast.train.options import TrainOptions
from ganfast.train.progress import Progress
from ganfast.train.signals import StopSignal
from ganfast.train.steps import Steps

_ROLLBACKS = 3  # at most, in one run


class Trainer:
    """Train a generator against a discriminator and keep the generator's moving average.

    Writes ``checkpoint.pt``, those before it, ``best.pt`` and ``metrics.jsonl`` to ``out``. A run
    that was stopped and resumed ends with the same bits as one that was not, on the CPU with the
    same number of threads and with data that can resume.

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
        augment: applied to all images that the discriminator sees, differentiable.
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
        if options.patience and score is None:
            raise ValueError("patience must be 0 where there is no score")
        layout = torch.channels_last if options.channels_last else torch.contiguous_format
        self.generator = generator.to(memory_format=layout)  # type: ignore[call-overload]
        self.discriminator = discriminator.to(memory_format=layout)  # type: ignore[call-overload]
        self.ema = copy.deepcopy(generator).eval().requires_grad_(False)
        self.options, self.out = options, Path(out)
        self.score, self.on_sample, self.on_record = score, on_sample, on_record
        self.step, self.seconds, self.images = 0, 0.0, 0
        self.best, self.since_best, self.rollbacks = float("inf"), 0, 0
        self._begun = False
        self._batches = Batches(data, self.device, options.classes, layout)
        self._random = torch.Generator(self.device).manual_seed(options.seed)
        self._steps = self._make_steps(loss, augment)
        self._samples = self._fixed_samples()
        self._figures = Figures(options.log_every, self.device)
        self._health = Health(getattr(loss, "kind", None) not in ("wasserstein", "relativistic"))
        self._checkpoints = Checkpoints(self.out, options.keep_checkpoints)

    @property
    def checkpoint_path(self) -> Path:
        return self._checkpoints.newest

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
        if not self._begun and self.checkpoint_path.exists():
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
        return self.step >= self.options.steps or 0 < patience <= self.since_best

    def _train(self) -> bool:
        progress = Progress(self.options.steps, self.step)
        try:
            with (
                StopSignal() as stop,
                JsonLog(self.out / "metrics.jsonl", self.step if self._begun else -1) as log,
            ):
                if not self._begun:
                    self._hooks(log, progress)
                self._begun = True
                while not self.ended and not stop.received:
                    self._round()
                    progress.advance()
                    if self._due(self.options.log_every):
                        self._write(self._record(), log, progress)
                    self._hooks(log, progress)
                    if self._due(self.options.checkpoint_every) and not stop.received:
                        self.save()
                if stop.received or (self.ended and self.step < self.options.steps):
                    self.save()
        finally:
            progress.close()
        return self.ended

    def save(self) -> None:
        """Write the checkpoint; a crash meanwhile leaves the one before.

        Raises:
            FloatingPointError: a loss or a weight is not finite.
        """
        self._checkpoints.save(self._state())

    def resume(self, path: str | Path | None = None) -> None:
        """Take up the run in ``out`` where its newest checkpoint, or the one at ``path``, left it.

        Raises:
            FileNotFoundError: there is no checkpoint.
            ValueError: it is damaged (the error names one that is not), or of other options
                (``steps`` may differ), architecture or device.
        """
        state = self._checkpoints.load(None if path is None else Path(path))
        self.options.refuse_other(state["options"])
        self._restore(state)
        self._begun = True

    def _state(self) -> State:
        self._figures.means(self.step)  # raises where one is not finite
        state: State = {name: getattr(self, name) for name in _COUNTERS}
        state.update(options=asdict(self.options), data=self._batches.state_dict())
        state.update(figures=self._figures.rows, **runstate.capture(self._parts(), self._random))
        return state

    def _restore(self, state: State) -> None:
        runstate.restore(self._parts(), self._random, state)
        for name in _COUNTERS:
            setattr(self, name, state[name])
        self._batches.load_state_dict(state["data"])
        self._figures.rows.copy_(state["figures"])

    def _parts(self) -> dict[str, Any]:
        return {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "ema": self.ema,
            "optimizer_g": self._steps.optimizer_g,
            "optimizer_d": self._steps.optimizer_d,
            "scaler": self._steps.scaler,
            "lecam": self._steps.regularizer.lecam,
            "health": self._health,
        }

    def _round(self) -> None:
        start, o = time.perf_counter(), self.options
        self._steps.set_rates(o.lr_factor(self.step) * 0.5**self.rollbacks)
        d_figures, g_losses, batches = [], [], []
        for i in range(o.d_steps):
            batches = [self._batches.draw() for _ in range(o.accumulate)]
            self.images += sum(len(batch.images) for batch in batches)
            number = self.step * o.d_steps + i
            d_figures.append(self._steps.train_discriminator(batches, number))
        for _ in range(o.g_steps):
            g_losses.append(self._steps.train_generator(batches))
        self._update_ema()
        self.step += 1
        self._figures.put(self.step, d_figures, g_losses)
        self.seconds += time.perf_counter() - start

    @torch.no_grad()
    def _update_ema(self) -> None:
        # Buffers too: batch norm's statistics of the averaged weights are not those of the last.
        averages, values = [], []
        for average, value in (
            *zip(self.ema.parameters(), self.generator.parameters(), strict=True),
            *zip(self.ema.buffers(), self.generator.buffers(), strict=True),
        ):
            if value.is_floating_point():
                averages.append(average)
                values.append(value)
            else:
                average.copy_(value)
        torch._foreach_lerp_(averages, values, 1 - self.options.ema)

    def _make_steps(self, loss: Loss, augment: Callable[[Tensor], Tensor] | None) -> Steps:
        g, d = self.generator, self.discriminator
        return Steps(g, d, loss, self.options, self._random, augment)

    def _fixed_samples(self) -> Batch:
        """Latents and, class after class, labels of the pictures."""
        count, classes = self.options.samples, self.options.classes
        given = (torch.arange(count, device=self.device) % classes,) if classes else ()
        return Batch(self._steps.latents(count), given)

    def _due(self, every: int) -> bool:
        return every > 0 and (self.step % every == 0 or self.step == self.options.steps)

    def _hooks(self, log: JsonLog, progress: Progress) -> None:
        if self.score is not None and self._due(self.options.score_every):
            record = {"step": self.step, **self.score(self.ema)}
            self._write(record, log, progress)
            self._keep_best(record)
        if self.on_sample is not None and self._due(self.options.sample_every):
            with torch.no_grad():
                self.on_sample(self.step, self.ema(self._samples.images, *self._samples.given))

    def _write(self, record: Record, log: JsonLog, progress: Progress) -> None:
        log.write(record)
        progress.show(record)
        if self.on_record is not None:
            self.on_record(record)
        trouble = self._health.check(record)
        if trouble is None:
            return
        words = f"training has diverged at step {self.step}: {trouble}"
        if self.options.divergence != "warn":
            raise FloatingPointError(words)
        warnings.warn(words, stacklevel=2)

    def _keep_best(self, record: Record) -> None:
        score = record.get(self.options.best_by)
        if score is None:
            if self.options.patience:
                raise ValueError(f"best_by must be one of the scores {sorted(record)}")
            return
        if score < self.best:
            self.best, self.since_best = score, 0
            if self.step:
                self._checkpoints.save_best(self._state())
        else:
            self.since_best += 1

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
        self._checkpoints.forget_after(self.step)
        self.save()

    def _record(self) -> Record:
        start = time.perf_counter()
        means = self._figures.means(self.step)
        self.seconds += time.perf_counter() - start
        return {"step": self.step, **means, "images_per_s": self.images / self.seconds}


# What a checkpoint keeps of the trainer itself.
_COUNTERS = ("step", "seconds", "images", "best", "since_best", "rollbacks")


def _device(module: nn.Module, name: str) -> torch.device:
    for parameter in module.parameters():
        return parameter.device
    raise ValueError(f"{name} has no parameters to train")
