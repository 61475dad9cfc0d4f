"""The operations that are made of resampling, convolution and activation."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from stylegan import oracle
from torch import Tensor

from ganfast.stylegan import (
    bias_act,
    conv2d_resample,
    filtered_lrelu,
    fma,
    grid,
    grid_sample,
    modulated_conv2d,
)


def normal(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def resampled(
    x: np.ndarray, w: np.ndarray, f: np.ndarray | None, up: int, down: int, padding: list[int],
    groups: int = 1, flip_weight: bool = True, flip_filter: bool = False,
) -> np.ndarray:  # fmt: skip
    """Upsample with the filter, convolve, downsample with the filter, one after the other."""
    pads = list(padding)
    for i, taps in enumerate(oracle.dense(f).shape[::-1]):
        if up > 1:
            pads[2 * i] += (taps + up - 1) // 2
            pads[2 * i + 1] += (taps - up) // 2
        if down > 1:
            pads[2 * i] += (taps - down + 1) // 2
            pads[2 * i + 1] += (taps - down) // 2
    first = f if up > 1 else None
    y = oracle.upfirdn2d(x, first, (up, up), (1, 1), pads, flip_filter, up * up)
    y = oracle.conv2d(y, w, groups, flip_weight)
    return (
        oracle.upfirdn2d(y, f, (1, 1), (down, down), (0, 0, 0, 0), flip_filter) if down > 1 else y
    )


@st.composite
def resampling(draw: Callable[..., Any]) -> dict[str, Any]:
    return {
        "kernel": draw(st.sampled_from([1, 2, 3])),
        "up": draw(st.sampled_from([1, 1, 2, 3])),
        "down": draw(st.sampled_from([1, 1, 2])),
        "size": draw(st.sampled_from([None, (4, 4), (3, 2), (5,)])),
        "padding": draw(st.sampled_from([0, 1, [2, 1], [1, 2, 0, 1], [-1, 1, 1, 0]])),
        "groups": draw(st.sampled_from([1, 2])),
        "flip_weight": draw(st.booleans()),
        "flip_filter": draw(st.booleans()),
        "seed": draw(st.integers(0, 2**20)),
    }


@settings(max_examples=30)
@given(case=resampling())
def test_conv2d_resample(case: dict[str, Any]) -> None:
    seed, k = case["seed"], case["kernel"]
    x = normal(2, 4, 6, 7, seed=seed)
    w = normal(6, 4 // case["groups"], k, k, seed=seed + 1)
    f = None if case["size"] is None else normal(*case["size"], seed=seed + 2).float()
    options = {name: case[name] for name in ("groups", "flip_weight", "flip_filter")}
    got = conv2d_resample(x, w, f, case["up"], case["down"], case["padding"], **options)
    pads = case["padding"]
    pads = [pads] * 4 if isinstance(pads, int) else pads
    pads = [pads[0]] * 2 + [pads[1]] * 2 if len(pads) == 2 else pads
    numbers = None if f is None else f.double().numpy()
    want = resampled(x.numpy(), w.numpy(), numbers, case["up"], case["down"], pads, **options)
    np.testing.assert_allclose(got, want, 1e-11, 1e-11 * np.abs(want).max())


@settings(max_examples=20)
@given(
    up=st.integers(1, 4), down=st.integers(1, 4), taps=st.tuples(*[st.integers(1, 6)] * 2),
    separable=st.booleans(), bias=st.booleans(), slope=st.sampled_from([0.0, 0.2, 1.5]),
    clamp=st.sampled_from([None, 0.5]), flip=st.booleans(), seed=st.integers(0, 2**20),
)  # fmt: skip
def test_filtered_lrelu(
    up: int, down: int, taps: tuple[int, int], separable: bool, bias: bool, slope: float,
    clamp: float | None, flip: bool, seed: int,
) -> None:  # fmt: skip
    x = normal(2, 3, 6, 5, seed=seed)
    b = normal(3, seed=seed + 1) if bias else None
    shapes = [(n,) if separable else (n, n) for n in taps]
    fu, fd = (normal(*s, seed=seed + 2).float() for s in shapes)
    pads, gain = [5, 4, 5, 6], 1.7
    got = filtered_lrelu(x, fu, fd, b, up, down, pads, gain, slope, clamp, flip)
    v = x.numpy() + (0 if b is None else b.numpy()[:, None, None])
    v = oracle.upfirdn2d(v, fu.double().numpy(), (up, up), pads=pads, flip=flip, gain=up * up)
    a = np.clip(gain * np.where(v > 0, v, slope * v), -(clamp or math.inf), clamp or math.inf)
    want = oracle.upfirdn2d(a, fd.double().numpy(), down=(down, down), flip=flip)
    np.testing.assert_allclose(got, want, 1e-11, 1e-11 * np.abs(want).max())
    width = (5 * up + sum(pads[:2]) - (taps[0] - 1) - (taps[1] - 1) + down - 1) // down
    assert got.shape[3] == width


@pytest.mark.parametrize("demodulate", [False, True])
@pytest.mark.parametrize(("up", "down", "noisy"), [(1, 1, True), (2, 1, True), (1, 2, False)])
def test_modulated_conv2d(demodulate: bool, up: int, down: int, noisy: bool) -> None:
    """Sample by sample, with weights that are scaled."""
    x, w, s = normal(3, 4, 6, 6, seed=0), normal(5, 4, 3, 3, seed=1), normal(3, 4, seed=2)
    f = normal(4, 4, seed=3).float()
    weights = w.numpy() * s.numpy()[:, None, :, None, None]
    if demodulate:
        weights /= np.sqrt((weights**2).sum((2, 3, 4), keepdims=True) + 1e-8)
    want = np.concatenate(
        [
            resampled(image[None], weight, f.double().numpy(), up, down, [1] * 4)
            for image, weight in zip(x.numpy(), weights, strict=True)
        ]
    )
    noise = normal(3, 1, *want.shape[2:], seed=4) if noisy else None
    got = modulated_conv2d(x, w, s, noise, up, down, 1, f, demodulate)
    want = want if noise is None else want + noise.numpy()
    np.testing.assert_allclose(got, want, 1e-11, 1e-11 * np.abs(want).max())

    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        low = modulated_conv2d(x.to(dtype), w.float(), s.float(), noise, up, down, 1, f, demodulate)
        assert low.dtype == dtype
        error = np.abs(low.double().numpy() - want).max() / np.abs(want).max()
        assert error < 8 * torch.finfo(dtype).eps


def test_modulation_does_not_overflow() -> None:
    x, w, s = (
        torch.full((1, 4, 4, 4), 60.0),
        torch.full((2, 4, 3, 3), 40.0),
        torch.full((1, 4), 2e3),
    )
    want = modulated_conv2d(x, w, s, padding=1)
    got = modulated_conv2d(x.half(), w, s, padding=1)
    assert bool(got.isfinite().all())
    torch.testing.assert_close(got.float(), want, rtol=2e-3, atol=0)


def test_derivatives_by_differences() -> None:
    x = normal(1, 2, 4, 4, seed=0).requires_grad_()
    w, s = normal(2, 2, 3, 3, seed=1).requires_grad_(), normal(1, 2, seed=2).requires_grad_()
    b, f = normal(2, seed=3).requires_grad_(), torch.tensor([[1.0, 2.0], [3.0, 4.0]])

    def modulated(x: Tensor, w: Tensor, s: Tensor) -> Tensor:
        return modulated_conv2d(x, w, s, up=2, padding=1, resample_filter=f)

    def filtered(x: Tensor, b: Tensor) -> Tensor:
        return filtered_lrelu(x, f, f, b, 2, 2, 1, clamp=2.0)

    for function, inputs in ((modulated, [x, w, s]), (filtered, [x, b])):
        assert torch.autograd.gradcheck(function, inputs, fast_mode=True)
        assert torch.autograd.gradgradcheck(function, inputs, fast_mode=True)


class Synthesis(torch.nn.Module):
    """A layer of a generator, to compile and to export."""

    def forward(self, x: Tensor, w: Tensor, s: Tensor) -> Tensor:
        f = torch.tensor([[1.0, 2.0], [3.0, 4.0]], device=x.device)
        y = modulated_conv2d(x, w, s, up=2, padding=1, resample_filter=f)
        y = bias_act(y, s[0], act="lrelu", clamp=2)
        return filtered_lrelu(y, f, f, up=2, down=2, padding=1)


def test_compile_export_and_meta() -> None:
    x, w, s = torch.randn(2, 4, 8, 8), torch.randn(4, 4, 3, 3), torch.randn(2, 4)
    layer = Synthesis()
    y = layer(x, w, s)
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, w, s), y)
    exported = torch.export.export(layer, (x, w, s)).module()
    torch.testing.assert_close(exported(x, w, s), y)
    assert layer(*(t.to("meta") for t in (x, w, s))).shape == y.shape
    one_by_one = torch.func.vmap(lambda t, style: layer(t[None], w, style[None])[0])
    torch.testing.assert_close(one_by_one(x, s[:1].expand(2, -1)), layer(x, w, s[:1].expand(2, -1)))


def test_fma() -> None:
    a, b, c = normal(3, 4, 2, 2, seed=0), normal(3, 4, 1, 1, seed=1), normal(3, 1, 2, 2, seed=2)
    torch.testing.assert_close(fma(a, b, c), a * b + c, rtol=1e-15, atol=1e-15)
    inputs = [t.requires_grad_() for t in (a, b, c)]
    assert torch.autograd.gradcheck(fma, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(fma, inputs, fast_mode=True)


@pytest.mark.parametrize("native", [True, False])
def test_grid_sample(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if native and not grid._torch_differentiates_twice():
        pytest.skip("this torch does not differentiate grid_sample twice")
    monkeypatch.setattr(grid, "_torch_differentiates_twice", lambda: native)
    x, places = normal(2, 3, 4, 5, seed=0).requires_grad_(), normal(2, 6, 3, 2, seed=1) / 2
    torch.testing.assert_close(
        grid_sample(x, places), F.grid_sample(x, places, align_corners=False)
    )
    assert torch.autograd.gradcheck(lambda t: grid_sample(t, places), [x])
    assert torch.autograd.gradgradcheck(lambda t: grid_sample(t, places), [x])
    if native:
        y = grid_sample(x, places.clone().requires_grad_())
        torch.autograd.grad(y.sum(), x, create_graph=True)
    else:
        with pytest.raises(ValueError, match="grid must be constant with this torch"):
            grid_sample(x, places.clone().requires_grad_())


def test_errors() -> None:
    x, w = torch.zeros(2, 3, 4, 4), torch.zeros(5, 3, 3, 3)
    with pytest.raises(ValueError, match="x must have the 3 channels of the weight, got 2"):
        conv2d_resample(x[:, :2], w)
    with pytest.raises(ValueError, match="up must be at least 1, got 0"):
        conv2d_resample(x, w, up=0)
    with pytest.raises(
        ValueError, match=r"styles must have shape \(N, C\), \[2, 3\], got \[2, 4\]"
    ):
        modulated_conv2d(x, w, torch.zeros(2, 4))
    with pytest.raises(ValueError, match="gain must be positive, got 0"):
        filtered_lrelu(x, gain=0)
    with pytest.raises(ValueError, match="slope must be at least 0, got -1"):
        filtered_lrelu(x, slope=-1)
    with pytest.raises(ValueError, match="b must have one entry for each of the 3 of axis 1"):
        filtered_lrelu(x, b=torch.zeros(2))
    with pytest.raises(
        ValueError, match=r"grid must have shape \(N, height, width, 2\) with N = 2"
    ):
        grid_sample(x, torch.zeros(1, 2, 2, 2))
