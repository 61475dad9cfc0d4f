"""The table of the adversarial losses: what each kind makes of real and of fake outputs."""

from typing import Literal, NamedTuple

Kind = Literal[
    "non_saturating", "minimax", "bce", "least_squares", "wasserstein", "hinge", "hinge2"
]

CROSS_ENTROPIES = ("non_saturating", "minimax", "bce")
HINGES = ("hinge", "hinge2")
LABELLED = (*CROSS_ENTROPIES, "least_squares")


class Side(NamedTuple):
    """One side of a loss, ``weight * mean f(x; a, b)``: see :func:`ganfast.ops.flat`."""

    f: str
    weight: float
    a: float
    b: float = 0.0


class Sides(NamedTuple):
    """The sides of one kind of loss; the discriminator's two share f and b."""

    real: Side
    fake: Side
    generator: Side


def sides_of(
    kind: Kind,
    from_probs: bool,
    smoothing: tuple[float, float],
    targets: tuple[float, float, float],
    margin: float,
) -> Sides:
    """One row of the table; ``smoothing`` of the real and of the fake labels."""
    fake, real, generator = targets
    smooth_real = (1 - smoothing[0]) * real + smoothing[0] * fake
    smooth_fake = (1 - smoothing[1]) * fake + smoothing[1] * real
    if kind == "least_squares":
        return Sides(*(Side("square", 1.0, t) for t in (smooth_real, smooth_fake, generator)))
    if kind == "wasserstein":
        return Sides(*(Side("identity", weight, 0.0) for weight in (-1.0, 1.0, -1.0)))
    if kind in HINGES:
        real_side, fake_side = (Side("hinge", 1.0, sign, margin) for sign in (-1.0, 1.0))
        return Sides(
            real_side, fake_side, real_side if kind == "hinge2" else Side("identity", -1.0, 0.0)
        )
    if from_probs or any(smoothing) or kind == "bce":
        f = "bce" if from_probs else "bce_with_logits"
        hard_fake = Side(f, 1.0, fake)
        sides = Sides(*(Side(f, 1.0, t) for t in (smooth_real, smooth_fake, generator)))
    else:
        sides = Sides(*(Side("softplus", 1.0, sign) for sign in (-1.0, 1.0, -1.0)))
        hard_fake = sides.fake
    if kind == "minimax":  # the generator maximises the discriminator's loss on fakes, labels hard
        return sides._replace(generator=hard_fake._replace(weight=-1.0))
    return sides
