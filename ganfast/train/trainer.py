"""The training loop."""

import copy
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ganfast.train import checkpoint
from ganfast.train.batches import Batches
from ganfast.train.figures import Figures, probability
from ganfast.train.log import JsonLog, Record
from ganfast.train.options import TrainOptions
from ganfast.train.progress import Progress
from ganfast.train.signals import StopSignal


class Loss(Protocol):
    """What the trainer asks of a loss; ``ganfast.losses.AdversarialLoss`` is one."""

    def discriminator(self, real_logits: Any, fake_logits: Any, /) -> Tensor: ...

    def generator(self, fake_logits: Any, /) -> Tensor: ...


class Trainer:
    """Train a generator against a discriminator and keep the generator's moving average.

    Writes ``checkpoint.pt`` and ``metrics.jsonl`` to ``out``. A run that was stopped and resumed
    ends with the same bits as one that was not, on the CPU with the same number of threads and with
    data that can resume.

    Args:
        generator: maps latents (N, *latent_shape) to images of the data's shape.
        discriminator: maps images to logits, a tensor or a list of tensors.
        data: any iterable of batches, see ``Batches``; labels are not used.
        loss: has ``discriminator(real_logits, fake_logits)`` and ``generator(fake_logits)``.
        options: the settings of the run.
        out: folder of the run.
        score: called as ``score(ema)``, every ``score_every`` rounds, for figures to be logged.
        on_sample: called as ``on_sample(step, images)``, every ``sample_every`` rounds, with what
            the moving average makes of the same latents each time.
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
    ) -> None:
        self.generator, self.discriminator = generator, discriminator
        self.loss, self.options, self.out = loss, options, Path(out)
        self.score, self.on_sample = score, on_sample
        self.device = _device(generator, "generator")
        if _device(discriminator, "discriminator") != self.device:
            raise ValueError("generator and discriminator must be on the same device")
        self.ema = copy.deepcopy(generator).eval().requires_grad_(False)
        self.step, self.seconds, self.images = 0, 0.0, 0
        self._begun = False
        self._batches = Batches(data, self.device)
        # Only these are frozen and thawed: what the user froze stays so.
        self._d_parameters = [p for p in discriminator.parameters() if p.requires_grad]
        g_parameters = [p for p in generator.parameters() if p.requires_grad]
        self._optimizer_g = torch.optim.Adam(g_parameters, options.lr_g, options.betas, fused=True)
        self._optimizer_d = torch.optim.Adam(
            self._d_parameters, options.lr_d, options.betas, fused=True
        )
        self._noise = torch.Generator(self.device).manual_seed(options.seed)
        self._sample_latents = self._latents(options.samples)
        self._figures = Figures(options.log_every, self.device)

    @property
    def checkpoint_path(self) -> Path:
        return self.out / "checkpoint.pt"

    def run(self) -> bool:
        """Train to the last step; False if Ctrl-C or SIGTERM stopped it, with a checkpoint saved.

        Stopped, it goes on when called again, or in another process after ``resume``.

        Raises:
            FileExistsError: ``out`` holds a checkpoint that was not resumed.
            FloatingPointError: a loss is not finite; the checkpoint is from before.
            TypeError, ValueError: the data's batches or the generator's images do not fit.
        """
        begun = self._begun
        if not begun and self.checkpoint_path.exists():
            raise FileExistsError(
                f"{self.checkpoint_path} exists: resume it, or train to another folder"
            )
        self.generator.train()
        self.discriminator.train()
        progress = Progress(self.options.steps, self.step)
        try:
            with (
                StopSignal() as stop,
                JsonLog(self.out / "metrics.jsonl", self.step if begun else -1) as log,
            ):
                if not begun:
                    self._hooks(log, progress)
                self._begun = True
                while self.step < self.options.steps and not stop.received:
                    self._round()
                    progress.advance()
                    if self._due(self.options.log_every):
                        record = self._record()
                        log.write(record)
                        progress.show(record)
                    self._hooks(log, progress)
                    if self._due(self.options.checkpoint_every) and not stop.received:
                        self.save()
                if stop.received:
                    self.save()
        finally:
            progress.close()
        return self.step >= self.options.steps

    def save(self) -> None:
        """Write the checkpoint; a crash meanwhile leaves the one before.

        Raises:
            FloatingPointError: a loss or a weight is not finite.
        """
        self._figures.means(self.step)
        checkpoint.refuse_nonfinite("generator", self.generator)
        checkpoint.refuse_nonfinite("discriminator", self.discriminator)
        state: checkpoint.State = {
            "options": asdict(self.options),
            "device": self.device.type,
            "step": self.step,
            "seconds": self.seconds,
            "images": self.images,
            "data": self._batches.state_dict(),
            "rng": torch.get_rng_state(),
            "noise": self._noise.get_state(),
            "figures": self._figures.rows,
        }
        if self.device.type == "cuda":
            state["rng_cuda"] = torch.cuda.get_rng_state(self.device)
        for name, part in self._parts().items():
            state[name] = part.state_dict()
        checkpoint.save(self.checkpoint_path, state)

    def resume(self) -> None:
        """Take up the run in ``out`` where its checkpoint left it.

        Raises:
            FileNotFoundError: there is no checkpoint.
            ValueError: it is of other options (``steps`` may differ), architecture or device.
        """
        state = checkpoint.load(self.checkpoint_path)
        self.options.refuse_other(state["options"])
        if state["device"] != self.device.type:
            raise ValueError(
                f"the checkpoint was made on {state['device']}, the generator is on {self.device}"
            )
        for name, part in self._parts().items():
            if isinstance(part, nn.Module):
                checkpoint.load_module(name, part, state[name])
            else:
                part.load_state_dict(state[name])
        self._batches.load_state_dict(state["data"])
        self._noise.set_state(state["noise"])
        self._figures.rows.copy_(state["figures"])
        torch.set_rng_state(state["rng"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(state["rng_cuda"], self.device)
        self.step, self.seconds, self.images = state["step"], state["seconds"], state["images"]
        self._begun = True

    def _parts(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        return {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "ema": self.ema,
            "optimizer_g": self._optimizer_g,
            "optimizer_d": self._optimizer_d,
        }

    def _round(self) -> None:
        start = time.perf_counter()
        d_figures = [self._discriminator_step() for _ in range(self.options.d_steps)]
        _set_requires_grad(self._d_parameters, False)
        try:
            g_losses = [self._generator_step() for _ in range(self.options.g_steps)]
        finally:
            _set_requires_grad(self._d_parameters, True)
        self._update_ema()
        self.step += 1
        self._figures.put(self.step, d_figures, g_losses)
        self.seconds += time.perf_counter() - start

    def _discriminator_step(self) -> Tensor:
        real = self._batches.draw()
        with torch.no_grad():
            fake = self.generator(self._latents(len(real)))
        if fake.shape != real.shape:
            raise ValueError(
                f"the generator's images have shape {tuple(fake.shape)}, "
                f"the data's {tuple(real.shape)}"
            )
        self.images += len(real)
        self._batch_size = len(real)
        real_logits, fake_logits = self.discriminator(real), self.discriminator(fake)
        loss = self.loss.discriminator(real_logits, fake_logits)
        self._optimizer_d.zero_grad()
        torch.autograd.backward(loss)
        self._optimizer_d.step()
        return torch.stack(
            [loss.detach().float(), probability(real_logits), probability(fake_logits)]
        )

    def _generator_step(self) -> Tensor:
        fake = self.generator(self._latents(self._batch_size))
        loss = self.loss.generator(self.discriminator(fake))
        self._optimizer_g.zero_grad()
        torch.autograd.backward(loss)
        self._optimizer_g.step()
        return loss.detach().float()

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

    def _latents(self, count: int) -> Tensor:
        shape = (count, *self.options.latent_shape)
        return torch.randn(shape, generator=self._noise, device=self.device)

    def _due(self, every: int) -> bool:
        return every > 0 and (self.step % every == 0 or self.step == self.options.steps)

    def _hooks(self, log: JsonLog, progress: Progress) -> None:
        if self.score is not None and self._due(self.options.score_every):
            record = {"step": self.step, **self.score(self.ema)}
            log.write(record)
            progress.show(record)
        if self.on_sample is not None and self._due(self.options.sample_every):
            with torch.no_grad():
                self.on_sample(self.step, self.ema(self._sample_latents))

    def _record(self) -> Record:
        start = time.perf_counter()
        means = self._figures.means(self.step)
        self.seconds += time.perf_counter() - start
        return {"step": self.step, **means, "images_per_s": self.images / self.seconds}


def _device(module: nn.Module, name: str) -> torch.device:
    for parameter in module.parameters():
        return parameter.device
    raise ValueError(f"{name} has no parameters to train")


def _set_requires_grad(parameters: list[nn.Parameter], value: bool) -> None:
    for parameter in parameters:
        parameter.requires_grad_(value)
