"""Three loops, written as their projects write them, train the same with and without graphs."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ganfast.train import graphed

sys.path.insert(0, str(Path(__file__).parents[1] / "train"))
from loops import LOOPS, trained


@pytest.mark.parametrize("make", LOOPS)
def test_the_losses_are_those_without_graphs(make: Any) -> None:
    plain, recorded = (trained(make, "cuda", wrap) for wrap in (lambda step: step, graphed))
    for expected, found in zip(plain, recorded, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_a_step_that_waits_is_refused_and_the_device_goes_on() -> None:
    net = nn.Linear(3, 1).cuda()

    def step(x: Tensor) -> Tensor:
        loss = net(x).mean()
        return loss * (2 if loss.item() > 0 else 1)

    recorded, x = graphed(step), torch.randn(4, 3, device="cuda")
    here = torch.cuda.current_stream()
    for _ in range(3):
        recorded(x)
    with pytest.raises(RuntimeError, match="step must not wait for the device"):
        recorded(x)
    assert torch.cuda.current_stream() == here
    assert net(x).sum().isfinite()


def test_a_learning_rate_on_the_device_follows_its_schedule() -> None:
    net = nn.Linear(3, 1).cuda()
    rate = torch.tensor(0.1, device="cuda")
    optimizer = torch.optim.Adam(net.parameters(), rate, capturable=True)

    def step(x: Tensor) -> Tensor:
        optimizer.zero_grad()
        loss = net(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    recorded, x = graphed(step), torch.randn(4, 3, device="cuda")
    for _ in range(5):
        recorded(x)
    before = net.weight.detach().clone()
    rate.zero_()
    recorded(x)
    assert torch.equal(net.weight, before)
