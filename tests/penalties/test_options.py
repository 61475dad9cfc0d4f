"""Options at the door of the penalties: names that are not theirs, and values that cannot be."""

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
    """A penalty with the arguments that it cannot do without."""
    penalty: Callable[..., Tensor] = getattr(penalties, name)
    if "from_logits" in name:
        x = REAL.clone().requires_grad_()
        return penalty(discriminator(x), x, **options)
    given = {"discriminator": discriminator, "real": REAL, "fake": FAKE}
    positional = [given[x] for x in inspect.signature(penalty).parameters if x in given]
    return penalty(*positional, **options)


# Each penalty, an option of its own, and options that only others have.
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


def test_every_penalty_with_options_is_here() -> None:
    with_options = {
        name
        for name in penalties.__all__
        if inspect.isfunction(getattr(penalties, name))
        and "options" in inspect.signature(getattr(penalties, name)).parameters
    }
    assert with_options == set(OPTIONS)


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_that_is_not_its_own_is_refused(name: str) -> None:
    own, others = OPTIONS[name]
    assert call(name).isfinite()
    for other in ("bogus", *others):
        with pytest.raises(
            TypeError, match=rf"^{name} has no option '{other}'; it has .*\b{own}\b"
        ):
            call(name, **{other: 1.0})


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_that_it_names_is_taken(name: str) -> None:
    """What the message lists, each with the value that changes nothing or a valid one."""
    with pytest.raises(TypeError) as refused:
        call(name, bogus=1)
    valid: dict[str, Any] = {
        "args": (), "kwargs": {}, "output": None, "norm": "sample", "mask": torch.ones(4, 1),
        "scaler": None, "mode": "real", "alpha": 0.5, "generator": generator(0), "weight": 2.0,
        "center": 0.5, "eps": 1e-8, "k": 1.0, "p": 4.0, "scale": 0.1, "centred_noise": True,
        "clip": (-1.0, 1.0), "gamma": 2.0, "half": False, "sigma": 0.1, "divide": True,
        "logits": discriminator(REAL), "head": None, "noise": FAKE,
    }  # fmt: skip
    if "from_logits" in name:
        del valid["logits"]
    for option in str(refused.value).split("it has ")[1].split(", "):
        assert call(name, **{option: valid[option]}).isfinite()
