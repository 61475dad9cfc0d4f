"""The convolutions of DCGAN against torch's own, forward, backward and twice backward."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ganfast.models.convolution import Doubling, Halving


def pair(kind, inner, outer, dtype=torch.float64):
    own = kind(inner, outer, bias=False).to(dtype)
    base = nn.Conv2d if kind is Halving else nn.ConvTranspose2d
    theirs = base(inner, outer, 4, stride=2, padding=1, bias=False).to(dtype)
    theirs.load_state_dict(own.state_dict())
    return own, theirs


@pytest.mark.parametrize("kind", [Halving, Doubling])
@given(
    sizes=st.tuples(*(st.integers(1, 4),) * 5),
    layout=st.sampled_from([torch.contiguous_format, torch.channels_last]),
)
def test_values_and_gradients_are_those_of_torch(kind, sizes, layout):
    n, inner, outer, height, width = sizes
    torch.manual_seed(sum(sizes))
    scale = 2 if kind is Halving else 1
    x = torch.randn(n, inner, scale * height, scale * width, dtype=torch.float64)
    x = x.to(memory_format=layout).requires_grad_()
    results = []
    for module in pair(kind, inner, outer):
        module.to(memory_format=layout)
        y = module(x)
        wanted = [x, module.weight]
        first = torch.autograd.grad(y.pow(3).sum(), wanted, create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in first), wanted)
        results.append([y, *first, *second])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", [Halving, Doubling])
def test_double_backward(kind):
    torch.manual_seed(0)
    own, _ = pair(kind, 2, 3)
    x = torch.randn(2, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    name = "_Halved" if kind is Halving else "_Doubled"
    assert name in type(own(x).grad_fn).__name__
    assert torch.autograd.gradgradcheck(own, x)


@pytest.mark.parametrize("kind", [Halving, Doubling])
def test_only_what_is_wanted_has_a_gradient(kind):
    own, _ = pair(kind, 2, 3, torch.float32)
    x = torch.randn(2, 2, 4, 4)
    own(x).sum().backward()
    assert x.grad is None
    own.requires_grad_(False)
    own.weight.grad = None
    x.requires_grad_()
    own(x).sum().backward()
    assert own.weight.grad is None
    assert x.grad is not None


@pytest.mark.parametrize("kind", [Halving, Doubling])
def test_transforms_tracing_and_other_shapes_are_left_to_torch(kind):
    own, theirs = pair(kind, 2, 3)
    x = torch.randn(2, 2, 4, 4, dtype=torch.float64)
    grads = [torch.func.grad(lambda x, m=m: m(x).square().sum())(x) for m in (own, theirs)]
    assert torch.equal(*grads)
    assert torch.equal(torch.func.vmap(own)(x), theirs(x))
    assert torch.equal(torch.jit.trace(own, x)(x), theirs(x))
    for other in (x[0], x[:, :, :3, :3]):
        results = []
        for module in (own, theirs):
            y = module(other)
            results.append((y, *torch.autograd.grad(y.square().sum(), module.weight)))
        for a, b in zip(*results, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", [Halving, Doubling])
def test_autocast_and_large_maps_are_left_to_torch(kind):
    own, theirs = pair(kind, 2, 3, torch.float32)
    x = torch.randn(2, 2, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(own(x), theirs(x))
        assert own(x).dtype == torch.bfloat16
    large = torch.randn(2, 2, 12, 12)
    assert torch.equal(own(large), theirs(large))
    assert "Halved" not in type(own(large).grad_fn).__name__
