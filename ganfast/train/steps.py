"""The optimizer steps of both networks in one round, and their metrics."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ganfast._precision import warn_if_slow
from ganfast.augment import AdaptiveAugment, Augment
from ganfast.distributed import Processes
from ganfast.losses.adversarial import frozen
from ganfast.losses.reduction import last_maps
from ganfast.train.acceleration import Compiled
from ganfast.train.batches import Batch
from ganfast.train.burn_in import Schedule
from ganfast.train.first_batch import check_ranges, refuse_probabilities
from ganfast.train.journal import Record
from ganfast.train.objective import Loss, gives_probabilities
from ganfast.train.options import TrainOptions
from ganfast.train.regularizer import Regularizer

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}

NAMES = ("loss_d", "d_real", "d_fake", "diversity", "loss_g")


class Steps:
    """The arithmetic of training, without files and clocks.

    Args:
        generator, discriminator, loss, options: as for :class:`ganfast.train.Trainer`.
        random: draws the latents and the points of penalties, the same in all processes.
        augment: applied to all images that the discriminator sees.
        ema: module that holds the generator's moving average.
        processes: the processes that train together.
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
        self.augment = augment if augment is not None else nn.Identity()
        self.processes, self._together = processes, processes.count > 1
        self._latent_shape = options.latent_shape
        # Outputs that are not logits are logged as they are.
        logits = gives_probabilities(loss) and not getattr(loss, "from_probs", False)
        self._as_they_are = not logits
        # The modules themselves, or their compiled versions.
        self._generate: Callable[..., Tensor] = generator
        self._discriminate: Callable[..., Any] = discriminator
        if options.compile:
            self._generate = Compiled(generator, "generator")
            self._discriminate = Compiled(discriminator, "discriminator")
        self.average = MovingAverage(ema, generator, options)
        self.regularizer = Regularizer(options, discriminator, random, processes)
        # Parameters that the user froze are not in these lists and stay frozen.
        self.g_parameters: list[Tensor] = [p for p in generator.parameters() if p.requires_grad]
        self.d_parameters: list[Tensor] = [p for p in discriminator.parameters() if p.requires_grad]
        self.optimizer_g = _adam(self.g_parameters, options.betas_g, options.cuda_graphs)
        self.optimizer_d = _adam(self.d_parameters, options.betas_d, options.cuda_graphs)
        self._beta2 = options.betas_d[1]
        self._rates = [torch.zeros((), device=random.device) for _ in range(2)]
        self._kept_fakes: list[Tensor] = []  # with their graphs, for the generator's step
        self._discriminator_fits = False  # True once the discriminator has accepted a batch
        # Does nothing unless the precision is fp16.
        self.scaler = torch.amp.GradScaler(random.device.type, enabled=options.precision == "fp16")
        warn_if_slow(options.precision, random.device)

    def set_schedule(self, now: Schedule, images: int) -> None:
        """Set what holds in the next round, which takes so many images."""
        o = self.options
        of_both = (self.optimizer_g, o.lr_g), (self.optimizer_d, o.lr_d)
        for (optimizer, lr), tensor in zip(of_both, self._rates, strict=True):
            for group in optimizer.param_groups:
                # A CUDA graph freezes numbers but reads tensors at each replay.
                group["lr"] = tensor.fill_(lr * now.lr) if o.cuda_graphs else lr * now.lr
                if now.beta2 is not None:
                    group["betas"] = (group["betas"][0], now.beta2)
        self.regularizer.set_factor(now.penalty)
        if now.beta2 is not None:
            self._beta2 = now.beta2
        if now.half_life is not None:
            self.average.set_half_life(now.half_life, images)
        if now.augment_p is not None:
            assert isinstance(self.augment, Augment)
            self.augment.p.fill_(now.augment_p)

    def latents(self, count: int) -> Tensor:
        """Draw ``count`` latents for each process and return this process's share."""
        if not self._together:
            return self.draw(count)
        return self.processes.part(self.draw(self.processes.count * count))

    def draw(self, count: int) -> Tensor:
        """Draw ``count`` latents (count, *latent_shape) from ``random``."""
        shape = (count, *self._latent_shape)
        return torch.randn(shape, generator=self.random, device=self.random.device)

    def kind(self, d_step: int) -> tuple[float, ...]:
        """Return what tells rounds apart: b2 and the gains of the penalties from ``d_step`` on."""
        steps, gain = range(d_step, d_step + self.options.d_steps), self.regularizer.gain
        return (self._beta2, *(gain(i) if self.regularizer.active else 0.0 for i in steps))

    def round(self, batches: Sequence[Sequence[Batch]], kind: tuple[float, ...]) -> Tensor:
        """Train one round: the discriminator's steps, then the generator's.

        Args:
            batches: for each step of the discriminator, the batches whose gradients it adds.
            kind: of this round; a CUDA graph of the round serves one kind.

        Returns:
            The means (5,) of the metrics ``NAMES``, on the device.
        """
        steps = zip(batches, kind[1:], strict=True)
        metrics_d = [self._train_discriminator(each, gain) for each, gain in steps]
        losses_g = [self._train_generator(batches[-1]) for _ in range(self.options.g_steps)]
        if self._together:
            self.processes.average_buffers(self.generator, self.discriminator)
        self.average.update()
        return torch.cat([torch.stack(metrics_d).mean(0), torch.stack(losses_g).mean(0)[None]])

    def _train_discriminator(self, batches: Sequence[Batch], gain: float) -> Tensor:
        """Step on the mean loss of the batches, with this gain of the penalty.

        Returns its loss, D(x), D(G(z)) and the fakes' diversity, (4,).
        """
        self._kept_fakes.clear()
        metrics = [self._discriminator_backward(b, gain, 1 / len(batches)) for b in batches]
        self._update(self.optimizer_d, self.d_parameters)
        if self.options.clip_weights:
            with torch.no_grad():
                c = self.options.clip_weights
                torch._foreach_clamp_min_(self.d_parameters, -c)
                torch._foreach_clamp_max_(self.d_parameters, c)
        return torch.stack(metrics).mean(0)

    def _train_generator(self, batches: Sequence[Batch]) -> Tensor:
        """Step on the mean loss of fakes with the sizes and the labels of the batches."""
        losses = []
        with frozen(self.discriminator):
            for batch in batches:
                with self._autocast():
                    loss = self._generator_loss(batch)
                torch.autograd.backward(self.scaler.scale(loss * (1 / len(batches))))
                losses.append(loss.detach().float())
        self._update(self.optimizer_g, self.g_parameters)
        return torch.stack(losses).mean(0)

    def _discriminator_backward(self, batch: Batch, gain: float, share: float) -> Tensor:
        with torch.set_grad_enabled(self.options.reuse_fakes), self._autocast():
            fake = self._new_fakes(batch)
        if self.options.reuse_fakes:
            self._kept_fakes.append(fake)
        fake = fake.detach().to(batch.images.dtype)
        if fake.shape != batch.images.shape:
            raise ValueError(
                f"generator must make images of the data's shape, {tuple(batch.images.shape)}, "
                f"got {tuple(fake.shape)}"
            )
        is_first = not self._discriminator_fits
        if is_first:
            check_ranges(batch.images, fake)
        fake_diversity = diversity(batch.images, fake)
        images = batch.images, fake
        regularizer = self.regularizer
        sides = regularizer.sides_of_logits(gain) if regularizer.active else ()
        if sides:
            images = (
                images[0].detach().requires_grad_("r1" in sides),
                fake.requires_grad_("r2" in sides),
            )
        real, fake = self.augment(images[0]), self.augment(images[1])
        with self._autocast():
            real_logits = self._outputs(real, batch)
            fake_logits = self._outputs(fake, batch)
            if is_first:
                refuse_probabilities(self.loss, self.discriminator, real_logits, fake_logits)
            loss = self.loss.discriminator(real_logits, fake_logits)
            self._update_augment(real_logits, fake_logits)
            terms = []
            if regularizer.active:
                terms += regularizer.on_logits(real, batch.labels, real_logits, fake_logits)
        if sides:
            terms += regularizer.of_logits(*images, real_logits, fake_logits, gain)
        elif regularizer.active:
            terms += regularizer.on_gradients(
                images, (real, fake), batch.labels, gain, self.augment
            )
        for term in terms:
            loss = loss + term
        torch.autograd.backward(self.scaler.scale(loss * share))
        means = [mean_output(x, self._as_they_are) for x in (real_logits, fake_logits)]
        return torch.stack([loss.detach().float(), *means, fake_diversity])

    def _update_augment(self, real_logits: Any, fake_logits: Any) -> None:
        """Adapt an adaptive augmentation to the discriminator's outputs for real images.

        A relativistic loss knows no middle between real and fake: there, the other image of each
        pair is the middle.
        """
        if isinstance(self.augment, AdaptiveAugment):
            from_probs = getattr(self.loss, "from_probs", False)
            kind = getattr(self.loss, "kind", None)
            logits = _flat("real_logits", real_logits)
            if kind == "relativistic":
                logits = logits - _flat("fake_logits", fake_logits)
            self.augment.update(logits - (0.5 if from_probs or kind == "least_squares" else 0.0))

    def _new_fakes(self, batch: Batch) -> Tensor:
        """Generate fakes for a step, as many as the batch has images, with its labels."""
        return self._generate(self.latents(len(batch.images)), *batch.labels)

    def _generator_loss(self, batch: Batch) -> Tensor:
        fake = self._kept_fakes.pop(0) if self._kept_fakes else self._new_fakes(batch)
        logits = [self._outputs(self.augment(fake), batch)]
        if getattr(self.loss, "paired", False):
            with torch.no_grad():
                logits.append(self._outputs(self.augment(batch.images), batch))
        return self.loss.generator(*logits)

    def _outputs(self, images: Tensor, batch: Batch) -> Any:
        try:
            outputs = self._discriminate(images, *batch.labels)
        except RuntimeError as error:
            if self._discriminator_fits or isinstance(error, torch.OutOfMemoryError):
                raise
            raise ValueError(
                f"discriminator must accept images of shape {tuple(images.shape)}, got: {error}"
            ) from error
        self._discriminator_fits = True
        return outputs

    def _update(self, optimizer: torch.optim.Optimizer, parameters: list[Tensor]) -> None:
        if self._together:
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
    """Make an optimizer whose learning rate is set in each round."""
    b1, b2 = map(float, betas)  # Adam refuses an int beside a float
    return torch.optim.Adam(parameters, betas=(b1, b2), fused=True, capturable=capturable)


def _flat(name: str, outputs: Any) -> Tensor:
    """Return the maps of a discriminator's outputs as one tensor (N, ...)."""
    return torch.cat([x.detach().reshape(len(x), -1) for x in last_maps(name, outputs)], 1)


class MovingAverage:
    """Moving average of a module's weights: ema <- decay * ema + (1 - decay) * weights.

    The decay is the options' ``ema``, or with a half-life in images 0.5^(images / half-life).
    Floating-point buffers are averaged too: the averaged weights need batch-norm statistics that
    differ from the latest ones.
    """

    def __init__(self, ema: nn.Module, module: nn.Module, options: TrainOptions) -> None:
        self._ema, self._module, self._decay = ema, module, options.ema
        self._gain: Tensor | None = None  # 1 - decay; a CUDA graph reads it
        if options.ema_kimg:
            device = next(module.parameters()).device
            self._gain = torch.zeros((), device=device)

    def set_half_life(self, half_life: float, images: int) -> None:
        """Set the half-life for a round of so many images."""
        if self._gain is not None:
            self._gain.fill_(-math.expm1(-math.log(2) * images / half_life) if half_life else 1.0)

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
        if self._gain is None:
            torch._foreach_lerp_(averages, values, 1 - self._decay)
        else:
            changes = torch._foreach_sub(values, averages)
            torch._foreach_mul_(changes, self._gain)
            torch._foreach_add_(averages, changes)


class StepMetrics:
    """One row of metrics per round on the device, overwritten after ``rounds`` rows.

    The host reads them in ``means`` alone.
    """

    def __init__(self, rounds: int, device: torch.device, processes: Processes) -> None:
        self.rows = torch.zeros(rounds, len(NAMES), device=device)
        self._processes = processes
        self._since = 0  # the rows of rounds up to this one are not known

    def put(self, step: int, row: Tensor) -> None:
        """Store this process's metrics (5,) of round ``step`` (from 1)."""
        self.rows[(step - 1) % len(self.rows)] = row

    def means(self, step: int) -> Record:
        """Return the means over processes since the last full interval, up to round ``step``.

        The host waits for the device here.

        Raises:
            FloatingPointError: a metric is not finite; the error names the first such round.
        """
        count = (step - 1) % len(self.rows) + 1 if step else 0
        first = max(step - count, self._since)
        rows = self.rows[count - (step - first) : count].double()
        self._processes.average([rows])
        rows = rows.cpu()
        for round_, row in enumerate(rows, start=first + 1):
            if not row.isfinite().all():
                values = zip(NAMES, row.tolist(), strict=True)
                text = ", ".join(f"{name} {value:.4g}" for name, value in values)
                raise FloatingPointError(f"training failed at step {round_}: {text}")
        return dict(zip(NAMES, rows.mean(0).tolist(), strict=True))

    def restore(self, saved: Tensor, step: int) -> None:
        """Take the rows of a run that is at round ``step``, also with another number of rounds.

        Raises:
            ValueError: they are no rows of metrics.
        """
        if saved.dim() != 2 or saved.shape[1] != len(NAMES) or not len(saved):
            raise ValueError(
                f"figures must have shape (rounds, {len(NAMES)}), got {tuple(saved.shape)}"
            )
        self._since = max(0, step - min(len(saved), len(self.rows)))
        rounds = torch.arange(self._since, step)
        self.rows[rounds % len(self.rows)] = saved[rounds % len(saved)].to(self.rows)


def mean_output(
    outputs: Tensor | list[Tensor] | tuple[Tensor, ...], as_they_are: bool = False
) -> Tensor:
    """Return D(x): the mean sigmoid of logits, a tensor or a list of tensors.

    With ``as_they_are`` the mean is that of the outputs themselves, which are probabilities already
    or never are.
    """
    if isinstance(outputs, Tensor):
        values = outputs.detach().float()
        return (values if as_they_are else values.sigmoid()).mean()
    return torch.stack([mean_output(each, as_they_are) for each in outputs]).mean()


def diversity(real: Tensor, fake: Tensor) -> Tensor:
    """Return the variance of fake pixels over the batch, divided by that of real pixels.

    It is 0 if all fakes are equal, and 1 for a batch of one image, which has nothing to compare.
    """
    if len(real) < 2:
        return torch.ones((), device=real.device)
    # var(0) itself is slow.
    real_variance, fake_variance = (
        (x - x.mean(0)).square().mean() for x in (real.detach().float(), fake.detach().float())
    )
    return fake_variance / real_variance.clamp_min(1e-12)
