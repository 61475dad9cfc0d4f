"""The compiled convolution against torch's in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ganfast import ops
from ganfast.features.packed import Packed

pytestmark = [
    pytest.mark.compiled,
    pytest.mark.skipif(not ops.convolution_serves(), reason="not the CPU that it is written for"),
]
LAST = torch.channels_last


def drawn(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def exact(x, weight, bias, stride, padding, linear):
    y = torch.nn.functional.conv2d(x.double(), weight.double(), bias.double(), stride, padding)
    channels = y.shape[1] - linear
    return torch.cat([y[:, :channels].relu(), y[:, channels:]], 1)


@given(
    n=st.integers(1, 3),
    channels=st.sampled_from([1, 3, 8, 24]),
    out=st.integers(1, 40),
    size=st.tuples(st.integers(1, 14), st.integers(1, 14)),
    kernel=st.sampled_from([(1, 1), (3, 3), (5, 5), (1, 3), (3, 1), (1, 7), (7, 1), (2, 3)]),
    stride=st.integers(1, 2),
    padded=st.booleans(),
    linear=st.integers(0, 3),
    sliced=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=150)
def test_equals_torch(n, channels, out, size, kernel, stride, padded, linear, sliced, seed):
    padding = (kernel[0] // 2, kernel[1] // 2) if padded else (0, 0)
    if any(s + 2 * p < k for s, p, k in zip(size, padding, kernel, strict=True)):
        return
    linear = min(linear, out)
    weight, bias = drawn(seed, out, channels, *kernel), drawn(seed + 1, out)
    whole = drawn(seed + 2, n, channels + 5, *size).contiguous(memory_format=LAST)
    x = whole[:, 2 : 2 + channels] if sliced else whole[:, :channels].contiguous(memory_format=LAST)
    want = exact(x, weight, bias, stride, padding, linear)
    packed = Packed(weight, bias, stride, padding, linear)
    room = torch.full((n, out + 4, *want.shape[2:]), 7.0).contiguous(memory_format=LAST)
    got = packed(x, room[:, 3 : 3 + out] if sliced else None)
    # Winograd's transforms sum up numbers that are larger than the result.
    scale = float(exact(x.abs(), weight.abs(), bias.abs(), stride, padding, 0).max())
    torch.testing.assert_close(got.double(), want, rtol=0, atol=1e-5 * scale)
    if sliced:
        assert (room[:, :3] == 7).all()
        assert (room[:, 3 + out :] == 7).all()


def test_nan_comes_through():
    x = torch.zeros(1, 8, 9, 9).contiguous(memory_format=LAST)
    x[0, 0, 4, 4] = torch.nan
    for kernel in (1, 3):
        packed = Packed(torch.ones(3, 8, kernel, kernel), torch.zeros(3), 1, (kernel // 2,) * 2, 0)
        assert packed(x, None)[0, :, 4, 4].isnan().all()


def test_what_does_not_fit_is_refused():
    packed = Packed(torch.ones(3, 8, 3, 3), torch.zeros(3), 1, (1, 1), 0)
    x = torch.zeros(2, 8, 5, 5).contiguous(memory_format=LAST)
    with pytest.raises(TypeError, match="x must have dtype float32, got Double"):
        packed(x.double(), None)
    with pytest.raises(ValueError, match="x must have its channels side by side"):
        packed(x.contiguous(), None)
    with pytest.raises(ValueError, match="out does not fit x"):
        packed(x, torch.zeros(2, 3, 4, 5).contiguous(memory_format=LAST))
    with pytest.raises(ValueError, match="bias must have shape"):
        packed(x, torch.zeros(2, 20, 5, 5).contiguous(memory_format=LAST))


def test_no_gradients_pass():
    x = torch.zeros(1, 8, 5, 5, requires_grad=True).contiguous(memory_format=LAST)
    packed = Packed(torch.ones(3, 8, 3, 3), torch.zeros(3), 1, (1, 1), 0)
    with pytest.raises(RuntimeError):
        packed(x, None).sum().backward()


def test_opcheck():
    packed = Packed(drawn(0, 3, 8, 3, 3), drawn(1, 3), 1, (1, 1), 0)
    x, out = drawn(2, 2, 8, 5, 5), torch.zeros(2, 3, 5, 5)
    tensors = [t.contiguous(memory_format=LAST) for t in (out, x)]
    weights = packed.weight, packed.bias, packed.lower
    torch.library.opcheck(
        torch.ops.ganfast.convolution_.default,
        (*tensors, *weights, packed.kernel, packed.stride, packed.padding, packed.tile),
    )
