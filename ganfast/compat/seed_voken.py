"""Drop-ins for the losses of TencentARC/SEED-Voken: Open-MAGVIT2 and IBQ, ``vqperceptual.py``.

In the configuration, in place of ``src.Open_MAGVIT2.modules.losses.vqperceptual``,
``src.Open_MAGVIT2.modules.losses.video_vqperceptual`` and ``src.IBQ.modules.losses.vqperceptual``::

    target: ganfast.compat.seed_voken.MAGVIT2Loss
    target: ganfast.compat.seed_voken.MAGVIT2VideoLoss
    target: ganfast.compat.seed_voken.IBQLoss

LPIPS and the discriminator are the project's, so checkpoints load. Values and gradients equal the
project's, with the savings of :mod:`ganfast.compat.taming`. The averages of LeCam stay on the
device; for those that Open-MAGVIT2's images update from the beginning, the discriminator runs
before ``disc_start``, too.

Two bugs of the project are fixed: without ``lecam_loss_weight`` the discriminator's step fails on a
name, as does the video's loss with ``disc_loss="non_saturate"``.
"""

from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from ganfast.compat._autoencoders import (
    DISCRIMINATOR_LOSSES,
    AutoencoderLoss,
    adopt_weight,
    hinge_d_loss,
    vanilla_d_loss,
)
from ganfast.compat.lecam import pulled
from ganfast.losses import discriminator_loss, frozen, generator_loss, pixel_loss
from ganfast.losses.reduction import means_of_maps

__all__ = [
    "IBQLoss",
    "LeCAM_EMA",
    "MAGVIT2Loss",
    "MAGVIT2VideoLoss",
    "adopt_weight",
    "hinge_d_loss",
    "lecam_reg",
    "non_saturate_discriminator_loss",
    "non_saturate_gen_loss",
    "vanilla_d_loss",
]


def non_saturate_gen_loss(logits_fake: Tensor) -> Tensor:
    """m[softplus(-f)] of each sample's mean logit f."""
    return generator_loss(logits_fake.flatten(1).mean(1))


def non_saturate_discriminator_loss(logits_real: Tensor, logits_fake: Tensor) -> Tensor:
    """m[softplus(-r)] + m[softplus(f)] of each sample's mean logits r and f."""
    return discriminator_loss(logits_real.flatten(1).mean(1), logits_fake.flatten(1).mean(1))


class LeCAM_EMA:
    """Moving averages of the logits' means, on the device once they have been updated.

    Args:
        init: their start.
        decay: of the averages.
    """

    def __init__(self, init: float = 0.0, decay: float = 0.999) -> None:
        self.logits_real_ema: Tensor | float = init
        self.logits_fake_ema: Tensor | float = init
        self.decay = decay

    def update(self, logits_real: Tensor, logits_fake: Tensor) -> None:
        """Move the averages to the means of these logits."""
        real, fake = means_of_maps([logits_real.detach(), logits_fake.detach()]).unbind()
        self.logits_real_ema = self.decay * self.logits_real_ema + (1 - self.decay) * real
        self.logits_fake_ema = self.decay * self.logits_fake_ema + (1 - self.decay) * fake


def lecam_reg(real_pred: Tensor, fake_pred: Tensor, lecam_ema: LeCAM_EMA) -> Tensor:
    """LeCam: m[relu(real - F)^2] + m[relu(R - fake)^2] with the averages R and F."""
    return pulled(real_pred, fake_pred, lecam_ema.logits_real_ema, lecam_ema.logits_fake_ema)


_LOSSES = {**DISCRIMINATOR_LOSSES, "non_saturate": non_saturate_discriminator_loss}


class _SeedVokenLoss(AutoencoderLoss):
    """What the three losses share."""

    _source = "src.Open_MAGVIT2.modules"
    _averages_before_start = False

    def _add_options(self, gen_loss_weight: float | None, lecam_loss_weight: float | None) -> None:
        self.gen_loss_weight, self.lecam_loss_weight = gen_loss_weight, lecam_loss_weight
        if lecam_loss_weight is not None:
            self.lecam_ema = LeCAM_EMA()

    def _generator(
        self,
        inputs: Tensor,
        reconstructions: Tensor,
        global_step: int,
        last_layer: Tensor | None,
        cond: Tensor | None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss without codes, and what is logged of its parts."""
        nll, perceptual = self._distances(inputs, reconstructions)
        factor = self._factor(global_step)
        loss, g, weight = nll, nll.new_zeros(()), nll.new_zeros(())
        if factor != 0:
            with frozen(self.discriminator):
                g = non_saturate_gen_loss(self._logits(reconstructions, cond))
            if self.gen_loss_weight is None:
                loss, weight = self._balanced(nll, g, reconstructions, last_layer, factor)
            else:
                weight = torch.tensor(self.gen_loss_weight)
                loss = nll + self.gen_loss_weight * factor * g
        return loss, {
            "nll_loss": nll,
            "reconstruct_loss": pixel_loss(inputs, reconstructions.detach()),
            "perceptual_loss": perceptual.mean(),
            "d_weight": weight,
            "disc_factor": torch.tensor(float(factor)),
            "g_loss": weight * factor * g,
            "unsacled_g_loss": factor * g,  # the project's spelling
        }

    def _discriminator(
        self,
        inputs: Tensor,
        reconstructions: Tensor,
        global_step: int,
        cond: Tensor | None,
        split: str,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        factor = self._factor(global_step)
        lecam = inputs.new_zeros(())
        if factor == 0:
            if self.lecam_loss_weight is not None and self._averages_before_start:
                with torch.no_grad():
                    sides = [self._logits(x, cond) for x in (inputs, reconstructions)]
                self.lecam_ema.update(*sides)
            loss = plain = real = fake = self._zero_loss()
        else:
            real = self._logits(inputs.detach(), cond)
            fake = self._logits(reconstructions.detach(), cond)
            plain = self.disc_loss(real, fake)
            loss = factor * plain
            if self.lecam_loss_weight is not None:
                self.lecam_ema.update(real, fake)
                lecam = lecam_reg(real, fake, self.lecam_ema)
                loss = factor * (lecam * self.lecam_loss_weight + plain)
        log = {
            "disc_loss": loss.clone(),
            "logits_real": real.mean(),
            "logits_fake": fake.mean(),
            "disc_factor": torch.tensor(float(factor)),
            "lecam_loss": lecam,
            "non_saturated_d_loss": plain,
        }
        return loss, {f"{split}/{name}": value.detach() for name, value in log.items()}


class MAGVIT2Loss(_SeedVokenLoss):
    r"""Open-MAGVIT2's loss of images: pixels, LPIPS, entropy and commitment of codes, and D.

    .. math:: m[|x - \hat x| + w_p \mathrm{LPIPS}] + d \, w \, m[\mathrm{softplus}(-f)]
        + w_c (1 + r \max(0, 1 - t / T)) L_c + w_{commit} L_{commit}

    with the mean logit f of each sample, the adaptive weight w of
    :func:`ganfast.losses.adaptive_weight_loss` or ``gen_loss_weight``, d = 0 before ``disc_start``
    and ``disc_factor`` after it, and r, T the ``codebook_enlarge_ratio`` and its steps. The
    discriminator has the loss ``disc_loss`` and LeCam.

    Args:
        disc_start, ..., blur_kernel_size: as in the project.
        perceptual_loss, discriminator, scaler: as in :mod:`ganfast.compat.taming`.

    Raises:
        ModuleNotFoundError, ValueError: as there.
    """

    _losses = _LOSSES
    _averages_before_start = True

    def __init__(
        self,
        disc_start: int,
        codebook_weight: float = 1.0,
        pixelloss_weight: float = 1.0,
        disc_num_layers: int = 3,
        disc_in_channels: int = 3,
        disc_factor: float = 1.0,
        disc_weight: float = 1.0,
        commit_weight: float = 0.25,
        codebook_enlarge_ratio: float = 3,
        codebook_enlarge_steps: int = 2000,
        perceptual_weight: float = 1.0,
        use_actnorm: bool = False,
        disc_conditional: bool = False,
        disc_ndf: int = 64,
        disc_loss: str = "hinge",
        gen_loss_weight: float | None = None,
        lecam_loss_weight: float | None = None,
        use_blur: bool = False,
        disc_num_channels: int = 3,
        disc_num_stages: int = 4,
        disc_hidden_channels: int = 128,
        blur_resample: bool = True,
        blur_kernel_size: int = 4,
        *,
        perceptual_loss: nn.Module | None = None,
        discriminator: nn.Module | None = None,
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        super().__init__(
            disc_start, disc_factor, disc_weight, perceptual_weight, disc_conditional, disc_loss
        )
        if discriminator is None and use_blur:
            model = import_module(f"{self._source}.discriminator.model")
            discriminator = model.NLayerDiscriminatorv2(
                num_channels=disc_num_channels,
                num_stages=disc_num_stages,
                hidden_channels=disc_hidden_channels,
                blur_resample=blur_resample,
                blur_kernel_size=blur_kernel_size,
            )
        self._add_networks(
            perceptual_loss, discriminator, disc_in_channels, disc_num_layers, use_actnorm, disc_ndf
        )
        self._add_options(gen_loss_weight, lecam_loss_weight)
        self.pixel_weight, self.scaler = pixelloss_weight, scaler  # the first is unused, as there
        self.codebook_weight, self.commit_weight = codebook_weight, commit_weight
        self.codebook_enlarge_ratio = codebook_enlarge_ratio
        self.codebook_enlarge_steps = codebook_enlarge_steps

    def forward(
        self,
        codebook_loss: Tensor,
        loss_break: Any,
        inputs: Tensor,
        reconstructions: Tensor,
        optimizer_idx: int,
        global_step: int,
        last_layer: Tensor | None = None,
        cond: Tensor | None = None,
        split: str = "train",
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of the autoencoder (``optimizer_idx`` 0) or of the discriminator (1), and its log.

        Raises:
            ValueError: ``last_layer`` or ``cond`` does not fit, or ``optimizer_idx`` is unknown.
        """
        if self._of_discriminator(optimizer_idx):
            return self._discriminator(inputs, reconstructions, global_step, cond, split)
        loss, parts = self._generator(inputs, reconstructions, global_step, last_layer, cond)
        codes = self.codebook_weight * codebook_loss
        if self.codebook_enlarge_ratio > 0:
            left = max(0, 1 - global_step / self.codebook_enlarge_steps)
            codes = codes * (1 + self.codebook_enlarge_ratio * left)
        loss = loss + codes + loss_break.commitment * self.commit_weight
        unscaled = parts.pop("unsacled_g_loss")
        if self.training or self._factor(global_step) == 0:
            log = {
                "total_loss": loss.clone(),
                "per_sample_entropy": loss_break.per_sample_entropy,
                "codebook_entropy": loss_break.codebook_entropy,
                "commit_loss": loss_break.commitment,
                "entropy_loss": codebook_loss,
                **parts,
            }
        else:
            log = {name: parts[name] for name in ("reconstruct_loss", "perceptual_loss")}
            log["g_loss"] = unscaled
        return loss, {f"{split}/{name}": value.detach() for name, value in log.items()}


class MAGVIT2VideoLoss(MAGVIT2Loss):
    """Open-MAGVIT2's loss of videos (B, C, T, H, W): :class:`MAGVIT2Loss`, with LPIPS of frames.

    Args:
        disc_start, ..., disc_out_ch: as in the project, where the last four are unused.
        perceptual_loss, discriminator, scaler: as in :class:`MAGVIT2Loss`.

    Raises:
        ModuleNotFoundError, ValueError: as there.
    """

    _network = "NLayerDiscriminator3D"
    _averages_before_start = False

    def __init__(
        self,
        disc_start: int,
        codebook_weight: float = 1.0,
        pixelloss_weight: float = 1.0,
        disc_num_layers: int = 4,
        disc_in_channels: int = 3,
        disc_factor: float = 1.0,
        disc_weight: float = 1.0,
        commit_weight: float = 0.25,
        codebook_enlarge_ratio: float = 3,
        codebook_enlarge_steps: int = 2000,
        perceptual_weight: float = 1.0,
        use_actnorm: bool = False,
        disc_conditional: bool = False,
        disc_ndf: int = 64,
        disc_loss: str = "hinge",
        gen_loss_weight: float | None = None,
        lecam_loss_weight: float | None = None,
        disc_ch: int = 64,
        disc_in_ch: int = 3,
        disc_ch_mult: tuple[int, ...] = (2, 4, 8, 8),
        disc_out_ch: int = 1,
        *,
        perceptual_loss: nn.Module | None = None,
        discriminator: nn.Module | None = None,
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        super().__init__(
            disc_start, codebook_weight, pixelloss_weight, disc_num_layers, disc_in_channels,
            disc_factor, disc_weight, commit_weight, codebook_enlarge_ratio,
            codebook_enlarge_steps, perceptual_weight, use_actnorm, disc_conditional, disc_ndf,
            disc_loss, gen_loss_weight, lecam_loss_weight, perceptual_loss=perceptual_loss,
            discriminator=discriminator, scaler=scaler,
        )  # fmt: skip

    def _distances(self, inputs: Tensor, reconstructions: Tensor) -> tuple[Tensor, Tensor]:
        frames = [x.transpose(1, 2).flatten(0, 1) for x in (inputs, reconstructions)]
        return super()._distances(*frames)


class IBQLoss(_SeedVokenLoss):
    r"""IBQ's loss of images: pixels, LPIPS, codes and discriminator.

    .. math:: m[|x - \hat x| + w_p \mathrm{LPIPS}] + d \, w \, m[\mathrm{softplus}(-f)] + L_c

    with L_c = ``codebook_weight`` times the loss of the codes, or with a tuple of four losses
    ``quant_loss_weight`` times the first plus ``entropy_loss_weight`` times the last; the rest is
    as in :class:`MAGVIT2Loss`.

    Args:
        disc_start, ..., entropy_loss_weight: as in the project.
        perceptual_loss, discriminator, scaler: as in :class:`MAGVIT2Loss`.

    Raises:
        ModuleNotFoundError, ValueError: as there.
    """

    _source = "src.IBQ.modules"

    def __init__(
        self,
        disc_start: int,
        codebook_weight: float = 1.0,
        pixelloss_weight: float = 1.0,
        disc_num_layers: int = 3,
        disc_in_channels: int = 3,
        disc_factor: float = 1.0,
        disc_weight: float = 1.0,
        perceptual_weight: float = 1.0,
        use_actnorm: bool = False,
        disc_conditional: bool = False,
        disc_ndf: int = 64,
        disc_loss: str = "hinge",
        gen_loss_weight: float | None = None,
        lecam_loss_weight: float | None = None,
        quant_loss_weight: float = 1.0,
        entropy_loss_weight: float = 1.0,
        *,
        perceptual_loss: nn.Module | None = None,
        discriminator: nn.Module | None = None,
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        super().__init__(
            disc_start, disc_factor, disc_weight, perceptual_weight, disc_conditional, disc_loss
        )
        self._add_networks(
            perceptual_loss, discriminator, disc_in_channels, disc_num_layers, use_actnorm, disc_ndf
        )
        self._add_options(gen_loss_weight, lecam_loss_weight)
        self.pixel_weight, self.scaler = pixelloss_weight, scaler  # the first is unused, as there
        self.codebook_weight = codebook_weight
        self.quant_loss_weight, self.entropy_loss_weight = quant_loss_weight, entropy_loss_weight

    def forward(
        self,
        codebook_loss: Tensor | tuple[Tensor, Tensor, Tensor, Tensor],
        inputs: Tensor,
        reconstructions: Tensor,
        optimizer_idx: int,
        global_step: int,
        last_layer: Tensor | None = None,
        cond: Tensor | None = None,
        split: str = "train",
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of the autoencoder (``optimizer_idx`` 0) or of the discriminator (1), and its log.

        Args:
            codebook_loss: the loss of the codes, or those of quantization, sample entropy, average
                entropy and entropy.
            inputs, ..., split: as in the project.

        Raises:
            ValueError: ``last_layer`` or ``cond`` does not fit, or ``optimizer_idx`` is unknown.
        """
        if self._of_discriminator(optimizer_idx):
            loss, log = self._discriminator(inputs, reconstructions, global_step, cond, split)
            log.pop(f"{split}/non_saturated_d_loss")
            return loss, log
        loss, parts = self._generator(inputs, reconstructions, global_step, last_layer, cond)
        if isinstance(codebook_loss, tuple):
            quant, sample, average, entropy = codebook_loss
            codes = self.quant_loss_weight * quant + self.entropy_loss_weight * entropy
            of_codes = {
                "codebook_quant_loss": quant,
                "codebook_entropy_loss": entropy,
                "codebook_sample_entropy_loss": sample,
                "codebook_avg_entropy_loss": average,
                "codebook_loss": codes,
            }
        else:
            codes = self.codebook_weight * codebook_loss
            of_codes = {"codebook_quant_loss": codes}
        loss = loss + codes
        if not self.training and self._factor(global_step) != 0:
            parts["g_loss"] = parts.pop("unsacled_g_loss")
        all_terms = {"total_loss": loss.clone(), **of_codes, **parts}
        return loss, {f"{split}/{name}": value.detach() for name, value in all_terms.items()}
