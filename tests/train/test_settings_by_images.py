"""Settings that follow the images seen, against plain loops and closed forms."""

import math
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from ganfast.augment import AdaptiveAugment, Augment
from ganfast.train import TrainOptions
from ganfast.train.burn_in import scheduled

sys.path.insert(0, str(Path(__file__).parent))
import toy
from test_steps import networks, squared_gradient
from test_trainer import assert_same_state, records, state, stop_at

BURN_IN = {
    "burn_in_kimg": 0.2,
    "lr_end": 0.25,
    "penalty": "r1_r2",
    "penalty_weight": 2.0,
    "penalty_end": 0.1,
    "betas_g": (0.0, 0.9),
    "betas_d": (0.0, 0.9),
    "beta2_end": 0.99,
    "ema_kimg": 0.05,
}


def half_cosine(images: int, whole: float, start: float, end: float) -> float:
    """As R3GAN's facts state it."""
    n = min(images, whole)
    return start + (1 - (1 + math.cos(math.pi * n / whole)) / 2) * (end - start)


@pytest.mark.parametrize("images", [0, 1, 37, 100, 199, 200, 5000])
def test_every_value_follows_half_a_cosine(images: int) -> None:
    now = scheduled(toy.options(**BURN_IN, augment_p=0.3), images)
    expected = [(1, 0.25), (1, 0.1), (0.9, 0.99), (0, 50), (0, 0.3)]
    assert list(now) == pytest.approx([half_cosine(images, 200, *ends) for ends in expected])


def test_without_a_burn_in_all_is_as_it_ends() -> None:
    plain = scheduled(toy.options(), 100)
    assert list(plain) == [1, 1, None, None, None]
    now = scheduled(toy.options(ema_kimg=2.0, augment_p=0.5), 0)
    assert (now.half_life, now.augment_p) == (2000, 0.5)


def test_the_trainer_does_what_the_schedule_says(tmp_path: Path) -> None:
    g, d = networks()
    trainer = toy.trainer(tmp_path, g=g, d=d, d_steps=1, log_every=1, **BURN_IN)
    assert trainer.run()
    o = trainer.options

    g2, d2 = networks()
    average = [p.detach().clone() for p in g2.parameters()]
    noise = torch.Generator().manual_seed(o.seed)
    torch.randn(o.samples, 4, generator=noise)
    data = toy.Stream()
    optimizers = [torch.optim.Adam(m.parameters(), 1e-2, (0.0, 0.9)) for m in (d2, g2)]
    for step in range(o.steps):
        n = 8 * step
        for optimizer in optimizers:
            optimizer.zero_grad()
            optimizer.param_groups[0]["lr"] = half_cosine(n, 200, 1e-2, 2.5e-3)
            optimizer.param_groups[0]["betas"] = (0.0, half_cosine(n, 200, 0.9, 0.99))
        real, _ = next(data)
        fake = g2(torch.randn(8, 4, generator=noise)).detach()
        gamma = half_cosine(n, 200, 2.0, 0.2)
        penalty = squared_gradient(d2, real) + squared_gradient(d2, fake)
        loss = F.softplus(-d2(real)).mean() + F.softplus(d2(fake)).mean() + gamma / 2 * penalty
        loss.backward()
        optimizers[0].step()
        optimizers[1].zero_grad()
        F.softplus(-d2(g2(torch.randn(8, 4, generator=noise)))).mean().backward()
        optimizers[1].step()
        half_life = half_cosine(n, 200, 0, 50)
        decay = 0.5 ** (8 / half_life) if half_life else 0.0
        average = [
            decay * a + (1 - decay) * p.detach()
            for a, p in zip(average, g2.parameters(), strict=True)
        ]
    for found, expected in ((d, d2.parameters()), (g, g2.parameters()), (trainer.ema, average)):
        for a, b in zip(found.parameters(), expected, strict=True):
            torch.testing.assert_close(a, b, rtol=2e-4, atol=2e-5)
    last = records(tmp_path)[-1]
    n = 8 * (o.steps - 1)
    assert last["lr_g"] == last["lr_d"] == pytest.approx(half_cosine(n, 200, 1e-2, 2.5e-3))
    assert last["penalty_weight"] == pytest.approx(half_cosine(n, 200, 2.0, 0.2))
    assert last["beta2"] == pytest.approx(half_cosine(n, 200, 0.9, 0.99))
    assert last["ema_kimg"] == pytest.approx(half_cosine(n, 200, 0, 0.05))


def test_a_resumed_run_takes_up_the_schedule(tmp_path: Path) -> None:
    def make(out: Path, step: int = 0) -> object:
        hooks = {"augment": Augment(p=0.5), **stop_at(step)}
        return toy.trainer(out, hooks=hooks, sample_every=1, augment_p=0.3, **BURN_IN)

    whole = make(tmp_path / "whole")
    assert whole.run()
    assert not make(tmp_path / "parts", 7).run()
    torch.manual_seed(99)
    second = make(tmp_path / "parts")
    second.resume()
    assert second.run()
    assert_same_state(state(whole), state(second))
    assert records(tmp_path / "whole") == records(tmp_path / "parts")
    n = 8 * 2 * 11
    assert records(tmp_path / "whole")[-1]["augment_p"] == pytest.approx(
        half_cosine(n, 200, 0, 0.3), rel=1e-6
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr_end": 0.5}, "burn_in_kimg must be positive with lr_end, got 0"),
        ({"beta2_end": 0.9}, "burn_in_kimg must be positive with beta2_end, got 0"),
        ({"beta2_end": 1.0, "burn_in_kimg": 1.0}, r"beta2_end must be in \[0, 1.0\), got 1.0"),
        ({"augment_p": 1.5}, r"augment_p must be in \[0, 1.0\], got 1.5"),
        ({"burn_in_kimg": -1.0}, r"burn_in_kimg must be in \[0, inf\), got -1"),
        (
            {"beta2_end": 0.9, "burn_in_kimg": 1.0, "betas_g": (0.0, 0.5)},
            "betas_g and betas_d must have the same b2 with beta2_end",
        ),
    ],
)
def test_settings_that_do_not_fit(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainOptions(steps=1, **changes)


def test_a_scheduled_probability_needs_an_augmentation_that_has_one(tmp_path: Path) -> None:
    for augment in (None, AdaptiveAugment(), lambda x: x):
        with pytest.raises(ValueError, match=r"augment must be a ganfast.augment.Augment with"):
            toy.trainer(tmp_path, augment_p=0.3, hooks={"augment": augment})


def test_graphs_round_what_they_hold_as_a_number() -> None:
    changes = {"cuda_graphs": True, **BURN_IN}
    values = {scheduled(toy.options(**changes), n).beta2 for n in range(201)}
    assert values == {round(0.9 + 0.01 * k, 2) for k in range(10)}
    first = {"betas_g": (0.5, 0.999), "betas_d": (0.5, 0.999)}
    assert scheduled(toy.options(**changes | first), 0).beta2 == 0.999  # 1 would divide by zero
