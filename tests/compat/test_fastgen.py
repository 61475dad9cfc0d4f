"""FastGen's adversarial losses and its approximate R1."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from compat.checks import arguments, assert_same, draw
from torch import Tensor, nn

from ganfast.compat import fastgen


def softplus(x: Tensor) -> Tensor:
    return torch.log(1 + torch.exp(x))


def test_losses() -> None:
    real, fake = draw(6, 3), draw(6, 3, seed=1)
    assert arguments(fastgen.gan_loss_generator) == "fake_logits"
    assert_same(fastgen.gan_loss_generator(fake), softplus(-fake).mean(), [fake])
    assert arguments(fastgen.gan_loss_discriminator) == "real_logits, fake_logits"
    expected = softplus(-real).mean() + softplus(fake).mean()
    assert_same(fastgen.gan_loss_discriminator(real, fake), expected, [real, fake])
    with pytest.raises(ValueError, match=r"fake_logits must have shape \(N, heads\), got \(6,\)"):
        fastgen.gan_loss_generator(fake[:, 0])


def test_approximate_r1() -> None:
    signature = "self, real_feat_logit, real_data, t_real, condition=None"
    assert arguments(fastgen.compute_r1_regularization) == signature
    weight, teacher_weight = draw(5, 3), draw(8, 5, seed=1)
    x, t = draw(6, 8, seed=2).detach(), draw(6, 1, seed=3).detach()

    def features(x: Tensor, t: Tensor, condition: Any) -> Tensor:
        return torch.tanh((x + t) @ teacher_weight + condition)

    def teacher(
        x: Tensor, t: Tensor, *, condition: Any, return_features_early: bool, feature_indices: Any
    ) -> list[Tensor]:
        assert not torch.is_grad_enabled()
        assert return_features_early
        assert feature_indices == {3}
        return [features(x, t, condition)]

    class Discriminator(nn.Module):
        feature_indices = frozenset({3})

        def forward(self, features: list[Tensor]) -> Tensor:
            return features[0] @ weight

    d = Discriminator()
    model = SimpleNamespace(
        teacher=teacher, discriminator=d, config=SimpleNamespace(gan_r1_reg_alpha=0.1)
    )
    at_real = d([features(x, t, 0.5).detach()])
    torch.manual_seed(4)
    moved = d([features(x + 0.1 * torch.randn_like(x), t, 0.5).detach()])
    torch.manual_seed(4)
    got = fastgen.compute_r1_regularization(model, at_real, x, t, condition=0.5)
    assert_same(got, ((moved - at_real) ** 2).mean(), [weight])
