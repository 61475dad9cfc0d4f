"""The loss of latent-diffusion's KL autoencoder."""

from typing import Any

import pytest
import torch
from compat.autoencoders import Setting, Untouched
from compat.checks import arguments, assert_same_networks
from torch import Tensor

from ganfast.compat.latent_diffusion import LPIPSWithDiscriminator


class Posterior:
    def __init__(self, x: Tensor) -> None:
        self.x = x

    def kl(self) -> Tensor:
        return (self.x**2).sum([1, 2, 3])


def loss_of(setting: Setting, **options: Any) -> LPIPSWithDiscriminator:
    loss = LPIPSWithDiscriminator(
        10,
        **options,
        perceptual_loss=setting.perceptual,
        discriminator=setting.discriminator,
    )
    return loss.double()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("perceptual_weight", [0.0, 0.5])
def test_autoencoder(weighted: bool, perceptual_weight: float) -> None:
    s = Setting()
    weights = torch.tensor([0.5, 2.0]).double().view(2, 1, 1, 1) if weighted else None
    loss = loss_of(
        s,
        logvar_init=0.3,
        kl_weight=1e-3,
        disc_factor=0.8,
        disc_weight=0.7,
        perceptual_weight=perceptual_weight,
    )
    logvar = torch.tensor(0.3).double().requires_grad_()
    with torch.no_grad():
        logvar.copy_(loss.logvar)
    y = s.decoder_copy(s.codes)
    distance = s.reference_distance(y, perceptual_weight)
    each = distance / torch.exp(logvar) + logvar
    nll = each.sum() / 2
    g = -s.reference_logits(y).mean()
    w = 0.7 * s.reference_weight(nll, g)
    kl = Posterior(y).kl().sum() / 2
    trained = nll if weights is None else (weights * each).sum() / 2
    expected = trained + 1e-3 * kl + w * 0.8 * g
    expected.backward()

    y = s.decoder(s.codes)
    last = s.decoder[-1].weight
    got, log = loss(s.inputs, y, Posterior(y), 0, 10, last_layer=last, weights=weights)
    got.backward()
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(loss.logvar.grad, logvar.grad)
    assert_same_networks(s.decoder, s.decoder_copy)
    values = [expected, logvar, kl, nll, distance.mean(), w, torch.tensor(0.8), g]
    assert list(log) == [
        f"train/{name}"
        for name in (
            [
                "total_loss",
                "logvar",
                "kl_loss",
                "nll_loss",
                "rec_loss",
                "d_weight",
                "disc_factor",
                "g_loss",
            ]
        )
    ]
    torch.testing.assert_close(list(log.values()), [v.detach() for v in values])


@pytest.mark.parametrize("kind", ["hinge", "vanilla"])
def test_discriminator(kind: str) -> None:
    s = Setting()
    expected = s.reference_discriminator(kind, 1.0)
    expected.backward()
    y = s.decoder(s.codes)
    got, log = loss_of(s, disc_loss=kind)(s.inputs, y, Posterior(y), 1, 10)
    got.backward()
    torch.testing.assert_close(got, expected)
    assert_same_networks(s.discriminator, s.discriminator_copy)
    assert list(log) == ["train/disc_loss", "train/logits_real", "train/logits_fake"]


def test_nothing_is_run_before_the_start() -> None:
    s = Setting()
    s.discriminator = Untouched()
    loss = loss_of(s)
    y = s.decoder(s.codes)
    got, _ = loss(s.inputs, y, Posterior(y), 0, 9, last_layer=s.decoder[-1].weight)
    nll = s.reference_distance(y, 1.0).sum() / 2
    torch.testing.assert_close(got, nll + Posterior(y).kl().sum() / 2)
    assert loss(s.inputs, y, Posterior(y), 1, 9)[0] == 0


def test_signatures() -> None:
    assert arguments(LPIPSWithDiscriminator) == (
        "disc_start, logvar_init=0.0, kl_weight=1.0, pixelloss_weight=1.0, disc_num_layers=3, "
        "disc_in_channels=3, disc_factor=1.0, disc_weight=1.0, perceptual_weight=1.0, "
        "use_actnorm=False, disc_conditional=False, disc_loss='hinge'"
    )
    assert arguments(LPIPSWithDiscriminator.forward) == (
        "self, inputs, reconstructions, posteriors, optimizer_idx, global_step, "
        "last_layer=None, cond=None, split='train', weights=None"
    )
