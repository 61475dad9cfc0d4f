"""Drop-in for CompVis/taming-transformers' ``taming/modules/losses/vqperceptual.py``.

In the configuration, change ``target: taming.modules.losses.vqperceptual.VQLPIPSWithDiscriminator``
to::

    target: ganfast.compat.taming.VQLPIPSWithDiscriminator

The configurations of latent-diffusion's VQ models have the same line; the loss takes the argument
``predicted_indices`` with which those models call it, and which the project's own loss refuses.

LPIPS and the discriminator are the project's own, so checkpoints load. Values and gradients equal
the project's, at a lower cost:

- The adaptive weight back-propagates LPIPS and the discriminator once instead of twice, without
  retained graphs. The discriminator's parameters get no gradient in the generator's step.
- Before ``disc_start`` the discriminator does not run: ``d_weight``, ``g_loss`` and the logits are
  logged as 0, and its batch normalization sees no images. Its step then has gradients of 0, as in
  the project.
- The discriminator's step computes no reconstruction loss.

One bug of the project is fixed: a missing ``last_layer`` is an error that names it; the project
looks for an attribute that it never sets.
"""

import torch
from torch import Tensor, nn

from ganfast.compat._autoencoders import (
    AutoencoderLoss,
    adopt_weight,
    hinge_d_loss,
    vanilla_d_loss,
)

__all__ = ["VQLPIPSWithDiscriminator", "adopt_weight", "hinge_d_loss", "vanilla_d_loss"]


class VQLPIPSWithDiscriminator(AutoencoderLoss):
    r"""VQGAN's loss: pixels, LPIPS, codebook and discriminator.

    .. math:: L_{nll} = m[|x - \hat x| + w_p \mathrm{LPIPS}], \qquad
        L = L_{nll} + d \, w L_g + w_c L_c

    with the adaptive weight w of :func:`ganfast.losses.adaptive_weight_loss`, d = 0 before
    ``disc_start`` and ``disc_factor`` after it, and L_g = -m[D].

    Args:
        disc_start, ..., disc_loss: as in the project.
        perceptual_loss: replaces the project's LPIPS.
        discriminator: replaces the project's, whose layer options then have no effect.
        scaler: the scaler of float16 training, if any.

    Raises:
        ModuleNotFoundError: a network is None and the project is not installed.
        ValueError: ``disc_loss`` is unknown.
    """

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
        self.pixel_weight, self.scaler = pixelloss_weight, scaler  # the first is unused, as there
        self.codebook_weight = codebook_weight

    def forward(
        self,
        codebook_loss: Tensor,
        inputs: Tensor,
        reconstructions: Tensor,
        optimizer_idx: int,
        global_step: int,
        last_layer: Tensor | None = None,
        cond: Tensor | None = None,
        split: str = "train",
        *,
        predicted_indices: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of the autoencoder (``optimizer_idx`` 0) or of the discriminator (1), and its log.

        Args:
            codebook_loss, ..., split: as in the project.
            predicted_indices: unused; see :mod:`ganfast.compat.latent_diffusion` for its use.

        Raises:
            ValueError: ``last_layer`` or ``cond`` does not fit, or ``optimizer_idx`` is unknown.
        """
        if self._of_discriminator(optimizer_idx):
            return self._discriminator_step(inputs, reconstructions, global_step, cond, split)
        nll_loss, p_loss = self._distances(inputs, reconstructions)
        quant_loss = codebook_loss.mean()
        return self._autoencoder_step(
            nll_loss,
            self.codebook_weight * quant_loss,
            reconstructions,
            global_step,
            last_layer,
            cond,
            split,
            {
                "quant_loss": quant_loss,
                "nll_loss": nll_loss,
                "rec_loss": nll_loss,
                "p_loss": p_loss.mean(),
            },
        )
