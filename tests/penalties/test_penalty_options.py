"""Options of the penalties: the names each one has, and values that are refused."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from numerics import generator
from torch import Tensor

from ganfast import penalties

REAL = torch.randn(4, 3, generator=generator(0))
FAKE = torch.randn(4, 3, generator=generator(1))


def discriminator(x: Tensor) -> Tensor:
    return x.square().sum(1)


def call(name: str, **options: Any) -> Tensor:
    """Call a penalty with its required arguments."""
    penalty: Callable[..., Tensor] = getattr(penalties, name)
    if "from_logits" in name:
        x = REAL.clone().requires_grad_()
        return penalty(discriminator(x), x, **options)
    given = {"discriminator": discriminator, "real": REAL, "fake": FAKE}
    positional = [given[x] for x in inspect.signature(penalty).parameters if x in given]
    return penalty(*positional, **options)


# By penalty, an option that it has, and options that only others have.
OPTIONS = {
    "r1": ("half", ("weight", "eps", "center", "alpha", "mode", "sigma")),
    "r2": ("half", ("weight", "eps", "center", "alpha", "mode", "sigma")),
    "r1_from_logits": ("half", ("weight", "eps", "args", "output", "center")),
    "r2_from_logits": ("half", ("weight", "eps", "args", "output", "center")),
    "wgan_gp": ("generator", ("gamma", "half", "normm", "k", "scale", "noise")),
    "wgan_lp": ("generator", ("gamma", "half", "k", "scale", "noise")),
    "wgan_gp_from_logits": ("scaler", ("gamma", "mode", "alpha", "args")),
    "zero_centered": ("generator", ("gamma", "half", "center", "eps")),
    "max_gp": ("generator", ("gamma", "center", "eps")),
    "wgan_div": ("generator", ("weight", "center", "eps", "gamma")),
    "dragan": ("clip", ("gamma", "mode", "half", "k")),
    "approximate_r1": ("divide", ("gamma", "half", "norm", "mask", "scaler", "eps")),
    "approximate_r2": ("divide", ("gamma", "half", "norm", "mask", "scaler", "eps")),
}


def keywords(name: str) -> list[str]:
    """The options of a penalty, as its signature shows them."""
    parameters = inspect.signature(getattr(penalties, name)).parameters.values()
    return [x.name for x in parameters if x.kind is inspect.Parameter.KEYWORD_ONLY]


def test_every_penalty_with_options_is_here() -> None:
    with_options = {
        name
        for name in penalties.__all__
        if inspect.isfunction(getattr(penalties, name)) and {"args", "norm"} & {*keywords(name)}
    }
    assert with_options == set(OPTIONS)


@pytest.mark.parametrize("name", OPTIONS)
def test_an_unknown_option_is_refused(name: str) -> None:
    own, others = OPTIONS[name]
    assert own in keywords(name)
    assert call(name).isfinite()
    for other in ("bogus", *others):
        with pytest.raises(TypeError, match=rf"^{name}\(\) got an unexpected .* '{other}'"):
            call(name, **{other: 1.0})


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_works(name: str) -> None:
    """Each option of the signature, with the value that changes nothing or a valid one."""
    valid: dict[str, Any] = {
        "args": (), "kwargs": {}, "output": None, "norm": "sample", "mask": torch.ones(4, 1),
        "scaler": None, "mode": "real", "alpha": 0.5, "generator": generator(0), "weight": 2.0,
        "center": 0.5, "eps": 1e-8, "k": 1.0, "p": 4.0, "scale": 0.1, "centred_noise": True,
        "clip": (-1.0, 1.0), "gamma": 2.0, "half": False, "sigma": 0.1, "divide": True,
        "logits": discriminator(REAL), "head": None, "noise": FAKE,
    }  # fmt: skip
    for option in keywords(name):
        assert call(name, **{option: valid[option]}).isfinite()


@pytest.mark.parametrize("alpha", [-0.1, 1.5, float("nan"), torch.tensor([0.0, 0.5, 1.0, 1.1])])
def test_alpha_out_of_range_is_refused(alpha: Tensor | float) -> None:
    for name in ("wgan_gp", "dragan"):
        with pytest.raises(ValueError, match=r"^alpha must be in \[0, 1\], got"):
            call(name, alpha=alpha)


@pytest.mark.parametrize("shape", [(3,), (3, 1), (4, 2), (2, 4, 3), (4, 1, 3), (5, 4, 3)])
def test_alpha_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    for name in ("wgan_gp", "dragan"):
        with pytest.raises(ValueError, match=r"^alpha must have one number .* 4 samples.*\(4, 3\)"):
            call(name, alpha=torch.full(shape, 0.5))


@pytest.mark.parametrize("shape", [(), (1,), (4,), (4, 1), (4, 1, 1, 1), (1, 3), (4, 3)])
def test_alpha_of_every_shape_that_fits(shape: tuple[int, ...]) -> None:
    (points,) = penalties.mixed_points(REAL, FAKE, alpha=torch.full(shape, 0.25))
    torch.testing.assert_close(points, 0.25 * REAL + 0.75 * FAKE)


@pytest.mark.parametrize("eps", [-1.0, float("nan")])
def test_eps_below_zero_is_refused(eps: float) -> None:
    for name in ("wgan_gp", "wgan_lp", "dragan", "wgan_gp_from_logits"):
        with pytest.raises(ValueError, match=r"^eps must be at least 0, got"):
            call(name, eps=eps)


@pytest.mark.parametrize("name", ["r1", "wgan_gp", "wgan_gp_from_logits", "max_gp"])
def test_a_mask_of_zeros_gives_zero_and_no_gradient(name: str) -> None:
    w = torch.ones(3, requires_grad=True)
    x = REAL.clone().requires_grad_()
    first = ((x**2) @ w, x) if "from_logits" in name else (lambda y: (y**2) @ w, REAL)
    arguments = (*first, FAKE) if name in ("wgan_gp", "max_gp") else first
    penalty = getattr(penalties, name)(*arguments, mask=torch.zeros(4, 1))
    assert penalty == 0
    penalty.backward()
    assert w.grad is not None
    assert w.grad.tolist() == [0, 0, 0]


@pytest.mark.parametrize("mode", ["real", "fake"])
def test_only_the_side_of_the_mode_is_needed(mode: Any) -> None:
    for penalty in (penalties.wgan_gp, penalties.wgan_div, penalties.zero_centered):
        sides = (REAL, None) if mode == "real" else (None, FAKE)
        expected = penalty(discriminator, REAL, FAKE, mode=mode)
        assert penalty(discriminator, *sides, mode=mode) == expected
        with pytest.raises(TypeError, match=rf"^{mode} must be a tensor .*NoneType"):
            penalty(discriminator, *reversed(sides), mode=mode)


@pytest.mark.parametrize("sigma", [0.0, -0.1, float("inf"), float("nan")])
def test_invalid_sigma_is_refused(sigma: float) -> None:
    with pytest.raises(ValueError, match=r"^sigma must be positive and finite, got"):
        penalties.exact_gamma(1.0, sigma)
    with pytest.raises(ValueError, match=r"^sigma must be positive and finite, got"):
        penalties.approximate_weight(1.0, sigma)
    for name in ("approximate_r1", "approximate_r2"):
        with pytest.raises(ValueError, match=r"^sigma must be positive and finite, got"):
            call(name, sigma=sigma)


@pytest.mark.parametrize("noise", [FAKE[:1], FAKE[:, :1], [FAKE, FAKE]])
def test_noise_of_another_shape_is_refused(noise: Any) -> None:
    message = r"^noise must have the shapes of the samples, \[\(4, 3\)\], got \["
    with pytest.raises(ValueError, match=message):
        penalties.approximate_r1(discriminator, REAL, noise=noise)
