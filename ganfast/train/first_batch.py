"""Checks of the first batch: data and discriminator must fit the generator and the loss."""

import math
import warnings
from typing import Any

from torch import Tensor, nn

from ganfast.losses.reduction import last_maps
from ganfast.train.objective import Loss

_OF_LOGITS = frozenset(("non_saturating", "minimax", "bce", "hinge", "hinge2"))


def check_ranges(real: Tensor, fake: Tensor) -> None:
    """Refuse, or warn of, data in another range than the generator's; the host waits here."""
    low, high = (float(x) for x in real.aminmax())
    least, most = (float(x) for x in fake.aminmax())
    if not math.isfinite(low + high):
        raise ValueError("data must give finite images, got NaN or infinity")
    bounded = least >= -1 and most <= 1
    if bounded and high > 10:
        raise ValueError(
            f"data must give images in the generator's range, got values up to {high:.4g} where it "
            "makes images in [-1, 1]; ganfast.data.to_float maps uint8 to [-1, 1]"
        )
    if bounded and low >= 0 > least and high > low:
        warnings.warn(
            f"data gives images from {low:.3g} to {high:.3g}, and the generator makes negative "
            "values: if its range is [-1, 1], map x in [0, 1] to 2 x - 1",
            stacklevel=2,
        )


def refuse_probabilities(loss: Loss, discriminator: nn.Module, *outputs: Any) -> None:
    """Raise ValueError for a discriminator that ends in a sigmoid under a loss of logits."""
    takes_logits = getattr(loss, "kind", None) in _OF_LOGITS
    if not takes_logits or getattr(loss, "from_probs", False):
        return
    *_, last = discriminator.modules()
    if not isinstance(last, nn.Sigmoid | nn.Softmax):
        return
    maps = [x for out in outputs for x in last_maps("real_logits", out)]
    if all(bool((x >= 0).all() and (x <= 1).all()) for x in maps):
        raise ValueError(
            "discriminator must return logits for this loss, got probabilities: take out its "
            "last sigmoid, or use AdversarialLoss(..., from_probs=True)"
        )
