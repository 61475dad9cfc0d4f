"""A compiled discriminator: exact penalties say what to do instead."""

import pytest
import torch
from torch import Tensor, nn

from ganfast import penalties

SAYS = "torch.compile has no double backward.*approximate_r1"
X = torch.randn(4, 3)


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))


class Around(nn.Module):
    """As DistributedDataParallel, and as a model of which a part is compiled."""

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
def test_it_is_refused_at_the_door(discriminator) -> None:
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


def test_the_module_as_it_was_before_is_served() -> None:
    module = network()
    torch.compile(module, backend="aot_eager")(X)
    penalties.r1(module, X).backward()
    assert module[0].weight.grad.count_nonzero() > 0
