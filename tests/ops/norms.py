"""The problems of norms, and the op as users of plain torch write it."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from hypothesis import strategies as st
from numerics import LAYOUTS, SEEDS, generator
from torch import Tensor

# phi with the parameters that are drawn for it
PHIS = {
    "centred": ((1.0, 0.0), (0.0, 0.0), (0.5, 1e-4)),
    "one_sided": ((1.0, 0.0), (0.25, 1e-4)),
    "square": ((0.0, 0.0),),
    "power": ((3.0, 0.0), (1.5, 0.0), (0.4, 0.0)),
    "maximum": ((0.0, 0.0),),
}
CASES = [
    (phi, a, b, pixel)
    for phi, parameters in PHIS.items()
    for a, b in parameters
    for pixel in (False, True)
    if not (pixel and phi == "maximum")
]


def reduce_plainly(
    g: list[Tensor], phi: str, weight: float, a: float, b: float, pixel: bool
) -> Tensor:
    """norms by its definition, for norms that are not zero; half types in float32."""
    wide = [x if x.dtype == torch.float64 else x.float() for x in g]
    s = sum(((x if pixel else x.flatten(1)) ** 2).sum(1) for x in wide)
    if phi == "maximum":
        return weight * s.max()
    values = {
        "centred": lambda: (torch.sqrt(s + b) - a) ** 2,
        "one_sided": lambda: torch.clamp(torch.sqrt(s + b) - a, min=0) ** 2,
        "square": lambda: s,
        "power": lambda: s**a,
    }[phi]()
    return weight * values.mean()


class Problem(NamedTuple):
    g: list[Tensor]
    v: list[Tensor]
    grad: Tensor


@st.composite
def problems(draw: st.DrawFn, dtype: torch.dtype, pixel: bool, device: str = "cpu") -> Problem:
    """One to three gradients of any layout, of norms about one, and cotangents for both orders."""
    random = generator(draw(SEEDS))
    samples, spatial = draw(st.integers(1, 9)), tuple(draw(st.lists(st.integers(1, 9), max_size=2)))
    channels = draw(st.lists(st.integers(1, 40), min_size=1, max_size=3))
    g, v = [], []
    for count in channels:
        shape = (samples, count, *spatial)
        x = torch.randn(shape, dtype=torch.float64, generator=random)
        x = x / (sum(channels) * (1 if pixel else math.prod(spatial))) ** 0.5
        layout = draw(st.sampled_from(sorted(LAYOUTS.keys() - {"expanded"})))
        g.append(LAYOUTS[layout](x.to(device, dtype)).detach().requires_grad_())
        v.append(torch.randn(shape, generator=random).to(device, dtype))
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    return Problem(g, v, torch.tensor(-1.5, dtype=wide, device=device, requires_grad=True))


def all_orders(reduce: Callable[..., Tensor], p: Problem, *parameters: object) -> list[Tensor]:
    """The loss, its gradients, and dgrad and dg of their products with the cotangents."""
    loss = reduce(p.g, *parameters)
    dg = torch.autograd.grad(loss, p.g, p.grad, create_graph=True)
    second = torch.autograd.grad(dg, [p.grad, *p.g], p.v, allow_unused=True, materialize_grads=True)
    return [loss, *dg, *second]


def check_all_orders(
    reduce: Callable[..., Tensor], p: Problem, phi: str, a: float, b: float, pixel: bool
) -> None:
    """Every number within a few roundings of the float64 result, by the scale of its summands."""
    parameters = (phi, 2.5, a, b, pixel)
    got = all_orders(reduce, p, *parameters)
    exact = Problem(
        [x.detach().double().requires_grad_() for x in p.g],
        [x.double() for x in p.v],
        p.grad.detach().double().requires_grad_(),
    )
    # Sums of products of both signs can be small next to what is summed.
    positive = Problem(
        [x.detach().abs().requires_grad_() for x in exact.g], [x.abs() for x in exact.v], exact.grad
    )
    expected = all_orders(reduce_plainly, exact, *parameters)
    magnitude = all_orders(reduce_plainly, positive, *parameters)
    computed = 1e-12 if p.g[0].dtype == torch.float64 else 2e-5
    for k, (x, y, z) in enumerate(zip(got, expected, magnitude, strict=True)):
        assert x.shape == y.shape
        scalar = x.dim() == 0
        assert x.dtype == (p.grad.dtype if scalar else p.g[0].dtype)
        stored = 0.0 if scalar else torch.finfo(x.dtype).eps
        scale = max(float(y.detach().abs().max()), float(z.detach().abs().max()), 1e-3)
        error = float((x.detach().double() - y.detach()).abs().max())
        assert error <= (computed + stored) * scale, f"result {k}: off by {error} of {scale}"
