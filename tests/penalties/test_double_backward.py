"""Discriminators without a double backward are refused, with the way out, which works."""

from pathlib import Path

import processes
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ganfast import penalties

X = torch.randn(4, 6, 8, generator=torch.Generator().manual_seed(0))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.heads, self.out = nn.Linear(8, 24), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.heads(x).view(*x.shape[:2], 3, 2, 4).permute(2, 0, 3, 1, 4)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape))


def from_logits(discriminator: nn.Module) -> Tensor:
    x = X.clone().requires_grad_()
    return penalties.r1_from_logits(discriminator(x), x)


@pytest.mark.parametrize("call", [lambda d: penalties.r1(d, X), from_logits])
def test_fused_attention(call) -> None:
    discriminator = Attention()
    with pytest.raises(RuntimeError, match=r"sdpa_kernel\(SDPBackend.MATH\).*approximate_r1"):
        call(discriminator)
    with sdpa_kernel(SDPBackend.MATH):
        call(discriminator).backward()
    assert discriminator.heads.weight.grad.count_nonzero()
    penalties.approximate_r1(discriminator, X).backward()


class ScaledDotProductAttention(torch.autograd.Function):
    """A user's own, which torch can differentiate twice."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return 3 * x

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        return 3 * grad


def test_functions_with_similar_names_are_not_refused() -> None:
    own = ScaledDotProductAttention.apply
    penalty = penalties.r1(lambda x: own(x).flatten(1).sum(1), X, gamma=1.0)
    torch.testing.assert_close(penalty, torch.tensor(9.0 * 48 / 2))


def sharded(rank: int) -> None:
    from torch.distributed.fsdp import fully_shard

    discriminator = nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.Tanh(), nn.Linear(8, 1))
    fully_shard(discriminator)
    for call in (lambda d: penalties.wgan_gp(d, X, -X), from_logits):
        with pytest.raises(RuntimeError, match=r"fully_shard.*DistributedDataParallel.*approx"):
            call(discriminator)
    (discriminator(X).mean() + penalties.approximate_r1(discriminator, X)).backward()
    assert discriminator[1].weight.grad.full_tensor().count_nonzero()


def test_sharded_parameters(tmp_path: Path) -> None:
    processes.run(2, tmp_path, sharded)


def test_samples_made_in_inference_mode_are_constants() -> None:
    with torch.inference_mode():
        made = X.clone()
    d = nn.Sequential(nn.Flatten(), nn.Linear(48, 1), nn.Tanh())
    for call in (
        penalties.r1,
        lambda d, x: penalties.wgan_div(d, x, x),
        lambda d, x: penalties.wgan_gp(d, x, x, mode="fake"),
        lambda d, x: penalties.approximate_r1(d, x, noise=X),
    ):
        torch.testing.assert_close(call(d, made), call(d, X))
        call(d, made).backward()
    with pytest.raises(ValueError, match=r"real = real.clone\(\).requires_grad_\(\)"):
        penalties.r1_from_logits(torch.ones(4), made)


def test_nothing_has_gradients_in_inference_mode() -> None:
    d = nn.Sequential(nn.Flatten(), nn.Linear(48, 1), nn.Tanh())
    with torch.inference_mode():
        with pytest.raises(RuntimeError, match=r"outside torch.inference_mode.*torch.no_grad"):
            penalties.r1(d, X)
        penalties.approximate_r1(d, X)
    with torch.no_grad():
        assert penalties.r1(d, X) > 0
