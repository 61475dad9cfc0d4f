"""The loss of VQGAN."""

import pytest
import torch
from compat.autoencoders import Setting, Untouched
from compat.checks import arguments, assert_same, assert_same_networks, draw

from ganfast.compat import taming


def loss_of(setting: Setting, **options: object) -> taming.VQLPIPSWithDiscriminator:
    return taming.VQLPIPSWithDiscriminator(
        10,
        **options,
        perceptual_loss=setting.perceptual,
        discriminator=setting.discriminator,
    )


@pytest.mark.parametrize("perceptual_weight", [0.0, 0.5])
@pytest.mark.parametrize("cond", [False, True])
def test_autoencoder(perceptual_weight: float, cond: bool) -> None:
    s = Setting(cond)
    loss = loss_of(
        s,
        codebook_weight=0.25,
        disc_factor=0.8,
        disc_weight=0.7,
        perceptual_weight=perceptual_weight,
        disc_conditional=cond,
    )
    y = s.decoder_copy(s.codes)
    nll = s.reference_distance(y, perceptual_weight).mean()
    g = -s.reference_logits(y).mean()
    w = 0.7 * s.reference_weight(nll, g)
    codebook = (y**2).mean([1, 2, 3])
    expected = nll + w * 0.8 * g + 0.25 * codebook.mean()
    expected.backward()

    y = s.decoder(s.codes)
    codebook = (y**2).mean([1, 2, 3])
    last = s.decoder[-1].weight
    got, log = loss(codebook, s.inputs, y, 0, 10, last_layer=last, cond=s.cond, split="val")
    got.backward()
    torch.testing.assert_close(got, expected)
    assert_same_networks(s.decoder, s.decoder_copy)
    assert all(p.grad is None for p in s.discriminator.parameters())
    x = s.inputs
    perceptual = s.perceptual(x, y).mean() if perceptual_weight else torch.tensor(0.0).double()
    assert list(log) == [
        f"val/{name}"
        for name in (
            [
                "total_loss",
                "quant_loss",
                "nll_loss",
                "rec_loss",
                "p_loss",
                "d_weight",
                "disc_factor",
                "g_loss",
            ]
        )
    ]
    values = [expected, codebook.mean(), nll, nll, perceptual, w, torch.tensor(0.8), g]
    torch.testing.assert_close(list(log.values()), [v.detach() for v in values])


@pytest.mark.parametrize("kind", ["hinge", "vanilla"])
@pytest.mark.parametrize("cond", [False, True])
def test_discriminator(kind: str, cond: bool) -> None:
    s = Setting(cond)
    loss = loss_of(s, disc_factor=0.8, disc_conditional=cond, disc_loss=kind)
    expected = s.reference_discriminator(kind, 0.8)
    expected.backward()
    got, log = loss(torch.zeros(()), s.inputs, s.decoder(s.codes), 1, 11, cond=s.cond)
    got.backward()
    torch.testing.assert_close(got, expected)
    assert_same_networks(s.discriminator, s.discriminator_copy)
    assert list(log) == ["train/disc_loss", "train/logits_real", "train/logits_fake"]
    real = s.reference_logits(s.inputs).mean()
    torch.testing.assert_close(log["train/logits_real"], real.detach())


def test_the_call_of_latent_diffusions_models() -> None:
    """Their configurations name this loss, and they pass their codes to it."""
    s = Setting()
    loss, y = loss_of(s, disc_factor=0.0), s.decoder(s.codes)
    codes = torch.zeros(2, 4, 4, dtype=torch.int64)
    for step in (0, 1):
        arguments = (torch.zeros(()), s.inputs, y, step, 10)
        expected, log = loss(*arguments)
        got, same_log = loss(*arguments, split="train", predicted_indices=codes)
        assert got == expected
        assert log.keys() == same_log.keys()


def test_nothing_is_run_before_the_start() -> None:
    s = Setting()
    s.discriminator = Untouched()
    loss = loss_of(s, perceptual_weight=0.5)
    s.reference_distance(s.decoder_copy(s.codes), 0.5).mean().backward()
    y = s.decoder(s.codes)
    got, log = loss(torch.zeros(()), s.inputs, y, 0, 9, last_layer=s.decoder[-1].weight)
    got.backward()
    assert_same_networks(s.decoder, s.decoder_copy)
    assert all(log[f"train/{name}"] == 0 for name in ("d_weight", "disc_factor", "g_loss"))
    got, _ = loss(torch.zeros(()), s.inputs, y, 1, 9)
    got.backward()
    assert got == 0
    assert torch.equal(s.discriminator.weight.grad, torch.zeros(3, dtype=torch.float64))


def test_evaluation_has_the_weight_0() -> None:
    s = Setting()
    loss = loss_of(s).eval()
    with torch.no_grad():
        y = s.decoder(s.codes)
        got, log = loss(torch.zeros(()), s.inputs, y, 0, 10, last_layer=s.decoder[-1].weight)
    torch.testing.assert_close(got, s.reference_distance(y, 1.0).mean())
    torch.testing.assert_close(log["train/g_loss"], -s.reference_logits(y).mean().detach())
    assert log["train/d_weight"] == 0


def test_refusals() -> None:
    s = Setting()
    y = s.decoder(s.codes)
    with pytest.raises(ValueError, match="disc_loss must be one of hinge, vanilla, got 'x'"):
        loss_of(s, disc_loss="x")
    loss = loss_of(s)
    with pytest.raises(ValueError, match=r"last_layer must be a tensor .*, got None"):
        loss(torch.zeros(()), s.inputs, y, 0, 10)
    with pytest.raises(ValueError, match=r"cond must be None .*, got Tensor"):
        loss(torch.zeros(()), s.inputs, y, 1, 10, cond=y)
    with pytest.raises(ValueError, match="optimizer_idx must be 0 or 1, got 2"):
        loss(torch.zeros(()), s.inputs, y, 2, 10)


def test_functions() -> None:
    real, fake = draw(2, 1, 3, 3), draw(2, 1, 3, 3, seed=1)
    hinge = 0.5 * ((1 - real).clamp(min=0).mean() + (1 + fake).clamp(min=0).mean())
    vanilla = -0.5 * (torch.sigmoid(real).log().mean() + torch.sigmoid(-fake).log().mean())
    assert_same(taming.hinge_d_loss(real, fake), hinge, (real, fake))
    assert_same(taming.vanilla_d_loss(real, fake), vanilla, (real, fake))
    assert [taming.adopt_weight(2, step, threshold=5, value=1) for step in (4, 5)] == [1, 2]


def test_signatures() -> None:
    assert arguments(taming.hinge_d_loss) == "logits_real, logits_fake"
    assert arguments(taming.vanilla_d_loss) == "logits_real, logits_fake"
    assert arguments(taming.adopt_weight) == "weight, global_step, threshold=0, value=0.0"
    assert arguments(taming.VQLPIPSWithDiscriminator) == (
        "disc_start, codebook_weight=1.0, pixelloss_weight=1.0, disc_num_layers=3, "
        "disc_in_channels=3, disc_factor=1.0, disc_weight=1.0, perceptual_weight=1.0, "
        "use_actnorm=False, disc_conditional=False, disc_ndf=64, disc_loss='hinge'"
    )
    assert arguments(taming.VQLPIPSWithDiscriminator.forward) == (
        "self, codebook_loss, inputs, reconstructions, optimizer_idx, global_step, "
        "last_layer=None, cond=None, split='train'"
    )
