"""unary_reduce and memory: strides kept, nothing copied without need, the same bits every time."""

import pytest
import torch
from numerics import LAYOUTS, bits, generator
from ops.unary_functors import FUNCTORS
from torch import Tensor

from ganfast import ops

pytestmark = pytest.mark.compiled

DENSE = ("contiguous", "permuted", "channels_last", "unaligned")


def laid_out(layout: str, shape: tuple[int, ...] = (3, 4, 5, 2)) -> Tensor:
    return LAYOUTS[layout](torch.randn(shape, generator=generator(0))).requires_grad_()


def softplus(x: Tensor) -> Tensor:
    return ops.unary_reduce([x], "softplus", [1.0], [1.0], [0.0])


@pytest.mark.parametrize("layout", DENSE)
def test_gradients_have_the_strides_of_their_input(layout: str) -> None:
    x = laid_out(layout)
    (dx,) = torch.autograd.grad(softplus(x), x, create_graph=True)
    (ddx,) = torch.autograd.grad(dx.square().sum(), x)
    assert dx.stride() == ddx.stride() == x.stride()


def copies(x: Tensor) -> int:
    """How often the loss of x and its gradient copy a tensor."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        torch.autograd.grad(softplus(x), x)
    return sum(event.name == "aten::copy_" for event in profile.events())


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_only_tensors_with_gaps_or_overlaps_are_copied(layout: str) -> None:
    expected = 0 if layout in DENSE else 2  # once on the way forward, once on the way back
    assert copies(laid_out(layout)) == expected


def test_a_cotangent_of_other_strides_meets_its_own_element() -> None:
    x = laid_out("permuted")
    v = torch.randn(x.shape, generator=generator(1))
    (dx,) = torch.autograd.grad(softplus(x), x, create_graph=True)
    (ddx,) = torch.autograd.grad(dx, x, v, retain_graph=True)
    (same,) = torch.autograd.grad(dx, x, LAYOUTS["permuted"](v))
    assert torch.equal(ddx, same)
    s = torch.sigmoid(x.detach())
    torch.testing.assert_close(ddx, v * s * (1 - s) / x.numel())


def test_values_negated_in_the_mind_alone() -> None:
    """The imaginary part of a conjugate is a view that torch negates when it is read."""
    z = torch.randn(9, dtype=torch.complex64, generator=generator(0))
    assert z.conj().imag.is_neg()
    assert torch.equal(softplus(z.conj().imag), softplus(-z.imag))


def all_bits(f: str, x: list[Tensor]) -> list[bytes]:
    ones = [1.0] * len(x)
    loss = ops.unary_reduce(x, f, ones, ones, ones)
    grad = torch.ones((), requires_grad=True)
    dx = torch.autograd.grad(loss, x, grad, create_graph=True)
    second = torch.autograd.grad(dx, [grad, *x], [t.detach() for t in x])
    return [bits(t) for t in (loss, *dx, *second)]


@pytest.mark.parametrize("sizes", [(64, 64), (3_000_000, 1, 70_001), (4097,) * 60], ids=len)
@pytest.mark.parametrize("f", FUNCTORS)
def test_the_same_bits_every_time(f: str, sizes: tuple[int, ...], restored_threads: None) -> None:
    random = generator(0)
    x = [FUNCTORS[f].domain(torch.randn(n, generator=random)).requires_grad_() for n in sizes]
    results = []
    for threads in (1, 2, 2, 3):
        torch.set_num_threads(threads)
        results.append(all_bits(f, x))
    assert all(result == results[0] for result in results)
