"""The leaky ReLU that keeps two bits for each element, with bias_act's values and gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numerics import LAYOUTS, bits, generator
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from ganfast import ops

pytestmark = pytest.mark.compiled
DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def randn(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=generator(seed)).to(dtype)


@settings(max_examples=60)
@given(
    shape=st.tuples(*[st.integers(1, n) for n in (3, 9, 70, 30)]),
    layout=st.sampled_from(["contiguous", "channels_last", "unaligned", "permuted"]),
    layout_of_v=st.sampled_from(["contiguous", "channels_last", "permuted"]),
    dtype=st.sampled_from(DTYPES),
    alpha=st.sampled_from([0.0, 0.2, 1.0, 1.5]),
    gain=st.sampled_from([0.5, 2**0.5]),
    clamp=st.sampled_from([None, 0.0, 0.7]),
    seed=st.integers(0, 999),
)
def test_the_bits_of_bias_act(
    shape: tuple[int, ...],
    layout: str,
    layout_of_v: str,
    dtype: torch.dtype,
    alpha: float,
    gain: float,
    clamp: float | None,
    seed: int,
) -> None:
    x = LAYOUTS[layout](randn(*shape, dtype=dtype, seed=seed)).detach().requires_grad_()
    v = LAYOUTS[layout_of_v](randn(*shape, dtype=dtype, seed=seed + 1))
    found = []
    for y in (
        ops.lrelu(x, alpha, gain, clamp),
        ops.bias_act(x, act="lrelu", alpha=alpha, gain=gain, clamp=clamp),
    ):
        w = v.detach().requires_grad_()
        (dx,) = torch.autograd.grad(y, x, w, create_graph=True)
        (dw,) = torch.autograd.grad(dx, w, randn(*shape, dtype=dtype, seed=seed + 2))
        found.append((bits(y), bits(dx), bits(dw)))
    assert found[0] == found[1]


def test_what_is_kept() -> None:
    x = randn(2, 3, 8, 9, dtype=torch.float32).requires_grad_()
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(kept.append, lambda t: t):  # type: ignore[func-returns-value, arg-type]
        ops.lrelu(x, 0.2, 1.0, 256.0)
    assert [t.nbytes for t in kept] == [x.numel() // 4]


@pytest.mark.parametrize("clamp", [None, 0.6])
def test_gradients(clamp: float | None) -> None:
    x = randn(2, 3, 4, 5).requires_grad_()
    assert gradcheck(lambda x: ops.lrelu(x, 0.2, 2**0.5, clamp), x)
    assert gradgradcheck(lambda x: ops.lrelu(x, 0.2, 2**0.5, clamp), x)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_ops_keep_torchs_rules(dtype: torch.dtype, layout: str) -> None:
    x = LAYOUTS[layout](randn(2, 3, 6, 5)).to(dtype).detach().requires_grad_()
    torch.library.opcheck(torch.ops.ganfast.lrelu_mask.default, (x, 0.2, 1.5, 1.0))
    _, mask = torch.ops.ganfast.lrelu_mask(x.detach(), 0.2, 1.5, 1.0)
    arguments = (x, mask, layout == "channels_last", 0.2, 1.5)
    torch.library.opcheck(torch.ops.ganfast.lrelu_masked.default, arguments)


def test_what_is_refused() -> None:
    op, x = torch.ops.ganfast.lrelu_mask, randn(2, 3, 4, 5)
    refused = (
        (x, -1.0, 1.0, None),
        (x, 0.2, 0.0, None),
        (x, 0.2, 1.0, -2.0),
        (x.long(), 0.2, 1.0, None),
    )
    for arguments in refused:
        with pytest.raises(ValueError, match="lrelu_mask: the arguments must fit"):
            op(*arguments)
    with pytest.raises(ValueError, match="lrelu_masked: the arguments must fit"):
        torch.ops.ganfast.lrelu_masked(x, torch.zeros(3, dtype=torch.uint8), False, 0.2, 1.0)
