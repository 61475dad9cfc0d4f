from collections.abc import Sequence

from torch import Tensor

_Floats = Sequence[float]

def build_info() -> dict[str, str]: ...
def unary_reduce(
    x: Sequence[Tensor], f: str, weight: _Floats, a: _Floats, b: _Floats, /
) -> Tensor: ...
def unary_reduce_stats(
    x: Sequence[Tensor], f: str, weight: _Floats, a: _Floats, b: _Floats, threshold: float, /
) -> tuple[Tensor, Tensor]: ...
def unary_rows(
    x: Sequence[Tensor],
    sample_weight: Sequence[Tensor | None],
    sample_a: Sequence[Tensor | None],
    f: str,
    weight: _Floats,
    a: _Floats,
    b: _Floats,
    normalize: bool,
    /,
) -> Tensor: ...
def unary_rows_stats(
    x: Sequence[Tensor],
    sample_weight: Sequence[Tensor | None],
    sample_a: Sequence[Tensor | None],
    f: str,
    weight: _Floats,
    a: _Floats,
    b: _Floats,
    normalize: bool,
    threshold: float,
    /,
) -> tuple[Tensor, Tensor]: ...
def pair_reduce(
    x: Sequence[Tensor],
    y: Sequence[Tensor],
    h: str,
    weight: _Floats,
    a: _Floats,
    b: _Floats,
    per_pair: bool,
    /,
) -> Tensor: ...
