"""What the trainer asks of a loss, and losses by name."""

from typing import Any, Literal, Protocol, get_args

from torch import Tensor

from ganfast._names import check_name
from ganfast.losses import (
    AdversarialLoss,
    relativistic_average_discriminator_loss,
    relativistic_average_generator_loss,
    relativistic_discriminator_loss,
    relativistic_generator_loss,
)
from ganfast.losses.relativistic import RelativisticKind

LossName = Literal[
    "non_saturating",
    "minimax",
    "bce",
    "least_squares",
    "wasserstein",
    "hinge",
    "hinge2",
    "relativistic",
    "relativistic_average",
    "relativistic_average_least_squares",
    "relativistic_average_hinge",
]


#: Names that other projects use.
_ALIASES = {
    "gan": "non_saturating",
    "vanilla": "non_saturating",
    "ns": "non_saturating",
    "nsgan": "non_saturating",
    "logistic": "non_saturating",
    "mm": "minimax",
    "lsgan": "least_squares",
    "ls": "least_squares",
    "mse": "least_squares",
    "wgan": "wasserstein",
    "wgangp": "wasserstein",
    "rgan": "relativistic",
    "rpgan": "relativistic",
    "rsgan": "relativistic",
    "r3gan": "relativistic",
    "ragan": "relativistic_average",
    "rasgan": "relativistic_average",
    "ralsgan": "relativistic_average_least_squares",
    "rahinge": "relativistic_average_hinge",
}


class Loss(Protocol):
    """What the trainer asks of a loss; ``ganfast.losses.AdversarialLoss`` is one.

    Where it has a true ``paired``, the generator's loss takes the outputs for real samples, too.
    Where it has a true ``from_probs``, outputs are logged as the probabilities that they are.
    """

    def discriminator(self, real_logits: Any, fake_logits: Any, /) -> Tensor: ...

    def generator(self, fake_logits: Any, /) -> Tensor: ...


class Relativistic:
    """Relativistic pairing, RpGAN: sp(-(r - f)) for the discriminator, sp(r - f) for the generator.

    Source: Jolicoeur-Martineau 2018; R3GAN.
    """

    kind = "relativistic"
    paired = True

    def discriminator(self, real_logits: Any, fake_logits: Any) -> Tensor:
        return relativistic_discriminator_loss(real_logits, fake_logits)

    def generator(self, fake_logits: Any, real_logits: Any = None) -> Tensor:
        return relativistic_generator_loss(real_logits, fake_logits)


class RelativisticAverage:
    """Against the mean output of the other side, over all processes: RaSGAN, RaLSGAN, RaHinge.

    Args:
        function: of :func:`ganfast.losses.relativistic_average_discriminator_loss`.

    Source: Jolicoeur-Martineau 2018.
    """

    kind = "relativistic"
    paired = True

    def __init__(self, function: RelativisticKind = "logistic") -> None:
        self.function = function

    def discriminator(self, real_logits: Any, fake_logits: Any) -> Tensor:
        return relativistic_average_discriminator_loss(
            real_logits, fake_logits, self.function, distributed=True
        )

    def generator(self, fake_logits: Any, real_logits: Any = None) -> Tensor:
        return relativistic_average_generator_loss(
            real_logits, fake_logits, self.function, distributed=True
        )


def loss_by_name(
    name: LossName, label_smoothing: float = 0.0, from_probs: bool = False
) -> "AdversarialLoss | Relativistic | RelativisticAverage":
    """A loss by its name: a kind of :class:`ganfast.losses.AdversarialLoss`, or a relativistic one.

    Raises:
        ValueError: no such name, or an option that the loss does not have.
    """
    check_name("loss", name, get_args(LossName), _ALIASES)
    if not name.startswith("relativistic"):
        return AdversarialLoss(name, label_smoothing=label_smoothing, from_probs=from_probs)  # type: ignore[arg-type]
    if label_smoothing or from_probs:
        raise ValueError(f"label_smoothing and from_probs must not be given for {name!r}")
    function = name.removeprefix("relativistic_average").removeprefix("_")
    if name == "relativistic":
        return Relativistic()
    return RelativisticAverage(function or "logistic")  # type: ignore[arg-type]
