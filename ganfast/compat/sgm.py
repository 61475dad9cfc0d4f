"""Drop-in for ``GeneralLPIPSWithDiscriminator`` of Stability-AI/generative-models (sgm).

In the configuration, ``target: sgm.modules.autoencoding.losses.GeneralLPIPSWithDiscriminator``
becomes::

    target: ganfast.compat.sgm.GeneralLPIPSWithDiscriminator

LPIPS and the discriminator are the project's, so checkpoints load. Values and gradients equal the
project's, with the savings of :mod:`ganfast.compat.taming`.

``log_images``, which draws the logits, is left to the project.
"""

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganfast.compat._autoencoders import AutoencoderLoss, hinge_d_loss, vanilla_d_loss
from ganfast.losses import frozen, generator_loss
from ganfast.losses.reduction import means_of_maps

_LPIPS = "sgm.modules.autoencoding.lpips"

__all__ = ["GeneralLPIPSWithDiscriminator", "hinge_d_loss", "vanilla_d_loss"]


class GeneralLPIPSWithDiscriminator(AutoencoderLoss):
    r"""Loss of an autoencoder of images or videos: pixels, LPIPS, a variance and discriminator.

    .. math:: L = L_{nll} + d \, w L_g + \sum_k w_k R_k

    as in :class:`ganfast.compat.latent_diffusion.LPIPSWithDiscriminator`, with the regularizers R_k
    of the ``regularization_log``.

    Args:
        disc_start, ..., discriminator_config: as in the project. With ``dims=3`` all frames are
            images of their own, also for the discriminator.
        perceptual_loss, discriminator, scaler: as in :mod:`ganfast.compat.taming`.

    Raises:
        ModuleNotFoundError: a network is None and sgm is not installed.
        ValueError: ``disc_loss`` is unknown.
    """

    def __init__(
        self,
        disc_start: int,
        logvar_init: float = 0.0,
        disc_num_layers: int = 3,
        disc_in_channels: int = 3,
        disc_factor: float = 1.0,
        disc_weight: float = 1.0,
        perceptual_weight: float = 1.0,
        disc_loss: str = "hinge",
        scale_input_to_tgt_size: bool = False,
        dims: int = 2,
        learn_logvar: bool = False,
        regularization_weights: Mapping[str, float] | None = None,
        additional_log_keys: Sequence[str] | None = None,
        discriminator_config: Mapping[str, Any] | None = None,
        *,
        perceptual_loss: nn.Module | None = None,
        discriminator: nn.Module | None = None,
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        super().__init__(disc_start, disc_factor, disc_weight, perceptual_weight, False, disc_loss)
        self.dims, self.scale_input_to_tgt_size = dims, scale_input_to_tgt_size
        self.logvar = nn.Parameter(torch.full((), float(logvar_init)), requires_grad=learn_logvar)
        self.learn_logvar = learn_logvar
        if perceptual_loss is None:
            perceptual_loss = import_module(f"{_LPIPS}.loss.lpips").LPIPS()
        if discriminator is None:
            layers = {
                "input_nc": disc_in_channels,
                "n_layers": disc_num_layers,
                "use_actnorm": False,
            }
            usual = {"target": f"{_LPIPS}.model.model.NLayerDiscriminator", "params": layers}
            made = import_module("sgm.util").instantiate_from_config(discriminator_config or usual)
            discriminator = made.apply(import_module(f"{_LPIPS}.model.model").weights_init)
        self.perceptual_loss, self.discriminator = perceptual_loss.eval(), discriminator
        self.regularization_weights = dict(regularization_weights or {})
        self.forward_keys = [
            "optimizer_idx",
            "global_step",
            "last_layer",
            "split",
            "regularization_log",
        ]
        self.additional_log_keys = {*(additional_log_keys or ()), *self.regularization_weights}
        self.scaler = scaler

    def get_trainable_parameters(self) -> Iterator[nn.Parameter]:
        """Return the parameters of the discriminator's optimizer."""
        return self.discriminator.parameters()

    def get_trainable_autoencoder_parameters(self) -> Iterator[nn.Parameter]:
        """Return those of the autoencoder's: the variance, if it is learned."""
        if self.learn_logvar:
            yield self.logvar

    def forward(
        self,
        inputs: Tensor,
        reconstructions: Tensor,
        *,
        regularization_log: Mapping[str, Tensor] = {},
        optimizer_idx: int = 0,
        global_step: int = 0,
        last_layer: Tensor | None = None,
        split: str = "train",
        weights: Tensor | float | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of the autoencoder (``optimizer_idx`` 0) or of the discriminator (1), and its log.

        Args:
            inputs, reconstructions: images (B, C, H, W), or videos (B, C, T, H, W) with ``dims=3``.
            regularization_log, ..., weights: as in the project.

        Raises:
            ValueError: ``last_layer`` is missing, or ``optimizer_idx`` is unknown.
        """
        of_discriminator = self._of_discriminator(optimizer_idx)
        if self.scale_input_to_tgt_size:
            size = reconstructions.shape[2:]
            inputs = F.interpolate(inputs, size, mode="bicubic", antialias=True)
        if self.dims > 2:
            inputs, reconstructions = (
                x.transpose(1, 2).flatten(0, 1) for x in (inputs, reconstructions)
            )
        started = global_step >= self.discriminator_iter_start or not self.training
        if of_discriminator:
            return self._step_of_discriminator(inputs, reconstructions, started, split)
        rec, nll, weighted = self._likelihoods(inputs, reconstructions, self.logvar, weights)
        loss, g = nll if weighted is None else weighted, nll.new_zeros(())
        d_weight: Tensor = nll.new_zeros(())
        if started and self.disc_factor != 0:
            with frozen(self.discriminator):
                g = generator_loss(self.discriminator(reconstructions), "wasserstein")
            if not self.training:
                d_weight = nll.new_ones(())
                loss = loss + self.disc_factor * g
            elif last_layer is None:
                raise ValueError("last_layer must be a tensor in training, got None")
            else:
                parameters = [self.logvar] if self.learn_logvar else []
                loss, d_weight = self._balanced(
                    nll, g, reconstructions, last_layer, self.disc_factor, parameters, weighted
                )
        log = {}
        for name, value in regularization_log.items():
            if name in self.regularization_weights:
                loss = loss + self.regularization_weights[name] * value
            if name in self.additional_log_keys:
                log[f"{split}/{name}"] = value.detach().float().mean()
        terms = {
            "loss/total": loss.clone().mean(),
            "loss/nll": nll,
            "loss/rec": rec,
            "loss/g": g,
            "scalars/logvar": self.logvar,
            "scalars/d_weight": d_weight,
        }
        return loss, log | {f"{split}/{name}": value.detach() for name, value in terms.items()}

    def _step_of_discriminator(
        self, inputs: Tensor, reconstructions: Tensor, started: bool, split: str
    ) -> tuple[Tensor, dict[str, Tensor]]:
        if started:
            real = self.discriminator(inputs.detach())
            fake = self.discriminator(reconstructions.detach())
            loss = self.disc_factor * self.disc_loss(real, fake)
            means = means_of_maps([real.detach(), fake.detach()])
        else:
            loss = torch.zeros((), device=inputs.device, requires_grad=True)
            means = torch.zeros(2, device=inputs.device)
        return loss, {
            f"{split}/loss/disc": loss.detach().clone(),
            f"{split}/logits/real": means[0],
            f"{split}/logits/fake": means[1],
        }
