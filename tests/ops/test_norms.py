"""norms where they are zero, equal, not finite or of many tensors."""

import pytest
import torch
from numerics import generator
from ops.norms import CASES, PHIS
from torch import Tensor

from ganfast import ops

each_case = pytest.mark.parametrize(("phi", "a", "b", "pixel"), CASES)


def randn(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=generator(seed)).to(dtype)


def two(dtype: torch.dtype = torch.float64) -> list[Tensor]:
    return [randn(3, c, 2, 2, dtype=dtype, seed=c).requires_grad_() for c in (2, 1)]


@pytest.mark.parametrize("shape", [(64, 3, 64, 64), (1, 70_001), (3, 4097)], ids=str)
def test_samples_of_several_tiles(shape: tuple[int, ...], route: str) -> None:
    g = randn(*shape, dtype=torch.float32, seed=1) / 100
    norms = torch.linalg.vector_norm(g.double().flatten(1), dim=1)
    loss = ops.norms([g], "centred", 10.0, 1.0)
    torch.testing.assert_close(loss.double(), 10 * ((norms - 1) ** 2).mean(), rtol=3e-6, atol=0)


@each_case
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16], ids=str)
def test_zero_gradients_give_zero(
    phi: str, a: float, b: float, pixel: bool, dtype: torch.dtype, route: str, device: str
) -> None:
    """And leave the gradients of the other samples alone."""
    g = [x.detach().to(device).requires_grad_() for x in two(dtype)]
    with torch.no_grad():
        for x in g:
            x[1] = 0
    loss = ops.norms(g, phi, 2.5, a, b, pixel)
    dg = torch.autograd.grad(loss, g, create_graph=True)
    second = torch.autograd.grad(dg, g, g, allow_unused=True, materialize_grads=True)
    assert loss.isfinite()
    for first, next_ in zip(dg, second, strict=True):
        assert first[1].count_nonzero() == 0
        assert first.isfinite().all()
        assert next_.isfinite().all()
    if phi != "maximum":
        others = [x[[0, 2]].detach().requires_grad_() for x in g]
        alone = ops.norms(others, phi, 2.5, a, b, pixel)
        for x, y in zip(dg, torch.autograd.grad(alone, others), strict=True):
            torch.testing.assert_close(x[[0, 2]], y * 2 / 3)


def test_a_zero_batch_has_the_value_of_its_zero_norms(route: str) -> None:
    g = torch.zeros(4, 3, requires_grad=True)
    loss = ops.norms([g], "centred", 10.0, 1.0)
    assert loss == 10
    assert torch.autograd.grad(loss, g)[0].count_nonzero() == 0


def test_equal_maxima_share_the_gradient(route: str) -> None:
    g = torch.tensor([[3.0, 4.0], [5.0, 0.0], [1.0, 1.0]], requires_grad=True)
    loss = ops.norms([g], "maximum", 2.0)
    assert loss == 50
    assert torch.autograd.grad(loss, g)[0].tolist() == [[6, 8], [10, 0], [0, 0]]


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
@pytest.mark.parametrize("phi", PHIS)
def test_what_is_not_finite_goes_through(phi: str, value: float, route: str) -> None:
    g = randn(4, 3, dtype=torch.float32)
    g[2, 1] = value
    loss = ops.norms([g.requires_grad_()], phi, 1.0, 1.0)
    expected = torch.tensor(value)
    torch.testing.assert_close(loss.detach(), expected, equal_nan=True)
    dg = torch.autograd.grad(loss, g)[0]
    assert not dg[2].isfinite().all()


@pytest.mark.parametrize("pixel", [False, True])
def test_norms_over_more_tensors_than_64(pixel: bool, route: str) -> None:
    """As those of one tensor that holds all their channels."""
    x = [randn(3, 1 + k % 3, 2, seed=k).requires_grad_() for k in range(130)]
    one = torch.cat([xk.detach() for xk in x], dim=1).requires_grad_()
    of_many, of_one = (ops.norms(t, "centred", 2.5, 1.0, 0.0, pixel) for t in (x, [one]))
    torch.testing.assert_close(of_many, of_one)
    first = torch.autograd.grad(of_many, x, create_graph=True)
    (whole,) = torch.autograd.grad(of_one, one, create_graph=True)
    torch.testing.assert_close(torch.cat(first, dim=1), whole)
    second = torch.autograd.grad([d.square().sum() for d in first], x)
    (of_whole,) = torch.autograd.grad(whole.square().sum(), one)
    torch.testing.assert_close(torch.cat(second, dim=1), of_whole)
