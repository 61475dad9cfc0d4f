"""A discriminator's outputs as a list of maps, and the losses' reduction over it."""

import math
import re
from collections.abc import Sequence
from typing import Literal, NamedTuple, NoReturn, get_args

from torch import Tensor

from ganfast import ops, reference

MapReduction = Literal["sum", "mean"]
_MAP_REDUCTIONS = get_args(MapReduction)
Outputs = Tensor | Sequence[Tensor] | Sequence[Sequence[Tensor]]


def last_maps(name: str, outputs: Outputs) -> Sequence[Tensor]:
    """The maps that losses are taken of: a tensor, a list's tensors, the last of each inner list.

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
    """The maps of real and of fake samples, as many of the one as of the other."""
    real, fake = last_maps("real", real), last_maps("fake", fake)
    if len(real) != len(fake):
        raise ValueError(
            f"real and fake must have the same number of maps, got {len(real)} and {len(fake)}"
        )
    return real, fake


class MapWeights:
    """The factor of each map in a loss: scale, weight, and 1 / maps for their mean."""

    def __init__(
        self, scale: float, map_reduction: MapReduction, map_weights: Sequence[float] | None
    ) -> None:
        if map_reduction not in _MAP_REDUCTIONS:
            raise ValueError(f"map_reduction must be sum or mean, got {map_reduction!r}")
        if not math.isfinite(scale):
            raise ValueError(f"scale must be finite, got {scale}")
        self._scale = scale
        self._mean = map_reduction == "mean"
        self._weights = None if map_weights is None else list(map_weights)

    def of(self, maps: int) -> list[float]:
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
    """Arguments of :func:`ganfast.ops.unary_reduce`, with each side's name and number of maps."""

    f: str
    x: list[Tensor]
    weight: list[float]
    a: list[float]
    b: list[float]
    sides: list[tuple[str, int]]

    def add(
        self, name: str, maps: Sequence[Tensor], weights: Sequence[float], a: float, b: float
    ) -> None:
        self.x.extend(maps)
        self.weight.extend(weights)
        self.a.extend([a] * len(maps))
        self.b.extend([b] * len(maps))
        self.sides.append((name, len(maps)))

    def names(self) -> list[str]:
        """The name of each tensor."""
        return [f"{name}[{k}]" for name, maps in self.sides for k in range(maps)]

    def reduce(self) -> Tensor:
        try:
            return ops.unary_reduce(self.x, self.f, self.weight, self.a, self.b)
        except (TypeError, ValueError) as error:
            self._raise_with_names(error)

    def reduce_with_stats(self, threshold: float) -> tuple[Tensor, Tensor]:
        try:
            return ops.unary_reduce_stats(self.x, self.f, self.weight, self.a, self.b, threshold)
        except (TypeError, ValueError) as error:
            self._raise_with_names(error)

    def reduce_rows(
        self,
        sample_weight: Sequence[Tensor | None],
        sample_a: Sequence[Tensor | None],
        normalize: bool,
    ) -> Tensor:
        """(B,), see :func:`ganfast.ops.unary_rows`."""
        try:
            return ops.unary_rows(
                self.x, self.f, self.weight, self.a, self.b, sample_weight, sample_a, normalize
            )
        except (TypeError, ValueError) as error:
            self._raise_with_names(error)

    def reduce_rows_with_stats(
        self,
        sample_weight: Sequence[Tensor | None],
        sample_a: Sequence[Tensor | None],
        normalize: bool,
        threshold: float,
    ) -> tuple[Tensor, Tensor]:
        """(B,) and (maps, 4), see :func:`ganfast.ops.unary_rows_stats`."""
        try:
            return ops.unary_rows_stats(
                self.x,
                self.f,
                self.weight,
                self.a,
                self.b,
                sample_weight,
                sample_a,
                normalize,
                threshold,
            )
        except (TypeError, ValueError) as error:
            self._raise_with_names(error)

    def check_samples(self) -> None:
        """Refuse maps that do not all have one axis of samples of the same length."""
        try:
            ops._check_rows(self.x, (), ())
        except (TypeError, ValueError) as error:
            self._raise_with_names(error)

    def check(self) -> None:
        """Refuse what the op refuses."""
        try:
            ops._check_list("unary_reduce", "x", self.x)
        except (TypeError, ValueError) as error:
            self._raise_with_names(error)

    def computed(self) -> list[Tensor]:
        """The tensors in the dtype of the loss; what that, or arithmetic, would hide is refused."""
        dtype, device = self.x[0].dtype, self.x[0].device
        x = [reference.compute_dtype(xk) for xk in self.x]
        if x[0] is not self.x[0] or any(xk.dtype != dtype or xk.device != device for xk in self.x):
            self.check()
        return x

    def _raise_with_names(self, error: Exception) -> NoReturn:
        """Raise what an op said of its list again, in terms of the loss's arguments."""
        names = self.names()
        message = re.sub(r"\bx\[(\d+)\]", lambda match: names[int(match[1])], str(error))
        message = re.sub(
            r"\bsample_weight\[(\d+)\]",
            lambda match: names[int(match[1])].partition("[")[0] + "_weight",
            message,
        )
        raise type(error)(re.sub(r"^unary_\w+: ", "", message)) from None


def terms_of(f: str) -> Terms:
    """Terms of one function, none yet."""
    return Terms(f, [], [], [], [], [])


_ONE, _ZERO = (1.0,), (0.0,)


def mean_of(x: Tensor) -> Tensor:
    """The mean of a tensor in float32 or better, differentiable twice.

    It takes less time than torch's for small ones, but keeps x for the backward.
    """
    return ops.unary_reduce((x,), "identity", _ONE, _ZERO, _ZERO)


def stats_of_maps(maps: Sequence[Tensor], threshold: float) -> Tensor:
    """(maps, 4) from one launch, not differentiable: 0, mean, shares above and below."""
    zeros = [0.0] * len(maps)
    return ops.unary_reduce_stats(maps, "identity", zeros, zeros, zeros, threshold)[1]


def means_of_maps(maps: Sequence[Tensor]) -> Tensor:
    """The mean of each map, (maps,), from one launch, not differentiable."""
    return stats_of_maps(maps, 0.0)[:, 1]
