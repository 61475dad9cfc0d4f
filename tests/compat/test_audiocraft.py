"""AudioCraft's adversarial losses."""

import copy
import inspect
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from compat.checks import arguments, assert_same, assert_same_networks, draw
from compat.networks import Discriminator
from torch import Tensor, nn

from ganfast.compat import audiocraft
from ganfast.compat.audiocraft import AdversarialLoss, FeatureMatchingLoss


class Adversary(Discriminator):
    """Return logits and features."""

    def forward(self, x: Tensor) -> tuple[list[Tensor], list[list[Tensor]]]:
        outputs = super().forward(x)
        return [d[-1] for d in outputs], [d[:-1] for d in outputs]


def zero_or_more(x: Tensor) -> Tensor:
    return x.clamp(min=0)


REAL = {
    "mse": lambda x: ((x - 1) ** 2).mean(),
    "hinge": lambda x: zero_or_more(1 - x).mean(),
    "hinge2": lambda x: zero_or_more(1 - x).mean(),
}
FAKE = {
    "mse": lambda x: (x**2).mean(),
    "hinge": lambda x: zero_or_more(1 + x).mean(),
    "hinge2": lambda x: zero_or_more(1 + x).mean(),
}
GENERATOR = {**REAL, "hinge": lambda x: -x.mean()}
DISTANCES = {"l1": lambda d: d.abs().mean(), "l2": lambda d: (d**2).mean()}
MODULES = {"l1": nn.L1Loss, "l2": nn.MSELoss}


@pytest.mark.parametrize("kind", audiocraft.ADVERSARIAL_LOSSES)
def test_criteria(kind: str) -> None:
    x = draw(3, 1, 7)
    assert_same(audiocraft.get_real_criterion(kind)(x), REAL[kind](x), [x])
    assert_same(audiocraft.get_fake_criterion(kind)(x), FAKE[kind](x), [x])
    assert_same(audiocraft.get_adv_criterion(kind)(x), GENERATOR[kind](x), [x])
    assert audiocraft.get_adv_criterion(kind)(x[:0]).tolist() == [0]


def test_unknown_criterion() -> None:
    with pytest.raises(ValueError, match="loss_type must be one of mse, hinge, hinge2, got 'bce'"):
        audiocraft.get_adv_criterion("bce")


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("kind", DISTANCES)
def test_feature_matching(kind: str, normalize: bool) -> None:
    fake, real = ([draw(2, 4, n, seed=s + n) for n in (5, 3, 8)] for s in (0, 100))
    expected = sum(DISTANCES[kind](g - r) for g, r in zip(fake, real, strict=True))
    expected = expected / 3 if normalize else expected
    fused = FeatureMatchingLoss(MODULES[kind](), normalize)
    assert_same(fused(fake, real), expected, fake)

    class Own(MODULES[kind]):
        pass

    assert_same(FeatureMatchingLoss(Own(), normalize)(fake, real), expected, fake)
    fused(fake, real).backward()
    assert all(r.grad is None for r in real)
    stacked, other = draw(3, 4, 2), draw(3, 4, 2, seed=7)  # the project iterates over it
    assert_same(fused(stacked, other), fused(list(stacked), list(other)), [stacked])
    if not normalize:
        expected = sum(DISTANCES[kind](g - r) for g, r in zip(stacked, other, strict=True))
        assert_same(fused(stacked, other), expected, [stacked])


def make(kind: str, normalize: bool, loss_feat: nn.Module | None) -> AdversarialLoss:
    adversary = Adversary()
    return AdversarialLoss(
        adversary,
        torch.optim.SGD(adversary.parameters(), lr=0.1, momentum=0.9),
        audiocraft.get_adv_criterion(kind),
        audiocraft.get_real_criterion(kind),
        audiocraft.get_fake_criterion(kind),
        loss_feat,
        normalize,
    )


@pytest.mark.parametrize("of_features", [True, False])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("kind", audiocraft.ADVERSARIAL_LOSSES)
def test_generator_step(kind: str, normalize: bool, of_features: bool) -> None:
    fake, real = draw(2, 1, 40), draw(2, 1, 40, seed=1)
    loss = make(kind, normalize, FeatureMatchingLoss(nn.L1Loss(), of_features))
    (logits, fmaps), (_, fmaps_real) = loss.adversary(fake), loss.adversary(real)
    adv = sum(GENERATOR[kind](x) for x in logits)
    feat = sum(
        (g - r.detach()).abs().mean() / (len(d) if of_features else 1)
        for d, e in zip(fmaps, fmaps_real, strict=True)
        for g, r in zip(d, e, strict=True)
    )
    n = 3 if normalize else 1
    assert_same(loss(fake, real), (adv / n, feat / n), [fake])
    with_own = make(kind, normalize, own_feature_loss)
    own = sum(own_feature_loss(d, e) for d, e in zip(fmaps, fmaps_real, strict=True))
    assert_same(with_own(fake, real)[1], own / n, [fake])
    sum(loss(fake, real)).backward()
    assert all(p.grad is None and p.requires_grad for p in loss.adversary.parameters())


def own_feature_loss(fake: list[Tensor], real: list[Tensor]) -> Tensor:
    return sum((2 * g - r).square().sum() for g, r in zip(fake, real, strict=True))


def test_own_adversarial_loss() -> None:
    fake, real = draw(2, 1, 40), draw(2, 1, 40, seed=1)
    loss = make("mse", True, None)
    loss.loss = lambda x: x.tanh().mean()
    adv, feat = loss(fake, real)
    expected = sum(x.tanh().mean() for x in loss.adversary(fake)[0]) / 3
    assert_same(adv, expected, [fake])
    assert feat.item() == 0


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("kind", audiocraft.ADVERSARIAL_LOSSES)
def test_train_adv(kind: str, normalize: bool) -> None:
    fake, real = draw(2, 1, 40), draw(2, 1, 40, seed=1)
    loss = make(kind, normalize, None)
    expected_of = copy.deepcopy(loss.adversary)
    (logits_fake, _), (logits_real, _) = expected_of(fake), expected_of(real)
    expected = sum(FAKE[kind](x) for x in logits_fake) + sum(REAL[kind](x) for x in logits_real)
    expected = expected / 3 if normalize else expected
    before = copy.deepcopy(loss.adversary)
    got = loss.train_adv(fake, real)
    assert loss.adversary.passes == 1
    expected.backward(inputs=list(expected_of.parameters()))
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=0)
    assert_same_networks(loss.adversary, expected_of)
    for p, was in zip(loss.adversary.parameters(), before.parameters(), strict=True):
        torch.testing.assert_close(p, was - 0.1 * p.grad, rtol=1e-12, atol=1e-14)
    assert fake.grad is None


def test_optimizer_is_state() -> None:
    loss = make("mse", True, None)
    loss.train_adv(draw(2, 1, 40), draw(2, 1, 40, seed=1))
    state = copy.deepcopy(loss.state_dict())
    assert "adversary.parts.0.0.weight" in state
    other = make("mse", True, None)
    other.load_state_dict(state)
    torch.testing.assert_close(other.optimizer.state_dict(), loss.optimizer.state_dict())
    torch.testing.assert_close(other.adversary.state_dict(), loss.adversary.state_dict())


def test_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    @contextmanager
    def eager_sync_model(model):
        calls.append(("sync", model))
        yield
        assert all(p.grad is not None for p in model.parameters())

    distrib = SimpleNamespace(
        broadcast_model=lambda model: calls.append(("broadcast", model)),
        eager_sync_model=eager_sync_model,
    )
    monkeypatch.setitem(sys.modules, "flashy", SimpleNamespace(distrib=distrib))
    monkeypatch.setattr(audiocraft, "process_count", lambda: 2)
    loss = make("mse", True, None)
    loss.train_adv(draw(2, 1, 40), draw(2, 1, 40, seed=1))
    assert calls == [("broadcast", loss.adversary), ("sync", loss.adversary)]


def test_adversary_must_return_lists() -> None:
    loss = make("mse", True, None)
    loss.adversary = nn.Module()
    loss.adversary.forward = lambda x: (x, [])
    with pytest.raises(TypeError, match="adversary must return a list of logits, got Tensor"):
        loss(draw(2, 1, 40), draw(2, 1, 40))


def test_signatures() -> None:
    assert arguments(AdversarialLoss) == (
        "adversary, optimizer, loss, loss_real, loss_fake, loss_feat=None, normalize=True"
    )
    assert arguments(AdversarialLoss.train_adv) == "self, fake, real"
    assert arguments(AdversarialLoss.forward) == "self, fake, real"
    assert arguments(FeatureMatchingLoss.forward) == "self, fmap_fake, fmap_real"
    names = list(inspect.signature(FeatureMatchingLoss).parameters)
    assert names == ["loss", "normalize"]
    default = FeatureMatchingLoss()
    assert type(default.loss) is nn.L1Loss
    assert default.normalize
