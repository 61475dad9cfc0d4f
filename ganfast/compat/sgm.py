"""Drop-in for ``GeneralLPIPSWithDiscriminator`` of Stability-AI/generative-models (sgm).

In the configuration, ``target: sgm.modules.autoencoding.losses.GeneralLPIPSWithDiscriminator``
becomes::

    target: ganfast.compat.sgm.GeneralLPIPSWithDiscriminator

LPIPS and the discriminator are the project's, so checkpoints load. Values and gradients equal the
project's, at a lower cost:

- The adaptive weight back-propagates LPIPS and the discriminator once instead of twice, without
  retained graphs. The discriminator's parameters get no gradient in the generator's step.
- Before ``disc_start`` the discriminator does not run: its logits are logged as 0.
- The discriminator's step computes no LPIPS and no reconstruction loss.

``log_images``, which draws the logits, is left to the project.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganfast._names import check_name
from ganfast.compat._autoencoders import (
    DISCRIMINATOR_LOSSES,
    hinge_d_loss,
    plain_weight,
    vanilla_d_loss,
)
from ganfast.losses import adaptive_weight_loss, frozen, generator_loss, pixel_loss
from ganfast.losses.reduction import means_of_maps

__all__ = ["GeneralLPIPSWithDiscriminator", "hinge_d_loss", "vanilla_d_loss"]


class GeneralLPIPSWithDiscriminator(nn.Module):
    r"""Loss of an autoencoder of images or videos: pixels, LPIPS, a variance and discriminator.

    .. math:: L_{nll} = \frac{1}{B} \sum \left(e^{-v} (|x - \hat x| + w_p \mathrm{LPIPS}) + v
        \right), \qquad L = L_{nll} + d \, w L_g + \sum_k w_k R_k

    with the sum over all elements, v = ``logvar``, the adaptive weight w of
    :func:`ganfast.losses.adaptive_weight_loss`, d = 0 before ``disc_start`` and ``disc_factor``
    after it, L_g = -m[D], and the regularizers R_k of the ``regularization_log``.

    Args:
        disc_start, ..., discriminator_config: as in the project. With ``dims=3`` all frames are
            images of their own, also for the discriminator.
        perceptual_loss: replaces the project's LPIPS.
        discriminator: replaces the project's, whose configuration then has no effect.
        scaler: the scaler of float16 training, if any.

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
        super().__init__()
        check_name("disc_loss", disc_loss, DISCRIMINATOR_LOSSES)
        self.dims, self.scale_input_to_tgt_size = dims, scale_input_to_tgt_size
        self.perceptual_weight = perceptual_weight
        self.logvar = nn.Parameter(torch.full((), float(logvar_init)), requires_grad=learn_logvar)
        self.learn_logvar = learn_logvar
        if perceptual_loss is None:
            from sgm.modules.autoencoding.lpips.loss.lpips import (  # type: ignore[import-not-found]
                LPIPS,
            )

            perceptual_loss = LPIPS()
        if discriminator is None:
            layers = {
                "input_nc": disc_in_channels,
                "n_layers": disc_num_layers,
                "use_actnorm": False,
            }
            discriminator = _discriminator_of_project(discriminator_config, layers)
        self.perceptual_loss: nn.Module = perceptual_loss.eval()
        self.discriminator: nn.Module = discriminator
        self.discriminator_iter_start = disc_start
        self.disc_loss = DISCRIMINATOR_LOSSES[disc_loss]
        self.disc_factor, self.discriminator_weight = disc_factor, disc_weight
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
        if optimizer_idx not in (0, 1):
            raise ValueError(f"optimizer_idx must be 0 or 1, got {optimizer_idx}")
        if self.scale_input_to_tgt_size:
            size = reconstructions.shape[2:]
            inputs = F.interpolate(inputs, size, mode="bicubic", antialias=True)
        if self.dims > 2:
            inputs, reconstructions = (
                x.transpose(1, 2).flatten(0, 1) for x in (inputs, reconstructions)
            )
        started = global_step >= self.discriminator_iter_start or not self.training
        if optimizer_idx == 1:
            return self._discriminator_step(inputs, reconstructions, started, split)
        return self._autoencoder_step(
            inputs, reconstructions, regularization_log, started, last_layer, split, weights
        )

    def _autoencoder_step(
        self,
        inputs: Tensor,
        reconstructions: Tensor,
        regularization_log: Mapping[str, Tensor],
        started: bool,
        last_layer: Tensor | None,
        split: str,
        weights: Tensor | float | None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        rec, nll, weighted = self._distances(inputs, reconstructions, weights)
        loss, g = weighted, nll.new_zeros(())
        d_weight: Tensor = nll.new_zeros(())
        if started and self.disc_factor != 0:
            with frozen(self.discriminator):
                g = generator_loss(self.discriminator(reconstructions), "wasserstein")
            if not self.training:
                d_weight = nll.new_ones(())
                loss = weighted + self.disc_factor * g
            elif last_layer is None:
                raise ValueError("last_layer must be a tensor in training, got None")
            elif weights is None:
                loss, w = adaptive_weight_loss(
                    nll,
                    g,
                    reconstructions,
                    last_layer,
                    weight=self.discriminator_weight * self.disc_factor,
                    parameters=[self.logvar] if self.learn_logvar else [],
                    scaler=self.scaler,
                )
                d_weight = w / self.disc_factor
            else:
                d_weight = self.discriminator_weight * plain_weight(nll, g, last_layer)
                loss = weighted + d_weight * self.disc_factor * g
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

    def _distances(
        self, inputs: Tensor, reconstructions: Tensor, weights: Tensor | float | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The mean of |x - y| + w_p LPIPS, and L_nll without and with weights of the elements."""
        elements = inputs.numel() // inputs.shape[0]
        perceptual = None
        if self.perceptual_weight > 0:
            perceptual = self.perceptual_weight * self.perceptual_loss(inputs, reconstructions)
        rec = pixel_loss(inputs, reconstructions)
        if perceptual is not None:
            rec = rec + perceptual.mean()
        nll = elements * (rec / self.logvar.exp() + self.logvar)
        if weights is None:
            return rec, nll, nll
        of_elements = (inputs - reconstructions).abs()
        if perceptual is not None:
            of_elements = of_elements + perceptual.reshape(-1, 1, 1, 1)
        weighted = weights * (of_elements / self.logvar.exp() + self.logvar)
        return rec, nll, weighted.sum() / weighted.shape[0]

    def _discriminator_step(
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


def _discriminator_of_project(
    config: Mapping[str, Any] | None, layers: dict[str, Any]
) -> nn.Module:
    from sgm.modules.autoencoding.lpips.model.model import (  # type: ignore[import-not-found]
        weights_init,
    )
    from sgm.util import instantiate_from_config  # type: ignore[import-not-found]

    target = "sgm.modules.autoencoding.lpips.model.model.NLayerDiscriminator"
    made = instantiate_from_config(config or {"target": target, "params": layers})
    network: nn.Module = made.apply(weights_init)
    return network
