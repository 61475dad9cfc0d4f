"""norm_reduce on a GPU."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numerics import bits, generator
from ops.norms import CASES, PHIS, check_all_orders, problems
from torch import Tensor
from torch.autograd import DeviceType, gradcheck, gradgradcheck
from torch.profiler import ProfilerActivity, profile

from ganfast import ops

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def randn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=generator(0)).cuda().requires_grad_()


@pytest.mark.parametrize(("phi", "a", "b", "pixel"), CASES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@settings(max_examples=6)
@given(data=st.data())
def test_all_orders(
    phi: str, a: float, b: float, pixel: bool, dtype: torch.dtype, data: st.DataObject
) -> None:
    check_all_orders(ops.norm_reduce, data.draw(problems(dtype, "cuda")), phi, a, b, pixel)


@pytest.mark.parametrize(("phi", "a", "b", "pixel"), CASES)
def test_gradcheck(phi: str, a: float, b: float, pixel: bool) -> None:
    g = [randn(3, c, 2, 2).detach().double().requires_grad_() for c in (2, 1)]

    def loss(*g: Tensor) -> Tensor:
        return ops.norm_reduce(g, phi, 2.5, a, b, pixel)

    assert gradcheck(loss, g)
    assert gradgradcheck(loss, g)


@pytest.mark.parametrize("phi", PHIS)
def test_zero_gradients_give_zero(phi: str) -> None:
    g = torch.zeros(4, 5, device="cuda", requires_grad=True)
    loss = ops.norm_reduce([g], phi, 1.0, 0.4)
    (dg,) = torch.autograd.grad(loss, g, create_graph=True)
    (second,) = torch.autograd.grad(dg, g, torch.ones_like(g), allow_unused=True)
    assert loss.isfinite()
    assert dg.count_nonzero() == 0
    assert second is None or second.isfinite().all()


@pytest.mark.parametrize("pixel", [False, True])
def test_the_same_bits_every_time(pixel: bool) -> None:
    g = randn(7, 3, 100, 100)

    def all_bits() -> list[bytes]:
        loss = ops.norm_reduce([g], "centred", 10.0, 1.0, 0.0, pixel)
        (dg,) = torch.autograd.grad(loss, g, create_graph=True)
        (second,) = torch.autograd.grad(dg, g, g.detach())
        return [bits(x) for x in (loss, dg, second)]

    first = all_bits()
    assert all(all_bits() == first for _ in range(3))


def launches(run) -> list[str]:
    """The names of what a call starts on the GPU: kernels, copies and fills."""
    run()  # so that nothing is set up for the first time
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiled:
        run()
        torch.cuda.synchronize()
    return [event.name for event in profiled.events() if event.device_type == DeviceType.CUDA]


@pytest.mark.parametrize(
    ("phi", "pixel"), [(phi, pixel) for phi, _, _, pixel in dict.fromkeys(CASES)]
)
def test_two_launches_forward_and_one_backward(phi: str, pixel: bool) -> None:
    g = randn(64, 3, 64, 64)
    one = torch.ones((), device="cuda")
    forward = launches(lambda: ops.norm_reduce([g], phi, 10.0, 1.0, 0.0, pixel))
    loss = ops.norm_reduce([g], phi, 10.0, 1.0, 0.0, pixel)
    backward = launches(lambda: torch.autograd.grad(loss, g, one, retain_graph=True))
    assert len(forward) <= 2, forward
    assert len(backward) == 1, backward


def test_nothing_waits_for_the_gpu() -> None:
    g = randn(64, 3, 64, 64)
    torch.cuda.set_sync_debug_mode("error")
    try:
        torch.autograd.grad(ops.norm_reduce([g], "centred", 10.0, 1.0), g)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_in_a_cuda_graph() -> None:
    g = randn(64, 3, 16, 16)

    def step() -> tuple[Tensor, Tensor]:
        loss = ops.norm_reduce([g], "centred", 10.0, 1.0)
        return loss, torch.autograd.grad(loss, g)[0]

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss, dg = step()
    with torch.no_grad():
        g.mul_(2)
    graph.replay()
    for captured, expected in zip((loss, dg), step(), strict=True):
        assert torch.equal(captured, expected)
