"""Relativistic pairing losses: how much more real is a real sample than the fake one beside it."""

from collections.abc import Sequence
from typing import TypedDict

from torch import Tensor
from typing_extensions import Unpack

from ganfast.losses.maps import MapReduction, MapWeights, Outputs, pairs_of_maps
from ganfast.losses.pairs import Pair, reduce_pairs
from ganfast.losses.relativistic_average import RelativisticKind

# h of the difference d of what should be larger and what should be smaller, a and b
_FUNCTIONS = {
    "logistic": ("softplus", -1.0, 0.0),
    "least_squares": ("square", 1.0, 0.0),
    "hinge": ("hinge", -1.0, 1.0),
}


class RelativisticOptions(TypedDict, total=False):
    """The options of the relativistic pairing losses."""

    scale: float
    map_reduction: MapReduction
    map_weights: Sequence[float] | None


def relativistic_discriminator_loss(
    real: Outputs,
    fake: Outputs,
    kind: RelativisticKind = "logistic",
    **options: Unpack[RelativisticOptions],
) -> Tensor:
    r"""Loss of the discriminator on pairs of one real and one fake sample (RpGAN).

    With r, f the outputs for real and fake samples, m the mean over all elements of a map, and
    sp(t) = log(1 + exp(t)):

    ================= ===================
    ``logistic``      m[sp(-(r - f))]
    ``least_squares`` m[(r - f - 1)^2]
    ``hinge``         m[relu(1 - (r - f))]
    ================= ===================

    Args:
        real: outputs for real samples: a tensor, a list of maps, or a list of lists of which the
            last map counts.
        fake: outputs for fake samples, as many maps of the same shapes.
        kind: one of the above.
        scale: factor on the loss.
        map_reduction: the ``sum`` or the ``mean`` of the maps' losses.
        map_weights: a weight for each map, 1 where not given.

    Returns:
        Scalar; float64 for float64 outputs, else float32. Differentiable twice.

    Raises:
        TypeError: an output is not a floating-point tensor or a list of such, or dtypes differ.
        ValueError: an unknown option, empty outputs, or different numbers or shapes of maps.

    Source: Jolicoeur-Martineau 2018, The relativistic discriminator; R3GAN (logistic).
    """
    return _loss("real", real, "fake", fake, kind, **options)


def relativistic_generator_loss(
    real: Outputs,
    fake: Outputs,
    kind: RelativisticKind = "logistic",
    **options: Unpack[RelativisticOptions],
) -> Tensor:
    """Loss of the generator: that of the discriminator with real and fake exchanged.

    No gradient is computed for ``real`` where it requires none: take it under ``torch.no_grad()``.

    Args:
        real, fake, kind, **options: see :func:`relativistic_discriminator_loss`.

    Returns:
        Scalar; float64 for float64 outputs, else float32. Differentiable twice.

    Raises:
        TypeError, ValueError: as :func:`relativistic_discriminator_loss`.
    """
    return _loss("fake", fake, "real", real, kind, **options)


def _loss(
    larger_name: str,
    larger: Outputs,
    smaller_name: str,
    smaller: Outputs,
    kind: RelativisticKind,
    *,
    scale: float = 1.0,
    map_reduction: MapReduction = "sum",
    map_weights: Sequence[float] | None = None,
) -> Tensor:
    if kind not in _FUNCTIONS:
        raise ValueError(f"kind must be one of {', '.join(_FUNCTIONS)}, got {kind!r}")
    x, y = pairs_of_maps(larger, smaller)
    weights = MapWeights(scale, map_reduction, map_weights).of(len(x))
    h, a, b = _FUNCTIONS[kind]
    pairs = [
        Pair(xk, yk, weight, f"{larger_name}[{k}]", f"{smaller_name}[{k}]")
        for k, (xk, yk, weight) in enumerate(zip(x, y, weights, strict=True))
    ]
    return reduce_pairs(pairs, h, a, b)
