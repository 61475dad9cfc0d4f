"""Every adversarial loss, called on the same inputs: real and fake maps, and labels."""

from collections.abc import Callable

import torch
from torch import Tensor

from ganfast.losses import (
    AdversarialLoss,
    LeCam,
    RelativisticLoss,
    auxiliary_classifier_loss,
    conditional_contrastive_loss,
    crammer_singer_loss,
    cycle_loss,
    data_to_data_cross_entropy_loss,
    discriminator_loss,
    feature_matching,
    gaussian_code_loss,
    generator_loss,
    relativistic_average_discriminator_loss,
    relativistic_average_generator_loss,
    relativistic_discriminator_loss,
    relativistic_generator_loss,
)

Call = Callable[[list[Tensor], list[Tensor], Tensor], Tensor]


def weight(x: list[Tensor]) -> Tensor:
    return torch.arange(x[0].shape[0], device=x[0].device)


def total(result: tuple[Tensor, dict[str, Tensor]]) -> Tensor:
    """The loss plus its statistics."""
    loss, stats = result
    return sum(stats.values(), loss.mean()).sum()


CALLS: dict[str, Call] = {
    "discriminator": lambda r, f, y: discriminator_loss(r, f),
    "discriminator stats": lambda r, f, y: total(
        AdversarialLoss("hinge2").discriminator_with_stats(r, f)
    ),
    "discriminator stats with weights": lambda r, f, y: total(
        AdversarialLoss(reduction="none").discriminator_with_stats(r, f, real_weight=weight(r))
    ),
    "discriminator stats with a mask": lambda r, f, y: total(
        AdversarialLoss().discriminator_with_stats(r, f, real_weight=[x > 0 for x in r])
    ),
    "discriminator none": lambda r, f, y: discriminator_loss(r, f, reduction="none").sum(),
    "discriminator sum": lambda r, f, y: discriminator_loss(r, f, "bce", reduction="sum"),
    "discriminator weights": lambda r, f, y: discriminator_loss(
        r, f, "least_squares", real_weight=weight(r), fake_weight=weight(f)
    ),
    "generator top-k": lambda r, f, y: generator_loss(f, top_k=2),
    "generator weights": lambda r, f, y: generator_loss(f, "hinge", fake_weight=weight(f)),
    "relativistic average discriminator": lambda r, f, y: relativistic_average_discriminator_loss(
        r, f
    ),
    "relativistic average generator": lambda r, f, y: relativistic_average_generator_loss(
        r, f, "hinge", mean_over="batch"
    ),
    "relativistic discriminator": lambda r, f, y: relativistic_discriminator_loss(r, f),
    "relativistic average weights": lambda r, f, y: relativistic_average_generator_loss(
        r, f, real_weight=weight(r), reduction="none"
    ).sum(),
    "relativistic weights": lambda r, f, y: relativistic_discriminator_loss(
        r, f, pair_weight=[x.detach() > 0 for x in r]
    ),
    "relativistic stats": lambda r, f, y: total(RelativisticLoss().generator_with_stats(r, f)),
    "relativistic generator": lambda r, f, y: relativistic_generator_loss(r, f, "hinge"),
    "feature matching": lambda r, f, y: feature_matching([r[:2], r[2:]], [f[:2], f[2:]]),
    "relative feature matching": lambda r, f, y: feature_matching(r, f, "relative_l1"),
    "cycle": lambda r, f, y: cycle_loss(r[0], f[0], r[1], f[1], "l2"),
    "LeCam": lambda r, f, y: LeCam(maps=len(r)).to(r[0].device)(r, f),
    "LeCam means": lambda r, f, y: LeCam("means", maps=len(r)).to(r[0].device)(r, f),
    "Crammer-Singer": lambda r, f, y: crammer_singer_loss(r[1], y),
    "Crammer-Singer weights": lambda r, f, y: crammer_singer_loss(r[1], y, weight=weight(r)),
    "2C none": lambda r, f, y: conditional_contrastive_loss(
        r[1], f[1], y, reduction="none", weight=weight(f)
    ).sum(),
    "auxiliary classifier": lambda r, f, y: auxiliary_classifier_loss(r[1], y),
    "2C": lambda r, f, y: conditional_contrastive_loss(r[1], f[1], y),
    "D2D-CE": lambda r, f, y: data_to_data_cross_entropy_loss(r[1], f[1], y),
    "Gaussian codes": lambda r, f, y: gaussian_code_loss(r[1], f[1], 1 + f[1].square()),
}
