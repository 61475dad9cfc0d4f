"""Drop-in for POSTECH-CVLab/PyTorch-StudioGAN's ``src/utils/losses.py``.

At the end of ``src/utils/losses.py``, add ::

    from ganfast.compat.studiogan import *

Names and argument order are the project's. Masks and random numbers are made on the device, and
nothing waits for it. The project's bugs are fixed:

- ``Data2DataCrossEntropyLoss`` is the paper's; the project shifts only the negative terms by their
  maximum.
- ``GatherLayer`` and the contrastive losses under DDP have the gradients of the loss over all
  processes; the project's are smaller by the number of processes.
- ``latent_optimise`` takes its ``lo_steps - 1`` steps; the project returns after the first.
- Path lengths and gradients of 0 have the gradient 0; the project's path lengths give NaN.

TAC-GAN's losses of the twin head, ``Mi...``, are those that the project had until July 2022. Since
then ``src/worker.py`` copies the loss of the other head, with ``copy.deepcopy(self.cond_loss)``,
and the twin is not trained; write ``losses.MiCrossEntropyLoss()`` or its counterpart there.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ganfast import ops
from ganfast.compat import lecam
from ganfast.distributed import gather
from ganfast.losses import (
    auxiliary_classifier_loss,
    conditional_contrastive_loss,
    data_to_data_cross_entropy_loss,
    discriminator_loss,
    generator_loss,
)
from ganfast.losses import crammer_singer_loss as _crammer_singer_loss
from ganfast.penalties import dragan, max_gp, r1_from_logits, wgan_gp
from ganfast.reference import compute_dtype
from ganfast.regularizers import path_length_deviations

__all__ = [
    "ConditionalContrastiveLoss",
    "CrossEntropyLoss",
    "Data2DataCrossEntropyLoss",
    "GatherLayer",
    "MiConditionalContrastiveLoss",
    "MiCrossEntropyLoss",
    "MiData2DataCrossEntropyLoss",
    "PathLengthRegularizer",
    "adjust_k",
    "cal_deriv",
    "cal_dra_penalty",
    "cal_grad_penalty",
    "cal_maxgrad_penalty",
    "cal_r1_reg",
    "crammer_singer_loss",
    "d_hinge",
    "d_logistic",
    "d_ls",
    "d_vanilla",
    "d_wasserstein",
    "enable_allreduce",
    "feature_matching_loss",
    "g_hinge",
    "g_logistic",
    "g_ls",
    "g_vanilla",
    "g_wasserstein",
    "latent_optimise",
    "lecam_reg",
    "normal_nll_loss",
    "stylegan_cal_r1_reg",
]

Discriminator = Callable[..., Mapping[str, Any]]

# How the project calls its discriminator in training, and where the logits are.
_TRAINING: dict[str, Any] = {"kwargs": {"eval": False}, "output": "adv_output"}


class GatherLayer:
    """The tensors of all processes, with gradients."""

    @staticmethod
    def apply(input: Tensor) -> tuple[Tensor, ...]:
        """Return one tensor per process, of the shape of the input."""
        return torch.split(gather(input), input.shape[0])


class CrossEntropyLoss(nn.Module):
    """AC-GAN's cross-entropy."""

    def forward(self, cls_output: Tensor, label: Tensor, **_: Any) -> Tensor:
        """Return the loss of logits (B, classes) and labels (B,); scalar."""
        return auxiliary_classifier_loss(cls_output, label)


class ConditionalContrastiveLoss(nn.Module):
    """ContraGAN's 2C loss: :func:`ganfast.losses.conditional_contrastive_loss`."""

    def __init__(self, num_classes: int, temperature: float, master_rank: Any, DDP: bool) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.temperature = temperature
        self.master_rank = master_rank
        self.DDP = DDP

    def forward(self, embed: Tensor, proxy: Tensor, label: Tensor, **_: Any) -> Tensor:
        """Return the loss of embeddings and proxies (B, n) with labels (B,); scalar."""
        return conditional_contrastive_loss(
            embed, proxy, label, temperature=self.temperature, distributed=self.DDP
        )


class Data2DataCrossEntropyLoss(nn.Module):
    """ReACGAN's D2D-CE: :func:`ganfast.losses.data_to_data_cross_entropy_loss`."""

    def __init__(
        self, num_classes: int, temperature: float, m_p: float, master_rank: Any, DDP: bool
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.temperature = temperature
        self.m_p = m_p
        self.master_rank = master_rank
        self.DDP = DDP

    def forward(self, embed: Tensor, proxy: Tensor, label: Tensor, **_: Any) -> Tensor:
        """Return the loss of embeddings and proxies (B, n) with labels (B,); scalar."""
        return data_to_data_cross_entropy_loss(
            embed,
            proxy,
            label,
            temperature=self.temperature,
            positive_margin=self.m_p,
            distributed=self.DDP,
        )


class MiCrossEntropyLoss(CrossEntropyLoss):
    """:class:`CrossEntropyLoss` of TAC-GAN's twin head, which sees fakes with their labels."""

    def forward(  # type: ignore[override]
        self, mi_cls_output: Tensor, label: Tensor, **_: Any
    ) -> Tensor:
        return super().forward(mi_cls_output, label)


class MiConditionalContrastiveLoss(ConditionalContrastiveLoss):
    """:class:`ConditionalContrastiveLoss` of the twin head."""

    def forward(  # type: ignore[override]
        self, mi_embed: Tensor, mi_proxy: Tensor, label: Tensor, **_: Any
    ) -> Tensor:
        return super().forward(mi_embed, mi_proxy, label)


class MiData2DataCrossEntropyLoss(Data2DataCrossEntropyLoss):
    """:class:`Data2DataCrossEntropyLoss` of the twin head."""

    def forward(  # type: ignore[override]
        self, mi_embed: Tensor, mi_proxy: Tensor, label: Tensor, **_: Any
    ) -> Tensor:
        return super().forward(mi_embed, mi_proxy, label)


class PathLengthRegularizer:
    """StyleGAN2's path length regularization; ``pl_no_weight_grad`` has no effect."""

    def __init__(
        self,
        device: torch.device | str | int,
        pl_decay: float = 0.01,
        pl_weight: float = 2,
        pl_no_weight_grad: bool = False,
    ) -> None:
        self.pl_decay = pl_decay
        self.pl_weight = pl_weight
        self.pl_mean = torch.zeros([], device=device)
        self.pl_no_weight_grad = pl_no_weight_grad

    def cal_pl_reg(self, fake_images: Tensor, ws: Tensor) -> Tensor:
        """pl_weight m[(a - average of a)^2] with the path lengths a."""
        penalty = path_length_deviations(fake_images, ws, self.pl_mean, self.pl_decay)
        return penalty.mean() * self.pl_weight


def enable_allreduce(dict_: Mapping[str, Tensor | None]) -> Tensor | float:
    """Return 0 with gradients of 0 for all outputs, so that DDP sees all parameters."""
    loss: Tensor | float = 0
    for name, value in dict_.items():
        if value is not None and name != "label":
            loss = loss + value.mean() * 0
    return loss


def d_vanilla(d_logit_real: Tensor, d_logit_fake: Tensor, DDP: bool) -> Tensor:
    """Non-saturating: m[softplus(-real)] + m[softplus(fake)]."""
    return discriminator_loss(d_logit_real, d_logit_fake)


def g_vanilla(d_logit_fake: Tensor, DDP: bool) -> Tensor:
    """Non-saturating: m[softplus(-fake)]."""
    return generator_loss(d_logit_fake)


d_logistic, g_logistic = d_vanilla, g_vanilla


def d_ls(d_logit_real: Tensor, d_logit_fake: Tensor, DDP: bool) -> Tensor:
    """Least squares: (m[(real - 1)^2] + m[fake^2]) / 2."""
    return discriminator_loss(d_logit_real, d_logit_fake, "least_squares", scale=0.5)


def g_ls(d_logit_fake: Tensor, DDP: bool) -> Tensor:
    """Least squares: m[(fake - 1)^2] / 2."""
    return generator_loss(d_logit_fake, "least_squares", scale=0.5)


def d_hinge(d_logit_real: Tensor, d_logit_fake: Tensor, DDP: bool) -> Tensor:
    """Hinge: m[relu(1 - real)] + m[relu(1 + fake)]."""
    return discriminator_loss(d_logit_real, d_logit_fake, "hinge")


def g_hinge(d_logit_fake: Tensor, DDP: bool) -> Tensor:
    """Hinge: -m[fake]."""
    return generator_loss(d_logit_fake, "hinge")


def d_wasserstein(d_logit_real: Tensor, d_logit_fake: Tensor, DDP: bool) -> Tensor:
    """Wasserstein: m[fake] - m[real]."""
    return discriminator_loss(d_logit_real, d_logit_fake, "wasserstein")


def g_wasserstein(d_logit_fake: Tensor, DDP: bool) -> Tensor:
    """Wasserstein: -m[fake]."""
    return generator_loss(d_logit_fake, "wasserstein")


def crammer_singer_loss(adv_output: Tensor, label: Tensor, DDP: bool, **_: Any) -> Tensor:
    """Multi-hinge: :func:`ganfast.losses.crammer_singer_loss`."""
    return _crammer_singer_loss(adv_output, label)


def feature_matching_loss(real_embed: Tensor, fake_embed: Tensor) -> Tensor:
    """Distance of the batches' mean features: m|mean fake - mean real|."""
    means = [compute_dtype(x).mean(0) for x in (fake_embed, real_embed)]
    return ops.flat(means[:1], "l1", [1], [0], [0], means[1:])


def lecam_reg(d_logit_real: Tensor, d_logit_fake: Tensor, ema: Any) -> Tensor:
    """LeCam: m[relu(real - F)^2] + m[relu(R - fake)^2] with the averages R and F of the outputs."""
    return lecam.lecam_reg(d_logit_real, d_logit_fake, ema)


def cal_deriv(inputs: Tensor, outputs: Tensor, device: Any) -> Tensor:
    """Gradients of the sum of the outputs with respect to the inputs, differentiable."""
    (gradients,) = torch.autograd.grad(outputs.sum(), inputs, create_graph=True)
    return gradients


def latent_optimise(
    zs: Tensor,
    fake_labels: Tensor,
    generator: Callable[..., Tensor],
    discriminator: Discriminator,
    batch_size: int,
    lo_rate: float,
    lo_steps: int,
    lo_alpha: float,
    lo_beta: float,
    eval: bool,
    cal_trsp_cost: bool,
    device: Any,
) -> tuple[Tensor, Tensor | None]:
    """LOGAN's natural gradient steps of the latents, and the sum of their mean squared lengths."""
    costs = []
    for _ in range(lo_steps - 1):
        kept = torch.rand(batch_size, 1, device=zs.device) > 1 - lo_rate
        zs = zs.detach().requires_grad_()
        fake_dict = discriminator(generator(zs, fake_labels, eval=eval), fake_labels, eval=eval)
        gradients = cal_deriv(zs, fake_dict["adv_output"], device)
        delta = lo_alpha * gradients / (lo_beta + gradients.square().sum(1, keepdim=True))
        zs = (zs + kept * delta).clamp(-1, 1)
        costs.append(delta.square().sum(1).mean())
    return zs, torch.stack(costs).sum() if cal_trsp_cost and costs else None


def cal_grad_penalty(
    real_images: Tensor,
    real_labels: Tensor,
    fake_images: Tensor,
    discriminator: Discriminator,
    device: Any,
) -> Tensor:
    """WGAN-GP: m[(||grad|| - 1)^2] between real and fake images."""
    real, fake = real_images.to(device), fake_images.to(device)
    return wgan_gp(discriminator, real, fake, weight=1.0, args=(real_labels,), **_TRAINING)


def cal_dra_penalty(
    real_images: Tensor, real_labels: Tensor, discriminator: Discriminator, device: Any
) -> Tensor:
    """DRAGAN: m[(||grad|| - 1)^2] around real images."""
    real = real_images.to(device)
    return dragan(discriminator, real, weight=1.0, args=(real_labels,), **_TRAINING)


def cal_maxgrad_penalty(
    real_images: Tensor,
    real_labels: Tensor,
    fake_images: Tensor,
    discriminator: Discriminator,
    device: Any,
) -> Tensor:
    """The largest squared norm of a sample's gradient between real and fake images."""
    real, fake = real_images.to(device), fake_images.to(device)
    return max_gp(discriminator, real, fake, args=(real_labels,), **_TRAINING)


def cal_r1_reg(adv_output: Tensor, images: Tensor, device: Any) -> Tensor:
    """R1: m[||grad||^2] / 2."""
    return r1_from_logits(adv_output, images, gamma=1.0)


def stylegan_cal_r1_reg(adv_output: Tensor, images: Tensor) -> Tensor:
    """R1: m[||grad||^2] / 2."""
    return r1_from_logits(adv_output, images, gamma=1.0)


def adjust_k(current_k: float, topk_gamma: float, inf_k: float) -> float:
    """The number of highest fake outputs after one more epoch."""
    return max(current_k * topk_gamma, inf_k)


def normal_nll_loss(x: Tensor, mu: Tensor, var: Tensor) -> Tensor:
    """InfoGAN's negative log-likelihood of codes under normals, with the project's 1e-6."""
    x, mu, var = compute_dtype(x), compute_dtype(mu), compute_dtype(var)
    nll = 0.5 * (2 * math.pi * var + 1e-6).log() + (x - mu).square() / (2 * var + 1e-6)
    return nll.sum(1).mean()
