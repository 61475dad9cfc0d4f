"""The parts that the losses of taming-transformers and latent-diffusion share."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module

import torch
from torch import Tensor, nn

from ganfast._names import check_name
from ganfast.losses import (
    adaptive_weight_loss,
    discriminator_loss,
    frozen,
    generator_loss,
    pixel_loss,
)
from ganfast.losses.formulas import Distance


def adopt_weight(weight: float, global_step: int, threshold: int = 0, value: float = 0.0) -> float:
    """Return the weight from step ``threshold`` on, and ``value`` before it."""
    return value if global_step < threshold else weight


def hinge_d_loss(logits_real: Tensor, logits_fake: Tensor) -> Tensor:
    """Half the hinge loss: (m[relu(1 - real)] + m[relu(1 + fake)]) / 2."""
    return discriminator_loss(logits_real, logits_fake, "hinge", scale=0.5)


def vanilla_d_loss(logits_real: Tensor, logits_fake: Tensor) -> Tensor:
    """Half the non-saturating loss: (m[softplus(-real)] + m[softplus(fake)]) / 2."""
    return discriminator_loss(logits_real, logits_fake, scale=0.5)


DISCRIMINATOR_LOSSES = {"hinge": hinge_d_loss, "vanilla": vanilla_d_loss}


def plain_weight(nll: Tensor, g: Tensor, last_layer: Tensor) -> Tensor:
    """The adaptive weight |grad nll| / (|grad g| + 1e-4), keeping the graphs of both losses."""
    top, bottom = (
        torch.linalg.vector_norm(torch.autograd.grad(x, last_layer, retain_graph=True)[0])
        for x in (nll, g)
    )
    weight: Tensor = (top / (bottom + 1e-4)).clamp(0, 1e4).detach()
    return weight


class AutoencoderLoss(nn.Module):
    """Reconstruction loss and discriminator of an autoencoder, with VQGAN's adaptive weight."""

    pixel_kind: Distance = "l1"
    _losses: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = DISCRIMINATOR_LOSSES
    #: Where networks that are None come from, and the discriminator's class there.
    _source = "taming.modules"
    _network = "NLayerDiscriminator"
    perceptual_loss: nn.Module
    discriminator: nn.Module

    def __init__(
        self,
        disc_start: int,
        disc_factor: float,
        disc_weight: float,
        perceptual_weight: float,
        disc_conditional: bool,
        disc_loss: str,
    ) -> None:
        super().__init__()
        check_name("disc_loss", disc_loss, self._losses)
        self.perceptual_weight = perceptual_weight
        self.discriminator_iter_start = disc_start
        self.disc_loss = self._losses[disc_loss]
        self.disc_factor = disc_factor
        self.discriminator_weight = disc_weight
        self.disc_conditional = disc_conditional
        self.scaler: torch.amp.GradScaler | None = None

    def _add_networks(
        self,
        perceptual_loss: nn.Module | None,
        discriminator: nn.Module | None,
        channels: int,
        layers: int,
        use_actnorm: bool,
        ndf: int = 64,
    ) -> None:
        """Take the networks; those that are None come from the installed project."""
        if perceptual_loss is None:
            perceptual_loss = import_module(f"{self._source}.losses.lpips").LPIPS()
        if discriminator is None:
            model = import_module(f"{self._source}.discriminator.model")
            made = getattr(model, self._network)(
                input_nc=channels, n_layers=layers, use_actnorm=use_actnorm, ndf=ndf
            )
            discriminator = made.apply(model.weights_init)
        self.perceptual_loss, self.discriminator = perceptual_loss.eval(), discriminator

    @staticmethod
    def _of_discriminator(optimizer_idx: int) -> bool:
        """Whether a step is the discriminator's (1) rather than the autoencoder's (0)."""
        if optimizer_idx not in (0, 1):
            raise ValueError(f"optimizer_idx must be 0 or 1, got {optimizer_idx}")
        return optimizer_idx == 1

    def _distances(self, inputs: Tensor, reconstructions: Tensor) -> tuple[Tensor, Tensor]:
        """The mean of the pixel plus the perceptual distance, and the latter, (B, 1, 1, 1)."""
        pixels = pixel_loss(inputs, reconstructions, self.pixel_kind)
        if self.perceptual_weight <= 0:
            return pixels, pixels.new_zeros(())
        perceptual: Tensor = self.perceptual_loss(inputs, reconstructions)
        return pixels + self.perceptual_weight * perceptual.mean(), perceptual

    def _likelihoods(
        self,
        inputs: Tensor,
        reconstructions: Tensor,
        logvar: Tensor,
        weights: Tensor | float | None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """The mean distance, and L_nll without and with weights that broadcast to the elements."""
        rec, perceptual = self._distances(inputs, reconstructions)
        nll = inputs.numel() // inputs.shape[0] * (rec / logvar.exp() + logvar)
        if weights is None:
            return rec, nll, None
        of_images = perceptual.reshape(-1, 1, 1, 1)  # or (B,), of ganfast.metrics.LPIPS
        of_elements = (inputs - reconstructions).abs() + self.perceptual_weight * of_images
        weighted = weights * (of_elements / logvar.exp() + logvar)
        return rec, nll, weighted.sum() / inputs.shape[0]

    def _logits(self, images: Tensor, cond: Tensor | None) -> Tensor:
        if self.disc_conditional != (cond is not None):
            expected = "a tensor" if self.disc_conditional else "None"
            raise ValueError(
                f"cond must be {expected} with disc_conditional={self.disc_conditional}, "
                f"got {type(cond).__name__}"
            )
        images = images if cond is None else torch.cat((images, cond), dim=1)
        logits: Tensor = self.discriminator(images)
        return logits

    def _factor(self, global_step: int) -> float:
        return adopt_weight(self.disc_factor, global_step, self.discriminator_iter_start)

    def _autoencoder_step(
        self,
        nll_loss: Tensor,
        regularizer: Tensor,
        reconstructions: Tensor,
        global_step: int,
        last_layer: Tensor | None,
        cond: Tensor | None,
        split: str,
        own_log: dict[str, Tensor],
        parameters: Sequence[Tensor] = (),
        weighted: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of the autoencoder, with the generator's from ``disc_start`` on, and its log."""
        factor = self._factor(global_step)
        loss = nll_loss if weighted is None else weighted
        d_weight = g_loss = nll_loss.new_zeros(())
        if factor != 0:
            with frozen(self.discriminator):
                g_loss = generator_loss(self._logits(reconstructions, cond), "wasserstein")
            loss, d_weight = self._balanced(
                nll_loss, g_loss, reconstructions, last_layer, factor, parameters, weighted
            )
        loss = loss + regularizer
        log = {
            "total_loss": loss.clone(),
            **own_log,
            "d_weight": d_weight,
            "disc_factor": torch.tensor(factor),
            "g_loss": g_loss,
        }
        return loss, {f"{split}/{name}": value.detach() for name, value in log.items()}

    def _balanced(
        self,
        nll_loss: Tensor,
        g_loss: Tensor,
        reconstructions: Tensor,
        last_layer: Tensor | None,
        factor: float,
        parameters: Sequence[Tensor] = (),
        weighted: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The losses with the adaptive weight, and this; without gradients no generator's and 0.

        The generator's loss joins ``weighted`` if given, but its weight is that of nll_loss.
        """
        if not torch.is_grad_enabled():
            return nll_loss if weighted is None else weighted, nll_loss.new_zeros(())
        if last_layer is None:
            raise ValueError("last_layer must be a tensor while gradients are recorded, got None")
        if weighted is not None:
            weight = self.discriminator_weight * plain_weight(nll_loss, g_loss, last_layer)
            return weighted + weight * factor * g_loss, weight
        loss, weight = adaptive_weight_loss(
            nll_loss,
            g_loss,
            reconstructions,
            last_layer,
            weight=self.discriminator_weight * factor,
            parameters=parameters,
            scaler=self.scaler,
        )
        return loss, weight / factor

    def _discriminator_step(
        self,
        inputs: Tensor,
        reconstructions: Tensor,
        global_step: int,
        cond: Tensor | None,
        split: str,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of the discriminator; before its start 0, with gradients of 0."""
        factor = self._factor(global_step)
        if factor == 0:
            real = fake = loss = self._zero_loss()
        else:
            real = self._logits(inputs.detach(), cond)
            fake = self._logits(reconstructions.detach(), cond)
            loss = factor * self.disc_loss(real, fake)
        return loss, {
            f"{split}/disc_loss": loss.detach().clone(),
            f"{split}/logits_real": real.detach().mean(),
            f"{split}/logits_fake": fake.detach().mean(),
        }

    def _zero_loss(self) -> Tensor:
        """0, with gradients of 0 in all of the discriminator's parameters.

        An optimizer counts these steps, and DistributedDataParallel sees all parameters.
        """
        parameters = [p.sum() for p in self.discriminator.parameters() if p.requires_grad]
        return 0 * torch.stack(parameters).sum()
