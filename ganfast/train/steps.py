"""One optimizer step of each network."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ganfast.train.batches import Batch
from ganfast.train.figures import diversity, probability
from ganfast.train.objective import Loss
from ganfast.train.options import TrainOptions
from ganfast.train.regularizer import Regularizer

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Steps:
    """The arithmetic of training; it knows nothing of files and clocks.

    Args:
        generator, discriminator, loss, options: as of :class:`ganfast.train.Trainer`.
        random: draws latents, and points of penalties.
        augment: applied to all images that the discriminator sees.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        loss: Loss,
        options: TrainOptions,
        random: torch.Generator,
        augment: Callable[[Tensor], Tensor] | None,
    ) -> None:
        self.generator, self.discriminator = generator, discriminator
        self.loss, self.options, self.random = loss, options, random
        self.augment = augment if augment is not None else _same
        self.regularizer = Regularizer(options, discriminator, random)
        # Only these are frozen and thawed: what the user froze stays so.
        self.g_parameters: list[Tensor] = [p for p in generator.parameters() if p.requires_grad]
        self.d_parameters: list[Tensor] = [p for p in discriminator.parameters() if p.requires_grad]
        self.optimizer_g = _adam(self.g_parameters, options.lr_g, options.betas_g)
        self.optimizer_d = _adam(self.d_parameters, options.lr_d, options.betas_d)
        self._kept: list[Tensor] = []  # fakes with their graphs, for the generator's step
        self._fits = False  # the discriminator has taken a batch
        # It does nothing unless the precision is fp16.
        self.scaler = torch.amp.GradScaler(random.device.type, enabled=options.precision == "fp16")

    def set_rates(self, factor: float) -> None:
        """Set both learning rates to ``factor`` times those of the options."""
        for optimizer, lr in (
            (self.optimizer_g, self.options.lr_g),
            (self.optimizer_d, self.options.lr_d),
        ):
            for group in optimizer.param_groups:
                group["lr"] = lr * factor

    def latents(self, count: int) -> Tensor:
        shape = (count, *self.options.latent_shape)
        return torch.randn(shape, generator=self.random, device=self.random.device)

    def train_discriminator(self, batches: Sequence[Batch], number: int) -> Tensor:
        """Step ``number`` (from 0) on the mean loss of the batches.

        Returns its loss, D(x), D(G(z)) and the fakes' diversity, (4,), on the device.
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

    def train_generator(self, batches: Sequence[Batch]) -> Tensor:
        """Step on the mean loss of new fakes, as many and of the classes of the batches.

        Returns its loss, on the device.
        """
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
            terms = self.regularizer.on_logits(real, batch.given, real_logits, fake_logits)
        terms += self.regularizer.on_gradients(real, fake, batch.given, number)
        for term in terms:
            loss = loss + term
        torch.autograd.backward(self.scaler.scale(loss * share))
        from_probs = getattr(self.loss, "from_probs", False)
        means = [probability(x, from_probs) for x in (real_logits, fake_logits)]
        return torch.stack([loss.detach().float(), *means, figure])

    def _generator_backward(self, batch: Batch, share: float) -> Tensor:
        with self._autocast():
            loss = self._generator_loss(batch)
        torch.autograd.backward(self.scaler.scale(loss * share))
        return loss.detach().float()

    def _fakes(self, batch: Batch) -> Tensor:
        """What the discriminator learns from."""
        fake: Tensor = self.generator(self.latents(len(batch.images)), *batch.given)
        return fake

    def _generator_loss(self, batch: Batch) -> Tensor:
        if self._kept:
            fake = self._kept.pop(0)
        else:
            fake = self.generator(self.latents(len(batch.images)), *batch.given)
        logits = [self._outputs(self.augment(fake), batch)]
        if getattr(self.loss, "paired", False):
            with torch.no_grad():
                logits.append(self._outputs(self.augment(batch.images), batch))
        return self.loss.generator(*logits)

    def _outputs(self, images: Tensor, batch: Batch) -> Any:
        try:
            outputs = self.discriminator(images, *batch.given)
        except RuntimeError as error:
            if self._fits or isinstance(error, torch.OutOfMemoryError):
                raise
            raise ValueError(
                f"the discriminator does not take images of shape {tuple(images.shape)}: {error}"
            ) from error
        self._fits = True
        return outputs

    def _update(self, optimizer: torch.optim.Optimizer, parameters: list[Tensor]) -> None:
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


def _adam(parameters: list[Tensor], lr: float, betas: tuple[float, float]) -> torch.optim.Optimizer:
    b1, b2 = map(float, betas)  # Adam refuses an int beside a float
    return torch.optim.Adam(parameters, lr, (b1, b2), fused=True)


def _same(images: Tensor) -> Tensor:
    return images
