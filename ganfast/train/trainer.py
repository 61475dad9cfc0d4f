"""Training a generator against a discriminator."""

import copy
import math
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ganfast.augment import Augment
from ganfast.models.checkpoint import State
from ganfast.train.batches import Batch, Batches
from ganfast.train.burn_in import as_record, scheduled
from ganfast.train.health import Health
from ganfast.train.journal import Record
from ganfast.train.loop import Loop
from ganfast.train.objective import Loss, LossName, gives_probabilities, loss_by_name
from ganfast.train.options import TrainOptions
from ganfast.train.step_graphs import GraphedStep
from ganfast.train.steps import StepMetrics, Steps

_MAX_ROLLBACKS = 3  # in one run

# The trainer's own numbers in a checkpoint.
_COUNTERS = ("seconds", "images", "rollbacks", "best", "since_best")


class Trainer(Loop):
    """Train a generator against a discriminator and keep the generator's moving average.

    Writes ``checkpoint.pt``, earlier checkpoints, ``best.pt`` and ``metrics.jsonl`` to ``out``. On
    the CPU, with the same number of threads and with data that can resume, a resumed run ends with
    the same bits as an uninterrupted one.

    If torch.distributed is initialized, all its processes train together, each on its own data with
    batches of one size. The first process writes, logs and scores.

    Args:
        generator: maps latents (N, *latent_shape), and labels (N,) if ``options.classes`` is set,
            to images of the data's shape.
        discriminator: maps images, and labels, to logits: a tensor or a list of tensors.
        data: any iterable of batches, see ``Batches``.
        loss: has ``discriminator(real_logits, fake_logits)`` and ``generator(fake_logits)``; or the
            name of one, such as ``"hinge"``, see :func:`ganfast.train.loss_by_name`.
        options: the settings of the run.
        out: folder of the run.
        score: called as ``score(ema)`` every ``score_every`` rounds; returns values to log.
        on_sample: called as ``on_sample(step, images)`` every ``sample_every`` rounds, with the
            moving average's images of the same latents each time.
        on_record: called with each record that is logged.
        augment: differentiable function of all images that the discriminator sees. An
            ``AdaptiveAugment`` follows how confident the discriminator is on real images.
        device: where both networks are moved to; by default they stay where they are.

    Raises:
        ValueError: the loss is unknown, a network has no parameters, the networks are on different
            devices, or an option does not fit the device, the processes or the missing score.
    """

    _steps_class: type[Steps] = Steps
    _own_names = (*_COUNTERS, "data", "figures")

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        data: Iterable[Any],
        loss: Loss | LossName,
        options: TrainOptions,
        out: str | Path,
        *,
        score: Callable[[nn.Module], Record] | None = None,
        on_sample: Callable[[int, Tensor], None] | None = None,
        on_record: Callable[[Record], None] | None = None,
        augment: Callable[[Tensor], Tensor] | None = None,
        device: str | torch.device | None = None,
    ) -> None:
        if isinstance(loss, str):
            loss = loss_by_name(loss)
        if device is not None:
            generator, discriminator = generator.to(device), discriminator.to(device)
        self.device = _device(generator, "generator")
        other_device = _device(discriminator, "discriminator")
        if other_device != self.device:
            raise ValueError(
                f"discriminator must be on the generator's device, {self.device}, "
                f"got {other_device}"
            )
        random = torch.Generator(self.device).manual_seed(options.seed)
        super().__init__(options, out, options.keep_checkpoints, random, on_record)
        if options.cuda_graphs and self.device.type != "cuda":
            raise ValueError(f"cuda_graphs must be False on the device {self.device}, got True")
        if options.cuda_graphs and self._processes.count > 1:
            raise ValueError("cuda_graphs must be False if several processes train, got True")
        if options.patience and score is None:
            raise ValueError(f"patience must be 0 without a score, got {options.patience}")
        self._processes.start_alike(generator, discriminator)
        # On a GPU the compiler chooses the layout; torch 2.11's fails on channels-last weights.
        compiler_chooses = options.compile and self.device.type == "cuda"
        channels_last = options.channels_last and not compiler_chooses
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self.generator = generator.to(memory_format=layout)  # type: ignore[call-overload]
        self.discriminator = discriminator.to(memory_format=layout)  # type: ignore[call-overload]
        self.ema = copy.deepcopy(generator).eval().requires_grad_(False)
        self.options, self.score, self._on_sample = options, score, on_sample
        self.seconds, self.images, self.rollbacks = 0.0, 0, 0
        constant = options.lr_decay == "constant"
        self._varies = bool(options.burn_in_kimg or options.ema_kimg or not constant)
        self._schedule: Record = {}  # of the last round
        self.best, self.since_best = math.inf, 0  # the lowest score, and the scores since it
        self._batches = Batches(data, self.device, options.classes, layout)
        if isinstance(augment, nn.Module):
            augment.to(self.device)
        self._varying = augment if isinstance(augment, Augment) else None
        if options.augment_p is not None and type(augment) is not Augment:
            raise ValueError(
                "augment must be a ganfast.augment.Augment with augment_p, got "
                f"{type(augment).__name__}"
            )
        self._steps = self._steps_class(
            self.generator, self.discriminator, loss, options, random, augment, self.ema,
            self._processes,
        )  # fmt: skip
        self._play_round = self._make_play_round()
        self._samples = self._fixed_samples()
        self._metrics = StepMetrics(options.log_every, self.device, self._processes)
        self._health = Health(gives_probabilities(loss))

    @property
    def best_path(self) -> Path:
        """The checkpoint with the lowest score."""
        return self._checkpoints.best

    @property
    def images_per_s(self) -> float:
        """Training speed over the whole run; 0 before the first round."""
        return self.images / self.seconds if self.step else 0.0

    @property
    def ended(self) -> bool:
        """True after the last step, or when patience has run out."""
        return super().ended or 0 < self.options.patience <= self.since_best

    def run(self) -> bool:
        """Train until ``ended``; return False if the run was stopped early.

        Ctrl-C and SIGTERM save the run and stop it. Call ``run`` again to continue, or ``resume``
        it in another process.

        Raises:
            FileExistsError: ``out`` holds a checkpoint that was not resumed.
            FloatingPointError: a loss is not finite, or the run has diverged and ``divergence`` is
                not ``warn``. The checkpoint is from before.
            TypeError: a batch or its labels have the wrong type.
            ValueError: a batch, or the shape of the generator's images, does not fit.
        """
        self.generator.train()
        self.discriminator.train()
        while True:
            self._follow_schedule(images=0)
            try:
                return super().run()
            except FloatingPointError as error:
                if self.options.divergence != "roll_back":
                    raise
                self._roll_back(error)

    def _round(self) -> None:
        start, o = time.perf_counter(), self.options
        batches = [[self._batches.draw() for _ in range(o.accumulate)] for _ in range(o.d_steps)]
        own = sum(len(batch.images) for each in batches for batch in each)
        count = self._processes.count * own
        if self._varies:
            self._follow_schedule(count)
        self.images += count
        metrics = self._play_round(batches, self._steps.kind(self.step * o.d_steps))
        self.step += 1
        self._metrics.put(self.step, metrics)
        self.seconds += time.perf_counter() - start

    def _follow_schedule(self, images: int) -> None:
        """Set what holds in the next round, of so many images, or in all rounds."""
        now = scheduled(self.options, self.images)
        lr = now.lr * self.options.lr_factor(self.step) * 0.5**self.rollbacks
        self._steps.set_schedule(now._replace(lr=lr), images)
        self._schedule = as_record(self.options, now._replace(lr=lr))

    def _record(self) -> Record:
        start = time.perf_counter()
        means = self._metrics.means(self.step)
        self.seconds += time.perf_counter() - start
        record = {"step": self.step, **means, "images_per_s": self.images_per_s, **self._schedule}
        if self._varying is not None:
            record["augment_p"] = float(self._varying.p)
        return record

    def _write(self, record: Record) -> None:
        """Log a record; if the run has diverged, warn or raise as ``divergence`` says."""
        super()._write(record)
        trouble = self._health.check(record)
        if trouble is None:
            return
        words = f"training has diverged at step {record['step']}: {trouble}"
        if self.options.divergence != "warn":
            raise FloatingPointError(words)
        warnings.warn(words, stacklevel=2)

    def _evaluate(self) -> None:
        o = self.options
        if self.score is not None and self._due(o.score_every) and self._is_best(self.score):
            state = self._state()
            if self.writes:
                self._checkpoints.save_best(state)
        if self._on_sample is not None and self._due(o.sample_every) and self.writes:
            with torch.no_grad():
                self._on_sample(self.step, self.ema(self._samples.images, *self._samples.labels))

    def _is_best(self, score_of: Callable[[nn.Module], Record]) -> bool:
        """Score the moving average, log the score and compare it with the best one."""
        own = score_of(self.ema) if self.writes else {}
        record: Record = {"step": self.step, **self._processes.from_first(own)}
        self._write(record)
        score = record.get(self.options.best_by)
        if score is None:
            if self.options.patience:
                raise ValueError(
                    f"best_by must be one of the scores {sorted(record)}, "
                    f"got {self.options.best_by!r}"
                )
            return False
        better = bool(score < self.best)
        self.best = score if better else self.best
        self.since_best = 0 if better else self.since_best + 1
        return better and self.step > 0  # untrained networks are not worth a file

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
        self._metrics.restore(self._processes.own(state["figures"]), self.step)
        self._play_round = self._make_play_round()

    def _parts(self) -> dict[str, Any]:
        return {
            **({"augment": self._varying} if self._varying is not None else {}),
            "generator": self.generator,
            "discriminator": self.discriminator,
            "ema": self.ema,
            "optimizer_g": self._steps.optimizer_g,
            "optimizer_d": self._steps.optimizer_d,
            "scaler": self._steps.scaler,
            "lecam": self._steps.regularizer.lecam,
            "health": self._health,
        }

    def _make_play_round(self) -> Callable[[list[list[Batch]], tuple[float, ...]], Tensor]:
        """Return the round, or its graphs, which are bound to the optimizers' states."""
        if not self.options.cuda_graphs:
            return self._steps.round
        return GraphedStep(self._steps.round, (self._random,), most=sys.maxsize)

    def _fixed_samples(self) -> Batch:
        """Draw the latents of the sample images, with labels that cycle through the classes."""
        count, classes = self.options.samples, self.options.classes
        labels = (torch.arange(count, device=self.device) % classes,) if classes else ()
        return Batch(self._steps.draw(count), labels)

    def _roll_back(self, error: FloatingPointError) -> None:
        """Go back to the last sound checkpoint, with other latents and half the learning rates."""
        rollbacks = self.rollbacks + 1
        state = self._checkpoints.sound()
        if state is None or rollbacks > _MAX_ROLLBACKS:
            raise error
        self._restore(state)
        warnings.warn(f"{error}; rolled back to step {self.step}", stacklevel=2)
        self.rollbacks = rollbacks
        self._random.manual_seed(self.options.seed + rollbacks)
        self._processes.wait()  # all must have read it before the next one is written
        if self.writes:
            self._checkpoints.forget_after(self.step)
        self.save()


def _device(module: nn.Module, name: str) -> torch.device:
    for parameter in module.parameters():
        return parameter.device
    raise ValueError(f"{name} must have parameters to train, got none")
