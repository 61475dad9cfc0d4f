"""pair_reduce and the losses on it on a GPU."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numerics import LAYOUTS, bits, generator
from ops.pair_functors import (
    FUNCTORS,
    REDUCTIONS,
    check_all_orders,
    derivatives,
    problems,
    reduce_plainly,
)
from ops.unary_functors import DTYPES
from torch import Tensor
from torch.autograd import DeviceType, gradcheck, gradgradcheck
from torch.profiler import ProfilerActivity, profile

from ganfast import ops
from ganfast.losses import Balancer, adaptive_weight_loss, feature_matching

each_functor = pytest.mark.parametrize("h", FUNCTORS)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
each_reduction = pytest.mark.parametrize("per_pair", REDUCTIONS.values(), ids=REDUCTIONS)


def randn(*shape: int, seed: int = 0, requires_grad: bool = True) -> Tensor:
    return torch.randn(*shape, generator=generator(seed)).cuda().requires_grad_(requires_grad)


def lists(sizes: tuple[int, ...]) -> tuple[list[Tensor], list[Tensor]]:
    return [randn(n, seed=n) for n in sizes], [randn(n, seed=n + 1) for n in sizes]


@each_functor
@each_dtype
@settings(max_examples=12)
@given(data=st.data())
def test_all_orders(h: str, dtype: torch.dtype, data: st.DataObject) -> None:
    check_all_orders(ops.pair_reduce, data.draw(problems(h, dtype, "cuda")))


@each_reduction
@each_functor
def test_gradcheck(h: str, per_pair: bool) -> None:
    t = [
        randn(*s, seed=k).detach().double().requires_grad_() for k in (0, 1) for s in ((5,), (2, 3))
    ]

    def loss(*t: Tensor) -> Tensor:
        return ops.pair_reduce(t[:2], t[2:], h, [1.0, -2.0], [1.0, 0.5], [0.25, 1.0], per_pair)

    assert gradcheck(loss, t)
    assert gradgradcheck(loss, t)


@each_dtype
@pytest.mark.parametrize("value", [float("inf"), -float("inf"), float("nan"), 1e4, -1e4])
@each_functor
def test_extreme_values_go_through_as_in_plain_torch(
    h: str, value: float, dtype: torch.dtype
) -> None:
    x, y = (torch.tensor(v, dtype=dtype, device="cuda") for v in (value, 0.5))
    for got, plain in zip(
        derivatives(ops.pair_reduce, x, y, h, 1.0),
        derivatives(reduce_plainly, x, y, h, 1.0),
        strict=True,
    ):
        torch.testing.assert_close(got, plain, rtol=1e-6, atol=0, equal_nan=True)


@pytest.mark.parametrize("of_y", sorted(LAYOUTS))
@pytest.mark.parametrize("of_x", sorted(LAYOUTS))
def test_pairs_of_any_strides(of_x: str, of_y: str) -> None:
    x, y = (
        LAYOUTS[layout](randn(3, 4, 5, 2, seed=k).detach()).requires_grad_()
        for k, layout in enumerate((of_x, of_y))
    )
    gradients = torch.autograd.grad(ops.pair_reduce([x], [y], "l1", [2.0], [0.0], [0.0]), [x, y])
    expected = 2 * (x - y).sign() / x.numel()
    torch.testing.assert_close(gradients, (expected, -expected))


@each_reduction
@each_functor
@pytest.mark.parametrize(
    "sizes", [(64, 64), (17_000_000, 1, 70_001), (4097,) * 60, (33,) * 450], ids=len
)
def test_the_same_bits_every_time(h: str, sizes: tuple[int, ...], per_pair: bool) -> None:
    x, y = lists(sizes)
    ones = [1.0] * len(x)

    def all_bits() -> list[bytes]:
        loss = ops.pair_reduce(x, y, h, ones, ones, ones, per_pair)
        grad = torch.ones_like(loss, requires_grad=True)
        dx = torch.autograd.grad(loss, [*x, *y], grad, create_graph=True)
        second = torch.autograd.grad(dx, [grad, *x, *y], [t.detach() for t in (*y, *x)])
        return [bits(t) for t in (loss, *dx, *second)]

    first = all_bits()
    assert all(all_bits() == first for _ in range(3))


def launches(run: Callable[[], object]) -> list[str]:
    """The names of what a call starts on the GPU: kernels, copies and fills."""
    run()  # so that nothing is set up for the first time
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiled:
        run()
        torch.cuda.synchronize()
    return [event.name for event in profiled.events() if event.device_type == DeviceType.CUDA]


def launches_of(loss: Callable[[], Tensor], inputs: list[Tensor]) -> tuple[list[str], list[str]]:
    """What the loss starts on its way forward, and what on its way back."""
    value = loss()
    one = torch.ones_like(value)
    backward = launches(lambda: torch.autograd.grad(value, inputs, one, retain_graph=True))
    return launches(loss), backward


def features(discriminators: int, layers: int) -> list[list[Tensor]]:
    return [
        [randn(2, 32 + k, 50 + d, seed=k * d) for k in range(layers)] for d in range(discriminators)
    ]


def test_two_launches_forward_and_one_back_for_54_maps() -> None:
    real, fake = features(9, 6), features(9, 6)
    inputs = [x for maps in fake for x in maps]
    forward, backward = launches_of(lambda: feature_matching(real, fake, weight=2.0), inputs)
    assert len(forward) <= 2, forward
    assert len(backward) == 1, backward


@pytest.mark.parametrize("per_pair", [False, True])
def test_few_launches_for_two_hundred_pairs(per_pair: bool) -> None:
    x, y = lists(tuple(1000 + 37 * k for k in range(200)))
    ones = [1.0] * 200
    forward, backward = launches_of(
        lambda: ops.pair_reduce(x, y, "l1", ones, ones, ones, per_pair), [*x, *y]
    )
    assert len(forward) <= 2, forward
    assert len(backward) == 1, backward


def test_one_launch_each_way_for_a_small_pair() -> None:
    x, y = randn(64, 1), randn(64, 1, seed=1)
    forward, backward = launches_of(
        lambda: ops.pair_reduce([x], [y], "softplus", [1.0], [-1.0], [0.0]), [x, y]
    )
    assert len(forward) == 1, forward
    assert len(backward) == 1, backward


def test_the_host_waits_for_nothing() -> None:
    real, fake = features(2, 3), features(2, 3)
    flat = [x for maps in fake for x in maps]
    layer = torch.eye(8, device="cuda", requires_grad=True)
    x = randn(4, 8, requires_grad=False)
    balancer = Balancer({"a": 1.0, "b": 2.0}).cuda()
    scaler = torch.amp.GradScaler("cuda")
    scaler.scale(torch.ones((), device="cuda"))  # makes its factor on the device
    torch.cuda.set_sync_debug_mode("error")
    try:
        for kind in ("l1", "l2", "relative_l1"):
            dx = torch.autograd.grad(feature_matching(real, fake, kind), flat, create_graph=True)
            torch.autograd.grad([d.square().sum() for d in dx], flat, allow_unused=True)
        output = x @ layer
        nll, g = output.abs().mean(), output.square().mean()
        adaptive_weight_loss(nll, g, output, layer, scaler=scaler)[0].backward()
        output = x @ layer
        balancer({"a": output.abs().mean(), "b": output.sin().mean()}, output, scaler).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@each_reduction
@pytest.mark.parametrize("count", [2, 200, 450])
def test_a_graph_is_captured_and_replayed(count: int, per_pair: bool) -> None:
    """All three orders; 450 pairs are more than one launch takes."""
    x, y = lists(tuple(300 + k for k in range(count)))
    numbers = [1.0] * count
    grad = torch.ones((count,) if per_pair else (), device="cuda", requires_grad=True)

    def step() -> list[Tensor]:
        loss = ops.pair_reduce(x, y, "softplus", numbers, numbers, numbers, per_pair)
        dx = torch.autograd.grad(loss, [*x, *y], grad, create_graph=True)
        second = torch.autograd.grad(dx, [grad, *x, *y], [t.detach() for t in (*y, *x)])
        return [loss.detach(), *(d.detach() for d in dx), *second]

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step()
    torch.cuda.current_stream().wait_stream(side)

    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    for seed in (1, 2):
        with torch.no_grad():
            for k, t in enumerate((*x, *y)):
                t.copy_(randn(t.numel(), seed=1000 * seed + k))
        graph.replay()
        replayed = [bits(t) for t in captured]
        assert replayed == [bits(t) for t in step()]


def test_pairs_on_two_devices_are_refused() -> None:
    with pytest.raises(ValueError, match=r"y\[0\] must have the device of x\[0\], cuda:0, got cpu"):
        ops.pair_reduce([randn(3)], [torch.ones(3)], "l1", [1.0], [0.0], [0.0])
    with pytest.raises(ValueError, match=r"y\[0\] must have the device of x\[0\], cpu, got cuda"):
        ops.pair_reduce([torch.ones(3)], [randn(3)], "l1", [1.0], [0.0], [0.0])


@pytest.mark.slow
def test_more_elements_than_32_bits_count() -> None:
    n = 2**31 + 4099
    if torch.cuda.mem_get_info()[0] < 14 * 2**30:
        pytest.skip("needs 13 GB of GPU memory")
    x, y = (torch.zeros(n, dtype=torch.bfloat16, device="cuda") for _ in "xy")
    far = torch.tensor([2**31 - 1, 2**31 + 1, n - 1], device="cuda")
    x[far] = torch.tensor([1.0, 2.0, 4.0], dtype=x.dtype, device="cuda")
    x.requires_grad_()
    assert ops.pair_reduce([x], [y], "l1", [n], [0.0], [0.0]) == 7
    (dx,) = torch.autograd.grad(ops.pair_reduce([x], [y], "square", [n], [0.0], [0.0]), x)
    assert dx[far].tolist() == [2, 4, 8]
