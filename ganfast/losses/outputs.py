"""A discriminator's outputs as a list of maps, and the weighted sum of a function over them."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

from torch import Tensor

from ganfast import ops
from ganfast._checks import Name, check_list, check_samples, place
from ganfast._names import check_name

MapReduction = Literal["sum", "mean"]
Outputs = Tensor | Sequence[Tensor] | Sequence[Sequence[Tensor]]


def last_maps(name: str, outputs: Outputs) -> Sequence[Tensor]:
    """Return the maps that count: a tensor, a list's tensors, or the last one of each inner list.

    Raises:
        TypeError: the output is not a tensor, a list of tensors, or a list of such lists.
        ValueError: a list is empty.
    """
    if isinstance(outputs, Tensor):
        return (outputs,)
    if not isinstance(outputs, (list, tuple)):
        raise TypeError(
            f"{name} must be a tensor, a list of tensors or a list of lists of tensors, "
            f"got {type(outputs).__name__}"
        )
    if not outputs:
        raise ValueError(f"{name} must hold at least one tensor, got an empty list")
    return [x if isinstance(x, Tensor) else _last(f"{name}[{k}]", x) for k, x in enumerate(outputs)]


def _last(name: str, inner: Sequence[Tensor]) -> Tensor:
    if not isinstance(inner, (list, tuple)):
        raise TypeError(f"{name} must be a tensor, got {type(inner).__name__}")
    if not inner:
        raise ValueError(f"{name} must hold at least one tensor, got an empty list")
    last = inner[-1]
    if not isinstance(last, Tensor):
        raise TypeError(f"{name}[-1] must be a tensor, got {type(last).__name__}")
    return last


def pairs_of_maps(real: Outputs, fake: Outputs) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """Return the maps of real and of fake samples, equally many."""
    real, fake = last_maps("real", real), last_maps("fake", fake)
    if len(real) != len(fake):
        raise ValueError(
            f"real and fake must have the same number of maps, got {len(real)} and {len(fake)}"
        )
    return real, fake


class MapWeights:
    """The factor of each map in a loss: scale times weight, over the number of maps for a mean."""

    def __init__(
        self,
        scale: float = 1.0,
        map_reduction: MapReduction = "sum",
        map_weights: Sequence[float] | None = None,
    ) -> None:
        check_name("map_reduction", map_reduction, get_args(MapReduction))
        if not math.isfinite(scale):
            raise ValueError(f"scale must be finite, got {scale}")
        self._scale = scale
        self._mean = map_reduction == "mean"
        self._weights = None if map_weights is None else list(map_weights)

    def of(self, maps: int) -> list[float]:
        """Return the factors of that many maps."""
        scale = self._scale / maps if self._mean else self._scale
        if self._weights is None:
            return [scale] * maps
        if len(self._weights) != maps:
            raise ValueError(
                f"map_weights must have one weight for each of the {maps} maps, "
                f"got {len(self._weights)}"
            )
        return [scale * w for w in self._weights]


class Terms(NamedTuple):
    """Arguments of :func:`ganfast.ops.flat`, with each side's name and number of maps."""

    f: str
    x: list[Tensor]
    weight: list[float]
    a: list[float]
    b: list[float]
    sides: list[tuple[str, int]]

    def add(
        self, name: str, maps: Sequence[Tensor], weights: Sequence[float], a: float, b: float
    ) -> None:
        """Append the maps of a side."""
        self.x.extend(maps)
        self.weight.extend(weights)
        self.a.extend([a] * len(maps))
        self.b.extend([b] * len(maps))
        self.sides.append((name, len(maps)))

    def name(self, argument: str, k: int) -> str:
        """The caller's name of an op's tensor: ``real[0]``, or ``real_weight`` of its samples."""
        for side, maps in self.sides:
            if k < maps:
                return f"{side}[{k}]" if argument == "x" else f"{side}_weight"
            k -= maps
        raise IndexError(f"k must be less than the number of tensors, got {k} too many")

    def reduce(self, y: Sequence[Tensor] = ()) -> Tensor:
        """Return the sum of the terms, of x - y if there is a y."""
        return ops.flat(self.x, self.f, self.weight, self.a, self.b, y, name=self.name)

    def reduce_with_stats(self, threshold: float) -> tuple[Tensor, Tensor]:
        """Return the sum of the terms, and statistics of x, (maps, 4)."""
        return ops.flat_with_stats(
            self.x, self.f, self.weight, self.a, self.b, threshold, name=self.name
        )

    def check(self, samples: bool = False) -> None:
        """Raise what the ops raise; with ``samples``, also if the numbers of samples differ."""
        (check_samples if samples else check_list)(self.x, self.name)


def stats_of_maps(maps: Sequence[Tensor], threshold: float) -> Tensor:
    """(maps, 4) from one launch, not differentiable: 0, mean, shares above and below."""
    zeros = [0.0] * len(maps)
    return ops.flat_with_stats(maps, "identity", zeros, zeros, zeros, threshold)[1]


def means_of_maps(maps: Sequence[Tensor], name: Name = place) -> Tensor:
    """The mean of each map, (maps,), in float32 or better, from one launch."""
    zeros = [0.0] * len(maps)
    return ops.flat(maps, "identity", [1.0] * len(maps), zeros, zeros, per_term=True, name=name)
