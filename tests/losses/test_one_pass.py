"""One pass over real and fake samples: the numbers of two, and two where one would differ."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, spectral_norm

from ganfast.losses import discriminator_loss, frozen, generator_loss, one_pass


class Discriminator(nn.Module):
    """Logits and features in a nest, and something that is no tensor; counts its passes."""

    def __init__(self, middle: nn.Module | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = parametrizations.weight_norm(nn.Conv1d(1, 4, 3))
        self.middle = middle or nn.Identity()
        self.last = nn.Conv1d(4, 1, 3)
        self.passes = 0

    def forward(self, x: Tensor) -> dict[str, Any]:
        self.passes += 1
        features = torch.tanh(self.middle(self.first(x)))
        return {"logits": [self.last(features)], "maps": (features, [x.mean(2)]), "name": "d"}


def batches(seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    real, fake = (torch.randn(n, 1, 12, generator=generator, dtype=torch.float64) for n in (2, 3))
    return real, fake


def loss_of(real: dict[str, Any], fake: dict[str, Any]) -> Tensor:
    matching = real["maps"][0].square().mean() + 3 * fake["maps"][0].mean()
    return discriminator_loss(real["logits"], fake["logits"], "hinge") + matching


def assert_same(d: Discriminator, passes: int, real: Tensor, fake: Tensor) -> None:
    """Values, gradients and buffers are those of two passes."""
    other = copy.deepcopy(d)
    expected = other(real), other(fake)
    got = one_pass(d, real, fake)
    assert d.passes == passes
    for side, of_side in zip(got, expected, strict=True):
        assert side.pop("name") == of_side.pop("name")
        torch.testing.assert_close(side, of_side, rtol=1e-12, atol=1e-12)
    loss_of(*got).backward()
    loss_of(*expected).backward()
    for (name, p), q in zip(d.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-10, atol=1e-12, msg=name)
    torch.testing.assert_close(d.state_dict(), other.state_dict(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("middle", "passes"),
    [
        (nn.Identity(), 1),
        (nn.GroupNorm(2, 4), 1),
        (nn.InstanceNorm1d(4), 1),
        (nn.BatchNorm1d(4).eval(), 1),
        (spectral_norm(nn.Conv1d(4, 4, 1)).eval(), 1),
        (nn.BatchNorm1d(4), 2),
        (nn.BatchNorm1d(4, track_running_stats=False).eval(), 2),
        (nn.InstanceNorm1d(4, track_running_stats=True), 2),
        (spectral_norm(nn.Conv1d(4, 4, 1)), 2),
        (parametrizations.spectral_norm(nn.Conv1d(4, 4, 1)), 2),
    ],
)
def test_the_numbers_are_those_of_two_passes(middle: nn.Module, passes: int) -> None:
    assert_same(Discriminator(middle).double(), passes, *batches())


def test_the_generators_step_keeps_no_graph_of_real_samples() -> None:
    d, (real, fake) = Discriminator().double(), batches()
    fake.requires_grad_()
    with frozen(d):
        of_real, of_fake = one_pass(d, real, fake)
    assert d.passes == 2
    assert not of_real["logits"][0].requires_grad
    generator_loss(of_fake["logits"]).backward()
    assert fake.grad is not None
    with torch.no_grad():
        one_pass(d, real, fake)
    assert d.passes == 3


def test_both_sides_may_get_gradients() -> None:
    d, (real, fake) = Discriminator().double(), batches()
    both = [x.requires_grad_() for x in (real, fake)]
    loss = loss_of(*one_pass(d, real, fake))
    got = torch.autograd.grad(loss, both, create_graph=True)
    expected = torch.autograd.grad(loss_of(d(real), d(fake)), both, create_graph=True)
    for g, e in zip(got, expected, strict=True):
        torch.testing.assert_close(g, e, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("change", [lambda x: x[..., :9], lambda x: x[:, :, ::2], Tensor.float])
def test_batches_that_differ_take_a_pass_each(change: Any) -> None:
    d, (real, fake) = Discriminator(), batches()
    calls = []
    d.forward = calls.append
    one_pass(d, real, change(fake))
    assert [x.shape for x in calls] == [real.shape, change(fake).shape]


def test_errors() -> None:
    real, fake = batches()
    with pytest.raises(TypeError, match="discriminator must be a torch module, got function"):
        one_pass(lambda x: x, real, fake)
    with pytest.raises(TypeError, match="fake must be a tensor, got list"):
        one_pass(nn.Identity(), real, [fake])
    message = r"the samples along dimension 0, 5 here, got shape \[1, 5, 12\]"
    with pytest.raises(ValueError, match=message):
        one_pass(_Moved(), real, fake)


class _Moved(nn.Module):
    """Puts the samples into another dimension."""

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(0, 1)
