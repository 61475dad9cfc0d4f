"""The polar iteration and all that stands on it, on a GPU."""

import pytest
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from ganfast.metrics import (
    FrechetLoss,
    FrechetStatistics,
    frechet_distance,
    frechet_distance_from_features,
    polar_factor,
    trace_sqrt_product,
    trace_sqrt_product_with_bounds,
)
from ganfast.metrics.polar import DOUBLE, MIXED, Iteration, polar_iteration

ITERATIONS = pytest.mark.parametrize("iteration", [DOUBLE, MIXED])


def randn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def covariance(dim: int, seed: int, decades: float = 2.0) -> Tensor:
    spectrum = torch.logspace(0, -decades / 2, dim, dtype=torch.float64)
    r = torch.linalg.qr(randn(dim, dim, seed=seed)).Q * spectrum
    return r @ r.T


@ITERATIONS
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 40, 33), (2, 257, 256), (1, 600, 512)])
def test_equals_the_cpu(iteration: Iteration, shape: tuple[int, int, int]) -> None:
    a = randn(*shape, seed=0)
    want = polar_iteration(a, iteration)
    u, inner, missed = (x.cpu() for x in polar_iteration(a.cuda(), iteration))
    torch.testing.assert_close(u, want[0], rtol=0, atol=1e-9 if iteration is DOUBLE else 1e-2)
    torch.testing.assert_close(inner, want[1], rtol=1e-8, atol=0)
    assert (missed.square() <= 1e-18 * shape[2] * a.square().sum((1, 2))).all()


@ITERATIONS
def test_nothing_waits_for_the_device(iteration: Iteration) -> None:
    a = randn(2, 300, 256, seed=0).cuda()
    polar_iteration(a, iteration)
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        polar_iteration(a, iteration)
        torch.cuda.synchronize()
    assert not [event.key for event in seen.key_averages() if "Memcpy DtoH" in event.key]


@ITERATIONS
def test_a_graph_captures_it(iteration: Iteration) -> None:
    a = randn(2, 64, 64, seed=0).cuda()
    polar_iteration(a, iteration)  # for the libraries' workspaces
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = polar_iteration(a, iteration)
    a.copy_(randn(2, 64, 64, seed=1))
    graph.replay()
    for x, y in zip(out, polar_iteration(a, iteration), strict=True):
        assert torch.equal(x, y)


@pytest.mark.parametrize("decades", [0, 2, 6])
def test_distance_and_gradient_equal_the_cpu(decades: float) -> None:
    moments = [randn(200, seed=0), covariance(200, 1, decades), randn(200, seed=2),
               covariance(200, 3, decades)]  # fmt: skip
    values, grads = [], []
    for device in ("cpu", "cuda"):
        leaves = [m.to(device).requires_grad_() for m in moments]
        value = frechet_distance(*leaves)
        assert value.device.type == device
        grads.append([g.cpu() for g in torch.autograd.grad(value, leaves)])
        values.append(float(value.detach()))
    assert values[1] == pytest.approx(values[0], rel=1e-7)
    for x, y in zip(*grads, strict=True):
        # A covariance's gradient is I less another matrix: with equal spectra, nothing is left.
        torch.testing.assert_close(y, x, rtol=0, atol=1e-6 * float(x.abs().max()) + 1e-9)


def test_batches_and_singular_ones() -> None:
    a = torch.stack([covariance(64, s) for s in range(8)])
    b = torch.stack([covariance(64, s + 20) for s in range(8)])
    r = randn(10, 64, seed=5)
    a[3] = r.T @ r
    b[6] = a[6]
    found = trace_sqrt_product(a.cuda(), b.cuda())
    torch.testing.assert_close(found.cpu(), trace_sqrt_product(a, b), rtol=1e-8, atol=0)
    value, lower, upper = trace_sqrt_product_with_bounds(a.cuda(), b.cuda())
    assert ((lower <= value) & (value <= upper)).all()


def test_what_stands_on_it() -> None:
    x, y = randn(50, 80, seed=0), randn(300, 80, seed=1)
    for features in (x, x.repeat(4, 1) + y[:200]):  # fewer and more samples than dimensions
        found = frechet_distance_from_features(features.cuda(), y.cuda())
        assert found.is_cuda
        assert float(found) == pytest.approx(
            float(frechet_distance_from_features(features, y)), rel=1e-7
        )
    statistics = FrechetStatistics(80, device="cuda")
    statistics.update(y.cuda().half())
    statistics.update(y)
    assert statistics.covariance().is_cuda
    assert FrechetLoss(statistics).cuda()(x.cuda().requires_grad_()).requires_grad
    a = randn(3, 40, 20, seed=0)
    torch.testing.assert_close(polar_factor(a.cuda()).cpu(), polar_factor(a), atol=1e-9, rtol=0)
