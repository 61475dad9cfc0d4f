"""The losses of latent-diffusion's KL and VQ autoencoders."""

import math
from typing import Any

import pytest
import torch
from compat.autoencoders import Setting, Untouched
from compat.checks import arguments, assert_same, assert_same_networks, draw
from torch import Tensor

from ganfast.compat.latent_diffusion import (
    LPIPSWithDiscriminator,
    VQLPIPSWithDiscriminator,
    hinge_d_loss_with_exemplar_weights,
    measure_perplexity,
)


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


def vq_loss_of(setting: Setting, **options: Any) -> VQLPIPSWithDiscriminator:
    return VQLPIPSWithDiscriminator(
        10, **options, perceptual_loss=setting.perceptual, discriminator=setting.discriminator
    )


@pytest.mark.parametrize("kind", ["l1", "l2"])
def test_vq_autoencoder(kind: str) -> None:
    s = Setting()
    loss = vq_loss_of(s, codebook_weight=0.25, disc_factor=0.8, disc_weight=0.7, pixel_loss=kind,
                      perceptual_weight=0.5, n_classes=6)  # fmt: skip
    y = s.decoder_copy(s.codes)
    pixels = (s.inputs - y).abs() if kind == "l1" else (s.inputs - y) ** 2
    nll = (pixels + 0.5 * s.perceptual(s.inputs, y)).mean()
    g = -s.reference_logits(y).mean()
    w = 0.7 * s.reference_weight(nll, g)
    expected = nll + w * 0.8 * g + 0.25 * 3.0
    expected.backward()

    y = s.decoder(s.codes)
    codes = torch.tensor([[0, 1, 1], [5, 5, 5]])
    last, codebook = s.decoder[-1].weight, torch.tensor([2.0, 4.0]).double()
    options = {"last_layer": last, "split": "val", "predicted_indices": codes}
    got, log = loss(codebook, s.inputs, y, 0, 10, **options)
    got.backward()
    torch.testing.assert_close(got, expected)
    assert_same_networks(s.decoder, s.decoder_copy)
    torch.testing.assert_close(log["val/rec_loss"], nll.detach())
    entropy = -sum(p * math.log(p) for p in (1 / 6, 2 / 6, 3 / 6))
    assert float(log["val/perplexity"]) == pytest.approx(math.exp(entropy), rel=1e-6)
    assert log["val/cluster_usage"] == 3
    _, log = loss(None, s.inputs, y, 1, 10, predicted_indices=codes)
    assert list(log) == ["train/disc_loss", "train/logits_real", "train/logits_fake"]


def test_a_vq_autoencoder_without_codes_or_a_codebook_loss() -> None:
    s = Setting()
    loss, y = vq_loss_of(s), s.decoder(s.codes)
    got, log = loss(None, s.inputs, y, 0, 9)
    torch.testing.assert_close(got, s.reference_distance(y, 1.0).mean())
    assert log["train/quant_loss"] == 0
    assert "train/perplexity" not in log
    with pytest.raises(ValueError, match="n_classes must be a number with predicted_indices"):
        loss(None, s.inputs, y, 0, 9, predicted_indices=torch.zeros(2, dtype=torch.int64))
    for option in ({"pixel_loss": "l3"}, {"perceptual_loss": "dists"}):
        with pytest.raises(ValueError, match=f"^{next(iter(option))} must be one of"):
            VQLPIPSWithDiscriminator(10, **option)


def test_functions() -> None:
    real, fake = draw(3, 1, 4, 4), draw(3, 1, 4, 4, seed=1)
    weights = torch.tensor([0.5, 2.0, 0.0]).double()
    of_real = (weights * (1 - real).clamp(min=0).mean([1, 2, 3])).sum() / 2.5
    of_fake = (weights * (1 + fake).clamp(min=0).mean([1, 2, 3])).sum() / 2.5
    got = hinge_d_loss_with_exemplar_weights(real, fake, weights)
    assert_same(got, (of_real + of_fake) / 2, [real, fake])
    perplexity, used = measure_perplexity(torch.arange(8).view(2, 4), 16)
    assert float(perplexity) == pytest.approx(8, rel=1e-6)
    assert used == 8


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
    assert arguments(VQLPIPSWithDiscriminator) == (
        "disc_start, codebook_weight=1.0, pixelloss_weight=1.0, disc_num_layers=3, "
        "disc_in_channels=3, disc_factor=1.0, disc_weight=1.0, perceptual_weight=1.0, "
        "use_actnorm=False, disc_conditional=False, disc_ndf=64, disc_loss='hinge', "
        "n_classes=None, perceptual_loss='lpips', pixel_loss='l1'"
    )
    assert arguments(VQLPIPSWithDiscriminator.forward) == (
        "self, codebook_loss, inputs, reconstructions, optimizer_idx, global_step, "
        "last_layer=None, cond=None, split='train', predicted_indices=None"
    )
    assert arguments(measure_perplexity) == "predicted_indices, n_embed"
