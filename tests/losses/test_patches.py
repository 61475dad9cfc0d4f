"""PatchNCE against its formula."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from numerics import generator
from torch import Tensor

from ganfast.losses import patch_nce


def features(*shape: int, seed: int = 0) -> Tensor:
    x = torch.randn(shape, generator=generator(seed), dtype=torch.float64)
    return F.normalize(x, dim=-1).requires_grad_()


def plainly(query: Tensor, key: Tensor, temperature: float) -> Tensor:
    losses = []
    for q, k in zip(query, key.detach(), strict=True):
        for i in range(len(q)):
            weights = torch.stack([((q[i] * kj).sum() / temperature).exp() for kj in k])
            losses.append(-(weights[i] / weights.sum()).log())
    return torch.stack(losses).mean()


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_values_and_gradients(temperature: float) -> None:
    layers = [(2, 5, 4), (2, 3, 6)]
    q, k = ([features(*shape, seed=s) for shape in layers] for s in (0, 1))
    found = patch_nce(q, k, temperature=temperature)
    expected = sum(plainly(*pair, temperature) for pair in zip(q, k, strict=True)) / 2
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        torch.autograd.grad(found, q), torch.autograd.grad(expected, q), rtol=1e-10, atol=1e-12
    )
    assert torch.autograd.grad(patch_nce(q, k), k, allow_unused=True) == (None, None)
    alone = patch_nce(q[0], k[0], temperature=temperature)
    torch.testing.assert_close(alone, plainly(q[0], k[0], temperature))


def test_twice_differentiable() -> None:
    q, k = features(2, 3, 4), features(2, 3, 4, seed=1).detach()
    assert torch.autograd.gradgradcheck(lambda x: patch_nce(x, k, temperature=0.5), q)


def test_half_precision_is_computed_in_float32() -> None:
    q, k = features(2, 5, 4).bfloat16(), features(2, 5, 4, seed=1).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = patch_nce(q, k)
    assert torch.equal(found, patch_nce(q.float(), k.float()))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([], []), ValueError, "at least one, got 0 and 0"),
        (([torch.ones(1, 2, 3)], torch.ones(1, 2, 3)[None].unbind()), None, ""),
        ((torch.ones(1, 2, 3), [torch.ones(1, 2, 3)] * 2), ValueError, "got 1 and 2"),
        ((torch.ones(2, 3), torch.ones(2, 3)), ValueError, r"shape \(N, P, C\), got .2, 3. and"),
        ((torch.ones(1, 2, 3), torch.ones(1, 2, 4)), ValueError, "same shape"),
        ((torch.ones(1, 2, 3).int(), torch.ones(1, 2, 3)), TypeError, "query must be a floating"),
        ((torch.ones(1, 2, 3), ["k"]), TypeError, "key must be a floating-point tensor, got str"),
    ],
)
def test_what_does_not_fit(arguments: Any, error: type[Exception] | None, message: str) -> None:
    if error is None:
        assert patch_nce(*arguments).isfinite()
        return
    with pytest.raises(error, match=message):
        patch_nce(*arguments)


def test_the_temperature_is_positive() -> None:
    with pytest.raises(ValueError, match="temperature must be positive, got 0"):
        patch_nce(torch.ones(1, 2, 3), torch.ones(1, 2, 3), temperature=0)
