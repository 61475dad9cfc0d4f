"""upfirdn2d and its relatives against their sums, in every dtype, layout and order."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stylegan import oracle
from torch import Tensor

from ganfast.stylegan import downsample2d, filter2d, setup_filter, upfirdn2d, upsample2d


@dataclass
class Case:
    """Arguments of one call."""

    x: Tensor
    f: Tensor | None
    up: tuple[int, int]
    down: tuple[int, int]
    padding: tuple[int, int, int, int]
    flip: bool
    gain: float

    def __call__(self, x: Tensor) -> Tensor:
        return upfirdn2d(x, self.f, self.up, self.down, self.padding, self.flip, self.gain)

    def expected(self) -> np.ndarray:
        f = None if self.f is None else self.f.double().numpy()
        return oracle.upfirdn2d(
            self.x.numpy(), f, self.up, self.down, self.padding, self.flip, self.gain
        )


@st.composite
def cases(draw: Callable[..., Any]) -> Case:
    height, width = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    size = draw(st.one_of(st.none(), st.tuples(st.integers(1, 5)),
                          st.tuples(st.integers(1, 5), st.integers(1, 5))))  # fmt: skip
    up = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    down = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    fh, fw = (1, 1) if size is None else (size[0], size[-1])
    pads = []
    for n, taps in ((width * up[0], fw), (height * up[1], fh)):
        before = draw(st.integers(-3, 5))
        least = max(-3, taps - n - before)
        pads += [before, draw(st.integers(least, least + 4))]
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**20)))
    f = None if size is None else torch.randn(size, generator=generator)
    x = torch.randn(2, 2, height, width, generator=generator, dtype=torch.float64)
    return Case(x, f, up, down, (pads[0], pads[1], pads[2], pads[3]), draw(st.booleans()),
                draw(st.sampled_from([1.0, 4.0, -0.3])))  # fmt: skip


@settings(max_examples=60)
@given(case=cases())
def test_values(case: Case) -> None:
    got = case(case.x)
    np.testing.assert_allclose(got.numpy(), case.expected(), 1e-12, 1e-12)
    assert case(case.x[:0]).shape == (0, *got.shape[1:])


@settings(max_examples=20)
@given(case=cases())
def test_the_gradient_is_the_transposed_map(case: Case) -> None:
    """<J x, c> = <x, J' c>, also for the gradient's own gradient."""
    x = case.x.requires_grad_()
    y = case(x)
    c = torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(1))
    c.requires_grad_()
    (dx,) = torch.autograd.grad(y, x, c, create_graph=True)
    scale = float((y.detach().abs() * c.detach().abs()).sum()) + 1
    assert abs(((dx * x).sum() - (y * c).sum()).item()) <= 1e-12 * scale
    again = torch.randn(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(2))
    (dc,) = torch.autograd.grad(dx, c, again)
    torch.testing.assert_close(dc, case(again), rtol=1e-12, atol=1e-12)


@settings(max_examples=6)
@given(case=cases())
def test_derivatives_by_differences(case: Case) -> None:
    x = case.x[:1, :1].clone().requires_grad_()
    assert torch.autograd.gradcheck(case, [x], fast_mode=True)
    assert torch.autograd.gradgradcheck(case, [x], fast_mode=True)


@settings(max_examples=20)
@given(case=cases(), dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
       channels_last=st.booleans(), amp=st.booleans())  # fmt: skip
def test_low_precision_is_rounded_after_each_pass(
    case: Case, dtype: torch.dtype, channels_last: bool, amp: bool
) -> None:
    x = case.x.to(dtype)
    if channels_last:
        x = x.to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16, enabled=amp):
        y = case(x)
    assert y.dtype == dtype
    exact = case(x.double())
    of_sizes = Case(x.double().abs(), None if case.f is None else case.f.abs(), case.up, case.down,
                    case.padding, case.flip, abs(case.gain))  # fmt: skip
    sums = of_sizes(of_sizes.x)
    half_a_step = torch.finfo(dtype).eps / 2
    bound = sums * 16 * 2.0**-24 + exact.abs() * half_a_step + 1e-7
    if case.f is not None and case.f.dim() == 1:  # the pass along x is rounded too
        bound += sums * half_a_step
    assert bool(((y.double() - exact).abs() <= bound).all())


@pytest.mark.parametrize("size", [(4, 4), (12,)])
@pytest.mark.parametrize(("up", "down"), [(1, 1), (2, 1), (1, 2)])
def test_layout_stays(size: tuple[int, ...], up: int, down: int) -> None:
    x = torch.randn(2, 8, 16, 16).to(memory_format=torch.channels_last).requires_grad_()
    y = upfirdn2d(x, torch.ones(size), up, down, padding=(6, 5, 5, 6))
    assert y.is_contiguous(memory_format=torch.channels_last)
    y.square().sum().backward()
    assert x.grad is not None
    assert x.grad.is_contiguous(memory_format=torch.channels_last)


@settings(max_examples=20)
@given(
    taps=st.integers(1, 6), factor=st.integers(1, 4), pads=st.tuples(*[st.integers(-1, 2)] * 4),
    separable=st.booleans(), flip=st.booleans(), seed=st.integers(0, 2**20),
)  # fmt: skip
def test_relatives(
    taps: int, factor: int, pads: tuple[int, int, int, int], separable: bool, flip: bool, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(1, 2, 7, 6, generator=generator, dtype=torch.float64)
    f = torch.randn((taps,) if separable else (taps, taps), generator=generator)
    x0, x1, y0, y1 = pads

    def expected(before: int, after: int, up: int, down: int, gain: float) -> np.ndarray:
        padding = (x0 + before, x1 + after, y0 + before, y1 + after)
        numbers = f.double().numpy()
        return oracle.upfirdn2d(
            x.numpy(), numbers, (up, up), (down, down), padding, flip, gain * up * up
        )

    got = filter2d(x, f, pads, flip, 3)
    want = expected(taps // 2, (taps - 1) // 2, 1, 1, 3)
    np.testing.assert_allclose(got, want, 1e-11, 1e-11)
    assert list(got.shape[2:]) == [7 + y0 + y1, 6 + x0 + x1]
    got = upsample2d(x, f, factor, pads, flip, 3)
    want = expected((taps + factor - 1) // 2, (taps - factor) // 2, factor, 1, 3)
    np.testing.assert_allclose(got, want, 1e-11, 1e-11)
    assert list(got.shape[2:]) == [7 * factor + y0 + y1, 6 * factor + x0 + x1]
    got = downsample2d(x, f, factor, pads, flip, 3)
    want = expected((taps - factor + 1) // 2, (taps - factor) // 2, 1, factor, 3)
    np.testing.assert_allclose(got, want, 1e-11, 1e-11)


def test_constant_images_keep_their_value() -> None:
    f = setup_filter([1, 3, 3, 1])
    x = torch.ones(1, 1, 8, 8)
    torch.testing.assert_close(upsample2d(x, f)[:, :, 2:-2, 2:-2], torch.ones(1, 1, 12, 12))
    torch.testing.assert_close(downsample2d(x, f)[:, :, 1:-1, 1:-1], torch.ones(1, 1, 2, 2))


def test_no_filter_moves_the_pixels_to_odd_places() -> None:
    expected = torch.zeros(1, 1, 4, 4)
    expected[..., 1::2, 1::2] = 4
    assert torch.equal(upsample2d(torch.ones(1, 1, 2, 2), None), expected)


def test_setup_filter() -> None:
    f = setup_filter([1, 3, 3, 1])
    np.testing.assert_allclose(f.numpy(), np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64)
    assert f.dtype == torch.float32
    long = setup_filter(np.arange(1, 9), gain=4)
    np.testing.assert_allclose(long.numpy(), np.arange(1, 9) / 36 * 2, 1e-7)
    flipped = setup_filter([[1.0, 2.0], [3.0, 4.0]], normalize=False, flip_filter=True, gain=0.5)
    assert flipped.tolist() == [[2.0, 1.5], [1.0, 0.5]]
    assert setup_filter(None).tolist() == [[1.0]]
    assert setup_filter(5, separable=True).tolist() == [1.0]
    assert setup_filter([1, 1], separable=True).tolist() == [0.5, 0.5]
    mine = torch.tensor([[1.0, 3.0]])
    setup_filter(mine)
    assert mine.tolist() == [[1.0, 3.0]]


def test_errors() -> None:
    x, f = torch.zeros(1, 2, 4, 4), torch.ones(3, 3)
    with pytest.raises(ValueError, match=r"x must have shape \(N, C, H, W\), got \[2, 4, 4\]"):
        upfirdn2d(x[0], f)
    with pytest.raises(TypeError, match="f must be a tensor, got list"):
        upfirdn2d(x, [1.0])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"f must have shape .* got \[1, 3, 3\]"):
        upfirdn2d(x, f[None])
    with pytest.raises(ValueError, match="f must be constant, got requires_grad=True"):
        upfirdn2d(x, f.clone().requires_grad_())
    with pytest.raises(ValueError, match="up must be at least 1, got 0"):
        upfirdn2d(x, f, up=0)
    with pytest.raises(TypeError, match=r"down must hold integers, got 1\.5"):
        upfirdn2d(x, f, down=1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"padding must be an integer or 1 or 2 or 4 integers"):
        upfirdn2d(x, f, padding=[1, 2, 3])
    with pytest.raises(ValueError, match=r"as large as the filter, 3 x 3, .* got 2 x 4"):
        upfirdn2d(x, f, padding=[0, 0, -1, -1])
    with pytest.raises(ValueError, match="f must have a sum other than 0"):
        setup_filter([1, -1])
    with pytest.raises(ValueError, match=r"to be separable, got \[2, 2\]"):
        setup_filter([[1, 2], [3, 4]], separable=True)
    with pytest.raises(ValueError, match=r"f must have shape .* got \[0\]"):
        setup_filter([])
