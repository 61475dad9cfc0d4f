"""Penalties with DistributedDataParallel and batch normalization, in two processes."""

import copy
import inspect
from contextlib import nullcontext
from pathlib import Path

import processes
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ganfast import penalties

ALPHA = torch.tensor([0.25, 0.75])


def train(rank: int, folder: Path, mode: str, broadcast_buffers: bool, hidden: bool) -> None:
    """Two backward passes with a penalty on this process's half, then those of the mode.

    Unless ``hidden``, autograd notices the broadcast of buffers, as in releases of torch before
    the wrapper hid it.
    """
    torch.manual_seed(0)
    if not hidden:
        torch.autograd._unsafe_preserve_version_counter = lambda tensors: nullcontext()
    norm = nn.BatchNorm1d(8) if mode == "batch_norm" else nn.Identity()
    module = nn.Sequential(nn.Linear(3, 8), norm, nn.Tanh(), nn.Linear(8, 1))
    ddp = DistributedDataParallel(module, broadcast_buffers=broadcast_buffers)
    alone = copy.deepcopy(module)
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(1))
    real, fake = x[rank * 2 : rank * 2 + 2], x[4 + rank * 2 : 6 + rank * 2]
    try:
        for _ in range(2):
            ddp.zero_grad()
            total(ddp, real, fake).backward()
    except RuntimeError as error:
        (folder / f"{rank}.txt").write_text(f"raised {error}")
        return
    both = [torch.zeros_like(module[0].weight.grad) for _ in range(2)]
    dist.all_gather(both, module[0].weight.grad)
    assert torch.equal(*both)
    assert both[0].isfinite().all()
    assert both[0].count_nonzero()
    total(alone, real, fake).backward()
    for got, parameter in zip(module.parameters(), alone.parameters(), strict=True):
        dist.all_reduce(parameter.grad)
        torch.testing.assert_close(got.grad, parameter.grad / 2)
    if mode == "plain":
        equals_one_process(rank, module, x)
        with_a_backward_of_its_own(ddp, real)
    (folder / f"{rank}.txt").write_text("done")


def total(d: nn.Module, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    loss = F.softplus(-d(real)).mean() + F.softplus(d(fake)).mean()
    return loss + penalties.wgan_gp(d, real, fake, alpha=ALPHA)


def equals_one_process(rank: int, module: nn.Sequential, x: torch.Tensor) -> None:
    if rank == 0:
        grads = [p.grad.clone() for p in module.parameters()]
        module.zero_grad()
        loss = F.softplus(-module(x[:4])).mean() + F.softplus(module(x[4:])).mean()
        (loss + penalties.wgan_gp(module, x[:4], x[4:], alpha=ALPHA.repeat(2))).backward()
        for got, parameter in zip(grads, module.parameters(), strict=True):
            torch.testing.assert_close(got, parameter.grad)


def with_a_backward_of_its_own(ddp: DistributedDataParallel, real: torch.Tensor) -> None:
    """The zero term alone gives the last bias a gradient."""
    module = ddp.module
    for _ in range(2):
        ddp.zero_grad()
        leaf = real.clone().requires_grad_()
        logits = ddp(leaf)
        (penalties.r1_from_logits(logits, leaf) + 0 * logits.sum()).backward()
    assert module[0].weight.grad.count_nonzero()
    assert not module[3].bias.grad.count_nonzero()
    penalties.r1(ddp, real).backward()
    with pytest.raises(RuntimeError, match="finished reduction"):  # the wrapper missed the bias
        ddp(real)


def ends(folder: Path, mode: str, broadcast_buffers: bool, hidden: bool = True) -> list[str]:
    processes.run(2, folder, train, folder, mode, broadcast_buffers, hidden)
    return [(folder / f"{rank}.txt").read_text() for rank in range(2)]


def test_the_gradients_are_those_of_one_process(tmp_path: Path) -> None:
    assert ends(tmp_path, "plain", True) == ["done", "done"]


@pytest.mark.parametrize("hidden", [False, True])
def test_with_batch_norm_where_buffers_are_not_broadcast(hidden: bool, tmp_path: Path) -> None:
    assert ends(tmp_path, "batch_norm", False, hidden) == ["done", "done"]


def test_the_trap_of_broadcast_buffers(tmp_path: Path) -> None:
    """Each call of the wrapper writes the buffers that the graph of the call before needs."""
    for end in ends(tmp_path, "batch_norm", True, hidden=False):
        assert "inplace operation" in end


@pytest.mark.skipif(
    "_unsafe_preserve_version_counter" not in inspect.getsource(DistributedDataParallel),
    reason="this release of torch does not hide the broadcast",
)
def test_torch_hides_the_broadcast_of_buffers(tmp_path: Path) -> None:
    assert ends(tmp_path, "batch_norm", True) == ["done", "done"]
