"""bias_act against its closed forms, in every dtype and order."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stylegan.oracle import FORMULAS, GAINS

from ganfast.stylegan import bias_act

OPTIONS = {
    "act": st.sampled_from(sorted(FORMULAS)),
    "alpha": st.sampled_from([None, 0.0, 0.1, -0.5]),
    "gain": st.sampled_from([None, 0.0, 0.7, 3.0, -1.5]),
    "clamp": st.sampled_from([None, 0.4, 1.3]),
    "dim": st.sampled_from([0, 1, 2, -1]),
    "bias": st.booleans(),
    "seed": st.integers(0, 2**20),
}


def arguments(seed: int, bias: bool, dim: int, scale: float = 3) -> tuple[torch.Tensor, Any]:
    generator = torch.Generator().manual_seed(seed)
    x = scale * torch.randn(2, 3, 4, generator=generator, dtype=torch.float64)
    b = torch.randn(x.shape[dim], generator=generator, dtype=torch.float64)
    return x.requires_grad_(), b.requires_grad_() if bias else None


def over_axis(numbers: np.ndarray, dim: int) -> np.ndarray:
    return np.moveaxis(numbers.reshape(-1, 1, 1), 0, dim)


@settings(max_examples=60)
@given(**OPTIONS)
def test_values_and_both_derivatives(
    act: str, alpha: float | None, gain: float | None, clamp: float | None, dim: int, bias: bool,
    seed: int,
) -> None:  # fmt: skip
    x, b = arguments(seed, bias, dim, scale=12)
    y = bias_act(x, b, dim, act, alpha, gain, clamp)
    v = x.detach().numpy() + (0 if b is None else over_axis(b.detach().numpy(), dim))
    a = 0.2 if alpha is None else alpha
    k = GAINS[act] if gain is None else gain
    limit = math.inf if clamp is None else clamp
    f, df, d2f = (formula(v, a) * k for formula in FORMULAS[act])
    np.testing.assert_allclose(y.detach().numpy(), np.clip(f, -limit, limit), 1e-12, 1e-15)

    inside = np.abs(f) < limit
    dy = torch.linspace(-1, 2, x.numel(), dtype=torch.float64).view_as(x).requires_grad_()
    inputs = [t for t in (x, b) if t is not None]
    first = torch.autograd.grad(y, inputs, dy, create_graph=True)
    dx = df * inside * dy.detach().numpy()
    others = tuple(i for i in range(3) if i != dim % 3)
    np.testing.assert_allclose(first[0].detach().numpy(), dx, 1e-12, 1e-14)
    if b is not None:
        np.testing.assert_allclose(first[1].detach().numpy(), dx.sum(others), 1e-12, 1e-13)

    cotangents = [torch.cos(3 * t.detach()) for t in first]
    g = cotangents[0].numpy()
    if b is not None:
        g = g + over_axis(cotangents[1].numpy(), dim)
    second = torch.autograd.grad(first, [dy, x], cotangents, materialize_grads=True)
    np.testing.assert_allclose(second[0].numpy(), df * inside * g, 1e-12, 1e-14)
    expected = d2f * inside * dy.detach().numpy() * g
    np.testing.assert_allclose(second[1].numpy(), expected, 1e-11, 1e-13)


@settings(max_examples=12)
@given(**OPTIONS)
def test_derivatives_by_differences(
    act: str, alpha: float | None, gain: float | None, clamp: float | None, dim: int, bias: bool,
    seed: int,
) -> None:  # fmt: skip
    x, b = arguments(seed, bias, dim)
    inputs = [t for t in (x, b) if t is not None]

    def function(*t: torch.Tensor) -> torch.Tensor:
        return bias_act(t[0], t[1] if bias else None, dim, act, alpha, gain, clamp)

    assert torch.autograd.gradcheck(function, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, inputs, fast_mode=True)


@pytest.mark.parametrize("act", sorted(FORMULAS))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_low_precision_is_rounded_once(act: str, dtype: torch.dtype) -> None:
    x = torch.linspace(-30, 30, 4001).to(dtype)
    b = torch.tensor([0.3]).to(dtype)
    got = bias_act(x.view(1, 1, -1), b, act=act, clamp=20).flatten()
    assert got.dtype == dtype
    exact = bias_act(x.double().view(1, 1, -1), b.double(), act=act, clamp=20).flatten()
    wide = torch.finfo(torch.float32 if dtype == torch.float32 else dtype).eps
    bound = exact.abs() * (0.5 * wide + 8 * torch.finfo(torch.float32).eps) + 1e-7
    assert bool(((got.double() - exact).abs() <= bound).all())


def test_a_bias_of_another_dtype_is_not_rounded() -> None:
    x, b = torch.tensor([[1.0]], dtype=torch.bfloat16), torch.tensor([2**-9], requires_grad=True)
    y = bias_act(x.requires_grad_(), b, gain=512.0)
    assert (y.dtype, y.item()) == (torch.bfloat16, 512)  # 513 rounds to even
    y = bias_act(x, b * 3, gain=512.0)
    assert y.item() == 516  # 515 does not exist
    y.backward()
    assert x.grad is not None
    assert b.grad is not None
    assert (x.grad.dtype, b.grad.dtype) == (torch.bfloat16, torch.float32)


def test_nan_stays_nan_and_layout_stays() -> None:
    x = torch.full((2, 3, 4, 5), math.nan).to(memory_format=torch.channels_last)
    for act in FORMULAS:
        y = bias_act(x, torch.zeros(3), act=act, clamp=1)
        assert bool(y.isnan().all())
        assert y.is_contiguous(memory_format=torch.channels_last)
    assert bias_act(x[:0], torch.zeros(3), act="lrelu").shape == (0, 3, 4, 5)
    assert bias_act(torch.zeros(2, 3, 1), torch.ones(3)).tolist() == [[[1.0]] * 3] * 2


def test_errors() -> None:
    x = torch.zeros(2, 3)
    with pytest.raises(TypeError, match="x must be a tensor, got list"):
        bias_act([1.0])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"x must have dtype float64, .* got torch.int64"):
        bias_act(x.long())
    with pytest.raises(ValueError, match=r"act must be one of .*, got 'leaky'"):
        bias_act(x, act="leaky")
    with pytest.raises(ValueError, match="clamp must be None or at least 0, got -1"):
        bias_act(x, clamp=-1)
    with pytest.raises(ValueError, match="dim must be an axis of x, which has 2, got 2"):
        bias_act(x, torch.zeros(3), dim=2)
    with pytest.raises(ValueError, match="b must have one entry for each of the 3 of axis 1"):
        bias_act(x, torch.zeros(2))
