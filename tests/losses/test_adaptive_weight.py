"""The adaptive weight of VQGAN: equal to the usual formula, with less work."""

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganfast.losses import adaptive_weight_loss, generator_loss, pixel_loss


class Models(NamedTuple):
    """An autoencoder, a perceptual net and a discriminator that count their backward passes."""

    encoder: nn.Module
    decoder: nn.Sequential
    perceptual: nn.Module
    discriminator: nn.Module
    logvar: nn.Parameter
    passes: dict[str, int]


def models(dtype: torch.dtype = torch.float64) -> Models:
    torch.manual_seed(0)
    passes = {"perceptual": 0, "discriminator": 0}

    def counted(name: str) -> nn.Module:
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Conv2d(4, 2, 3))

        def count(*_: object) -> None:
            passes[name] += 1

        net[0].register_full_backward_hook(count)
        return net

    made = Models(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.Sequential(nn.Tanh(), nn.Conv2d(4, 6, 3, padding=1), nn.Tanh(), nn.Conv2d(6, 3, 1)),
        counted("perceptual").requires_grad_(False),
        counted("discriminator"),
        nn.Parameter(torch.tensor(0.25)),
        passes,
    )
    for module in made[:4]:
        module.to(dtype)
    return made


def steps(m: Models, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """The reconstruction, its loss with a learned variance, and the generator's loss."""
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1)).to(dtype)
    reconstruction = m.decoder(m.encoder(x))
    perceptual = (m.perceptual(reconstruction) - m.perceptual(x)).square().mean()
    nll = (pixel_loss(x, reconstruction) + perceptual) / m.logvar.exp() + m.logvar
    return reconstruction, nll, generator_loss(m.discriminator(reconstruction), "hinge")


def trained(m: Models) -> list[nn.Parameter]:
    return [*m.encoder.parameters(), *m.decoder.parameters(), m.logvar]


def usual(
    m: Models, weight: float = 1.0, max_weight: float = 1e4
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """The usual formula, which back-propagates both networks twice."""
    _, nll, g = steps(m)
    last = m.decoder[-1].weight
    (of_nll,) = torch.autograd.grad(nll, last, retain_graph=True)
    (of_g,) = torch.autograd.grad(g, last, retain_graph=True)
    w = (of_nll.norm() / (of_g.norm() + 1e-4)).clamp(0, max_weight).detach() * weight
    loss = nll + w * g
    return loss.detach(), w, list(torch.autograd.grad(loss, trained(m)))


@pytest.mark.parametrize(
    ("weight", "max_weight"), [(1.0, 1e4), (0.75, 1e4), (1.0, 1e-3)], ids=["", "weight", "clamped"]
)
def test_equal_to_the_usual_formula(weight: float, max_weight: float) -> None:
    m = models()
    expected, expected_w, expected_grads = usual(m, weight, max_weight)
    reconstruction, nll, g = steps(m)
    loss, w = adaptive_weight_loss(
        nll,
        g,
        reconstruction,
        m.decoder[-1].weight,
        weight=weight,
        max_weight=max_weight,
        parameters=[m.logvar],
    )
    torch.testing.assert_close(loss.detach(), expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(w, expected_w, rtol=1e-12, atol=0)
    assert not w.requires_grad
    (2 * loss + m.logvar).backward()  # as with other terms in the sum
    for p, e in zip(trained(m), expected_grads, strict=True):
        wanted = 2 * e + (p is m.logvar)
        torch.testing.assert_close(p.grad, wanted, rtol=1e-10, atol=1e-14)


def test_every_network_is_back_propagated_once() -> None:
    m = models()
    usual(m)
    assert m.passes == {"perceptual": 2, "discriminator": 2}
    m = models()
    reconstruction, nll, g = steps(m)
    loss, _ = adaptive_weight_loss(nll, g, reconstruction, m.decoder[-1].weight)
    loss.backward()
    assert m.passes == {"perceptual": 1, "discriminator": 1}
    assert all(p.grad is None for p in m.discriminator.parameters())


def test_nothing_is_done_before_the_discriminator_starts() -> None:
    m = models()
    reconstruction, nll, _ = steps(m)
    loss, w = adaptive_weight_loss(nll, None, reconstruction, m.decoder[-1].weight)
    assert loss is nll
    assert w == 0
    assert m.passes == {"perceptual": 0, "discriminator": 0}


def test_without_gradients_the_loss_is_that_of_the_reconstruction() -> None:
    m = models()
    with torch.no_grad():
        reconstruction, nll, g = steps(m)
        loss, w = adaptive_weight_loss(nll, g, reconstruction, m.decoder[-1].weight)
    assert loss is nll
    assert w == 0


def test_a_scaler_keeps_gradients_that_float16_would_lose() -> None:
    """The inner backward pass is scaled, and the scaler's factor is not applied twice."""
    layer = torch.eye(2, dtype=torch.float16, requires_grad=True)
    reconstruction = torch.ones(2**12, 2, dtype=torch.float16) @ layer
    nll, g = (reconstruction * c * 2.0**-12 for c in (2.0**-13, 2.0**-14))
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**15)
    loss, w = adaptive_weight_loss(
        nll.float().sum(), g.float().sum(), reconstruction, layer, eps=0.0, scaler=scaler
    )
    assert w == 2
    scaler.scale(loss).backward()
    expected = torch.full((2, 2), 2 * 2.0**-13 * 2.0**15, dtype=torch.float16)
    torch.testing.assert_close(layer.grad, expected)


def test_a_second_order_is_refused() -> None:
    m = models()
    reconstruction, nll, g = steps(m)
    loss, _ = adaptive_weight_loss(nll, g, reconstruction, m.decoder[-1].weight)
    with pytest.raises(NotImplementedError, match="second order"):
        torch.autograd.grad(loss, m.decoder[-1].weight, create_graph=True)


Change = Callable[[Tensor, Tensor, Tensor], dict[str, Tensor | None]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda x, nll, g: {"nll_loss": nll.detach()},
            "nll_loss must depend on reconstruction, got",
        ),
        (lambda x, nll, g: {"g_loss": g.detach()}, "g_loss must depend on reconstruction, got"),
        (
            lambda x, nll, g: {"last_layer": torch.ones(2, requires_grad=True)},
            "reconstruction must depend on last_layer, got",
        ),
        (
            lambda x, nll, g: {"last_layer": torch.ones(2)},
            "reconstruction must depend on last_layer, got",
        ),
        (
            lambda x, nll, g: {"parameters": [torch.ones(2, requires_grad=True)]},
            r"nll_loss must depend on parameters\[0\], got",
        ),
    ],
)
def test_refusals(change: Change, message: str) -> None:
    m = models()
    reconstruction, nll, g = steps(m)
    arguments = {
        "nll_loss": nll,
        "g_loss": g,
        "reconstruction": reconstruction,
        "last_layer": m.decoder[-1].weight,
    }
    with pytest.raises(ValueError, match=message):
        adaptive_weight_loss(**(arguments | change(reconstruction, nll, g)))


def test_under_autocast() -> None:
    m = models(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        reconstruction, nll, g = steps(m, torch.float32)
        loss, w = adaptive_weight_loss(nll, g, reconstruction, m.decoder[-1].weight)
    assert reconstruction.dtype == torch.bfloat16
    assert loss.dtype == w.dtype == torch.float32
    loss.backward()
    _, expected_w, expected = usual(models())
    torch.testing.assert_close(w.double(), expected_w, rtol=0.05, atol=0)
    for p, e in zip(trained(m)[:-1], expected, strict=False):
        error = F.mse_loss(p.grad.double(), e).sqrt() / e.square().mean().sqrt()
        assert error < 0.05
