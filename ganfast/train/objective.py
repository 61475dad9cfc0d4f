"""The losses that the trainer takes, by protocol and by name."""

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
    """The protocol of the trainer's losses, which ``ganfast.losses.AdversarialLoss`` follows.

    With an attribute ``paired`` that is true, ``generator`` also gets the outputs for real samples.
    Outputs are logged as probabilities, the sigmoid of logits; with ``from_probs`` true, and for
    the critics of a ``kind`` that is ``wasserstein`` or ``relativistic``, as they are.
    """

    def discriminator(self, real_logits: Any, fake_logits: Any, /) -> Tensor: ...

    def generator(self, fake_logits: Any, /) -> Tensor: ...


def gives_probabilities(loss: Any) -> bool:
    """Say whether the outputs that a loss takes stand for probabilities, unlike a critic's."""
    return getattr(loss, "kind", None) not in ("wasserstein", "relativistic")


class Relativistic:
    """Relativistic pairing (RpGAN): softplus(f - r) for the discriminator, softplus(r - f) for G.

    Source: Jolicoeur-Martineau 2018; R3GAN.
    """

    kind = "relativistic"
    paired = True

    def discriminator(self, real_logits: Any, fake_logits: Any) -> Tensor:
        return relativistic_discriminator_loss(real_logits, fake_logits)

    def generator(self, fake_logits: Any, real_logits: Any = None) -> Tensor:
        return relativistic_generator_loss(real_logits, fake_logits)


class RelativisticAverage:
    """Relativistic averages over all processes: RaSGAN, RaLSGAN and RaHinge.

    Args:
        function: as for :func:`ganfast.losses.relativistic_average_discriminator_loss`.

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
    """Make a loss: a kind of :class:`ganfast.losses.AdversarialLoss`, or a relativistic one.

    Args:
        name: one of ``LossName``.
        label_smoothing: as for ``AdversarialLoss``.
        from_probs: the discriminator's outputs are probabilities instead of logits.

    Raises:
        ValueError: the name is unknown, or the loss does not have the option.
    """
    check_name("loss", name, get_args(LossName), _ALIASES)
    if not name.startswith("relativistic"):
        return AdversarialLoss(name, label_smoothing=label_smoothing, from_probs=from_probs)  # type: ignore[arg-type]
    if label_smoothing or from_probs:
        raise ValueError(
            f"label_smoothing and from_probs must not be given for {name!r}, "
            f"got {label_smoothing} and {from_probs}"
        )
    if name == "relativistic":
        return Relativistic()
    function = name.removeprefix("relativistic_average").removeprefix("_")
    return RelativisticAverage(function or "logistic")  # type: ignore[arg-type]
