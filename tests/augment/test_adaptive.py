"""The controller of the probability, with discriminators that overfit by a known rule."""

import pytest
import torch
from numerics import generator
from torch import Tensor

from ganfast.augment import AdaptiveAugment, ada


def signs(mean: float, count: int, seed: torch.Generator) -> Tensor:
    """Logits whose signs have this mean."""
    u = torch.rand(count, generator=seed)
    return torch.where(u < (1 + mean) / 2, 1.0, -1.0)


def test_p_settles_where_a_discriminator_that_overfits_meets_the_target() -> None:
    """r falls from 0.9 by 0.8 for each unit of p, so that it is 0.6 at p = 0.375."""
    adaptive, random = AdaptiveAugment("ada", target=0.6, kimg=2, interval=4), generator(0)
    seen = []
    for _ in range(400):
        adaptive.update(signs(0.9 - 0.8 * float(adaptive.p), 64, random))
        seen.append(float(adaptive.p))
    step = 4 * 64 / 2000
    assert seen[3] == pytest.approx(step)  # at full speed at first
    assert abs(sum(seen[200:]) / 200 - 0.375) < 0.05
    assert all(abs(p - 0.375) < 3.5 * step for p in seen[100:])


def test_p_goes_at_the_speed_that_is_set_and_ends_at_the_cap() -> None:
    adaptive = AdaptiveAugment("ada", target=0.6, kimg=1, interval=2, limit=0.7)
    seen = []
    for _ in range(30):
        adaptive.update(torch.ones(25, 1, 2, 2))  # maps count as one image each
        seen.append(float(adaptive.p))
    # 0 to 1 in a thousand images: 50 images, in two updates, are a twentieth.
    expected = [0.05 * ((k + 1) // 2) for k in range(30)]
    assert seen == pytest.approx([min(0.7, p) for p in expected])
    for _ in range(40):
        adaptive.update(-torch.ones(25))
    assert float(adaptive.p) == 0


def test_it_augments_with_its_own_probability() -> None:
    x = torch.rand(3, 3, 9, 9, generator=generator(1)) * 2 - 1
    adaptive = AdaptiveAugment("ada", p=0.4)
    expected = ada(x, torch.tensor(0.4), generator=generator(2))
    assert torch.equal(adaptive(x, generator=generator(2)), expected)
    assert set(adaptive.state_dict()) == {"p", "updates", "images", "signs"}
