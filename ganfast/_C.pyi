from collections.abc import Sequence
from typing import Any

from torch import Tensor

_Floats = Sequence[float]

def build_info() -> dict[str, str]: ...

# A tensor, or a tuple of two where there are statistics or derivatives.
def flat(
    x: Sequence[Tensor],
    y: Sequence[Tensor],
    f: str,
    weight: _Floats,
    a: _Floats,
    b: _Floats,
    per_term: bool,
    threshold: float | None,
    broadcast: bool,
    /,
) -> Any: ...
def rows(
    x: Sequence[Tensor],
    y: Sequence[Tensor],
    sample_weight: Sequence[Tensor | None],
    sample_a: Sequence[Tensor | None],
    f: str,
    weight: _Floats,
    a: _Floats,
    b: _Floats,
    normalize: bool,
    pixel: bool,
    phi: str,
    of_phi: _Floats,
    /,
) -> Any: ...
