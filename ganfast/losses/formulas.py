"""The formula of each adversarial loss, for real outputs, fake outputs and the generator."""

from typing import Literal, NamedTuple

Kind = Literal[
    "non_saturating", "minimax", "bce", "least_squares", "wasserstein", "hinge", "hinge2"
]
Distance = Literal["l1", "l2"]

CROSS_ENTROPIES = ("non_saturating", "minimax", "bce")
HINGES = ("hinge", "hinge2")
LABELLED = (*CROSS_ENTROPIES, "least_squares")

#: The functors of the distances between pairs of tensors; the square's parameter a is 0.
DISTANCES = {"l1": "l1", "l2": "square"}


class Formula(NamedTuple):
    """The loss of one side, ``weight * mean f(x; a, b)``: see :func:`ganfast.ops.flat`."""

    f: str
    weight: float
    a: float
    b: float = 0.0


class Formulas(NamedTuple):
    """The formulas of one kind of loss; the discriminator's two share f and b."""

    real: Formula
    fake: Formula
    generator: Formula


def formulas_of(
    kind: Kind,
    from_probs: bool,
    smoothing: tuple[float, float],
    targets: tuple[float, float, float],
    margin: float,
) -> Formulas:
    """Return the formulas of a kind; ``smoothing`` is that of the real and of the fake labels."""
    fake, real, generator = targets
    smooth_real = (1 - smoothing[0]) * real + smoothing[0] * fake
    smooth_fake = (1 - smoothing[1]) * fake + smoothing[1] * real
    if kind == "least_squares":
        return Formulas(*(Formula("square", 1.0, t) for t in (smooth_real, smooth_fake, generator)))
    if kind == "wasserstein":
        return Formulas(*(Formula("identity", weight, 0.0) for weight in (-1.0, 1.0, -1.0)))
    if kind in HINGES:
        of_real, of_fake = (Formula("hinge", 1.0, sign, margin) for sign in (-1.0, 1.0))
        of_generator = of_real if kind == "hinge2" else Formula("identity", -1.0, 0.0)
        return Formulas(of_real, of_fake, of_generator)
    if from_probs or any(smoothing) or kind == "bce":
        f = "bce" if from_probs else "bce_with_logits"
        hard_fake = Formula(f, 1.0, fake)
        formulas = Formulas(*(Formula(f, 1.0, t) for t in (smooth_real, smooth_fake, generator)))
    else:
        formulas = Formulas(*(Formula("softplus", 1.0, sign) for sign in (-1.0, 1.0, -1.0)))
        hard_fake = formulas.fake
    if kind == "minimax":  # the generator maximizes the loss of fakes with hard labels
        return formulas._replace(generator=hard_fake._replace(weight=-1.0))
    return formulas
