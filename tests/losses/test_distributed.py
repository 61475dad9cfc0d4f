"""Losses over two processes equal those of one process on the whole batch, with gradients."""

from pathlib import Path

import processes
import pytest
import torch
import torch.distributed as dist
import torch.distributed.nn
from torch import Tensor, nn

from ganfast.losses import (
    AdversarialLoss,
    LeCam,
    conditional_contrastive_loss,
    data_to_data_cross_entropy_loss,
    discriminator_loss,
    relativistic_average_discriminator_loss,
    relativistic_discriminator_loss,
)

PROCESSES = 2
pytestmark = pytest.mark.skipif(not dist.is_gloo_available(), reason="needs gloo")


def batch() -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    x = torch.randn(2, 8, 5, dtype=torch.float64, generator=random)
    return x[0], x[1], torch.tensor([0, 1, 2, 0, 1, 1, 2, 0])


def model(x: Tensor, theta: Tensor) -> Tensor:
    return torch.tanh(x * theta)


def losses(
    real: Tensor, fake: Tensor, labels: Tensor, theta: Tensor, distributed: bool
) -> dict[str, Tensor]:
    r, f = model(real, theta), model(fake, theta)
    found = {
        f"{kind} {over}": relativistic_average_discriminator_loss(
            [r, r[:, :2]], [f, f[:, 1:3]], kind, mean_over=over, distributed=distributed
        )
        for kind in ("logistic", "least_squares", "hinge")
        for over in ("all", "batch")
    }
    for loss in (conditional_contrastive_loss, data_to_data_cross_entropy_loss):
        found[loss.__name__] = loss(r, f, labels, distributed=distributed)
    found["LeCam"] = LeCam(distributed=distributed)(r, f)
    return found


def derivatives(*x: Tensor, distributed: bool) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    """Value, gradient in theta, and the gradient of that gradient's square."""
    results = {}
    theta = torch.linspace(0.5, 1.5, 5, dtype=torch.float64).requires_grad_()
    for name, loss in losses(*x, theta, distributed=distributed).items():
        (first,) = torch.autograd.grad(loss, theta, create_graph=True)
        mean = loss.detach()
        if distributed:  # like DistributedDataParallel
            mean, first = (dist.nn.functional.all_reduce(t) / PROCESSES for t in (mean, first))
        (second,) = torch.autograd.grad(first.square().sum(), theta, retain_graph=True)
        if distributed:
            dist.all_reduce(second)
            second /= PROCESSES
        results[name] = (mean, first.detach(), second)
    return results


def trained(real: Tensor, fake: Tensor, labels: Tensor, distributed: bool) -> dict[str, Tensor]:
    """Gradients of a discriminator's parameters, from DistributedDataParallel itself."""
    torch.manual_seed(0)
    module: nn.Module = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    net = nn.parallel.DistributedDataParallel(module) if distributed else module
    found = {}
    for name, loss in {
        "hinge": lambda r, f: AdversarialLoss("hinge").discriminator_with_stats(r, f)[0],
        "logistic pairs": relativistic_discriminator_loss,
        "weighted": lambda r, f: discriminator_loss(r, f, real_weight=torch.ones(len(r))),
        "each": lambda r, f: discriminator_loss([r, r], [f, f], reduction="none").mean(),
    }.items():
        net.zero_grad()
        loss(net(real), net(fake)).backward()
        found[name] = torch.cat([p.grad.flatten() for p in module.parameters()])
    return found


def process(rank: int, folder: Path) -> None:
    part = slice(4 * rank, 4 * rank + 4)
    results = derivatives(*(x[part] for x in batch()), distributed=True)
    torch.save(results, folder / f"{rank}.pt")
    torch.save(trained(*(x[part] for x in batch()), distributed=True), folder / f"{rank}-ddp.pt")


def test_two_processes_equal_one(tmp_path: Path) -> None:
    processes.run(PROCESSES, tmp_path, process, tmp_path)
    expected = derivatives(*batch(), distributed=False)
    for rank in range(PROCESSES):
        results = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert set(results) == set(expected)
        for name, of_name in expected.items():
            for order, (got, want) in enumerate(zip(results[name], of_name, strict=True)):
                torch.testing.assert_close(
                    got,
                    want,
                    rtol=1e-10,
                    atol=1e-12,
                    msg=lambda m, n=name, o=order: f"{n} {o}: {m}",
                )

    expected_gradients = trained(*batch(), distributed=False)
    for rank in range(PROCESSES):
        found = torch.load(tmp_path / f"{rank}-ddp.pt", weights_only=True)
        for name, want in expected_gradients.items():
            torch.testing.assert_close(found[name], want, rtol=1e-10, atol=1e-12)


def test_one_process_needs_no_group() -> None:
    alone = derivatives(*batch(), distributed=False)
    theta = torch.linspace(0.5, 1.5, 5, dtype=torch.float64)
    for name, loss in losses(*batch(), theta, distributed=True).items():
        assert torch.equal(loss, alone[name][0])
