"""The balancer against its rule in plain torch."""

from pathlib import Path
from typing import Any

import processes
import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from ganfast.losses import Balancer

WEIGHTS = {"l1": 0.5, "features": 3.0, "adversarial": 1.5}


def problem(step: int = 0, samples: int = 4) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """A generator's parameter, its output, and three losses of very different sizes."""
    random = torch.Generator().manual_seed(step)
    theta = torch.randn(5, 3, dtype=torch.float64, generator=random).requires_grad_()
    x = torch.randn(samples, 5, dtype=torch.float64, generator=random)
    output = torch.tanh(x @ theta)
    shared = output.square() + output  # two losses share one discriminator
    losses = {
        "l1": output.abs().mean(),
        "features": 1e3 * shared.sin().sum(),
        "adversarial": 1e-4 * shared.square().sum(dim=1).sqrt().mean(),
    }
    return theta, output, losses


def norm(gradient: Tensor, per_sample: bool) -> float:
    rows = gradient.detach() if per_sample else gradient.detach().reshape(1, -1)
    return float(rows.square().sum(dim=1).sqrt().mean())


@pytest.mark.parametrize("per_sample", [True, False])
@pytest.mark.parametrize("rescale", [True, False])
def test_the_rule(per_sample: bool, rescale: bool) -> None:
    decay, total_norm = 0.9, 2.0
    balancer = Balancer(
        WEIGHTS, total_norm=total_norm, decay=decay, per_sample=per_sample, rescale=rescale
    )
    sums, mass = dict.fromkeys(WEIGHTS, 0.0), 0.0
    for step in range(4):
        theta, output, losses = problem(step)
        gradients = {
            name: torch.autograd.grad(loss, output, retain_graph=True)[0]
            for name, loss in losses.items()
        }
        mass = decay * mass + 1
        factors = {}
        for name, weight in WEIGHTS.items():
            sums[name] = decay * sums[name] + norm(gradients[name], per_sample)
            share = weight / sum(WEIGHTS.values()) * total_norm
            factors[name] = share / (sums[name] / mass) if rescale else weight
        combined = sum(factors[name] * gradients[name] for name in WEIGHTS)
        (expected,) = torch.autograd.grad(output, theta, combined, retain_graph=True)

        loss = balancer(losses, output)
        # the averages are kept in float32
        value = sum(factors[name] * losses[name].detach() for name in WEIGHTS)
        torch.testing.assert_close(loss.detach(), value, rtol=1e-6, atol=0)
        (got,) = torch.autograd.grad(3 * loss, theta)
        torch.testing.assert_close(got, 3 * expected, rtol=1e-6, atol=1e-6)


def test_shares_of_the_gradient_do_not_depend_on_scales() -> None:
    for name, weight in WEIGHTS.items():
        alone = Balancer({name: weight, "other": 0.0})
        _, output, losses = problem()
        loss = alone({name: 1e6 * losses[name], "other": losses["l1"]}, output)
        (gradient,) = torch.autograd.grad(loss, output)
        assert norm(gradient, True) == pytest.approx(1.0, rel=1e-6)


def test_the_averages_resume_from_the_state() -> None:
    whole, first = Balancer(WEIGHTS), Balancer(WEIGHTS)
    for step in range(3):
        first(*reversed(problem(step)[1:]))
        whole(*reversed(problem(step)[1:]))
    resumed = Balancer(WEIGHTS)
    resumed.load_state_dict(first.state_dict())
    losses = [balancer(*reversed(problem(3)[1:])) for balancer in (whole, resumed)]
    assert torch.equal(*losses)


def test_a_scaler_cancels_out() -> None:
    """Without the scaler, float16 would lose the gradient of the small loss."""
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**14)
    output = torch.full((2, 8), 0.5, dtype=torch.float16, requires_grad=True)
    losses = {"a": (output * 2.0**-20).float().sum() * 2.0**-6, "b": output.float().sum()}
    loss = Balancer({"a": 1.0, "b": 1.0})(losses, output, scaler)
    scaler.scale(loss).backward()
    expected = torch.full((2, 8), 2.0**14 / 8**0.5, dtype=torch.float16)  # two halves
    torch.testing.assert_close(output.grad, expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": {}}, "weights must be at least 0 and finite, and not all 0"),
        (
            {"weights": {"a": -1.0, "b": 2.0}},
            "weights must be at least 0 and finite, and not all 0",
        ),
        ({"weights": {"a": 0.0}}, "weights must be at least 0 and finite, and not all 0"),
        ({"weights": {"a": float("nan")}}, "weights must be at least 0 and finite"),
        ({"weights": {"a": 1.0, "b": float("nan")}}, "weights must be at least 0 and finite"),
        ({"weights": {"a": float("inf")}}, "weights must be at least 0 and finite"),
        ({"weights": {"a": 1.0}, "total_norm": -1.0}, "total_norm must be at least 0 .* got -1.0"),
        ({"weights": {"a": 1.0}, "total_norm": float("nan")}, "total_norm .* got nan"),
        ({"weights": {"a": 1.0}, "decay": 1.0}, r"decay must be in \[0, 1\), got 1.0"),
    ],
)
def test_invalid_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Balancer(**options)


def test_losses_that_do_not_fit() -> None:
    _, output, losses = problem()
    with pytest.raises(ValueError, match="names of the weights, l1, features, adversarial, got l1"):
        Balancer(WEIGHTS)({"l1": losses["l1"]}, output)
    with pytest.raises(ValueError, match="features must depend on output, got"):
        Balancer(WEIGHTS)(losses | {"features": torch.ones(())}, output)


def balanced(distributed: bool, part: slice) -> Tensor:
    _, output, _ = problem(0, 8)
    output = output.detach()[part].requires_grad_()
    losses = {"a": output.square().sum(), "b": output.sin().sum()}
    balancer = Balancer({"a": 1.0, "b": 2.0}, distributed=distributed)
    (gradient,) = torch.autograd.grad(balancer(losses, output), output)
    return gradient


def process(rank: int, folder: Path) -> None:
    torch.save(balanced(True, slice(4 * rank, 4 * rank + 4)), folder / f"{rank}.pt")


@pytest.mark.skipif(not dist.is_gloo_available(), reason="needs gloo")
def test_two_processes_equal_one(tmp_path: Path) -> None:
    processes.run(2, tmp_path, process, tmp_path)
    parts = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    torch.testing.assert_close(torch.cat(parts), balanced(False, slice(8)), rtol=1e-6, atol=0)
