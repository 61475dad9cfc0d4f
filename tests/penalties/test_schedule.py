"""Lazy schedules and adaptive strength."""

import math

import pytest
import torch

from ganfast import penalties


@pytest.mark.parametrize("every", [1, 4, 16])
def test_the_gain_is_one_on_average(every: int) -> None:
    gains = [penalties.lazy_gain(step, every) for step in range(10 * every)]
    assert sum(gains) / len(gains) == 1
    assert {step for step, gain in enumerate(gains) if gain} == set(range(0, 10 * every, every))


def test_adam_of_a_lazy_penalty_remembers_as_long() -> None:
    """k + 1 steps with the new betas decay as much as k steps with the old ones."""
    lr, betas = penalties.lazy_adam(0.002, (0.5, 0.99), 16)
    assert lr == pytest.approx(0.002 * 16 / 17)
    assert betas[0] ** 17 == pytest.approx(0.5**16)
    assert betas[1] ** 17 == pytest.approx(0.99**16)


def test_stylegan_gamma() -> None:
    assert penalties.stylegan_gamma(256, 32) == pytest.approx(0.4096)


def test_invalid_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="every must be at least 1, got 0"):
        penalties.lazy_gain(3, 0)
    with pytest.raises(ValueError, match="every must be at least 1, got 0"):
        penalties.lazy_adam(0.1, (0.0, 0.9), 0)


def test_gamma_follows_the_sign() -> None:
    gamma = penalties.AdaptiveGamma(target=1.0, gamma=10.0, rate=0.1, bounds=(8.0, 12.0))
    penalty = torch.tensor(2.0, requires_grad=True)
    scaled = gamma(penalty)
    assert scaled == 10  # 10 / 2 * 2, with gamma before its update
    scaled.backward()
    assert penalty.grad == 5
    assert gamma.gamma.item() == pytest.approx(10 * math.exp(0.1))
    gamma(torch.tensor(0.5))
    assert gamma.gamma.item() == pytest.approx(10)
    gamma(torch.tensor(1.0))
    assert gamma.gamma.item() == pytest.approx(10)
    for value in (float("nan"), float("inf")):
        gamma(torch.tensor(value))
        assert gamma.gamma.item() == pytest.approx(10)
    for penalty_value, bound in ((9.0, 12.0), (0.1, 8.0)):
        for _ in range(10):
            gamma(torch.tensor(penalty_value))
        assert gamma.gamma == bound


def test_gamma_converges_to_the_target() -> None:
    """A penalty of 6 / gamma reaches the target to within one step."""
    gamma = penalties.AdaptiveGamma(target=2.0, gamma=100.0, rate=0.05)
    for _ in range(200):
        gamma(6.0 / gamma.gamma)
    assert gamma.gamma.item() == pytest.approx(3.0, rel=0.06)


def test_gamma_is_in_the_state() -> None:
    gamma = penalties.AdaptiveGamma(target=1.0, gamma=3.0)
    gamma(torch.tensor(5.0))
    other = penalties.AdaptiveGamma(target=1.0)
    other.load_state_dict(gamma.state_dict())
    assert other.gamma == gamma.gamma != 3


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"target": 0.0}, "target must be positive and finite, got 0"),
        ({"target": 1.0, "rate": float("nan")}, "rate must be positive and finite, got nan"),
        ({"target": 1.0, "gamma": 3.0, "bounds": (4.0, 5.0)}, "bounds must be positive and hold"),
    ],
)
def test_wrong_arguments(arguments: dict[str, float], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        penalties.AdaptiveGamma(**arguments)
