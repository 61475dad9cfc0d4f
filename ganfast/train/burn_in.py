"""Settings that follow the number of images seen: R3GAN's burn-in."""

import math
from typing import NamedTuple

from ganfast.train.options import TrainOptions


class Schedule(NamedTuple):
    """What holds in a round.

    Attributes:
        lr: factor on the learning rates.
        penalty: factor on the weight of the penalty.
        beta2: Adam's b2 of both networks, or None for what the options say.
        half_life: of the generator's moving average, in images; None for a decay per round.
        augment_p: probability of augmentation, or None for what the augmentation itself says.
    """

    lr: float
    penalty: float
    beta2: float | None
    half_life: float | None
    augment_p: float | None


def scheduled(options: TrainOptions, images: int) -> Schedule:
    r"""Return what holds after ``images`` real images.

    Each value goes from v to its end w along half a cosine, over N images:

    .. math:: v(n) = v + \tfrac{1}{2} (1 - \cos(\pi \min(n / N, 1))) \, (w - v)

    Probability and half-life start at 0. Source: Huang et al. 2024, arXiv:2501.05441.
    """
    o, whole = options, 1000 * options.burn_in_kimg
    share = (1 - math.cos(math.pi * min(1.0, images / whole))) / 2 if whole else 1.0
    beta2 = None
    if o.beta2_end is not None:
        start = o.betas_d[1]
        beta2 = start + share * (o.beta2_end - start)
        # A CUDA graph holds it as a number, so that each value takes a graph.
        beta2 = min(round(beta2, 2), max(start, o.beta2_end)) if o.cuda_graphs else beta2
    return Schedule(
        lr=1 + share * (o.lr_end - 1),
        penalty=1 + share * (o.penalty_end - 1),
        beta2=beta2,
        half_life=1000 * share * o.ema_kimg if o.ema_kimg else None,
        augment_p=None if o.augment_p is None else share * o.augment_p,
    )


def as_record(options: TrainOptions, now: Schedule) -> dict[str, float]:
    """Return those values that the options schedule, as the log shows them."""
    o = options
    record: dict[str, float] = {}
    if o.lr_end != 1:
        record |= {"lr_g": now.lr * o.lr_g, "lr_d": now.lr * o.lr_d}
    if o.penalty_end != 1:
        record["penalty_weight"] = now.penalty * o.penalty_weight
    if now.beta2 is not None:
        record["beta2"] = now.beta2
    if now.half_life is not None:
        record["ema_kimg"] = now.half_life / 1000
    return record
