"""What the benchmarks record and count on a GPU."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.graphs import Recorded
from bench.launches import launches


def test_launches_are_those_of_one_call():
    x = torch.randn(100, device="cuda")
    assert launches(lambda: x + 1) == 1
    assert launches(lambda: (x + 1) * 2) == 2
    assert launches(lambda: x.cpu()) == 0  # a copy


def test_a_replay_gives_what_the_call_gives():
    x = [torch.randn(1000, device="cuda", requires_grad=True) for _ in range(3)]

    def call(x):
        value = x.square().sum()
        return [value, *torch.autograd.grad(value, x)]

    recorded = Recorded(call)
    torch.testing.assert_close(recorded.outputs(x[0]), [y.detach() for y in call(x[0])])
    seen = torch.zeros(3, device="cuda")

    def tell(i):
        seen[i] += 1
        return [seen]

    replay = Recorded(tell)([0, 1, 2])
    seen.zero_()
    replay()
    assert seen.tolist() == [1, 1, 1]


def test_a_call_that_waits_is_refused_and_harms_nothing():
    x = torch.randn(10, device="cuda")
    with pytest.raises(RuntimeError):
        Recorded(lambda x: [x * x.sum().item()]).outputs(x)
    torch.testing.assert_close(Recorded(lambda x: [x * 2]).outputs(x), [x * 2])
    assert torch.randn(3, device="cuda").isfinite().all()
