"""Graphs around somebody's step, without a GPU: a recorder on the CPU calls what it recorded.

Like a graph, it reads the tensors of the recording and knows nothing of later arguments.
tests/cuda/test_cuda_step_graphs.py runs real graphs.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ganfast.train import graphed, step_graphs

sys.path.insert(0, str(Path(__file__).parent))
import toy
from loops import LOOPS, trained, wgan


class Recorder:
    """Calls again what a graph would replay, into the results of the recording."""

    log: list[str]

    def __init__(self, device: torch.device, generators: Any) -> None:
        Recorder.log = []

    def warm_up(self, call: Callable[[], Any]) -> Any:
        self.log.append("warm up")
        return call()

    def capture(self, call: Callable[[], Any]) -> Callable[[], Any]:
        self.log.append("capture")
        results: list[Any] = []

        def replay() -> Any:
            self.log.append("replay")
            results.append(call())
            if isinstance(results[0], Tensor):
                results[0].copy_(results[-1])
                return results[0]
            return results[-1]

        return replay


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> type[Recorder]:
    monkeypatch.setattr(step_graphs, "_RECORDERS", {"cpu": Recorder})
    return Recorder


class Loop:
    """A step of regression that somebody wrote."""

    def __init__(self, optimizer: type[torch.optim.Optimizer] = torch.optim.SGD) -> None:
        torch.manual_seed(0)
        self.net = nn.Linear(3, 1)
        options = {"capturable": True, "fused": True} if optimizer is torch.optim.Adam else {}
        self.optimizer = optimizer(self.net.parameters(), lr=0.1, **options)
        self.calls = 0

    def __call__(self, x: Tensor, *, weight: float = 1.0) -> Tensor:
        self.calls += 1
        self.optimizer.zero_grad()
        loss = weight * self.net(x).square().mean()
        loss.backward()
        self.optimizer.step()
        return loss


def batches(count: int) -> list[Tensor]:
    torch.manual_seed(1)
    return list(torch.randn(count, 4, 3))


def test_every_call_is_one_step(recorder: type[Recorder]) -> None:
    plain, recorded = Loop(), Loop()
    step = graphed(recorded)
    for x in batches(7):
        # Reused, as a loader's pinned memory is: the recording must hold tensors of its own.
        expected, found = plain(x), step(x)
        x.fill_(float("nan"))
        assert found == expected
        assert not found.requires_grad
        assert torch.equal(plain.net.weight, recorded.net.weight)
    assert recorder.log == ["warm up"] * 3 + ["capture"] + ["replay"] * 4


@pytest.mark.parametrize("make", LOOPS)
def test_loops_of_projects_train_the_same(make: Any, recorder: type[Recorder]) -> None:
    """Also where a flag chooses the graph, and with random numbers in the step."""
    expected = trained(make, "cpu", lambda step: step)
    found = trained(make, "cpu", graphed)
    assert recorder.log.count("capture") == (2 if make is wgan else 1)
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("make", LOOPS)
def test_loops_of_projects_run_as_they_are_on_a_cpu(make: Any) -> None:
    for a, b in zip(*(trained(make, "cpu", w) for w in (lambda s: s, graphed)), strict=True):
        assert torch.equal(a, b)


def test_results_are_copies(recorder: type[Recorder]) -> None:
    step = graphed(lambda x: x.sum())
    found = [step(torch.full((2,), float(k))) for k in range(8)]
    assert [x.item() for x in found] == [2.0 * k for k in range(8)]


def test_on_other_devices_the_step_runs_as_it_is() -> None:
    plain, same = Loop(), Loop()
    step = graphed(same)
    for x in [*batches(5), torch.randn(2, 3)]:
        expected, found = plain(x), step(x)
        assert torch.equal(found, expected)
        assert found.requires_grad
    assert same.calls == 6


def test_arguments_that_are_no_tensors_choose_a_graph(recorder: type[Recorder]) -> None:
    plain, recorded = Loop(), Loop()
    step = graphed(recorded)
    for k, x in enumerate(batches(16)):
        weight = 3.0 if k % 4 == 0 else 1.0
        assert step(x, weight=weight) == plain(x, weight=weight)
    assert recorder.log.count("capture") == 2
    assert recorder.log.count("warm up") == 6


def test_nested_tensors(recorder: type[Recorder]) -> None:
    def step(batch: dict[str, Any], scale: Tensor) -> dict[str, Any]:
        return {"sum": batch["x"] + scale * batch["y"][0], "none": None, "both": [scale, scale]}

    recorded = graphed(step)
    for k in range(6):
        batch = {"x": torch.tensor(float(k)), "y": (torch.tensor(2.0),)}
        found = recorded(batch, torch.tensor(k + 1.0))
        assert found == {"sum": k + 2 * (k + 1), "none": None, "both": [k + 1, k + 1]}


def run(step: Any, *inputs: Any, calls: int = 5, **options: Any) -> None:
    for _ in range(calls):
        step(*inputs, **options)


X = torch.ones(4, 3)


def test_another_shape_is_refused(recorder: type[Recorder]) -> None:
    step = graphed(Loop())
    run(step, X)
    message = r"must keep shape \[4, 3\] and torch.float32, got \[2, 3\] .*; drop_last=True"
    with pytest.raises(ValueError, match=message):
        step(X[:2])
    with pytest.raises(ValueError, match=r"got \[4, 3\] and torch.float64"):
        step(X.double())


def test_only_callables_are_steps() -> None:
    with pytest.raises(TypeError, match="step must be callable, got NoneType"):
        graphed(None)


def test_too_many_kinds_are_refused(recorder: type[Recorder]) -> None:
    step = graphed(Loop())
    for k in range(8):
        step(X, weight=float(k))
    with pytest.raises(ValueError, match=r"at most 8 combinations .* tensor; the last .* 8.0"):
        step(X, weight=8.0)
    run(step, X, weight=7.0)  # the others go on
    assert recorder.log[-1] == "replay"


@pytest.mark.parametrize(
    ("step", "inputs", "error", "message"),
    [
        (lambda: X, (), ValueError, "at least one tensor, which tells its device, got none"),
        (lambda x: x.sum().item(), (X,), TypeError, "must return tensors, .* got float"),
        (lambda x, y: x, (X, object()), TypeError, "numbers, strings or None, got object"),
        (
            lambda x, y: x,
            (X, X.to("meta")),
            ValueError,
            "step must take tensors on one device, got cpu, meta",
        ),
    ],
)
def test_what_cannot_be_recorded_is_refused_at_once(
    step: Any, inputs: Any, error: type[Exception], message: str, recorder: type[Recorder]
) -> None:
    with pytest.raises(error, match=message):
        graphed(step)(*inputs)


def test_autocast_around_the_call_is_refused(recorder: type[Recorder]) -> None:
    step = graphed(Loop())
    with (
        torch.autocast("cpu", torch.bfloat16),
        pytest.raises(ValueError, match="autocast must be opened inside the step"),
    ):
        step(X)


def test_optimizers_must_be_capturable(recorder: type[Recorder]) -> None:
    loop = Loop(torch.optim.Adam)
    run(graphed(loop), X)
    loop.optimizer.param_groups[0]["capturable"] = False
    step = graphed(loop)
    run(step, X, calls=3)
    with pytest.raises(ValueError, match=r"capturable must be True: Adam\(..., capturable=True\)"):
        step(X)


def test_settings_that_a_graph_would_not_see_are_refused(recorder: type[Recorder]) -> None:
    loop = Loop()
    step = graphed(loop)
    schedule = torch.optim.lr_scheduler.StepLR(loop.optimizer, 1, 0.5)
    run(step, X)
    schedule.step()
    with pytest.raises(ValueError, match=r"lr of SGD must stay 0.1, .*, got 0.05: make it a tens"):
        step(X)


def test_a_learning_rate_that_is_a_tensor_may_change(recorder: type[Recorder]) -> None:
    loop = Loop(torch.optim.Adam)
    rate = torch.tensor(0.1)
    loop.optimizer.param_groups[0]["lr"] = rate
    step = graphed(loop)
    run(step, X)
    before = loop.net.weight.detach().clone()
    rate.zero_()
    step(X)
    assert torch.equal(loop.net.weight, before)


def test_hooks_are_gone_after_the_warm_up(recorder: type[Recorder]) -> None:
    other = Loop()
    step = graphed(Loop())
    run(step, X)
    other(X)
    assert other.optimizer not in step._optimizers


def test_rounds_of_the_trainer(recorder: type[Recorder], tmp_path: Path) -> None:
    """Each kind of a round, with a penalty and without, has its graph."""
    rounds = []
    for replayed in (False, True):
        trainer = toy.trainer(
            tmp_path / str(replayed), steps=12, d_steps=1, penalty="r1", penalty_every=2
        )
        steps = trainer._steps
        for optimizer in (steps.optimizer_g, steps.optimizer_d):
            optimizer.param_groups[0]["capturable"] = True
        if replayed:
            trainer._play_round = step_graphs.GraphedStep(steps.round, most=2)
        assert trainer.run()
        rounds.append(trainer)
    assert Recorder.log.count("capture") == 2
    assert Recorder.log.count("replay") == 6
    for plain, other in zip(*(t.ema.parameters() for t in rounds), strict=True):
        torch.testing.assert_close(plain, other)
