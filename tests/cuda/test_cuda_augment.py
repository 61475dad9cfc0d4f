"""augment and DiffAugment on a GPU."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numerics import LAYOUTS, bits, generator
from ops.augmented import ALL, DTYPES, PIECES, augment_plainly, check, problems
from torch import Tensor
from torch.autograd import DeviceType, gradcheck, gradgradcheck
from torch.profiler import ProfilerActivity, profile

from ganfast import ops
from ganfast.augment import AdaptiveAugment, DiffAugment, draw

POLICY = "color,translation,cutout"


def randn(*shape: int, layout: str = "contiguous") -> Tensor:
    x = torch.randn(shape, generator=generator(0)).cuda()
    return LAYOUTS[layout](x).detach().requires_grad_()


@pytest.mark.parametrize("pieces", PIECES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@settings(max_examples=8)
@given(data=st.data())
def test_values_and_gradients(
    pieces: tuple[bool, ...], dtype: torch.dtype, data: st.DataObject
) -> None:
    problem = data.draw(problems(dtype, "cuda"))
    check(problem, ops.augment(problem.x, problem.u, *pieces), pieces)


@pytest.mark.parametrize("pieces", PIECES[1:])
def test_gradcheck(pieces: tuple[bool, ...]) -> None:
    x, u = randn(3, 2, 5, 4).detach().double().requires_grad_(), draw(3, "cuda")
    assert gradcheck(lambda x: ops.augment(x, u, *pieces), x)
    assert gradgradcheck(lambda x: ops.augment(x, u, *pieces), x)


@pytest.mark.parametrize("shape", [(64, 3, 64, 64), (1, 3, 500, 301), (2000, 1, 28, 28)], ids=str)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_images_of_many_blocks(layout: str, shape: tuple[int, ...]) -> None:
    x, u = randn(*shape, layout=layout), draw(shape[0], "cuda")
    y = ops.augment(x, u, *ALL)
    expected = augment_plainly(x.detach().double().cpu(), u, *ALL)
    torch.testing.assert_close(y.detach().double().cpu(), expected, rtol=2e-6, atol=2e-6)
    assert layout == "contiguous" or shape[1] == 1 or y.stride() == x.stride()


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_the_same_bits_every_time(layout: str) -> None:
    x, u = randn(7, 3, 100, 100, layout=layout), draw(7, "cuda")

    def all_bits() -> tuple[bytes, bytes]:
        y = ops.augment(x, u, *ALL)
        return bits(y), bits(torch.autograd.grad(y, x, x)[0])

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


@pytest.mark.parametrize("channels_first", [True, False])
@pytest.mark.parametrize(
    ("policy", "kernels"), [(POLICY, 2), ("color", 2), ("translation,cutout", 1)]
)
def test_launches(policy: str, kernels: int, channels_first: bool) -> None:
    x = randn(64, 3, 64, 64) if channels_first else randn(64, 64, 64, 3)
    forward = launches(lambda: DiffAugment(x, policy, channels_first))
    assert len(forward) == 1 + kernels, forward  # the drawing is one
    y, v = DiffAugment(x, policy, channels_first), torch.randn_like(x)
    backward = launches(lambda: torch.autograd.grad(y, x, v, retain_graph=True))
    assert len(backward) == kernels, backward


def test_nothing_waits_for_the_gpu() -> None:
    x, adaptive = randn(64, 3, 64, 64), AdaptiveAugment(interval=2, p=0.5).cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(2):
            y = adaptive(x)
            adaptive.update(y.mean((1, 2, 3)))
            torch.autograd.grad(y, x, x)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_in_a_cuda_graph() -> None:
    x, u = randn(8, 3, 64, 64), draw(8, "cuda")

    def step() -> tuple[Tensor, Tensor]:
        y = ops.augment(x, u, *ALL)
        return y, torch.autograd.grad(y, x, x)[0]

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y, dx = step()
    with torch.no_grad():
        x.mul_(2)
        u.copy_(draw(8, "cuda"))
    graph.replay()
    for captured, expected in zip((y, dx), step(), strict=True):
        assert torch.equal(captured, expected)
