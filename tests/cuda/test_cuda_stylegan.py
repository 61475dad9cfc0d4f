"""bias_act, lrelu_mask and upfirdn2d on a GPU."""

from collections.abc import Callable

import pytest
import torch
from launches import captured
from numerics import LAYOUTS, bits, exact, generator
from ops import resampled
from ops.test_bias_act import test_gradcheck as test_gradcheck_of_bias_act  # noqa: F401
from ops.test_bias_act import test_values_and_gradients as test_bias_act  # noqa: F401
from ops.test_upfirdn2d import test_gradcheck as test_gradcheck_of_upfirdn2d  # noqa: F401
from ops.test_upfirdn2d import test_values_and_gradients as test_upfirdn2d  # noqa: F401
from torch import Tensor

from ganfast import ops

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
RESAMPLED = [
    ((2, 2), (1, 1), (2, 1, 2, 1), False, 4.0),
    ((1, 1), (2, 2), (1, 1, 1, 1), False, 1.0),
    ((1, 1), (1, 1), (2, 2, 2, 2), False, 1.0),
    ((3, 2), (2, 1), (-1, 4, 4, 2), True, 1.0),
]
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
each_layout = pytest.mark.parametrize("layout", ["contiguous", "channels_last"])


def randn(*shape: int, layout: str = "contiguous", seed: int = 0) -> Tensor:
    x = torch.randn(shape, generator=generator(seed)).cuda()
    return LAYOUTS[layout](x).detach().requires_grad_()


def binomial() -> Tensor:
    f = torch.tensor([1.0, 3.0, 3.0, 1.0])
    return (torch.outer(f, f) / 64).cuda()


@pytest.mark.parametrize("shape", [(4, 33, 130, 127), (64, 512, 4, 4), (70000, 3, 1, 1)], ids=str)
@each_layout
def test_many_blocks_share_a_channel(layout: str, shape: tuple[int, ...]) -> None:
    x, b = randn(*shape, layout=layout), randn(shape[1], seed=1)
    y = ops.bias_act(x, b, act="lrelu")
    _, db = torch.autograd.grad(y, (x, b), x)
    v = exact(x).reshape(shape) + exact(b).reshape(-1, 1, 1)
    wanted = 2**0.5 * ((v > 0) + 0.2 * (v <= 0)) * exact(x).reshape(shape)
    size = torch.from_numpy(abs(wanted).sum((0, 2, 3)).astype("float64"))
    error = db.double().cpu() - torch.from_numpy(wanted.sum((0, 2, 3)).astype("float64"))
    assert (error.abs() <= 4e-6 * size).all()


@pytest.mark.parametrize("options", RESAMPLED)
@pytest.mark.parametrize("shape", [(2, 3, 257, 190), (1, 70, 65, 66)], ids=str)
@each_layout
def test_images_of_many_blocks(
    layout: str, shape: tuple[int, ...], options: resampled.Options
) -> None:
    x, f = randn(*shape, layout=layout), binomial()
    wanted = resampled.resample(exact(x).reshape(shape), exact(f).reshape(4, 4), *options)
    y = ops.upfirdn2d(x, f, *options)
    error = y.detach().double().cpu() - torch.from_numpy(wanted.astype("float64"))
    assert error.abs().max() <= 4e-6 * abs(options[-1]) * 4


def _steps(layout: str) -> list[Callable[[], list[Tensor]]]:
    x, b, f = randn(8, 16, 40, 40, layout=layout), randn(16, seed=1), binomial()

    def activated() -> list[Tensor]:
        y = ops.bias_act(x, b, act="lrelu", clamp=1.0)
        return [y, *torch.autograd.grad(y, (x, b), x)]

    def moved() -> list[Tensor]:
        y = ops.upfirdn2d(x, f, *RESAMPLED[0])
        return [y, *torch.autograd.grad(y.square().sum(), x)]

    return [activated, moved]


@each_layout
def test_the_same_bits_every_time(layout: str) -> None:
    for step in _steps(layout):
        first = [bits(t) for t in step()]
        assert all([bits(t) for t in step()] == first for _ in range(3))


@each_layout
def test_nothing_waits_for_the_gpu(layout: str) -> None:
    steps = _steps(layout)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step in steps:
            step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_in_a_cuda_graph() -> None:
    for step in _steps("contiguous"):
        graph, made = captured(step)
        graph.replay()
        for got, wanted in zip(made, step(), strict=True):
            assert torch.equal(got, wanted)


@each_layout
@each_dtype
@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (2, 3, 64, 66)], ids=str)
def test_lrelu_with_a_mask(shape: tuple[int, ...], dtype: torch.dtype, layout: str) -> None:
    x = LAYOUTS[layout](randn(*shape).detach().to(dtype)).detach().requires_grad_()
    v, found = randn(*shape, seed=1).detach().to(dtype), []
    for y in (
        ops.lrelu(x, 0.2, 2**0.5, 0.7),
        ops.bias_act(x, act="lrelu", alpha=0.2, gain=2**0.5, clamp=0.7),
    ):
        found.append((bits(y), bits(torch.autograd.grad(y, x, v)[0])))
    assert found[0] == found[1]
