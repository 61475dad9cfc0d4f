"""Training a generator against a discriminator."""

import copy
import math
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ganfast.augment import AdaptiveAugment
from ganfast.models.checkpoint import State
from ganfast.train.acceleration import Graphs
from ganfast.train.batches import Batch, Batches
from ganfast.train.journal import Record
from ganfast.train.loop import Loop
from ganfast.train.objective import Loss
from ganfast.train.options import TrainOptions
from ganfast.train.step_metrics import Health, StepMetrics
from ganfast.train.steps import Steps

_ROLLBACKS = 3  # at most, in one run

# What a checkpoint keeps of the trainer itself.
_COUNTERS = ("seconds", "images", "rollbacks", "best", "since_best")


class Trainer(Loop):
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
        random = torch.Generator(self.device).manual_seed(options.seed)
        super().__init__(options, out, options.keep_checkpoints, random, on_record)
        if options.cuda_graphs and self.device.type != "cuda":
            raise ValueError(f"cuda_graphs must be False on the device {self.device}: it is no GPU")
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
        self.options, self.score, self._on_sample = options, score, on_sample
        self.seconds, self.images, self.rollbacks = 0.0, 0, 0
        self.best, self.since_best = math.inf, 0  # the lowest score, and scores since then
        self._batches = Batches(data, self.device, options.classes, layout)
        if isinstance(augment, nn.Module):
            augment.to(self.device)
        self._adaptive = augment if isinstance(augment, AdaptiveAugment) else None
        self._steps = self._make_steps(loss, augment)
        self._play = self._make_play()
        self._samples = self._fixed_samples()
        self._metrics = StepMetrics(options.log_every, self.device, self._processes)
        self._health = Health(getattr(loss, "kind", None) not in ("wasserstein", "relativistic"))

    _own_names = (*_COUNTERS, "data", "figures")

    @property
    def best_path(self) -> Path:
        """Checkpoint with the lowest score, if the run is scored."""
        return self._checkpoints.best

    @property
    def ended(self) -> bool:
        """Whether there is nothing left to train."""
        return super().ended or 0 < self.options.patience <= self.since_best

    def run(self) -> bool:
        """Train to the last step, or until no score was better for long; False if it was stopped.

        Ctrl-C and SIGTERM stop the run and save it. It continues when called again, or in another
        process after ``resume``.

        Raises:
            FileExistsError: ``out`` holds a checkpoint that was not resumed.
            FloatingPointError: a loss is not finite, or the run has diverged and is to stop; the
                checkpoint is from before.
            TypeError, ValueError: the data's batches or the generator's images do not fit.
        """
        self.generator.train()
        self.discriminator.train()
        while True:
            try:
                return super().run()
            except FloatingPointError as error:
                if self.options.divergence != "roll_back":
                    raise
                self._roll_back(error)

    def _round(self) -> None:
        start, o = time.perf_counter(), self.options
        self._steps.set_rates(o.lr_factor(self.step) * 0.5**self.rollbacks)
        batches = [[self._batches.draw() for _ in range(o.accumulate)] for _ in range(o.d_steps)]
        own = sum(len(batch.images) for each in batches for batch in each)
        self.images += self._processes.count * own
        metrics = self._play(batches, self.step * o.d_steps)
        self.step += 1
        self._metrics.put(self.step, metrics)
        self.seconds += time.perf_counter() - start

    def _record(self) -> Record:
        start = time.perf_counter()
        means = self._metrics.means(self.step)
        self.seconds += time.perf_counter() - start
        record = {"step": self.step, **means, "images_per_s": self.images / self.seconds}
        if self._adaptive is not None:
            record["augment_p"] = float(self._adaptive.p)
        return record

    def _write(self, record: Record) -> None:
        """Log a record. If the run has diverged, warn or raise, as the options say."""
        super()._write(record)
        trouble = self._health.check(record)
        if trouble is None:
            return
        words = f"training has diverged at step {record['step']}: {trouble}"
        if self.options.divergence != "warn":
            raise FloatingPointError(words)
        warnings.warn(words, stacklevel=2)

    def _look(self) -> None:
        if self.score is not None and self._due(self.options.score_every) and self._is_best():
            self._save_best()
        shows = self._on_sample is not None and self.writes
        if shows and self._due(self.options.sample_every):
            with torch.no_grad():
                self._on_sample(self.step, self.ema(self._samples.images, *self._samples.labels))  # type: ignore[misc]

    def _is_best(self) -> bool:
        """Score the moving average and log it; whether no score was lower."""
        own: dict[str, Any] = self.score(self.ema) if self.score and self.writes else {}
        record = {"step": self.step, **self._processes.from_first(own)}
        self._write(record)
        score = record.get(self.options.best_by)
        if score is None:
            if self.options.patience:
                raise ValueError(f"best_by must be one of the scores {sorted(record)}")
            return False
        better = bool(score < self.best)
        self.best = score if better else self.best
        self.since_best = 0 if better else self.since_best + 1
        return better

    def _save_best(self) -> None:
        if self.step:
            state = self._state()
            if self.writes:
                self._checkpoints.save_best(state)

    def _own_state(self) -> State:
        self._metrics.means(self.step)  # raises if one is not finite
        own = {"data": self._batches.state_dict(), "figures": self._metrics.rows.cpu()}
        gathered = {name: self._processes.gathered(value) for name, value in own.items()}
        return {**{name: getattr(self, name) for name in _COUNTERS}, **gathered}

    def _restore_own(self, state: State) -> None:
        for name in _COUNTERS:
            if not isinstance(state[name], int | float):
                raise ValueError(f"{name} must be a number, got {state[name]!r}")
            setattr(self, name, state[name])
        self._batches.load_state_dict(self._processes.own(state["data"]))
        rows = self._processes.own(state["figures"])
        if rows.shape != self._metrics.rows.shape:
            raise ValueError(f"figures must have shape {tuple(self._metrics.rows.shape)}")
        self._metrics.rows.copy_(rows)
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
            "health": self._health,
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
        labels = (torch.arange(count, device=self.device) % classes,) if classes else ()
        return Batch(self._steps.draw(count), labels)

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
        if self.writes:
            self._checkpoints.forget_after(self.step)
        self.save()


def _device(module: nn.Module, name: str) -> torch.device:
    for parameter in module.parameters():
        return parameter.device
    raise ValueError(f"{name} has no parameters to train")
