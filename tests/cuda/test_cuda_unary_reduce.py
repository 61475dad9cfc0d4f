"""unary_reduce and the losses on it on a GPU."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numerics import LAYOUTS, bits, generator
from ops.unary_functors import (
    DTYPES,
    FUNCTORS,
    check_all_orders,
    derivatives,
    problems,
    reduce_plainly,
)
from torch import Tensor
from torch.autograd import DeviceType, gradcheck, gradgradcheck
from torch.profiler import ProfilerActivity, profile

from ganfast import ops
from ganfast.losses import AdversarialLoss, discriminator_loss

each_functor = pytest.mark.parametrize("f", FUNCTORS)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed)).cuda().requires_grad_()


def softplus(x: list[Tensor]) -> Tensor:
    return ops.unary_reduce(x, "softplus", [1.0] * len(x), [1.0] * len(x), [0.0] * len(x))


@each_functor
@each_dtype
@settings(max_examples=12)
@given(data=st.data())
def test_all_orders(f: str, dtype: torch.dtype, data: st.DataObject) -> None:
    check_all_orders(ops.unary_reduce, data.draw(problems(f, dtype, "cuda")))


@each_functor
def test_gradcheck(f: str) -> None:
    domain = FUNCTORS[f].domain
    x = [domain(randn(*shape).double()).detach().requires_grad_() for shape in ((5,), (2, 3))]

    def loss(*x: Tensor) -> Tensor:
        return ops.unary_reduce(x, f, [1.0, -2.0], [1.0, 0.5], [0.25, 1.0])

    assert gradcheck(loss, x)
    assert gradgradcheck(loss, x)


@each_functor
@each_dtype
def test_the_ops_keep_torchs_rules(f: str, dtype: torch.dtype) -> None:
    x = [FUNCTORS[f].domain(randn(n)).detach().to(dtype).requires_grad_() for n in (5, 6)]
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(
        torch.ops.ganfast.unary_reduce.default, (x, f, [1, 1], [1, 1], [1, 1]), test_utils=checks
    )


@each_dtype
@pytest.mark.parametrize("value", [float("inf"), -float("inf"), float("nan"), 1e4, -1e4])
@pytest.mark.parametrize("f", sorted(FUNCTORS.keys() - {"bce"}))
def test_extreme_logits_go_through_as_in_plain_torch(
    f: str, value: float, dtype: torch.dtype
) -> None:
    x = torch.tensor(value, dtype=dtype, device="cuda")
    for got, plain in zip(
        derivatives(ops.unary_reduce, x, f, 1.0),
        derivatives(reduce_plainly, x, f, 1.0),
        strict=True,
    ):
        torch.testing.assert_close(got, plain, rtol=1e-6, atol=0, equal_nan=True)


@each_dtype
def test_every_two_byte_number_is_read_and_written_exactly(dtype: torch.dtype) -> None:
    numbers = torch.arange(-(2**15), 2**15).to(torch.int16)
    x = numbers.view(dtype) if dtype.itemsize == 2 else randn(1000).detach().to(dtype)
    x = x[x.isfinite()].cuda().requires_grad_()
    loss = ops.unary_reduce([x], "square", [x.numel()], [0.0], [0.0])
    assert torch.equal(torch.autograd.grad(loss, x)[0], 2 * x)


@pytest.mark.parametrize("layout", ["contiguous", "permuted", "channels_last", "unaligned"])
def test_gradients_have_the_strides_of_their_input(layout: str) -> None:
    x = LAYOUTS[layout](randn(3, 4, 5, 2).detach()).requires_grad_()
    (dx,) = torch.autograd.grad(softplus([x]), x)
    assert dx.stride() == x.stride()


@each_functor
@pytest.mark.parametrize(
    "sizes", [(64, 64), (17_000_000, 1, 70_001), (4097,) * 60, (33,) * 450], ids=len
)
def test_the_same_bits_every_time(f: str, sizes: tuple[int, ...]) -> None:
    x = [FUNCTORS[f].domain(randn(n, seed=n)).detach().requires_grad_() for n in sizes]
    ones = [1.0] * len(x)
    grad = torch.ones((), device="cuda", requires_grad=True)

    def all_bits() -> list[bytes]:
        loss = ops.unary_reduce(x, f, ones, ones, ones)
        dx = torch.autograd.grad(loss, x, grad, create_graph=True)
        second = torch.autograd.grad(dx, [grad, *x], [t.detach() for t in x])
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
    one = torch.ones((), device="cuda")
    forward = launches(loss)
    value = loss()
    backward = launches(lambda: torch.autograd.grad(value, inputs, one, retain_graph=True))
    return forward, backward


@pytest.mark.parametrize("kind", ["non_saturating", "least_squares", "wasserstein", "hinge"])
def test_one_launch_each_way_for_a_discriminator_loss(kind: str) -> None:
    real, fake, loss = randn(64, 1), randn(64, 1, seed=1), AdversarialLoss(kind)
    forward, backward = launches_of(lambda: loss.discriminator(real, fake), [real, fake])
    assert len(forward) == 1, forward
    assert len(backward) == 1, backward


def test_statistics_cost_nothing_on_the_way_back() -> None:
    real, fake = randn(64, 1), randn(64, 1, seed=1)
    loss, _ = discriminator_loss(real, fake, stats=True)
    one = torch.ones((), device="cuda")
    backward = launches(lambda: torch.autograd.grad(loss, [real, fake], one, retain_graph=True))
    assert len(backward) == 1, backward


def test_few_launches_for_two_hundred_tensors() -> None:
    x = [randn(1000 + 37 * k, seed=k) for k in range(200)]
    forward, backward = launches_of(lambda: softplus(x), x)
    assert len(forward) <= 2, forward
    assert len(backward) == 1, backward


def test_the_host_waits_for_nothing() -> None:
    x = [randn(100_000), randn(64, seed=1)]
    loss = AdversarialLoss("hinge")
    torch.cuda.set_sync_debug_mode("error")
    try:
        dx = torch.autograd.grad(softplus(x), x, create_graph=True)
        torch.autograd.grad([d.square().sum() for d in dx], x)
        loss.generator(x).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_the_current_stream_is_used() -> None:
    """On the default stream the inputs would be read before they are written."""
    x = torch.zeros(1_000_000, device="cuda", requires_grad=True)
    softplus([x])
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        torch.cuda._sleep(200_000_000)
        with torch.no_grad():
            x.fill_(3)
        loss = softplus([x])
        (dx,) = torch.autograd.grad(loss, x)
    side.synchronize()
    expected = torch.tensor(3.0)
    torch.testing.assert_close(loss.cpu(), torch.nn.functional.softplus(expected))
    torch.testing.assert_close(dx[-1].cpu() * x.numel(), torch.sigmoid(expected))


@pytest.mark.parametrize("count", [2, 200, 450])
def test_a_graph_is_captured_and_replayed(count: int) -> None:
    """All three orders; 450 tensors are more than one launch takes."""
    x = [randn(300 + k, seed=k) for k in range(count)]
    grad = torch.ones((), device="cuda", requires_grad=True)

    def step() -> list[Tensor]:
        loss = softplus(x)
        dx = torch.autograd.grad(loss, x, grad, create_graph=True)
        second = torch.autograd.grad(dx, [grad, *x], [t.detach() for t in x])
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
            for k, xk in enumerate(x):
                xk.copy_(randn(xk.numel(), seed=1000 * seed + k))
        graph.replay()
        replayed = [bits(t) for t in captured]
        assert replayed == [bits(t) for t in step()]


def test_a_scaled_float16_step() -> None:
    x = torch.full((2**15,), -8.0, dtype=torch.float16, device="cuda", requires_grad=True)
    with torch.autocast("cuda", dtype=torch.float16):
        loss = AdversarialLoss("bce").discriminator([x], [x.detach()])
    scaler = torch.amp.GradScaler("cuda", init_scale=65536.0)
    (dx,) = torch.autograd.grad(scaler.scale(loss), x)
    expected = -torch.sigmoid(-x.detach().double()) * 65536 / x.numel()
    assert dx.dtype == torch.float16
    torch.testing.assert_close(dx, expected.half(), rtol=2**-10, atol=0)


def test_probabilities_under_autocast() -> None:
    p = randn(64).sigmoid().detach().half().requires_grad_()
    loss = AdversarialLoss("bce", from_probs=True)
    outside = loss.generator(p)
    with torch.autocast("cuda", dtype=torch.float16):
        assert torch.equal(loss.generator(p), outside)


def test_a_list_on_two_devices_is_refused() -> None:
    with pytest.raises(ValueError, match=r"x\[1\] must have the device of x\[0\], cuda:0, got cpu"):
        softplus([randn(3), torch.ones(3)])
    with pytest.raises(ValueError, match=r"x\[1\] must have the device of x\[0\], cpu, got cuda"):
        softplus([torch.ones(3), randn(3)])


@pytest.mark.slow
def test_more_elements_than_32_bits_count() -> None:
    n = 2**31 + 4099
    if torch.cuda.mem_get_info()[0] < 10 * 2**30:
        pytest.skip("needs 9 GB of GPU memory")
    x = torch.zeros(n, dtype=torch.bfloat16, device="cuda")
    far = torch.tensor([2**31 - 1, 2**31 + 1, n - 1], device="cuda")
    x[far] = torch.tensor([1.0, 2.0, 4.0], dtype=x.dtype, device="cuda")
    x.requires_grad_()
    assert ops.unary_reduce([x], "identity", [n], [0.0], [0.0]) == 7
    (dx,) = torch.autograd.grad(ops.unary_reduce([x], "square", [n], [0.0], [0.0]), x)
    assert dx[far].tolist() == [2, 4, 8]
