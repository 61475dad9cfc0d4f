"""Convolutions against torch's own, their derivatives, and how many convolutions those take."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ganfast.stylegan import conv2d, conv_transpose2d, convolution, no_weight_gradients


class Counter(TorchDispatchMode):
    """Count the convolutions that run."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += "aten.convolution" in str(func)
        return func(*args, **(kwargs or {}))


def r1_calls(function: Callable[..., Tensor], groups: int) -> int:
    """The convolutions of the second backward of a gradient penalty."""
    x = torch.randn(2, 24, 6, 6, requires_grad=True)
    w = torch.randn(24, 24 // groups, 3, 3, requires_grad=True)
    y = function(x, w, padding=1, groups=groups)
    (dx,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    with Counter() as counter:
        dx.square().sum().backward()
    return counter.calls


def test_a_second_backward_does_not_loop_over_groups() -> None:
    for function in (conv2d, conv_transpose2d):
        calls = [r1_calls(function, groups) for groups in (1, 2, 6, 24)]
        assert set(calls) == {calls[0]}, calls
        assert calls[0] <= 6
    assert r1_calls(F.conv2d, 24) > 24  # what torch's own does, or the test counts nothing


@st.composite
def cases(draw: Callable[..., Any]) -> dict[str, Any]:
    groups = draw(st.integers(1, 3))
    case: dict[str, Any] = {
        "groups": groups,
        "kernel": (draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        "channels": (groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))),
        "size": (draw(st.integers(5, 7)), draw(st.integers(5, 7))),
        "stride": draw(st.one_of(st.integers(1, 3), st.tuples(*[st.integers(1, 3)] * 2))),
        "padding": draw(st.one_of(st.integers(0, 3), st.tuples(*[st.integers(0, 2)] * 2))),
        "dilation": draw(st.one_of(st.integers(1, 2), st.tuples(*[st.integers(1, 2)] * 2))),
        "bias": draw(st.booleans()),
        "transposed": draw(st.booleans()),
        "seed": draw(st.integers(0, 2**20)),
    }
    if case["transposed"]:
        case["output_padding"] = draw(st.integers(0, 1))
    return case


def build(case: dict[str, Any]) -> tuple[Any, Any, dict[str, Any], list[Tensor]]:
    """Our function, torch's, options, and inputs."""
    options = {name: case[name] for name in ("stride", "padding", "dilation", "groups")}
    ours, torchs = conv2d, F.conv2d
    inputs, outputs = case["channels"]
    shape = (outputs, inputs // case["groups"])
    if case["transposed"]:
        ours, torchs = conv_transpose2d, F.conv_transpose2d
        shape = (inputs, outputs // case["groups"])
        options["output_padding"] = case["output_padding"]
    generator = torch.Generator().manual_seed(case["seed"])
    shapes = [(2, inputs, *case["size"]), (*shape, *case["kernel"])]
    shapes += [(outputs,)] if case["bias"] else []
    tensors = [
        torch.randn(s, dtype=torch.float64, generator=generator).requires_grad_() for s in shapes
    ]
    return ours, torchs, options, tensors


def derivatives(
    function: Any, options: dict[str, Any], inputs: list[Tensor], orders: int
) -> list[Tensor]:
    """The value, and derivatives with nonlinear cotangents."""
    y = function(*inputs, **options)
    found = [y]
    value = y.sin().sum()
    for _ in range(orders):
        grads = torch.autograd.grad(value, inputs, create_graph=True)
        found += grads
        scaled = [g / (1 + g.detach().abs().max()) for g in grads]
        value = torch.stack([g.tanh().sum() for g in scaled]).sum()
    return [t.detach() for t in found]


@settings(max_examples=20)
@given(case=cases())
def test_values_and_derivatives_up_to_the_third(case: dict[str, Any]) -> None:
    ours, torchs, options, inputs = build(case)
    # torch's own second derivative refuses an output padding, ours does not
    orders = 1 if case.get("output_padding") else 3
    try:
        torchs(*inputs, **options)
    except RuntimeError as error:
        with pytest.raises(RuntimeError, match=re.escape(str(error)[:20])):
            ours(*inputs, **options)
        return
    expected = derivatives(torchs, options, inputs, orders)
    for got, want in zip(derivatives(ours, options, inputs, orders), expected, strict=True):
        scale = want.abs().max().item() + 1
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10 * scale)


@pytest.mark.parametrize("output_padding", [0, 1, 2])
def test_derivatives_by_differences(output_padding: int) -> None:
    """A transposed convolution whose output padding may exceed its stride."""
    torch.manual_seed(0)
    inputs = [
        torch.randn(s, dtype=torch.float64, requires_grad=True)
        for s in ((1, 4, 3, 2), (4, 1, 2, 3), (2,))
    ]

    def function(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return conv_transpose2d(x, w, b, (1, 2), 1, output_padding, groups=2, dilation=3)

    assert torch.autograd.gradcheck(function, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, inputs, fast_mode=True)


def test_no_weight_gradients() -> None:
    x, w = torch.randn(1, 2, 4, 4, requires_grad=True), torch.randn(2, 2, 3, 3, requires_grad=True)
    b = torch.randn(2, requires_grad=True)
    y = conv2d(x, w, b)
    with no_weight_gradients():
        assert convolution.weight_gradients_disabled
        dx, dw, db = torch.autograd.grad(
            y.square().sum(), [x, w, b], create_graph=True, allow_unused=True
        )
    assert not convolution.weight_gradients_disabled
    assert dw is None
    assert db is not None
    dx.square().sum().backward()  # the second derivative has them again
    assert w.grad is not None
    with no_weight_gradients(False):
        assert not convolution.weight_gradients_disabled
    with pytest.raises(KeyError), no_weight_gradients():
        raise KeyError
    assert not convolution.weight_gradients_disabled
    with no_weight_gradients(), no_weight_gradients(False):
        assert convolution.weight_gradients_disabled


@pytest.fixture
def switched_off() -> Iterator[None]:
    convolution.enabled = False
    yield
    convolution.enabled = True


@pytest.mark.usefixtures("switched_off")
def test_switched_off_it_is_torchs_own() -> None:
    assert r1_calls(conv2d, 24) > 24
    assert r1_calls(conv_transpose2d, 24) > 24


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_dtypes_and_layouts(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 8, 6, 6, dtype=dtype).to(memory_format=torch.channels_last)
    w = torch.randn(8, 4, 3, 3, dtype=dtype).to(memory_format=torch.channels_last)
    both = []
    for function in (conv2d, F.conv2d):
        xr, wr = x.detach().requires_grad_(), w.detach().requires_grad_()
        y = function(xr, wr, padding=1, groups=2)
        (dx,) = torch.autograd.grad(y.square().sum(), xr, create_graph=True)
        (dw,) = torch.autograd.grad(dx.square().sum(), wr)
        assert y.dtype == dx.dtype == dw.dtype == dtype
        for t in (y, dx):
            assert t.is_contiguous(memory_format=torch.channels_last)
        both.append((y, dx, dw))
    for got, want in zip(*both, strict=True):
        scale = want.detach().float().abs().max().item()
        torch.testing.assert_close(
            got.float(), want.float(), rtol=0, atol=8 * torch.finfo(dtype).eps * scale
        )


def test_autocast() -> None:
    """Everything runs in autocast's dtype, whether a pass is inside of it or not."""
    x, w = torch.randn(1, 4, 5, 5, requires_grad=True), torch.randn(4, 2, 3, 3, requires_grad=True)
    b = torch.randn(4, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        y = conv2d(x, w, b, groups=2)
        z = F.conv2d(x, w, b, groups=2)
    assert y.dtype == torch.bfloat16
    assert torch.equal(y, z)
    grads = [torch.autograd.grad(t.float().square().sum(), [x, w, b], create_graph=True)
             for t in (y, z)]  # fmt: skip
    for got, want in zip(*grads, strict=True):
        assert got.dtype == torch.float32
        torch.testing.assert_close(got, want, rtol=0.02, atol=0.5)
    grads[0][0].square().sum().backward()
    assert w.grad is not None
    assert w.grad.dtype == torch.float32

    full = conv2d(x, w, b, groups=2)
    with torch.autocast("cpu", torch.bfloat16):
        (dx,) = torch.autograd.grad(full.square().sum(), x, create_graph=True)
        (dw,) = torch.autograd.grad(dx.square().sum(), w, retain_graph=True)
    assert dx.dtype == dw.dtype == torch.float32
    (expected,) = torch.autograd.grad(full.square().sum(), x)
    torch.testing.assert_close(dx.detach(), expected)


def test_under_compile_and_transforms() -> None:
    x, w = torch.randn(2, 4, 5, 5), torch.randn(4, 2, 3, 3)
    expected = F.conv2d(x, w, groups=2)
    batched = torch.func.vmap(lambda t: conv2d(t[None], w, groups=2)[0])(x)
    torch.testing.assert_close(batched, expected)
    _, tangent = torch.func.jvp(lambda t: conv2d(t, w, groups=2), (x,), (x,))
    torch.testing.assert_close(tangent, expected)
    graph = torch.export.export(Grouped(), (x, w)).graph
    assert "conv2d" in str(graph)


class Grouped(torch.nn.Module):
    """A module to export."""

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        return conv2d(x, w, groups=2)


def test_empty_batches() -> None:
    w = torch.randn(4, 2, 3, 3, requires_grad=True)
    x = torch.randn(0, 4, 5, 5, requires_grad=True)
    conv2d(x, w, groups=2).square().sum().backward()
    assert w.grad is not None
    assert not w.grad.any()


def test_errors() -> None:
    x, w = torch.zeros(1, 4, 5, 5), torch.zeros(4, 2, 3, 3)
    with pytest.raises(ValueError, match=r"input must have shape \(N, C, H, W\), got \[4, 5, 5\]"):
        conv2d(x[0], w, groups=2)
    with pytest.raises(ValueError, match="input must have the 2 channels of the weight, got 4"):
        conv2d(x, w)
    with pytest.raises(ValueError, match=r"groups must be positive and divide .* 4, got 3"):
        conv2d(x, w, groups=3)
    with pytest.raises(TypeError, match="padding must hold integers, got 'same'"):
        conv2d(x, w, padding="same", groups=2)
    with pytest.raises(TypeError, match="weight must have the dtype of input"):
        conv2d(x, w.double(), groups=2)
    with pytest.raises(ValueError, match="stride must be at least 1, got 0"):
        conv_transpose2d(x, w, stride=0)
    with pytest.raises(TypeError, match="weight must be a tensor, got NoneType"):
        conv_transpose2d(x, None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="weight must have 4 axes, got shape"):
        conv_transpose2d(x, w[0])
