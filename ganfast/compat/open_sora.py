"""Drop-in for the losses of hpcaitech/Open-Sora's video autoencoder, ``opensora/models/vae``.

In ``scripts/vae/train.py``, ``from opensora.models.vae.losses import ...`` becomes ::

    from ganfast.compat.open_sora import DiscriminatorLoss, GeneratorLoss, VAELoss

LPIPS is the project's. No map of elements is made for the reconstruction and the discriminator's
losses take one launch. ``wgan-gp`` is half the Wasserstein loss, as in the project.
"""

from typing import Any

import torch
from torch import Tensor, nn

from ganfast._names import check_name
from ganfast.compat._autoencoders import (
    adopt_weight,
    hinge_d_loss,
    plain_weight,
    vanilla_d_loss,
)
from ganfast.compat.latent_diffusion import measure_perplexity
from ganfast.compat.tokenizer_1d import compute_lecam_loss
from ganfast.losses import discriminator_loss, generator_loss, pixel_loss
from ganfast.penalties import wgan_gp_from_logits

__all__ = [
    "DiscriminatorLoss",
    "GeneratorLoss",
    "VAELoss",
    "adopt_weight",
    "gradient_penalty_fn",
    "hinge_d_loss",
    "lecam_reg",
    "measure_perplexity",
    "vanilla_d_loss",
    "wgan_gp_loss",
]

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def wgan_gp_loss(logits_real: Tensor, logits_fake: Tensor) -> Tensor:
    """Half the Wasserstein loss: (m[fake] - m[real]) / 2."""
    return discriminator_loss(logits_real, logits_fake, "wasserstein", scale=0.5)


def lecam_reg(
    real_pred: Tensor, fake_pred: Tensor, ema_real_pred: Tensor, ema_fake_pred: Tensor
) -> Tensor:
    """LeCam of means: relu(r - F)^2 + relu(R - f)^2."""
    return compute_lecam_loss(real_pred, fake_pred, ema_real_pred, ema_fake_pred)


def gradient_penalty_fn(images: Tensor, output: Tensor) -> Tensor:
    r"""m[(\|grad output\| - 1)^2] over samples; ``images`` required gradients."""
    return wgan_gp_from_logits(output, images, weight=1.0)


class VAELoss(nn.Module):
    r"""Loss of reconstructed videos: pixels and LPIPS of each frame, a learned variance, and KL.

    .. math:: L_{nll} = \frac{1}{B T} \sum \left(e^{-v} (|x - \hat x| + w_p \mathrm{LPIPS}) + v
        \right)

    Args:
        logvar_init: v at the start.
        perceptual_loss_weight: w_p.
        kl_loss_weight: of the mean of the samples' KL divergences.
        device, dtype: of LPIPS; the type is ``bf16``, ``fp16``, ``fp32`` or a dtype.
        perceptual_loss: replaces the project's LPIPS.

    Raises:
        ModuleNotFoundError: ``perceptual_loss`` is None and Open-Sora is not installed.
        ValueError: the dtype is unknown.
    """

    def __init__(
        self,
        logvar_init: float = 0.0,
        perceptual_loss_weight: float = 1.0,
        kl_loss_weight: float = 5e-4,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | str = "bf16",
        *,
        perceptual_loss: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if isinstance(dtype, str):
            check_name("dtype", dtype, _DTYPES)
            dtype = _DTYPES[dtype]
        if perceptual_loss is None:
            from opensora.models.vae.lpips import LPIPS  # type: ignore[import-not-found]

            perceptual_loss = LPIPS()
        self.kl_weight = kl_loss_weight
        self.perceptual_loss_fn: nn.Module = perceptual_loss.eval().to(device, dtype)
        self.perceptual_loss_fn.requires_grad_(False)
        self.perceptual_loss_weight = perceptual_loss_weight
        self.logvar = nn.Parameter(torch.full((), float(logvar_init)))

    def forward(self, video: Tensor, recon_video: Tensor, posterior: Any) -> dict[str, Tensor]:
        """Return ``nll_loss``, weighted ``kl_loss``, ``recon_loss`` and ``perceptual_loss``.

        Args:
            video, recon_video: (B, C, T, H, W).
            posterior: with a method ``kl()``, or None.
        """
        frames, recon = (x.transpose(1, 2).flatten(0, 1) for x in (video, recon_video))
        elements = frames.numel() // frames.shape[0]
        pixels = pixel_loss(frames, recon)
        perceptual = self.perceptual_loss_fn(frames, recon).mean()
        nll = (pixels + self.perceptual_loss_weight * perceptual) / self.logvar.exp() + self.logvar
        kl = torch.zeros((), device=video.device, dtype=video.dtype)
        if posterior is not None:
            divergence = posterior.kl()
            kl = divergence.sum() / divergence.shape[0]
        return {
            "nll_loss": elements * nll,
            "kl_loss": self.kl_weight * kl,
            "recon_loss": elements * pixels,
            "perceptual_loss": elements * perceptual,
        }


class GeneratorLoss(nn.Module):
    """-m[D] with VQGAN's adaptive weight; 0 before the start.

    Before the start, and with a ``disc_factor`` of 0, the weight is not computed, as it has no
    effect; the project back-propagates twice for it.

    Args:
        gen_start: first step of the loss.
        disc_factor: factor from then on.
        disc_weight: factor on the adaptive weight.
    """

    def __init__(
        self, gen_start: int = 2001, disc_factor: float | None = 1.0, disc_weight: float = 0.5
    ) -> None:
        super().__init__()
        self.disc_factor, self.gen_start, self.disc_weight = disc_factor, gen_start, disc_weight

    def forward(
        self,
        logits_fake: Tensor,
        nll_loss: Tensor,
        last_layer: Tensor,
        global_step: int,
        is_training: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """Return the weighted loss and -m[D] of logits of any shape, scalars.

        ``last_layer`` is a weight of the decoder; ``is_training`` is unused, as in the project.
        """
        g = generator_loss(logits_fake, "wasserstein")
        factor = adopt_weight(self.disc_factor or 0.0, global_step, threshold=self.gen_start)
        if factor <= 0:
            return 0.0 * g, g
        weight = self.disc_weight * plain_weight(nll_loss, g, last_layer)
        return weight * factor * g, g


class DiscriminatorLoss(nn.Module):
    """Half the ``hinge``, ``vanilla`` or ``wgan-gp`` loss; 0 before the start.

    Args:
        disc_start: first step of the loss.
        disc_factor: factor from then on; None counts as 0.
        disc_loss_type: one of the above.

    Raises:
        ValueError: the type is unknown.
    """

    def __init__(
        self,
        disc_start: int = 2001,
        disc_factor: float | None = 1.0,
        disc_loss_type: str = "hinge",
    ) -> None:
        super().__init__()
        losses = {"hinge": hinge_d_loss, "vanilla": vanilla_d_loss, "wgan-gp": wgan_gp_loss}
        check_name("disc_loss_type", disc_loss_type, losses)
        self.disc_factor, self.disc_start = disc_factor, disc_start
        self.disc_loss_type, self.loss_fn = disc_loss_type, losses[disc_loss_type]

    def forward(self, real_logits: Tensor, fake_logits: Tensor, global_step: int) -> Tensor | float:
        """Return the loss of logits of any shapes, scalar; 0 without a factor, as there."""
        if self.disc_factor is None or self.disc_factor <= 0:
            return 0
        factor = adopt_weight(self.disc_factor, global_step, threshold=self.disc_start)
        return factor * self.loss_fn(real_logits, fake_logits)
