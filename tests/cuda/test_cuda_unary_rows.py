"""unary_rows and the losses on it on a GPU."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numerics import LAYOUTS, bits, generator
from ops.rows import check_all_orders, problems
from ops.unary_functors import DTYPES, FUNCTORS
from torch import Tensor
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from ganfast import ops
from ganfast.losses import AdversarialLoss


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed)).cuda().requires_grad_()


def softplus(x: list[Tensor], sample_weight: list[Tensor | None]) -> Tensor:
    ones = [1.0] * len(x)
    return ops.unary_rows(x, "softplus", ones, ones, ones, sample_weight, (), True)


@pytest.mark.parametrize("f", FUNCTORS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@settings(max_examples=12)
@given(data=st.data())
def test_all_orders(f: str, dtype: torch.dtype, data: st.DataObject) -> None:
    check_all_orders(ops.unary_rows, data.draw(problems(f, dtype, "cuda")))


SIZES = [
    [(1_000_003,), (1_000_003, 2)],  # a thread for each sample, lanes of a warp
    [(5000, 40), (5000, 3)],
    [(3, 2_000_001), (3, 7)],  # several blocks for each sample
    [(2000, 1500)],  # a block for each sample
    [(64, 3)] * 450,  # more tensors than one launch takes
]


@pytest.mark.parametrize("shapes", SIZES, ids=lambda shapes: str(shapes[0]))
def test_the_cpus_numbers_and_the_same_bits_every_time(shapes: list[tuple[int, ...]]) -> None:
    x = [randn(*shape, seed=k) for k, shape in enumerate(shapes)]
    s = torch.rand(shapes[0][0], generator=generator(1)).cuda()
    grad = torch.rand(shapes[0][0], generator=generator(2)).cuda().requires_grad_()

    def all_orders(x: list[Tensor], s: Tensor, grad: Tensor) -> list[Tensor]:
        rows = softplus(x, [s, *[None] * (len(x) - 1)])
        dx = torch.autograd.grad(rows, x, grad, create_graph=True)
        second = torch.autograd.grad(dx, [grad, *x], [t.detach() for t in x])
        return [rows, *dx, *second]

    first = all_orders(x, s, grad)
    assert [bits(t) for t in all_orders(x, s, grad)] == [bits(t) for t in first]
    on_cpu = [t.detach().cpu().requires_grad_() for t in [*x, grad]]
    for got, expected in zip(first, all_orders(on_cpu[:-1], s.cpu(), on_cpu[-1]), strict=True):
        torch.testing.assert_close(got.cpu(), expected, rtol=2e-6, atol=1e-6 * float(s.max()))


@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "unaligned"])
def test_gradients_have_the_strides_of_their_input(layout: str) -> None:
    x = LAYOUTS[layout](randn(3, 4, 5, 2).detach()).requires_grad_()
    (dx,) = torch.autograd.grad(softplus([x], [None]).sum(), x)
    assert dx.stride() == x.stride()


def launches(run: Callable[[], object]) -> list[str]:
    """The names of this family's kernels that a call starts."""
    run()  # so that nothing is set up for the first time
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiled:
        run()
        torch.cuda.synchronize()
    return [
        e.name
        for e in profiled.events()
        if e.device_type == DeviceType.CUDA and "unary_rows" in e.name
    ]


@pytest.mark.parametrize("maps", [1, 8])
def test_launches_of_a_discriminator_loss(maps: int) -> None:
    """One each way; one more each way for the sums of the weights."""
    real, fake = ([randn(16, 100 + k, seed=k) for k in range(maps)] for _ in range(2))
    s = torch.rand(16, generator=generator(1)).cuda()
    rows, mean = AdversarialLoss(reduction="none"), AdversarialLoss()
    for loss, count in (
        (lambda: rows.discriminator(real, fake), 1),
        (lambda: mean.discriminator(real, fake, real_weight=s, fake_weight=s), 2),
    ):
        assert len(launches(loss)) == count
        value = loss().sum()
        gradients = launches(lambda v=value: torch.autograd.grad(v, real + fake, retain_graph=True))
        assert len(gradients) == count


@pytest.mark.parametrize("shapes", SIZES, ids=lambda shapes: str(shapes[0]))
def test_statistics_are_the_cpus(shapes: list[tuple[int, ...]]) -> None:
    x = [randn(*shape, seed=k).detach() for k, shape in enumerate(shapes)]
    s = torch.rand(shapes[0][0], generator=generator(1)).cuda()
    ones = [1.0] * len(x)

    def both(x: list[Tensor], s: Tensor) -> tuple[Tensor, Tensor]:
        weights = [s, *[None] * (len(x) - 1)]
        return ops.unary_rows_stats(x, "softplus", ones, ones, ones, weights, (), True, 0.5)

    first = both(x, s)
    assert [bits(t) for t in both(x, s)] == [bits(t) for t in first]
    for got, expected in zip(first, both([xk.cpu() for xk in x], s.cpu()), strict=True):
        torch.testing.assert_close(got.cpu(), expected, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize(("samples", "count"), [(4, 1), (64, 1), (1000, 2)])
def test_launches_of_statistics(samples: int, count: int) -> None:
    """Of this family one, and one to add up what several blocks have."""
    real, fake = randn(samples), randn(samples, seed=1)
    loss = AdversarialLoss(reduction="none")
    assert len(launches(lambda: loss.discriminator(real, fake, stats=True))) == count


def test_a_graph_is_captured_and_replayed() -> None:
    x, s = [randn(300), randn(300, 50, seed=1)], torch.rand(300, generator=generator(2)).cuda()

    def step() -> list[Tensor]:
        rows = softplus(x, [s, s])
        return [rows.detach(), *torch.autograd.grad(rows.sum(), x)]

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    with torch.no_grad():
        for t in [*x, s]:
            t.mul_(1.5)
    graph.replay()
    replayed = [bits(t) for t in captured]
    assert replayed == [bits(t) for t in step()]
