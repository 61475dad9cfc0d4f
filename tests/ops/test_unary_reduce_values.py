"""unary_reduce where numbers are extreme, and on more elements than 32 bits count."""

import os

import numpy as np
import pytest
import torch
from numerics import ENOUGH, generator
from ops.unary_functors import DTYPES, FUNCTORS, derivatives, reduce_plainly
from torch import Tensor, nn

from ganfast import ops

INF, NAN = float("inf"), float("nan")
LOGITS = sorted(FUNCTORS.keys() - {"bce"})

each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)

PARAMETERS = {"softplus": (-1.0, 1.0), "bce_with_logits": (0.0, 0.25, 1.0), "hinge": (-1.0, 1.0)}


@each_dtype
@pytest.mark.parametrize("value", [INF, -INF, NAN, 1e4, -1e4])
@pytest.mark.parametrize(("f", "a"), [(f, a) for f in LOGITS for a in PARAMETERS.get(f, (0.5,))])
def test_extreme_logits_go_through_as_in_plain_torch(
    f: str, a: float, value: float, dtype: torch.dtype
) -> None:
    x = torch.tensor(value, dtype=dtype)
    got, plain = derivatives(ops.unary_reduce, x, f, a), derivatives(reduce_plainly, x, f, a)
    if abs(value) == 1e4:
        assert all(order.isfinite() for order in got)
    for order, of_plain in zip(got, plain, strict=True):
        torch.testing.assert_close(order, of_plain, rtol=1e-6, atol=0, equal_nan=True)


@pytest.mark.parametrize("position", [0, 7, ENOUGH - 1])
@pytest.mark.parametrize("f", LOGITS)
def test_one_nan_spoils_the_loss_and_its_own_gradient(f: str, position: int) -> None:
    x = torch.randn(ENOUGH, generator=generator(0))
    x[position] = NAN
    loss, dx, _ = derivatives(ops.unary_reduce, x, f, 1.0)
    assert loss.isnan()
    assert dx.isnan().sum() == dx[position].isnan() == (f not in ("identity", "hinge"))


@each_dtype
@pytest.mark.parametrize("target", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_certain_probabilities_are_clamped_as_in_bce_loss(
    probability: float, target: float, dtype: torch.dtype
) -> None:
    x = torch.tensor([probability], dtype=dtype, requires_grad=True)
    loss = ops.unary_reduce([x], "bce", [1.0], [target], [0.0])
    (dx,) = torch.autograd.grad(loss, x)

    y = x.detach().requires_grad_()
    precise = y if dtype == torch.float64 else y.float()
    expected = nn.BCELoss()(precise, torch.full_like(precise, target))
    (dy,) = torch.autograd.grad(expected, y)
    assert torch.equal(loss, expected)
    # torch's own clamp, 1e-12, is a float32 number even in float64
    rtol = 1e-8 if dtype == torch.float64 else 2 * torch.finfo(dtype).eps
    torch.testing.assert_close(dx, dy, rtol=rtol, atol=0)


@pytest.mark.parametrize("value", [-0.5, 1.5, -INF, INF, NAN])
def test_what_is_no_probability_gives_nan(value: float, road: str) -> None:
    x = torch.tensor([0.5, value])
    assert ops.unary_reduce([x], "bce", [1.0], [1.0], [0.0]).isnan()


def test_at_the_kink_of_the_hinge_the_gradient_is_zero(road: str) -> None:
    """As that of torch's relu."""
    x = torch.tensor([0.5, 1.0, 1.5], requires_grad=True)
    loss = ops.unary_reduce([x], "hinge", [3.0], [-1.0], [1.0])
    assert loss == 0.5
    assert torch.autograd.grad(loss, x)[0].tolist() == [-1, 0, 0]


def zeros_without_memory(n: int) -> Tensor:
    """Zeros that the system maps to one page until they are written to."""
    return torch.from_numpy(np.zeros(n, np.int16)).view(torch.bfloat16)


@pytest.mark.slow
@pytest.mark.compiled
def test_more_elements_than_32_bits_count() -> None:
    n = 2**31 + 4099
    try:
        x = zeros_without_memory(n)
    except MemoryError:
        pytest.skip(f"no address space for {n} elements")
    x[0], x[2**31 - 1], x[2**31 + 1], x[n - 1] = 1, 2, 4, 8
    loss = ops.unary_reduce([torch.ones(3, dtype=x.dtype), x], "identity", [3.0, n], [0, 0], [0, 0])
    assert loss == 3 + 15


@pytest.mark.slow
@pytest.mark.compiled
def test_gradients_of_more_elements_than_32_bits_count() -> None:
    n = 2**31 + 4099
    if os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") < 6 * 2**30:
        pytest.skip("the gradient takes 4.3 GB of memory")
    x = zeros_without_memory(n)
    far = torch.tensor([2**31 - 1, 2**31 + 1, n - 1])
    x[far] = torch.tensor([1.0, 2.0, 3.0], dtype=x.dtype)
    x.requires_grad_()
    loss = ops.unary_reduce([x], "square", [n], [0.0], [0.0])
    (dx,) = torch.autograd.grad(loss, x)
    assert dx[far].tolist() == [2, 4, 6]
    assert dx[:: 2**20].count_nonzero() == 0
