"""Losses over a discriminator's outputs, one tensor or a list of maps."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, NamedTuple, NoReturn, TypedDict, get_args

from torch import Tensor
from typing_extensions import Unpack

from ganfast import ops

Kind = Literal["non_saturating", "minimax", "bce", "least_squares", "wasserstein", "hinge"]
MapReduction = Literal["sum", "mean"]
Outputs = Tensor | Sequence[Tensor]

CROSS_ENTROPIES = ("non_saturating", "minimax", "bce")


class Side(NamedTuple):
    """One side of a loss, ``weight * mean f(x; a, b)``: see :func:`ganfast.ops.unary_reduce`."""

    f: str
    weight: float
    a: float
    b: float = 0.0


class Sides(NamedTuple):
    """The sides of one kind of loss; the discriminator's two share f."""

    real: Side
    fake: Side
    generator: Side


def _sides(
    kind: Kind, from_probs: bool, label_smoothing: float, targets: tuple[float, float, float]
) -> Sides:
    """The table of the losses."""
    fake, real, generator = targets
    real = (1 - label_smoothing) * real + label_smoothing * fake
    if kind == "least_squares":
        return Sides(*(Side("square", 1.0, target) for target in (real, fake, generator)))
    if kind == "wasserstein":
        return Sides(*(Side("identity", weight, 0.0) for weight in (-1.0, 1.0, -1.0)))
    if kind == "hinge":
        margin = 1.0
        return Sides(
            Side("hinge", 1.0, -1.0, margin),
            Side("hinge", 1.0, 1.0, margin),
            Side("identity", -1.0, 0.0),
        )
    if from_probs or label_smoothing or kind == "bce":
        f = "bce" if from_probs else "bce_with_logits"
        sides = Sides(*(Side(f, 1.0, target) for target in (real, fake, generator)))
    else:
        sides = Sides(*(Side("softplus", 1.0, sign) for sign in (-1.0, 1.0, -1.0)))
    if kind == "minimax":  # the generator maximises what the discriminator minimises on the fakes
        return sides._replace(generator=sides.fake._replace(weight=-1.0))
    return sides


def _maps(name: str, outputs: Outputs) -> Sequence[Tensor]:
    """The maps in a discriminator's output, as a sequence."""
    if isinstance(outputs, Tensor):
        return (outputs,)
    if not isinstance(outputs, (list, tuple)):
        raise TypeError(
            f"{name} must be a tensor or a list of tensors, got {type(outputs).__name__}"
        )
    if not outputs:
        raise ValueError(f"{name} must hold at least one tensor, got an empty list")
    for k, x in enumerate(outputs):
        if not isinstance(x, Tensor):
            raise TypeError(f"{name}[{k}] must be a tensor, got {type(x).__name__}")
    return outputs


def _raise_with_names(error: Exception, names: Sequence[str]) -> NoReturn:
    """Raise what an op said of its list again, in terms of the loss's arguments."""
    message = re.sub(r"\bx\[(\d+)\]", lambda match: names[int(match[1])], str(error))
    raise type(error)(message.removeprefix("unary_reduce: ")) from None


class Options(TypedDict, total=False):
    """The options of :class:`AdversarialLoss`."""

    from_probs: bool
    label_smoothing: float
    targets: tuple[float, float, float]
    scale: float
    map_reduction: MapReduction
    map_weights: Sequence[float] | None


class AdversarialLoss:
    r"""The two losses of adversarial training, fused over all maps of a discriminator.

    With r and f the discriminator's outputs for real and fake samples, m the mean over all elements
    of a map, and sp(t) = log(1 + exp(t)):

    ================== ============================================ =====================
    kind               discriminator                                generator
    ================== ============================================ =====================
    ``non_saturating`` m[sp(-r)] + m[sp(f)]                         m[sp(-f)]
    ``minimax``        m[sp(-r)] + m[sp(f)]                         -m[sp(f)]
    ``bce``            the same sums, as cross-entropies of logits with targets 1 and 0
    ``least_squares``  m[(r - b)^2] + m[(f - a)^2]                  m[(f - c)^2]
    ``wasserstein``    m[f] - m[r]                                  -m[f]
    ``hinge``          m[relu(1 - r)] + m[relu(1 + f)]              -m[f]
    ================== ============================================ =====================

    Args:
        kind: one of the above.
        from_probs: the discriminator ends in a sigmoid (``non_saturating``, ``minimax`` and
            ``bce``). Logarithms are clamped at -100 as in :class:`torch.nn.BCELoss` and computed in
            float32 or better, so that it works under autocast. Values outside [0, 1] give NaN.
        label_smoothing: s in [0, 1): the real target moves from 1 (b) to 1 - s (b - s (b - a)). For
            the cross-entropies and ``least_squares``.
        targets: (a, b, c) of ``least_squares``, the targets of fake samples, of real ones, and of
            the generator.
        scale: factor on each loss, 0.5 for the conventions that halve.
        map_reduction: the ``sum`` or the ``mean`` of the maps' losses. Each map is averaged over
            its elements.
        map_weights: a weight for each map, 1 where not given.

    Raises:
        TypeError: an output is not a floating-point tensor or a list of such, or dtypes differ.
        ValueError: an unknown kind, an option that the kind does not have or out of range, empty
            outputs, real and fake with different numbers of maps, or on different devices.

    Example:
        >>> import torch
        >>> loss = AdversarialLoss("hinge")
        >>> loss.discriminator(torch.tensor([2.0, 0.5]), torch.tensor([-0.5, -2.0]))
        tensor(0.5000)

    Sources: Goodfellow et al. 2014 (minimax, non-saturating), Mao et al. 2017 (least squares),
    Arjovsky et al. 2017 (Wasserstein), Lim and Ye 2017 (hinge), Salimans et al. 2016 (one-sided
    label smoothing).
    """

    def __init__(
        self,
        kind: Kind = "non_saturating",
        *,
        from_probs: bool = False,
        label_smoothing: float = 0.0,
        targets: tuple[float, float, float] = (0.0, 1.0, 1.0),
        scale: float = 1.0,
        map_reduction: MapReduction = "sum",
        map_weights: Sequence[float] | None = None,
    ) -> None:
        if kind not in get_args(Kind):
            raise ValueError(f"kind must be one of {', '.join(get_args(Kind))}, got {kind!r}")
        if from_probs and kind not in CROSS_ENTROPIES:
            raise ValueError(
                f"from_probs must be False for {kind!r}: it is for {', '.join(CROSS_ENTROPIES)}"
            )
        if targets != (0.0, 1.0, 1.0) and kind != "least_squares":
            raise ValueError(f"targets must not be given for {kind!r}: they are for least_squares")
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing must be in [0, 1), got {label_smoothing}")
        if label_smoothing and kind in ("wasserstein", "hinge"):
            raise ValueError(f"label_smoothing must be 0 for {kind!r}, which has no labels")
        if map_reduction not in get_args(MapReduction):
            raise ValueError(f"map_reduction must be sum or mean, got {map_reduction!r}")
        self.kind = kind
        self._sides = _sides(kind, from_probs, label_smoothing, targets)
        self._scale = scale
        self._mean = map_reduction == "mean"
        self._map_weights = None if map_weights is None else list(map_weights)

    def discriminator(self, real: Outputs, fake: Outputs) -> Tensor:
        """Loss of the discriminator on its outputs for real and for fake samples.

        Args:
            real: outputs for real samples, a tensor of any shape or a list of maps.
            fake: outputs for fake samples, as many maps; their shapes may differ from the real
            ones'.

        Returns:
            Scalar; float64 for float64 outputs, else float32.
        """
        real, fake = _maps("real", real), _maps("fake", fake)
        if len(real) != len(fake):
            raise ValueError(
                f"real and fake must have the same number of maps, got {len(real)} and {len(fake)}"
            )
        return self._reduce((("real", real, self._sides.real), ("fake", fake, self._sides.fake)))

    def generator(self, fake: Outputs) -> Tensor:
        """Loss of the generator on the discriminator's outputs for fake samples.

        Args:
            fake: outputs for fake samples, a tensor of any shape or a list of maps.

        Returns:
            Scalar; float64 for float64 outputs, else float32.
        """
        return self._reduce((("fake", _maps("fake", fake), self._sides.generator),))

    def _reduce(self, sides: Sequence[tuple[str, Sequence[Tensor], Side]]) -> Tensor:
        x: list[Tensor] = []
        weight: list[float] = []
        a: list[float] = []
        b: list[float] = []
        for _, maps, side in sides:
            x += maps
            weight += self._weights(len(maps), side.weight)
            a += [side.a] * len(maps)
            b += [side.b] * len(maps)
        try:
            return ops.unary_reduce(x, side.f, weight, a, b)
        except (TypeError, ValueError) as error:
            _raise_with_names(
                error, [f"{n}[{k}]" for n, maps, _ in sides for k in range(len(maps))]
            )

    def _weights(self, maps: int, weight: float) -> list[float]:
        weight *= self._scale / maps if self._mean else self._scale
        if self._map_weights is None:
            return [weight] * maps
        if len(self._map_weights) != maps:
            raise ValueError(
                f"map_weights must have one weight for each of the {maps} maps, "
                f"got {len(self._map_weights)}"
            )
        return [weight * w for w in self._map_weights]


@lru_cache(maxsize=64)
def _loss(kind: Kind, **options: Unpack[Options]) -> AdversarialLoss:
    return AdversarialLoss(kind, **options)


def _with_options(kind: Kind, options: Options) -> AdversarialLoss:
    weights = options.get("map_weights")
    if weights is not None:
        options["map_weights"] = tuple(weights)
    return _loss(kind, **options)


def discriminator_loss(
    real: Outputs, fake: Outputs, kind: Kind = "non_saturating", **options: Unpack[Options]
) -> Tensor:
    """Loss of the discriminator: :meth:`AdversarialLoss.discriminator` in one call.

    Args:
        real: the discriminator's outputs for real samples, a tensor of any shape or a list of maps.
        fake: its outputs for fake samples, as many maps.
        kind: see :class:`AdversarialLoss`.
        **options: the options of :class:`AdversarialLoss`.

    Returns:
        Scalar; float64 for float64 outputs, else float32.

    Raises:
        TypeError, ValueError: as :class:`AdversarialLoss`.
    """
    return _with_options(kind, options).discriminator(real, fake)


def generator_loss(
    fake: Outputs, kind: Kind = "non_saturating", **options: Unpack[Options]
) -> Tensor:
    """Loss of the generator: :meth:`AdversarialLoss.generator` in one call.

    Args:
        fake: the discriminator's outputs for fake samples, a tensor of any shape or a list of maps.
        kind: see :class:`AdversarialLoss`.
        **options: the options of :class:`AdversarialLoss`.

    Returns:
        Scalar; float64 for float64 outputs, else float32.

    Raises:
        TypeError, ValueError: as :class:`AdversarialLoss`.
    """
    return _with_options(kind, options).generator(fake)
