"""torchgan's functional losses."""

import math
import sys
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from compat.checks import arguments, assert_same, draw
from compat.penalised import PARAMETERS, discriminator, gradients, images, norms
from torch import Tensor
from torch.distributions import Categorical, Normal

from ganfast.compat import torchgan

REDUCTIONS = {"mean": torch.mean, "sum": torch.sum, "none": lambda x: x}
reductions = pytest.mark.parametrize("reduction", REDUCTIONS)


@pytest.mark.parametrize("empty", [(0, 1), (0,)])
def test_the_sum_of_nothing_is_0(empty: tuple[int, ...]) -> None:
    x, some = torch.ones(empty).requires_grad_(), draw(3, 1)
    for loss in (torchgan.minimax_generator_loss, torchgan.least_squares_generator_loss):
        got = loss(x, reduction="sum")
        assert got == 0
        assert torch.autograd.grad(got, x)[0].shape == empty
        assert loss(x, reduction="none").shape == empty
    got = torchgan.least_squares_discriminator_loss(some, x.double(), reduction="sum")
    assert_same(got, 0.5 * ((some - 1) ** 2).sum(), [some])


def cross_entropy(x, label):
    return -(label * F.logsigmoid(x) + (1 - label) * F.logsigmoid(-x))


DISCRIMINATOR = {
    "minimax": (lambda r: cross_entropy(r, 1), lambda f: cross_entropy(f, 0), 1),
    "least_squares": (lambda r: (r - 1) ** 2, lambda f: f**2, 0.5),
    "wasserstein": (lambda r: -r, lambda f: f, 1),
}
GENERATOR = {
    "minimax": lambda f: cross_entropy(f, 1),
    "least_squares": lambda f: 0.5 * (f - 1) ** 2,
    "wasserstein": lambda f: -f,
    "energy_based": lambda f: f,
    "boundary_equilibrium": lambda f: f,
}
SIGNATURES = {
    "minimax_generator_loss": "dgz, nonsaturating=True, reduction='mean'",
    "minimax_discriminator_loss": "dx, dgz, label_smoothing=0.0, reduction='mean'",
    "least_squares_generator_loss": "dgz, c=1.0, reduction='mean'",
    "least_squares_discriminator_loss": "dx, dgz, a=0.0, b=1.0, reduction='mean'",
    "mutual_information_penalty": "c_dis, c_cont, dist_dis, dist_cont, reduction='mean'",
    "wasserstein_generator_loss": "fgz, reduction='mean'",
    "wasserstein_discriminator_loss": "fx, fgz, reduction='mean'",
    "auxiliary_classification_loss": "logits, labels, reduction='mean'",
    "energy_based_generator_loss": "dgz, reduction='mean'",
    "energy_based_discriminator_loss": "dx, dgz, margin, reduction='mean'",
    "boundary_equilibrium_generator_loss": "dgz, reduction='mean'",
    "boundary_equilibrium_discriminator_loss": "dx, dgz, k, reduction='mean'",
}


def compare(got, expected, inputs) -> None:
    """Assert equal values and gradients, for one number per element those of a weighted sum."""
    assert got.shape == expected.shape
    weight = torch.linspace(0.5, 2, got.numel(), dtype=got.dtype).reshape(got.shape)
    assert_same((got * weight).sum(), (expected * weight).sum(), inputs)


@pytest.mark.parametrize("name", SIGNATURES)
def test_signature(name: str) -> None:
    assert arguments(getattr(torchgan, name)) == SIGNATURES[name]


@reductions
@pytest.mark.parametrize("name", GENERATOR)
def test_generator(name: str, reduction: str) -> None:
    fake = draw(7, 2)
    got = getattr(torchgan, f"{name}_generator_loss")(fake, reduction=reduction)
    compare(got, REDUCTIONS[reduction](GENERATOR[name](fake)), [fake])


@reductions
@pytest.mark.parametrize("name", DISCRIMINATOR)
def test_discriminator(name: str, reduction: str) -> None:
    real, fake = draw(7, 2), draw(7, 2, seed=1)
    of_real, of_fake, scale = DISCRIMINATOR[name]
    reduce = REDUCTIONS[reduction]
    got = getattr(torchgan, f"{name}_discriminator_loss")(real, fake, reduction=reduction)
    compare(got, scale * (reduce(of_real(real)) + reduce(of_fake(fake))), [real, fake])


@reductions
def test_options(reduction: str) -> None:
    real, fake = draw(7, 2), draw(7, 2, seed=1)
    reduce = REDUCTIONS[reduction]
    got = torchgan.minimax_generator_loss(fake, False, reduction)
    compare(got, -reduce(cross_entropy(fake, 0)), [fake])
    got = torchgan.minimax_discriminator_loss(real, fake, 0.2, reduction)
    expected = reduce(cross_entropy(real, 0.8)) + reduce(cross_entropy(fake, 0))
    compare(got, expected, [real, fake])
    got = torchgan.least_squares_generator_loss(fake, 0.7, reduction)
    compare(got, 0.5 * reduce((fake - 0.7) ** 2), [fake])
    got = torchgan.least_squares_discriminator_loss(real, fake, -1.0, 0.7, reduction)
    expected = 0.5 * (reduce((real - 0.7) ** 2) + reduce((fake + 1) ** 2))
    compare(got, expected, [real, fake])


def test_different_numbers_of_samples() -> None:
    real, fake = draw(7, 1), draw(5, 1, seed=1)
    expected = cross_entropy(real, 0.9).mean() + cross_entropy(fake, 0).mean()
    assert_same(torchgan.minimax_discriminator_loss(real, fake, 0.1), expected, [real, fake])


@reductions
def test_energies(reduction: str) -> None:
    real, fake = draw(7, 2), draw(7, 2, seed=1)
    reduce = REDUCTIONS[reduction]
    got = torchgan.energy_based_discriminator_loss(real, fake, 0.8, reduction)
    compare(got, reduce(real + (0.8 - fake).clamp(min=0)), [real, fake])
    got = torchgan.boundary_equilibrium_discriminator_loss(real, fake, 0.3, reduction)
    for g, e in zip(got, (real - 0.3 * fake, real, fake), strict=True):
        compare(g, reduce(e), [real, fake])


@pytest.mark.parametrize("shape", [(5, 7), (2, 3, 2, 4)])
def test_pulling_away(shape: tuple[int, ...]) -> None:
    assert arguments(torchgan.energy_based_pulling_away_term) == "d_hid"
    hidden = draw(*shape)
    cosines = [
        (x * y).sum() / (x.square().sum() * y.square().sum()).sqrt()
        for i, x in enumerate(hidden)
        for j, y in enumerate(hidden)
        if i != j
    ]
    expected = torch.stack(cosines).square().mean()
    assert_same(torchgan.energy_based_pulling_away_term(hidden), expected, [hidden])
    with pytest.raises(ValueError, match="d_hid must hold at least two samples, got 1"):
        torchgan.energy_based_pulling_away_term(hidden[:1])


@reductions
def test_classes(reduction: str) -> None:
    logits, labels = draw(7, 3), torch.arange(7) % 3
    nll = -logits.log_softmax(1)[torch.arange(7), labels]
    got = torchgan.auxiliary_classification_loss(logits, labels, reduction)
    compare(got, REDUCTIONS[reduction](nll), [logits])


@reductions
def test_mutual_information(reduction: str) -> None:
    logits, mean, codes = draw(7, 3), draw(7, 2, seed=1), draw(7, 2, seed=2).detach()
    classes = torch.arange(7) % 3
    discrete = -logits.log_softmax(1)[torch.arange(7), classes].mean()
    continuous = (0.5 * (codes - mean) ** 2).mean() + 0.5 * math.log(2 * math.pi)
    got = torchgan.mutual_information_penalty(
        classes, codes, Categorical(logits=logits), Normal(mean, torch.ones_like(mean)), reduction
    )
    compare(got, REDUCTIONS[reduction](torch.stack([discrete, continuous])), [logits, mean])


def test_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchgan", ModuleType("torchgan"))
    modules = {}
    for name in torchgan._MODULES:
        full = "torchgan.losses" + (f".{name}" if name else "")
        modules[name] = ModuleType(full)
        monkeypatch.setitem(sys.modules, full, modules[name])
    modules[""].minimax_generator_loss = None
    modules["functional"].minimax_generator_loss = None
    modules["minimax"].minimax_generator_loss = None
    modules["draganpenalty"].dragan_gradient_penalty = None
    torchgan.install()
    for name in ("", "functional", "minimax"):
        assert modules[name].minimax_generator_loss is torchgan.minimax_generator_loss
    assert modules["draganpenalty"].dragan_gradient_penalty is torchgan.dragan_gradient_penalty
    assert not hasattr(modules["leastsquares"], "minimax_generator_loss")


def test_gradient_penalties() -> None:
    signature = "interpolate, d_interpolate, {}reduction='mean'"
    assert arguments(torchgan.wasserstein_gradient_penalty) == signature.format("")
    assert arguments(torchgan.dragan_gradient_penalty) == signature.format("k=1.0, ")
    x = images()[0].requires_grad_()
    of_samples, of_batch = norms(x), gradients(x).square().sum().sqrt()

    def dragan(k: float, reduction: str, **options: str) -> Tensor:
        return torchgan.dragan_gradient_penalty(x, discriminator(x), k, reduction, **options)

    got = torchgan.wasserstein_gradient_penalty(x, discriminator(x))
    assert_same(got, ((of_samples - 1) ** 2).mean(), [PARAMETERS])
    got = torchgan.wasserstein_gradient_penalty(x, discriminator(x), norm="batch")
    assert_same(got, (of_batch - 1) ** 2, [PARAMETERS])
    assert_same(dragan(0.5, "mean"), ((of_samples - 0.5) ** 2).mean(), [PARAMETERS])
    assert_same(dragan(0.5, "sum"), ((of_samples - 0.5) ** 2).sum(), [PARAMETERS])
    got = dragan(0.5, "none")
    assert got.shape == (7,)
    assert_same(got @ got.detach(), ((of_samples - 0.5) ** 2) @ got.detach(), [PARAMETERS])
    for reduction in ("mean", "sum", "none"):
        assert_same(dragan(2.0, reduction, norm="batch"), (of_batch - 2) ** 2, [PARAMETERS])
