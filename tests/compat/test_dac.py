"""The adversarial loss of Descript Audio Codec."""

import copy
from types import SimpleNamespace

import torch
from compat.checks import arguments, assert_same, assert_same_networks, draw
from compat.networks import Discriminator

from ganfast.compat.dac import GANLoss


def signals() -> tuple[SimpleNamespace, SimpleNamespace]:
    return tuple(SimpleNamespace(audio_data=draw(2, 1, 40, seed=k)) for k in range(2))


def test_signature() -> None:
    assert arguments(GANLoss) == "discriminator"
    for loss in (GANLoss.forward, GANLoss.discriminator_loss, GANLoss.generator_loss):
        assert arguments(loss) == "self, fake, real"
    discriminator = Discriminator()
    assert list(GANLoss(discriminator).state_dict()) == [
        f"discriminator.{name}" for name in discriminator.state_dict()
    ]


def test_stacked_features_are_the_list_of_their_slices() -> None:
    """The project iterates over what the discriminator returns."""
    fake, real = signals()

    def discriminator(x: torch.Tensor) -> torch.Tensor:
        return torch.stack([torch.stack([torch.sin((k + j) * x) for j in (1, 2)]) for k in (1, 2)])

    f, r = discriminator(fake.audio_data), discriminator(real.audio_data)
    loss = GANLoss(torch.nn.Identity())
    loss.discriminator.forward = discriminator
    expected = sum((x[-1] ** 2).mean() for x in f.detach()) + sum(
        ((1 - x[-1]) ** 2).mean() for x in r
    )
    assert_same(loss.discriminator_loss(fake, real), expected, [real.audio_data])
    adversarial = sum(((1 - x[-1]) ** 2).mean() for x in f)
    matching = sum((x[0] - y[0].detach()).abs().mean() for x, y in zip(f, r, strict=True))
    assert_same(loss.generator_loss(fake, real), (adversarial, matching), [fake.audio_data])


def test_forward() -> None:
    fake, real = signals()
    discriminator = Discriminator()
    d_fake, d_real = GANLoss(discriminator)(fake, real)
    for got, x in ((d_fake, fake), (d_real, real)):
        expected = discriminator(x.audio_data)
        torch.testing.assert_close(got, expected, rtol=0, atol=0)


def test_discriminator_loss() -> None:
    fake, real = signals()
    discriminator = Discriminator()
    expected_of = copy.deepcopy(discriminator)
    expected = sum((d[-1] ** 2).mean() for d in expected_of(fake.audio_data.detach()))
    expected = expected + sum(((1 - d[-1]) ** 2).mean() for d in expected_of(real.audio_data))
    got = GANLoss(discriminator).discriminator_loss(fake, real)
    assert_same(got, expected, [real.audio_data])
    got.backward()
    expected.backward()
    assert_same_networks(discriminator, expected_of)
    assert fake.audio_data.grad is None


def test_the_discriminators_step_takes_one_pass() -> None:
    fake, real = signals()
    real.audio_data = real.audio_data.detach()
    discriminator = Discriminator()
    expected_of = copy.deepcopy(discriminator)
    d_fake, d_real = expected_of(fake.audio_data.detach()), expected_of(real.audio_data)
    expected = sum((d[-1] ** 2).mean() for d in d_fake) + sum(
        ((1 - d[-1]) ** 2).mean() for d in d_real
    )
    got = GANLoss(discriminator).discriminator_loss(fake, real)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=0)
    got.backward()
    expected.backward()
    assert_same_networks(discriminator, expected_of)
    assert discriminator.passes == 1


def test_generator_loss() -> None:
    fake, real = signals()
    discriminator = Discriminator()
    d_fake, d_real = discriminator(fake.audio_data), discriminator(real.audio_data)
    adversarial = sum(((1 - d[-1]) ** 2).mean() for d in d_fake)
    matching = sum(
        (g - r.detach()).abs().mean()
        for d in zip(d_fake, d_real, strict=True)
        for g, r in list(zip(*d, strict=True))[:-1]
    )
    got = GANLoss(discriminator).generator_loss(fake, real)
    assert_same(got, (adversarial, matching), [fake.audio_data])


def test_generator_loss_makes_no_gradients_of_the_discriminator() -> None:
    fake, real = signals()
    loss = GANLoss(Discriminator())
    sum(loss.generator_loss(fake, real)).backward()
    assert real.audio_data.grad is None
    assert fake.audio_data.grad is not None
    for p in loss.parameters():
        assert p.grad is None
        assert p.requires_grad
