"""Drop-in for ``torch_utils.ops.bias_act``."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ganfast import ops, reference, stylegan
from ganfast._names import check_name

__all__ = ["activation_funcs", "bias_act"]

#: Implementations that callers name; both give the same results.
IMPLEMENTATIONS = ("cuda", "ref")


@dataclass(frozen=True)
class ActivationFunction:
    """What the projects read of an activation: the default gain, and what its kernel needs."""

    func: Callable[[Tensor, float], Tensor]
    def_alpha: float
    def_gain: float
    cuda_idx: int
    ref: str
    has_2nd_grad: bool


def _function(index: int, name: str) -> ActivationFunction:
    func, (alpha, gain) = reference.ACTIVATIONS[name], ops.ACTIVATIONS[name]
    curved = name not in ("linear", "relu", "lrelu")
    saved = {"linear": "", "swish": "x"}.get(name, "y")
    return ActivationFunction(func, alpha, gain, index, saved, curved)


activation_funcs = {name: _function(i, name) for i, name in enumerate(ops.ACTIVATIONS, start=1)}


def bias_act(
    x: Tensor,
    b: Tensor | None = None,
    dim: int = 1,
    act: str = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
    impl: str = "cuda",
) -> Tensor:
    """:func:`ganfast.stylegan.bias_act`; ``impl`` is "cuda" or "ref"."""
    check_name("impl", impl, IMPLEMENTATIONS)
    return stylegan.bias_act(x, b, dim, act, alpha, gain, clamp)
