"""The optimizer steps of both networks, and of one round."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ganfast._precision import warn_if_slow
from ganfast.augment import AdaptiveAugment
from ganfast.distributed import Processes
from ganfast.losses.outputs import last_maps
from ganfast.train.acceleration import Compiled
from ganfast.train.batches import Batch
from ganfast.train.objective import Loss
from ganfast.train.options import TrainOptions
from ganfast.train.regularizer import Regularizer
from ganfast.train.step_metrics import diversity, probability

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Steps:
    """The arithmetic of training; it knows nothing of files and clocks.

    Args:
        generator, discriminator, loss, options: as of :class:`ganfast.train.Trainer`.
        random: draws latents, and points of penalties, for all processes alike.
        augment: applied to all images that the discriminator sees.
        ema: becomes the generator's moving average.
        processes: take their steps together.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        loss: Loss,
        options: TrainOptions,
        random: torch.Generator,
        augment: Callable[[Tensor], Tensor] | None,
        ema: nn.Module,
        processes: Processes,
    ) -> None:
        self.generator, self.discriminator = generator, discriminator
        self.loss, self.options, self.random = loss, options, random
        self.augment = augment if augment is not None else _same
        self.processes = processes
        # Called in place of the modules, whose weights they have.
        self._generate: Callable[..., Tensor] = generator
        self._judge: Callable[..., Any] = discriminator
        if options.compile:
            self._generate = Compiled(generator, "generator")
            self._judge = Compiled(discriminator, "discriminator")
        self.average = MovingAverage(ema, generator, options.ema)
        self.regularizer = Regularizer(options, discriminator, random, processes)
        # Only these are frozen and thawed: what the user froze stays so.
        self.g_parameters: list[Tensor] = [p for p in generator.parameters() if p.requires_grad]
        self.d_parameters: list[Tensor] = [p for p in discriminator.parameters() if p.requires_grad]
        self.optimizer_g = _adam(self.g_parameters, options.betas_g, options.cuda_graphs)
        self.optimizer_d = _adam(self.d_parameters, options.betas_d, options.cuda_graphs)
        self._rates = [torch.zeros((), device=random.device) for _ in range(2)]
        self._kept: list[Tensor] = []  # fakes with their graphs, for the generator's step
        self._fits = False  # the discriminator has taken a batch
        # It does nothing unless the precision is fp16.
        self.scaler = torch.amp.GradScaler(random.device.type, enabled=options.precision == "fp16")
        warn_if_slow(options.precision, random.device)

    def set_rates(self, factor: float) -> None:
        """Set both learning rates to ``factor`` times those of the options."""
        o = self.options
        of_both = (self.optimizer_g, o.lr_g), (self.optimizer_d, o.lr_d)
        for (optimizer, lr), tensor in zip(of_both, self._rates, strict=True):
            for group in optimizer.param_groups:
                # A graph has numbers for good, but reads tensors anew.
                group["lr"] = tensor.fill_(lr * factor) if o.cuda_graphs else lr * factor

    def latents(self, count: int) -> Tensor:
        """Of all processes as many, of which these are this one's."""
        return self.processes.part(self.draw(self.processes.count * count))

    def draw(self, count: int) -> Tensor:
        """The next latents of ``random``."""
        shape = (count, *self.options.latent_shape)
        return torch.randn(shape, generator=self.random, device=self.random.device)

    def kind(self, number: int) -> tuple[float, ...]:
        """What a round from step ``number`` on does otherwise than another: its penalties."""
        return tuple(self.regularizer.gain(number + i) for i in range(self.options.d_steps))

    def round(self, batches: Sequence[Sequence[Batch]], number: int) -> Tensor:
        """Step the discriminator on each of some batches, from ``number`` on, then the generator.

        Returns the means of the figures of ``figures.NAMES``, on the device.
        """
        of_d = [self._train_discriminator(each, number + i) for i, each in enumerate(batches)]
        of_g = [self._train_generator(batches[-1]) for _ in range(self.options.g_steps)]
        self.processes.average_buffers(self.generator, self.discriminator)
        self.average.update()
        return torch.cat([torch.stack(of_d).mean(0), torch.stack(of_g).mean(0)[None]])

    def _train_discriminator(self, batches: Sequence[Batch], number: int) -> Tensor:
        """Step ``number`` (from 0) on the mean loss of the batches.

        Returns its loss, D(x), D(G(z)) and the fakes' diversity, (4,).
        """
        self._kept.clear()
        figures = [self._discriminator_backward(b, number, 1 / len(batches)) for b in batches]
        self._update(self.optimizer_d, self.d_parameters)
        if self.options.clip_weights:
            with torch.no_grad():
                c = self.options.clip_weights
                torch._foreach_clamp_min_(self.d_parameters, -c)
                torch._foreach_clamp_max_(self.d_parameters, c)
        return torch.stack(figures).mean(0)

    def _train_generator(self, batches: Sequence[Batch]) -> Tensor:
        """Step on the mean loss of new fakes, as many and of the classes of the batches."""
        for p in self.d_parameters:
            p.requires_grad_(False)
        try:
            losses = [self._generator_backward(batch, 1 / len(batches)) for batch in batches]
        finally:
            for p in self.d_parameters:
                p.requires_grad_(True)
        self._update(self.optimizer_g, self.g_parameters)
        return torch.stack(losses).mean(0)

    def _discriminator_backward(self, batch: Batch, number: int, share: float) -> Tensor:
        with torch.set_grad_enabled(self.options.reuse_fakes), self._autocast():
            fake = self._fakes(batch)
        if self.options.reuse_fakes:
            self._kept.append(fake)
        fake = fake.detach().to(batch.images.dtype)
        if fake.shape != batch.images.shape:
            raise ValueError(
                f"the generator's images have shape {tuple(fake.shape)}, "
                f"the data's {tuple(batch.images.shape)}"
            )
        figure = diversity(batch.images, fake)
        real, fake = self.augment(batch.images), self.augment(fake)
        with self._autocast():
            real_logits = self._outputs(real, batch)
            fake_logits = self._outputs(fake, batch)
            loss = self.loss.discriminator(real_logits, fake_logits)
            self._adapt(real_logits)
            terms = self.regularizer.on_logits(real, batch.labels, real_logits, fake_logits)
        terms += self.regularizer.on_gradients(real, fake, batch.labels, number)
        for term in terms:
            loss = loss + term
        torch.autograd.backward(self.scaler.scale(loss * share))
        from_probs = getattr(self.loss, "from_probs", False)
        means = [probability(x, from_probs) for x in (real_logits, fake_logits)]
        return torch.stack([loss.detach().float(), *means, figure])

    def _adapt(self, real_logits: Any) -> None:
        """Let an adaptive augmentation see how sure the discriminator is."""
        if isinstance(self.augment, AdaptiveAugment):
            probable = getattr(self.loss, "from_probs", False)
            middle = 0.5 if probable or getattr(self.loss, "kind", None) == "least_squares" else 0.0
            maps = [x.reshape(len(x), -1) for x in last_maps("real_logits", real_logits)]
            self.augment.update(torch.cat(maps, 1) - middle)

    def _generator_backward(self, batch: Batch, share: float) -> Tensor:
        with self._autocast():
            loss = self._generator_loss(batch)
        torch.autograd.backward(self.scaler.scale(loss * share))
        return loss.detach().float()

    def _fakes(self, batch: Batch) -> Tensor:
        """What the discriminator learns from."""
        fake: Tensor = self._generate(self.latents(len(batch.images)), *batch.labels)
        return fake

    def _generator_loss(self, batch: Batch) -> Tensor:
        if self._kept:
            fake = self._kept.pop(0)
        else:
            fake = self._generate(self.latents(len(batch.images)), *batch.labels)
        logits = [self._outputs(self.augment(fake), batch)]
        if getattr(self.loss, "paired", False):
            with torch.no_grad():
                logits.append(self._outputs(self.augment(batch.images), batch))
        return self.loss.generator(*logits)

    def _outputs(self, images: Tensor, batch: Batch) -> Any:
        try:
            outputs = self._judge(images, *batch.labels)
        except RuntimeError as error:
            if self._fits or isinstance(error, torch.OutOfMemoryError):
                raise
            raise ValueError(
                f"the discriminator does not take images of shape {tuple(images.shape)}: {error}"
            ) from error
        self._fits = True
        return outputs

    def _update(self, optimizer: torch.optim.Optimizer, parameters: list[Tensor]) -> None:
        self.processes.average([p.grad for p in parameters if p.grad is not None])
        if self.options.clip_gradients:
            self.scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(parameters, self.options.clip_gradients)
        self.scaler.step(optimizer)
        self.scaler.update()
        optimizer.zero_grad()

    def _autocast(self) -> torch.autocast:
        precision = self.options.precision
        device = self.random.device.type
        return torch.autocast(device, _AUTOCAST.get(precision), enabled=precision in _AUTOCAST)


def _adam(
    parameters: list[Tensor], betas: tuple[float, float], capturable: bool
) -> torch.optim.Optimizer:
    """Each round sets the learning rate."""
    b1, b2 = map(float, betas)  # Adam refuses an int beside a float
    return torch.optim.Adam(parameters, betas=(b1, b2), fused=True, capturable=capturable)


def _same(images: Tensor) -> Tensor:
    return images


class MovingAverage:
    """ema <- decay * ema + (1 - decay) * weights, of a copy of a module.

    Floating buffers too: batch norm's statistics of the averaged weights are not those of the last.
    """

    def __init__(self, ema: nn.Module, module: nn.Module, decay: float) -> None:
        self._ema, self._module, self._decay = ema, module, decay

    @torch.no_grad()
    def update(self) -> None:
        averages: list[Tensor] = []
        values: list[Tensor] = []
        for average, value in (
            *zip(self._ema.parameters(), self._module.parameters(), strict=True),
            *zip(self._ema.buffers(), self._module.buffers(), strict=True),
        ):
            if value.is_floating_point():
                averages.append(average)
                values.append(value)
            else:
                average.copy_(value)
        torch._foreach_lerp_(averages, values, 1 - self._decay)
