"""Exact penalties refuse a compiled discriminator and say what to do instead."""

import pytest
import torch
from torch import Tensor, nn

from ganfast import penalties

SAYS = "torch.compile has no double backward.*approximate_r1"
X = torch.randn(4, 3)


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))


class Around(nn.Module):
    """A wrapper like DistributedDataParallel, or a model with a compiled part."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


def compiled_in_place() -> nn.Module:
    module = network()
    module.compile(backend="aot_eager")
    return module


@pytest.mark.parametrize(
    "discriminator",
    [
        lambda: torch.compile(network(), backend="aot_eager"),
        lambda: Around(torch.compile(network(), backend="aot_eager")),
        lambda: torch.compile(network().forward, backend="aot_eager"),
        compiled_in_place,
    ],
)
def test_it_is_refused_at_once(discriminator) -> None:
    with pytest.raises(RuntimeError, match=SAYS):
        penalties.r1(discriminator(), X)


def test_hidden_in_a_function_it_is_found_in_the_graph() -> None:
    torch.compiler.reset()
    compiled = torch.compile(network(), backend="aot_eager")
    with pytest.raises(RuntimeError, match=SAYS):
        penalties.wgan_gp(lambda x: compiled(x), X, X)


def test_logits_of_a_compiled_discriminator_are_refused() -> None:
    torch.compiler.reset()
    x = X.clone().requires_grad_()
    logits = torch.compile(network(), backend="aot_eager")(x)
    with pytest.raises(RuntimeError, match=SAYS):
        penalties.r1_from_logits(logits, x)


def test_the_uncompiled_module_is_accepted() -> None:
    module = network()
    torch.compile(module, backend="aot_eager")(X)
    penalties.r1(module, X).backward()
    assert module[0].weight.grad.count_nonzero() > 0
