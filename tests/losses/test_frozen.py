"""The discriminator frozen in the generator's step."""

from pathlib import Path

import processes
import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from ganfast.losses import feature_matching, frozen, generator_loss


def network(features: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(features, 5), nn.Tanh(), nn.Linear(5, 1)).double()


def test_the_generators_gradients_stay_and_the_discriminators_go() -> None:
    d, g = network(), nn.Linear(2, 3).double()
    z, real = torch.randn(4, 2).double(), torch.randn(4, 3).double()

    def loss() -> torch.Tensor:
        return generator_loss(d(g(z))) + feature_matching(d(real), d(g(z)))

    expected = torch.autograd.grad(loss(), list(g.parameters()))
    with frozen(d):
        frozen_loss = loss()
    frozen_loss.backward()  # after the context
    for p, e in zip(g.parameters(), expected, strict=True):
        assert torch.equal(p.grad, e)
    assert all(p.grad is None for p in d.parameters())


def test_no_graph_of_real_samples_is_made() -> None:
    d = network()
    assert d(torch.zeros(1, 3).double()).grad_fn is not None
    with frozen(d):
        assert d(torch.zeros(1, 3).double()).grad_fn is None


def test_each_parameter_is_restored_also_after_an_error() -> None:
    d, other = network(), network()
    d[0].bias.requires_grad_(False)
    before = [p.requires_grad for p in d.parameters()]
    assert before == [True, False, True, True]

    def fails() -> None:
        with frozen(d), frozen(other), frozen(d[2]):  # a part of d besides d itself
            assert not any(p.requires_grad for p in [*d.parameters(), *other.parameters()])
            with frozen(d):
                pass
            assert not any(p.requires_grad for p in d.parameters())
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert [p.requires_grad for p in d.parameters()] == before
    assert all(p.requires_grad for p in other.parameters())


def test_a_checkpointed_discriminator_takes_its_backward_pass_inside() -> None:
    d, x = network(), torch.randn(4, 3).double().requires_grad_()
    (expected,) = torch.autograd.grad(d(x).sum(), x)
    with frozen(d):
        checkpoint(d, x, use_reentrant=False).sum().backward()
    torch.testing.assert_close(x.grad, expected)
    assert d[0].weight.grad is None


def test_what_is_no_module_is_refused() -> None:
    d = network()
    with pytest.raises(TypeError, match="module must be a torch module, got list"), frozen([d]):
        pass
    assert all(p.requires_grad for p in d.parameters())


def train(rank: int, folder: Path) -> None:
    d = DistributedDataParallel(network())
    g = DistributedDataParallel(nn.Linear(2, 3).double())
    for step in range(3):
        torch.manual_seed(10 * step + rank)
        z, real = torch.randn(4, 2).double(), torch.randn(4, 3).double()
        (d(real).mean() + d(g(z).detach()).square().mean()).backward()
        summed = d.module[0].weight.grad.clone()
        torch.distributed.all_reduce(summed)
        torch.testing.assert_close(d.module[0].weight.grad, summed / 2)  # equal everywhere
        with frozen(d):
            generator_loss(d(g(z))).backward()
        summed = g.module.weight.grad.clone()
        torch.distributed.all_reduce(summed)
        torch.testing.assert_close(g.module.weight.grad, summed / 2)
        d.zero_grad()
        g.zero_grad()
    (folder / f"{rank}.txt").write_text("done")


def test_distributed_wrappers_do_not_wait_for_frozen_parameters(tmp_path: Path) -> None:
    processes.run(2, tmp_path, train, tmp_path)
    assert [(tmp_path / f"{rank}.txt").read_text() for rank in range(2)] == ["done", "done"]
