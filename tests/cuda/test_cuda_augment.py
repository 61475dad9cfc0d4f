"""augment and DiffAugment on a GPU."""

import pytest
import torch
from launches import captured, launches
from numerics import LAYOUTS, bits, generator
from ops.augmented import ALL, augment_plainly
from ops.test_augment_op import test_gradcheck, test_values_and_gradients  # noqa: F401
from torch import Tensor

from ganfast import ops
from ganfast.augment import AdaptiveAugment, DiffAugment, draw

POLICY = "color,translation,cutout"


def randn(*shape: int, layout: str = "contiguous") -> Tensor:
    x = torch.randn(shape, generator=generator(0)).cuda()
    return LAYOUTS[layout](x).detach().requires_grad_()


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

    def step() -> list[Tensor]:
        y = ops.augment(x, u, *ALL)
        return [y, *torch.autograd.grad(y, x, x)]

    graph, made = captured(step)
    with torch.no_grad():
        x.mul_(2)
        u.copy_(draw(8, "cuda"))
    graph.replay()
    for got, expected in zip(made, step(), strict=True):
        assert torch.equal(got, expected)
