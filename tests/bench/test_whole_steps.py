"""The ways of a trainer's step compute the same: its losses, and the gradients of both networks."""

import gc
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from bench.bench_steps import TRAINERS
from bench.steps.trainer import WAYS, Step

_LIGHT = "1-D tokenizer, 2 x 64 x 64"
# The floor makes the same gradients without losses: each output has its own part, also one that
# others are computed from. VQGAN's loss goes back through networks itself.
_FLOORS = (_LIGHT, "VQGAN, 2 x 64 x 64")


def gradients(name: str, way: str) -> tuple[float, dict[str, Tensor]]:
    """A step's loss, and all gradients that its optimizers used."""
    step = Step(TRAINERS[name], way, torch.float64, torch.device("cpu"))
    found: dict[str, Tensor] = {}

    def keep(network: str) -> None:
        for key, p in getattr(step.trainer, network).named_parameters():
            assert p.grad is not None
            found[f"{network}.{key}"] = p.grad.clone()

    hooks = [
        optimizer.register_step_pre_hook(lambda *_, network=network: keep(network))
        for optimizer, network in zip(step.optimizers, ("discriminator", "generator"), strict=True)
    ]
    value = float(step())
    for hook in hooks:
        hook.remove()
    return value, found


@pytest.fixture(autouse=True)
def freed() -> Iterator[None]:
    """Networks of gigabytes do not wait for the garbage collector."""
    yield
    gc.collect()


# BigVGAN's and RVC's steps are HiFi-GAN's, with other discriminators.
_TRIED = [name for name in TRAINERS if "discriminators" not in name]


@pytest.mark.parametrize(
    "name", [n if n == _LIGHT else pytest.param(n, marks=pytest.mark.slow) for n in _TRIED]
)
def test_the_swap_changes_no_gradient(name: str) -> None:
    value, own = gradients(name, "own")
    swapped, ours = gradients(name, "ganfast")
    # Filters, mel and resampling, are float32 in both.
    assert swapped == pytest.approx(value, rel=1e-6)
    assert_same(own, ours)
    if name in _FLOORS:
        value, floor = gradients(name, "floor")
        assert value == 0
        assert_same(own, floor)


def assert_same(own: dict[str, Tensor], ours: dict[str, Tensor]) -> None:
    assert own.keys() == ours.keys()
    for network in ("generator", "discriminator"):
        of_it = [key for key in own if key.startswith(network)]
        size = max(float(own[key].abs().max()) for key in of_it)
        for key in of_it:
            assert float((ours[key] - own[key]).abs().max()) <= 1e-6 * size, key


def test_the_floor_computes_no_loss() -> None:
    step = Step(TRAINERS[_LIGHT], WAYS[-1], torch.float32, torch.device("cpu"))
    step()
    before = [p.grad for p in step.trainer.generator.parameters()]
    step.losses[1].loss = None  # type: ignore[attr-defined]  # would raise if it were called
    assert float(step()) == 0
    after = [p.grad for p in step.trainer.generator.parameters()]
    assert all(torch.isfinite(g).all() for g in after if g is not None)
    assert len(before) == len(after)
