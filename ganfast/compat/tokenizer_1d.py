"""Drop-in for the losses of bytedance/1d-tokenizer (TiTok), ``modeling/modules/losses.py``.

In ``utils/train_utils.py``, change the import of the two classes to::

    from ganfast.compat.tokenizer_1d import (
        ReconstructionLoss_Single_Stage,
        ReconstructionLoss_Stage2,
    )

The discriminator and the perceptual loss are the project's, so checkpoints load. The losses of
tokens, which are cross-entropies, are left to the project.

The discriminator's step takes one pass over real and reconstructed images together
(:func:`ganfast.losses.one_pass`), and does not differentiate the discriminator with respect to real
images, as the project does without use. In the generator's step the discriminator is frozen, and
afterwards its parameters require gradients as before.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from ganfast._names import check_name
from ganfast.compat._autoencoders import hinge_d_loss
from ganfast.losses import frozen, generator_loss, one_pass, pixel_loss
from ganfast.losses.reduction import means_of_maps

__all__ = [
    "ReconstructionLoss_Single_Stage",
    "ReconstructionLoss_Stage2",
    "compute_lecam_loss",
    "hinge_d_loss",
]


def compute_lecam_loss(
    logits_real_mean: Tensor,
    logits_fake_mean: Tensor,
    ema_logits_real_mean: Tensor,
    ema_logits_fake_mean: Tensor,
) -> Tensor:
    """LeCam of means: relu(m[r] - F)^2 + relu(R - m[f])^2 with the moving averages R and F."""
    real = (logits_real_mean - ema_logits_fake_mean).relu().square().mean()
    return real + (ema_logits_real_mean - logits_fake_mean).relu().square().mean()


class ReconstructionLoss_Stage2(nn.Module):
    r"""Loss of the decoder's fine-tuning: pixels, perceptual distance, codes and discriminator.

    .. math:: w_r m|x - \hat x| + w_p P + w_q Q - d w_d m[D(\hat x)]

    with d = 0 before ``discriminator_start`` and ``discriminator_factor`` after it. The
    discriminator has half the hinge loss times d, plus LeCam of means.

    Args:
        config: the project's configuration.
        perceptual_loss: replaces the project's, of images in [0, 1].
        discriminator: replaces the project's.

    Raises:
        ModuleNotFoundError: a network is None and the project cannot be imported.
        ValueError: ``reconstruction_loss`` is neither ``l1`` nor ``l2``.
    """

    discriminator: nn.Module
    perceptual_loss: nn.Module
    ema_real_logits_mean: Tensor
    ema_fake_logits_mean: Tensor

    def __init__(
        self,
        config: Any,
        *,
        perceptual_loss: nn.Module | None = None,
        discriminator: nn.Module | None = None,
    ) -> None:
        super().__init__()
        losses = config.losses
        check_name("reconstruction_loss", losses.reconstruction_loss, ("l1", "l2"))
        if discriminator is None:
            discriminator = import_module("modeling.modules.discriminator").NLayerDiscriminator()
        if perceptual_loss is None:
            project = import_module("modeling.modules.perceptual_loss")
            perceptual_loss = project.PerceptualLoss(losses.perceptual_loss)
        self.discriminator = discriminator
        self.reconstruction_loss = losses.reconstruction_loss
        self.reconstruction_weight = losses.reconstruction_weight
        self.quantizer_weight = losses.quantizer_weight
        self.perceptual_loss = perceptual_loss.eval()
        self.perceptual_weight = losses.perceptual_weight
        self.discriminator_iter_start = losses.discriminator_start
        self.discriminator_factor = losses.discriminator_factor
        self.discriminator_weight = losses.discriminator_weight
        self.lecam_regularization_weight = losses.lecam_regularization_weight
        self.lecam_ema_decay = losses.get("lecam_ema_decay", 0.999)
        if self.lecam_regularization_weight > 0:
            self.register_buffer("ema_real_logits_mean", torch.zeros(1))
            self.register_buffer("ema_fake_logits_mean", torch.zeros(1))
        self.config = config

    def forward(
        self,
        inputs: Tensor,
        reconstructions: Tensor,
        extra_result_dict: Any,
        global_step: int,
        mode: str = "generator",
    ) -> tuple[Tensor, Mapping[str, Any]]:
        """Loss of the ``generator`` or of the ``discriminator``, in float32, and its log.

        Args:
            inputs, reconstructions: images in [0, 1], (B, C, H, W).
            extra_result_dict: ``quantizer_loss``, ``commitment_loss`` and ``codebook_loss``, or the
                posterior of a single stage with ``quantize_mode: vae``.

        Raises:
            ValueError: the mode is unknown.
        """
        check_name("mode", mode, ("generator", "discriminator"))
        with torch.autocast(inputs.device.type, enabled=False):
            inputs, reconstructions = inputs.float(), reconstructions.float()
            if mode == "generator":
                return self._forward_generator(
                    inputs, reconstructions, extra_result_dict, global_step
                )
            return self._forward_discriminator(inputs, reconstructions, global_step)

    def should_discriminator_be_trained(self, global_step: int) -> bool:
        """Whether the discriminator has started."""
        return bool(global_step >= self.discriminator_iter_start)

    def _factor(self, global_step: int) -> float:
        started = self.should_discriminator_be_trained(global_step)
        return self.discriminator_factor if started else 0

    def _forward_generator(
        self, inputs: Tensor, reconstructions: Tensor, extra_result_dict: Any, global_step: int
    ) -> tuple[Tensor, Mapping[str, Any]]:
        reconstruction = pixel_loss(
            inputs, reconstructions, self.reconstruction_loss, self.reconstruction_weight
        )
        perceptual = self.perceptual_weight * self.perceptual_loss(inputs, reconstructions).mean()
        factor, weight = self._factor(global_step), 1.0 * self.discriminator_weight
        gan = torch.zeros((), device=inputs.device)
        if factor > 0 and self.discriminator_weight > 0:
            with frozen(self.discriminator):
                gan = generator_loss(self.discriminator(reconstructions), "wasserstein")
        reconstruction, others, terms = self._of_codes(reconstruction, extra_result_dict)
        weighted = weight * factor * gan
        total = reconstruction + perceptual + others + weighted
        log = {
            "total_loss": total.clone(),
            "reconstruction_loss": reconstruction,
            "perceptual_loss": perceptual,
            **terms,
            "weighted_gan_loss": weighted,
            "discriminator_factor": torch.tensor(factor),
            "gan_loss": gan,
        }
        return total, {**{name: x.detach() for name, x in log.items()}, "d_weight": weight}

    def _of_codes(
        self, reconstruction: Tensor, extra: Any
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """The loss of reconstruction, the weighted one of the codes, and what is logged of it."""
        codes = self.quantizer_weight * extra["quantizer_loss"]
        names = ("commitment_loss", "codebook_loss")
        return reconstruction, codes, {"quantizer_loss": codes, **{k: extra[k] for k in names}}

    def _forward_discriminator(
        self, inputs: Tensor, reconstructions: Tensor, global_step: int
    ) -> tuple[Tensor, Mapping[str, Any]]:
        real, fake = one_pass(self.discriminator, inputs.detach(), reconstructions.detach())
        loss = self._factor(global_step) * hinge_d_loss(real, fake)
        real_mean, fake_mean = means_of_maps([real, fake]).unbind()
        lecam = torch.zeros((), device=inputs.device)
        if self.lecam_regularization_weight > 0:
            averages = (self.ema_real_logits_mean, self.ema_fake_logits_mean)
            lecam = self.lecam_regularization_weight * compute_lecam_loss(
                real_mean, fake_mean, *averages
            )
            for average, mean in zip(averages, (real_mean, fake_mean), strict=True):
                average.lerp_(mean.detach().to(average.dtype), 1 - self.lecam_ema_decay)
        loss = loss + lecam
        log = {
            "discriminator_loss": loss,
            "logits_real": real_mean,
            "logits_fake": fake_mean,
            "lecam_loss": lecam,
        }
        return loss, {name: x.detach() for name, x in log.items()}


class ReconstructionLoss_Single_Stage(ReconstructionLoss_Stage2):
    """The loss of :class:`ReconstructionLoss_Stage2`, of codes or of a posterior.

    With ``quantize_mode: vae`` the loss of the reconstruction is divided by e^logvar, and
    ``kl_weight`` times the KL divergence of each sample takes the place of the codes' loss.

    Args:
        config, perceptual_loss, discriminator: as there.

    Raises:
        ModuleNotFoundError, ValueError: as there, or ``quantize_mode`` is unknown.
    """

    def __init__(
        self,
        config: Any,
        *,
        perceptual_loss: nn.Module | None = None,
        discriminator: nn.Module | None = None,
    ) -> None:
        super().__init__(config, perceptual_loss=perceptual_loss, discriminator=discriminator)
        self.quantize_mode = config.model.vq_model.get("quantize_mode", "vq")
        check_name("quantize_mode", self.quantize_mode, ("vq", "vae"))
        if self.quantize_mode == "vae":
            self.kl_weight = config.losses.get("kl_weight", 1e-6)
            start = config.losses.get("logvar_init", 0.0)
            self.logvar = nn.Parameter(torch.full((), float(start)), requires_grad=False)

    def _of_codes(
        self, reconstruction: Tensor, extra: Any
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        if self.quantize_mode == "vq":
            return super()._of_codes(reconstruction, extra)
        divergence = extra.kl()
        kl = self.kl_weight * divergence.sum() / divergence.shape[0]
        return reconstruction / self.logvar.exp(), kl, {"kl_loss": kl}
