"""Drop-ins for the losses of CompVis/latent-diffusion, ``ldm/modules/losses``.

In the configuration, change ``target: ldm.modules.losses.LPIPSWithDiscriminator`` to::

    target: ganfast.compat.latent_diffusion.LPIPSWithDiscriminator

and ``target: ldm.modules.losses.vqperceptual.VQLPIPSWithDiscriminator`` to::

    target: ganfast.compat.latent_diffusion.VQLPIPSWithDiscriminator

LPIPS and the discriminator are those of taming-transformers, so checkpoints load. The savings, and
the log before ``disc_start``, are those of :mod:`ganfast.compat.taming`. With ``weights``, which
the project itself never passes, the adaptive weight is computed as in the project, at its cost.

One bug of the project is fixed: its ``VQLPIPSWithDiscriminator`` calls a function that it does not
import, and so always raises.
"""

from typing import Any

import torch
from torch import Tensor, nn

from ganfast._names import check_name
from ganfast.compat import taming
from ganfast.compat._autoencoders import (
    AutoencoderLoss,
    adopt_weight,
    hinge_d_loss,
    vanilla_d_loss,
)
from ganfast.losses import discriminator_loss
from ganfast.losses.formulas import DISTANCES, Distance

__all__ = [
    "LPIPSWithDiscriminator",
    "VQLPIPSWithDiscriminator",
    "adopt_weight",
    "hinge_d_loss",
    "hinge_d_loss_with_exemplar_weights",
    "measure_perplexity",
    "vanilla_d_loss",
]


def hinge_d_loss_with_exemplar_weights(
    logits_real: Tensor, logits_fake: Tensor, weights: Tensor
) -> Tensor:
    """:func:`hinge_d_loss` with the weighted mean over samples; ``weights`` (B,)."""
    return discriminator_loss(
        logits_real, logits_fake, "hinge", real_weight=weights, fake_weight=weights, scale=0.5
    )


def measure_perplexity(predicted_indices: Tensor, n_embed: int) -> tuple[Tensor, Tensor]:
    """Return the perplexity of codes, int64 of any shape, and how many of all are in use."""
    codes = predicted_indices.flatten()
    counts = torch.zeros(n_embed, device=codes.device)
    counts.scatter_add_(0, codes, torch.ones_like(codes, dtype=counts.dtype))
    shares = counts / codes.numel()
    perplexity = (-(shares * torch.log(shares + 1e-10)).sum()).exp()
    return perplexity, (shares > 0).sum()


class LPIPSWithDiscriminator(AutoencoderLoss):
    r"""Loss of the KL autoencoder: pixels, LPIPS, a learned variance, KL and discriminator.

    .. math:: L_{nll} = \frac{1}{B} \sum \left(e^{-v} (|x - \hat x| + w_p \mathrm{LPIPS}) + v
        \right), \qquad L = L_{nll} + w_{kl} L_{kl} + d \, w L_g

    with the sum over all elements of the images, the learned v = ``logvar``, the adaptive weight w
    of :func:`ganfast.losses.adaptive_weight_loss`, d = 0 before ``disc_start`` and ``disc_factor``
    after it, and L_g = -m[D].

    Args:
        disc_start, ..., disc_loss: as in the project.
        perceptual_loss, discriminator, scaler: as in :mod:`ganfast.compat.taming`.

    Raises:
        ModuleNotFoundError, ValueError: as there.
    """

    def __init__(
        self,
        disc_start: int,
        logvar_init: float = 0.0,
        kl_weight: float = 1.0,
        pixelloss_weight: float = 1.0,
        disc_num_layers: int = 3,
        disc_in_channels: int = 3,
        disc_factor: float = 1.0,
        disc_weight: float = 1.0,
        perceptual_weight: float = 1.0,
        use_actnorm: bool = False,
        disc_conditional: bool = False,
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
            perceptual_loss, discriminator, disc_in_channels, disc_num_layers, use_actnorm
        )
        self.pixel_weight, self.scaler = pixelloss_weight, scaler  # the first is unused, as there
        self.kl_weight = kl_weight
        self.logvar = nn.Parameter(torch.full((), float(logvar_init)))

    def forward(
        self,
        inputs: Tensor,
        reconstructions: Tensor,
        posteriors: Any,
        optimizer_idx: int,
        global_step: int,
        last_layer: Tensor | None = None,
        cond: Tensor | None = None,
        split: str = "train",
        weights: Tensor | float | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of the autoencoder (``optimizer_idx`` 0) or of the discriminator (1), and its log.

        Raises:
            ValueError: ``last_layer`` or ``cond`` does not fit, or ``optimizer_idx`` is unknown.
        """
        if self._of_discriminator(optimizer_idx):
            return self._discriminator_step(inputs, reconstructions, global_step, cond, split)
        rec_loss, nll_loss, weighted = self._likelihoods(
            inputs, reconstructions, self.logvar, weights
        )
        kl_loss = posteriors.kl().sum() / inputs.shape[0]
        return self._autoencoder_step(
            nll_loss,
            self.kl_weight * kl_loss,
            reconstructions,
            global_step,
            last_layer,
            cond,
            split,
            {
                "logvar": self.logvar,
                "kl_loss": kl_loss,
                "nll_loss": nll_loss,
                "rec_loss": rec_loss,
            },
            [self.logvar] if self.logvar.requires_grad else [],
            weighted,
        )


class VQLPIPSWithDiscriminator(taming.VQLPIPSWithDiscriminator):
    r"""VQGAN's loss, as in :mod:`ganfast.compat.taming`, with a choice of the pixels' distance.

    Args:
        disc_start, ..., disc_loss: as in the project.
        n_classes: number of codes, for the statistics of ``predicted_indices``.
        perceptual_loss: ``lpips``, or a network that replaces it.
        pixel_loss: ``l1``, or ``l2`` with squares.
        discriminator, scaler: as in :mod:`ganfast.compat.taming`.

    Raises:
        ModuleNotFoundError: a network is not given and taming-transformers is not installed.
        ValueError: ``disc_loss``, ``perceptual_loss`` or ``pixel_loss`` is unknown.
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
        n_classes: int | None = None,
        perceptual_loss: str | nn.Module = "lpips",
        pixel_loss: Distance = "l1",
        *,
        discriminator: nn.Module | None = None,
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        check_name("pixel_loss", pixel_loss, DISTANCES)
        if isinstance(perceptual_loss, str):
            check_name("perceptual_loss", perceptual_loss, ("lpips",))
        super().__init__(
            disc_start,
            codebook_weight,
            pixelloss_weight,
            disc_num_layers,
            disc_in_channels,
            disc_factor,
            disc_weight,
            perceptual_weight,
            use_actnorm,
            disc_conditional,
            disc_ndf,
            disc_loss,
            perceptual_loss=None if isinstance(perceptual_loss, str) else perceptual_loss,
            discriminator=discriminator,
            scaler=scaler,
        )
        self.n_classes = n_classes
        self.pixel_kind = pixel_loss

    def forward(
        self,
        codebook_loss: Tensor | None,
        inputs: Tensor,
        reconstructions: Tensor,
        optimizer_idx: int,
        global_step: int,
        last_layer: Tensor | None = None,
        cond: Tensor | None = None,
        split: str = "train",
        predicted_indices: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of the autoencoder (``optimizer_idx`` 0) or of the discriminator (1), and its log.

        Args:
            codebook_loss, ..., split: as in the project; a codebook loss of None counts as 0.
            predicted_indices: codes, whose perplexity and number are logged.

        Raises:
            ValueError: ``last_layer`` or ``cond`` does not fit, ``optimizer_idx`` is unknown, or
                there are codes and ``n_classes`` is None.
        """
        if codebook_loss is None:
            codebook_loss = inputs.new_zeros(1)
        step = optimizer_idx, global_step, last_layer, cond, split
        loss, log = super().forward(codebook_loss, inputs, reconstructions, *step)
        if optimizer_idx == 0 and predicted_indices is not None:
            if self.n_classes is None:
                raise ValueError("n_classes must be a number with predicted_indices, got None")
            perplexity, used = measure_perplexity(predicted_indices, self.n_classes)
            log |= {f"{split}/perplexity": perplexity, f"{split}/cluster_usage": used}
        return loss, log
