"""The adversarial losses on a GPU: as on the CPU, in few launches, without a sync, in a graph."""

from collections.abc import Iterator

import pytest
import torch
from launches import captured, launches
from losses.calls import CALLS
from losses.formulas import FORMULAS, maps
from torch import Tensor

from ganfast import ops
from ganfast.losses import (
    AdversarialLoss,
    discriminator_loss,
)

each_call = pytest.mark.parametrize("name", CALLS)


@pytest.fixture
def _syncs_raise() -> Iterator[None]:
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    yield
    torch.cuda.set_sync_debug_mode("default")


def inputs(device: str) -> tuple[list[Tensor], list[Tensor], Tensor]:
    real, fake = (
        [x.detach().to(device).requires_grad_() for x in maps(3, seed)] for seed in (0, 1)
    )
    return real, fake, torch.tensor([0, 3, 1, 3], device=device)


def derivatives(name: str, device: str) -> tuple[Tensor, list[Tensor]]:
    real, fake, labels = inputs(device)
    loss = CALLS[name](real, fake, labels)
    grads = torch.autograd.grad(loss, real + fake, allow_unused=True)
    return loss, [g for g in grads if g is not None]


@each_call
def test_values_and_gradients_of_the_cpu(name: str) -> None:
    loss, grads = derivatives(name, "cuda")
    expected, expected_grads = derivatives(name, "cpu")
    torch.testing.assert_close(loss.cpu(), expected, rtol=1e-5, atol=1e-6)
    for g, e in zip(grads, expected_grads, strict=True):
        torch.testing.assert_close(g.cpu(), e, rtol=1e-5, atol=1e-6)


@each_call
def test_no_call_waits_for_the_gpu(name: str, request: pytest.FixtureRequest) -> None:
    real, fake, labels = inputs("cuda")
    if "LeCam" in name:
        pytest.skip("the call makes its module anew, and moves its buffers to the GPU")
    derivatives(name, "cuda")  # what is loaded once may wait
    request.getfixturevalue("_syncs_raise")
    loss = CALLS[name](real, fake, labels)
    torch.autograd.grad(loss, real + fake, allow_unused=True)


def test_flips_do_not_wait_for_the_gpu(request: pytest.FixtureRequest) -> None:
    real, fake, _ = inputs("cuda")
    rng = torch.Generator("cuda").manual_seed(0)
    discriminator_loss(real, fake, label_flips=0.5, rng=rng)
    request.getfixturevalue("_syncs_raise")
    discriminator_loss(real, fake, label_flips=0.5, rng=rng).backward()


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("sizes", [[1, 64], [4096 * 16], [70_000, 3, 4096 * 1100, 5], [3] * 407])
def test_statistics_of_the_cpu(name: str, sizes: list[int]) -> None:
    kind, options, _ = FORMULAS[name]
    random = torch.Generator().manual_seed(0)
    real, fake = ([torch.randn(n, generator=random) for n in sizes] for _ in range(2))
    expected = AdversarialLoss(kind, **options).discriminator_with_stats(real, fake)
    on_gpu = ([x.cuda() for x in xs] for xs in (real, fake))
    loss, stats = AdversarialLoss(kind, **options).discriminator_with_stats(*on_gpu)
    torch.testing.assert_close(loss.cpu(), expected[0], rtol=2e-6, atol=1e-6)
    for quantity, value in expected[1].items():
        torch.testing.assert_close(stats[quantity].cpu(), value, rtol=2e-6, atol=1e-6)


def launches_of_statistics(x: list[Tensor]) -> int:
    parameters = ("softplus", [1.0] * len(x), [1.0] * len(x), [0.0] * len(x))
    return len(launches(lambda: ops.flat_with_stats(x, *parameters, 0.0)))


def test_launches_of_statistics() -> None:
    assert launches_of_statistics([torch.randn(64, 1, device="cuda") for _ in range(2)]) == 1
    assert (
        launches_of_statistics([torch.randn(16, n, device="cuda") for n in (102, 105, 110, 128)])
        == 1
    )
    assert launches_of_statistics([torch.randn(2**20, device="cuda")]) == 2


def test_statistics_in_a_graph() -> None:
    real, fake, _ = inputs("cuda")
    static = [x.detach().clone() for x in real + fake]

    def step() -> list[Tensor]:
        loss, stats = AdversarialLoss().discriminator_with_stats(static[:3], static[3:])
        return [loss, *stats.values()]

    graph, made = captured(step)
    for x in static:
        x.mul_(-2)
    graph.replay()
    for got, expected in zip(made, step(), strict=True):
        assert torch.equal(got, expected)


@each_call
def test_a_loss_and_its_gradients_in_a_graph(name: str) -> None:
    if "LeCam" in name:
        pytest.skip("the call makes its module anew, and moves its buffers to the GPU")
    real, fake, labels = inputs("cuda")

    def run() -> list[Tensor]:
        loss = CALLS[name](real, fake, labels)
        grads = torch.autograd.grad(loss, real + fake, allow_unused=True)
        return [loss, *(g for g in grads if g is not None)]

    graph, made = captured(run)
    with torch.no_grad():
        for x in real + fake:
            x.mul_(-2)
    graph.replay()
    for got, expected in zip(made, run(), strict=True):
        torch.testing.assert_close(got, expected)
