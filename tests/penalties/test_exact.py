"""Exact penalties against float64 formulas and closed forms, for every kind of output."""

from collections.abc import Callable

import pytest
import torch
from numerics import generator
from torch import Tensor, nn

from ganfast import penalties


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=generator(seed))


@pytest.fixture
def discriminator() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(6 * 16, 1)
    )
    return layers.double()


REAL, FAKE = 3 * randn(5, 2, 4, 4), 3 * randn(5, 2, 4, 4, seed=1)
ALPHA = torch.rand(5, dtype=torch.float64, generator=generator(2))
MIXED = ALPHA.view(5, 1, 1, 1) * REAL + (1 - ALPHA.view(5, 1, 1, 1)) * FAKE


def gradient(discriminator: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)[0]


def norms(g: Tensor) -> Tensor:
    return (g**2).sum((1, 2, 3)).sqrt()


def pixel_norms(g: Tensor) -> Tensor:
    return (g**2).sum(1).sqrt()


def dragan_noise(seed: int) -> Tensor:
    """The noise that a penalty draws from a fresh generator."""
    return torch.rand(REAL.shape, dtype=torch.float64, generator=generator(seed))


MASK = torch.rand(5, 1, 4, 4, dtype=torch.float64, generator=generator(3))
HALF = {"alpha": ALPHA}

# Each row of conventions: one call with explicit arguments, and the formula written out.
CONVENTIONS: dict[str, tuple[Callable[[nn.Module], Tensor], Callable[[nn.Module], Tensor]]] = {
    "StudioGAN, PyTorch-GAN gradient penalty": (
        lambda d: penalties.wgan_gp(d, REAL, FAKE, weight=1.0, **HALF),
        lambda d: ((norms(gradient(d, MIXED)) - 1) ** 2).mean(),
    ),
    "mimicry, caogang gradient penalty": (
        lambda d: penalties.wgan_gp(d, REAL, FAKE, weight=10.0, **HALF),
        lambda d: 10 * ((norms(gradient(d, MIXED)) - 1) ** 2).mean(),
    ),
    "pix2pix on fakes with constant 0": (
        lambda d: penalties.wgan_gp(d, REAL, FAKE, mode="fake", center=0.0, weight=10.0),
        lambda d: 10 * ((gradient(d, FAKE).reshape(5, -1) + 1e-16).norm(2, dim=1) ** 2).mean(),
    ),
    "pix2pix mixed": (
        lambda d: penalties.wgan_gp(d, REAL, FAKE, center=1.0, weight=10.0, **HALF),
        lambda d: (
            10 * (((gradient(d, MIXED).reshape(5, -1) + 1e-16).norm(2, dim=1) - 1) ** 2).mean()
        ),
    ),
    "BasicSR, of pixels": (
        lambda d: penalties.wgan_gp(d, REAL, FAKE, norm="pixel", weight=1.0, **HALF),
        lambda d: ((pixel_norms(gradient(d, MIXED)) - 1) ** 2).mean(),
    ),
    "mmagic, of pixels with a mask": (
        lambda d: penalties.wgan_gp(d, REAL, FAKE, norm="pixel", weight=1.0, mask=MASK, **HALF),
        lambda d: ((pixel_norms(gradient(d, MIXED) * MASK) - 1) ** 2).mean() / MASK.mean(),
    ),
    "Torchelie": (
        lambda d: penalties.wgan_gp(d, REAL, FAKE, weight=1.0, eps=1e-8, **HALF),
        lambda d: (((norms(gradient(d, MIXED)) ** 2 + 1e-8).sqrt() - 1) ** 2).mean(),
    ),
    "compare_gan": (
        lambda d: penalties.wgan_gp(d, REAL, FAKE, weight=1.0, eps=1e-4, alpha=1 - ALPHA),
        lambda d: (
            (
                (1e-4 + norms(gradient(d, REAL + ALPHA.view(5, 1, 1, 1) * (FAKE - REAL))) ** 2)
                ** 0.5
                - 1
            )
            ** 2
        ).mean(),
    ),
    "torchgan, over the whole batch with one alpha": (
        lambda d: penalties.wgan_gp(d, REAL, FAKE, norm="batch", alpha=0.3, weight=10.0),
        lambda d: 10 * (gradient(d, 0.3 * REAL + 0.7 * FAKE).norm() - 1) ** 2,
    ),
    "WGAN-LP": (
        lambda d: penalties.wgan_lp(d, REAL, FAKE, center=0.1, **HALF),
        lambda d: 10 * ((norms(gradient(d, MIXED)) - 0.1).clamp(min=0) ** 2).mean(),
    ),
    "GP-0": (
        lambda d: penalties.zero_centered(d, REAL, FAKE, weight=3.0, **HALF),
        lambda d: 3 * (norms(gradient(d, MIXED)) ** 2).mean(),
    ),
    "MaxGP": (
        lambda d: penalties.max_gp(d, REAL, FAKE, **HALF),
        lambda d: (norms(gradient(d, MIXED)) ** 2).max(),
    ),
    "PyTorch-GAN WGAN-div": (
        lambda d: penalties.wgan_div(d, REAL, FAKE, k=2.0, p=6.0),
        lambda d: (norms(gradient(d, REAL)) ** 6).mean() + (norms(gradient(d, FAKE)) ** 6).mean(),
    ),
    "WGAN-div at mixed points": (
        lambda d: penalties.wgan_div(d, REAL, FAKE, k=2.0, p=6.0, mode="mixed", **HALF),
        lambda d: 2 * (norms(gradient(d, MIXED)) ** 6).mean(),
    ),
    "StudioGAN DRAGAN": (
        lambda d: penalties.dragan(d, REAL, weight=1.0, alpha=ALPHA, generator=generator(7)),
        lambda d: (
            (
                norms(
                    gradient(d, REAL + ALPHA.view(5, 1, 1, 1) * 0.5 * REAL.std() * dragan_noise(7))
                )
                - 1
            )
            ** 2
        ).mean(),
    ),
    "torchgan DRAGAN, alpha of each element": (
        lambda d: penalties.dragan(d, REAL, weight=10.0, alpha=MASK, generator=generator(7)),
        lambda d: (
            10
            * (
                (norms(gradient(d, REAL + MASK * 0.5 * REAL.std() * dragan_noise(7))) - 1) ** 2
            ).mean()
        ),
    ),
    "compare_gan DRAGAN": (
        lambda d: penalties.dragan(
            d,
            REAL,
            weight=1.0,
            scale=1.0,
            alpha=1.0,
            centred_noise=True,
            clip=(0.0, 1.0),
            generator=generator(7),
        ),
        lambda d: (
            (norms(gradient(d, (REAL + REAL.std() * (dragan_noise(7) - 0.5)).clamp(0.0, 1.0))) - 1)
            ** 2
        ).mean(),
    ),
    "PyTorch-GAN DRAGAN, of pixels": (
        lambda d: penalties.dragan(d, REAL, norm="pixel", alpha=ALPHA, generator=generator(7)),
        lambda d: (
            10
            * (
                (
                    pixel_norms(
                        gradient(
                            d, REAL + ALPHA.view(5, 1, 1, 1) * 0.5 * REAL.std() * dragan_noise(7)
                        )
                    )
                    - 1
                )
                ** 2
            ).mean()
        ),
    ),
    "StudioGAN, stylegan, R3GAN R1": (
        lambda d: penalties.r1(d, REAL, gamma=3.0),
        lambda d: 1.5 * (gradient(d, REAL) ** 2).sum((1, 2, 3)).mean(),
    ),
    "rosinality, BasicSR R1": (
        lambda d: penalties.r1(d, REAL, gamma=1.0, half=False),
        lambda d: (gradient(d, REAL) ** 2).reshape(5, -1).sum(1).mean(),
    ),
    "mmagic R1, of pixels": (
        lambda d: penalties.r1(d, REAL, gamma=1.0, half=False, norm="pixel"),
        lambda d: (pixel_norms(gradient(d, REAL)) ** 2).mean(),
    ),
    "R3GAN R2": (
        lambda d: penalties.r2(d, FAKE, gamma=3.0),
        lambda d: 1.5 * (gradient(d, FAKE) ** 2).sum((1, 2, 3)).mean(),
    ),
}


def with_gradients(penalty: Tensor, module: nn.Module) -> list[Tensor]:
    parameters = list(module.parameters())
    found = torch.autograd.grad(penalty, parameters, allow_unused=True, materialize_grads=True)
    return [penalty.detach(), *found]


@pytest.mark.parametrize("name", CONVENTIONS)
def test_every_convention_is_one_call(name: str, discriminator: nn.Module, route: str) -> None:
    call, formula = CONVENTIONS[name]
    got = with_gradients(call(discriminator), discriminator)
    expected = with_gradients(formula(discriminator), discriminator)
    assert any(x.count_nonzero() for x in expected[1:])
    for x, y in zip(got, expected, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-10, atol=1e-13)


def test_diffusers_convention_from_logits(discriminator: nn.Module) -> None:
    images = REAL.clone().requires_grad_()
    penalty = penalties.wgan_gp_from_logits(discriminator(images), images, weight=10.0)
    torch.testing.assert_close(
        penalty, 10 * ((norms(gradient(discriminator, REAL)) - 1) ** 2).mean()
    )


def test_of_a_linear_discriminator_the_gradient_is_its_weight() -> None:
    """At any points the penalty is (|w| - 1)^2, and its gradient 2 (1 - 1 / |w|) w."""
    w = torch.tensor([2.0, -1.0, 2.0], requires_grad=True)
    penalty = penalties.wgan_gp(lambda x: x @ w, torch.randn(7, 3), torch.randn(7, 3))
    assert penalty.item() == pytest.approx(10 * 4)
    penalty.backward()
    torch.testing.assert_close(w.grad, 10 * 2 * (1 - 1 / 3) * w.detach())


def test_of_a_quadratic_discriminator_r1_is_known() -> None:
    """D = x A x / 2 with the gradient A x."""
    a = torch.diag(torch.tensor([1.0, 2.0, 3.0])).requires_grad_()
    x = torch.tensor([[1.0, 1.0, 1.0], [2.0, 0.0, 0.0]])
    penalty = penalties.r1(lambda x: (x @ a * x).sum(1) / 2, x, gamma=1.0)
    assert penalty.item() == pytest.approx((14 + 4) / 2 / 2)


def test_a_discriminator_with_zero_gradient_trains_on() -> None:
    w = torch.zeros(3, requires_grad=True)
    penalty = penalties.wgan_gp(lambda x: x @ w, torch.randn(7, 3), torch.randn(7, 3))
    assert penalty == 10
    penalty.backward()
    assert w.grad.tolist() == [0, 0, 0]


def test_gradients_over_several_inputs_add_up_per_sample(route: str) -> None:
    x, y = randn(6, 3), randn(6, 2, 2, seed=1)

    def discriminator(x: Tensor, y: Tensor) -> Tensor:
        return x.square().sum(1) + y.pow(3).sum((1, 2))

    s = (2 * x).square().sum(1) + (3 * y**2).square().sum((1, 2))
    torch.testing.assert_close(penalties.r1(discriminator, [x, y], gamma=2.0), s.mean())
    torch.testing.assert_close(
        penalties.wgan_gp(discriminator, [x, y], [x, y], weight=1.0), ((s.sqrt() - 1) ** 2).mean()
    )


class Conditional(nn.Module):
    def forward(self, x: Tensor, labels: Tensor, *, scale: float = 1.0) -> dict[str, Tensor]:
        logits = scale * (x.flatten(1).square().sum(1) * labels)
        return {"logits": logits, "features": x}


LABELS = torch.tensor([1.0, -1.0, 2.0, 0.5, 3.0], dtype=torch.float64)


def test_r1_is_the_mean_of_the_squared_norms(discriminator: nn.Module) -> None:
    real = REAL.clone().requires_grad_()
    squares = penalties.squared_norms(discriminator(real), real)
    torch.testing.assert_close(squares, norms(gradient(discriminator, REAL)) ** 2)
    parameters = list(discriminator.parameters())[:2]  # the last bias has no gradient
    torch.testing.assert_close(
        torch.autograd.grad(squares.mean(), parameters),
        torch.autograd.grad(penalties.r1(discriminator, REAL, gamma=2.0), parameters),
    )
    x, y = randn(5, 3).requires_grad_(), randn(5, 2, seed=1).requires_grad_()
    logits = [(x**2).sum(1), (3 * y).sum(1)]
    expected = 4 * (x**2).sum(1) + 18
    torch.testing.assert_close(penalties.squared_norms(logits, [x, y]), expected)
    with pytest.raises(ValueError, match="points must require gradients before"):
        penalties.squared_norms(discriminator(REAL), REAL)


def test_a_conditional_discriminator_with_a_dict() -> None:
    penalty = penalties.r1(
        Conditional(), REAL, gamma=2.0, args=(LABELS,), kwargs={"scale": 0.5}, output="logits"
    )
    expected = ((REAL * LABELS.view(5, 1, 1, 1)) ** 2).sum((1, 2, 3)).mean()
    torch.testing.assert_close(penalty, expected)


@pytest.mark.parametrize(
    ("returned", "output", "factor"),
    [
        (lambda x: [x.sum(1), x.sum((2, 3))], None, 2.0),
        (lambda x: (x.sum(1), x), 0, 1.0),
        (lambda x: ([x.sum(1)], x), 0, 1.0),
        (lambda x: (x, {"logits": x.sum(1)}), lambda out: out[1]["logits"], 1.0),
    ],
)
def test_lists_tuples_and_functions_of_the_output(
    returned: Callable[[Tensor], object], output: object, factor: float
) -> None:
    """The gradient of the sum of all maps, each of which has the gradient 1."""
    penalty = penalties.r1(returned, REAL, gamma=2.0, output=output)
    assert penalty.item() == pytest.approx(factor**2 * 2 * 16)


@pytest.mark.parametrize("returned", [lambda x: (x, x), lambda x: {"logits": x}])
def test_a_tuple_or_dict_needs_a_choice(returned: Callable[[Tensor], object]) -> None:
    with pytest.raises(TypeError, match=r"^output must be .* from the (tuple|dict) that"):
        penalties.r1(returned, REAL)


def test_refusals_of_samples_and_outputs() -> None:
    with pytest.raises(TypeError, match="must be a tensor or a list of tensors, got str"):
        penalties.r1(lambda x: "real", REAL)
    with pytest.raises(TypeError, match=r"real must be floating point, got torch\.int64"):
        penalties.r1(lambda x: x, torch.ones(2, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"real must hold samples, got shape \(\)"):
        penalties.r1(lambda x: x, torch.ones(()))
    with pytest.raises(ValueError, match=r"real\[1\] must have the 2 samples of real\[0\], got 3"):
        penalties.r1(lambda x, y: x, [torch.ones(2), torch.ones(3)])
    with pytest.raises(ValueError, match=r"same shapes, got .*5, 2, 4, 4.* and .*4, 2, 4, 4"):
        penalties.wgan_gp(lambda x: x, REAL, FAKE[1:])
    with pytest.raises(ValueError, match="mode must be one of mixed, real, fake, got 'both'"):
        penalties.wgan_gp(lambda x: x, REAL, FAKE, mode="both")
    with pytest.raises(ValueError, match="norm must be one of sample, pixel, batch, got 'l2'"):
        penalties.r1(lambda x: x, REAL, norm="l2")


def test_alpha_is_drawn_for_each_sample_from_the_generator() -> None:
    real, fake = torch.ones(1000, 2, 3), torch.zeros(1000, 2, 3)
    (points,) = penalties.mixed_points(real, fake, generator=generator(0))
    (same,) = penalties.mixed_points(real, fake, generator=generator(0))
    assert torch.equal(points, same)
    alpha = points[:, 0, 0]
    assert torch.equal(points, alpha.view(-1, 1, 1).expand_as(points))
    assert alpha.unique().numel() > 990
    assert 0 <= alpha.min() < 0.01
    assert 0.99 < alpha.max() < 1


def test_samples_and_their_history_are_left_alone(discriminator: nn.Module) -> None:
    """Penalties treat samples as constants, also under no_grad, and request no gradient of them."""
    source = FAKE.clone().requires_grad_()
    fake = source * 1
    penalty = penalties.r2(discriminator, fake)
    penalty.backward()
    assert source.grad is None
    assert not REAL.requires_grad
    with torch.no_grad():
        assert torch.equal(penalties.r2(discriminator, fake), penalty)


@pytest.mark.parametrize("side", ["r1", "r2"])
def test_one_forward_serves_the_loss_and_the_penalty(side: str, discriminator: nn.Module) -> None:
    calls = []
    discriminator.register_forward_hook(lambda *_: calls.append(1))
    real = REAL.clone().requires_grad_()
    logits = discriminator(real)
    from_logits = getattr(penalties, f"{side}_from_logits")(logits, real, gamma=3.0)
    assert len(calls) == 1
    total = with_gradients(nn.functional.softplus(-logits).mean() + from_logits, discriminator)
    expected = with_gradients(
        nn.functional.softplus(-discriminator(REAL)).mean()
        + getattr(penalties, side)(discriminator, REAL, gamma=3.0),
        discriminator,
    )
    for x, y in zip(total, expected, strict=True):
        torch.testing.assert_close(x, y)


def test_logits_of_samples_without_gradients_are_refused(discriminator: nn.Module) -> None:
    with pytest.raises(ValueError, match="real must require gradients before the discriminator"):
        penalties.r1_from_logits(discriminator(REAL), REAL)
