"""Penalties under automatic mixed precision."""

import pytest
import torch
import torch.nn.functional as F
from numerics import generator
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ganfast import penalties
from ganfast.data import digits


class NoRead(TorchDispatchMode):
    """Fail if a number is read from the device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func is not torch.ops.aten._local_scalar_dense.default, "a number was read"
        return func(*args, **(kwargs or {}))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(8, 16, 4, 2, 1), nn.LeakyReLU(0.2),
        nn.Flatten(), nn.Linear(16 * 49, 1),
    )  # fmt: skip


def real(n: int, seed: int = 0) -> Tensor:
    images = digits().images
    chosen = torch.randint(len(images), (n,), generator=generator(seed))
    return images[chosen].float() / 127.5 - 1


@pytest.mark.parametrize("name", ["wgan_gp", "r1"])
@pytest.mark.parametrize("enabled", [False, True])
def test_a_scaler_changes_no_number_in_float32(name: str, enabled: bool) -> None:
    module, x = network(), real(4)
    scaler = torch.amp.GradScaler("cpu", enabled=enabled)
    arguments = (x, -x) if name == "wgan_gp" else (x,)
    options = {"alpha": 0.3} if name == "wgan_gp" else {}
    penalty = getattr(penalties, name)
    with_scaler = penalty(module, *arguments, scaler=scaler, **options)
    torch.testing.assert_close(with_scaler, penalty(module, *arguments, **options))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_nothing_is_read_from_the_device(dtype: torch.dtype) -> None:
    module, x = network(), real(4)
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(torch.ones(()))
    with NoRead(), torch.autocast("cpu", dtype=dtype):
        penalties.wgan_gp(module, x, -x, scaler=scaler)
        penalties.r1(module, x, scaler=scaler)
        penalties.approximate_r1(module, x)
        penalties.AdaptiveGamma(1.0)(torch.ones(()))


def test_the_scaler_saves_gradients_that_float16_loses() -> None:
    small = torch.tensor(1e-4).half()  # its square underflows in float16

    def discriminator(x: Tensor) -> Tensor:
        return x.half() * small * small

    def penalty(scaler: torch.amp.GradScaler | None) -> float:
        x = torch.full((4, 1), 1000.0)
        return penalties.r1(discriminator, x, gamma=2.0, scaler=scaler).item()

    assert penalty(None) == 0
    expected = small.double().item() ** 4
    assert penalty(torch.amp.GradScaler("cpu")) == pytest.approx(expected, rel=1e-3, abs=0)


def train(dtype: torch.dtype, steps: int) -> tuple[int, int]:
    """Train a WGAN-GP critic and a generator; return the steps taken and the penalties not finite.

    Inside autocast, with the scaler's scale at its default, which float16 overflows at first.
    """
    critic = network()
    generator_ = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 784), nn.Tanh())
    optimizers = [
        torch.optim.Adam(m.parameters(), 1e-3, betas=(0.0, 0.9)) for m in (critic, generator_)
    ]
    scaler = torch.amp.GradScaler("cpu", enabled=dtype == torch.float16)
    random = generator(0)
    images = real(256)
    taken = unfinished = 0
    for step in range(steps):
        x = images[torch.randint(256, (8,), generator=random)]
        z = torch.randn(8, 16, generator=random)
        with torch.autocast("cpu", dtype=dtype):
            fake = generator_(z).view(8, 1, 28, 28)
            loss = critic(fake.detach()).float().mean() - critic(x).float().mean()
            penalty = penalties.wgan_gp(critic, x, fake, generator=random, scaler=scaler)
        optimizers[0].zero_grad()
        scaler.scale(loss + penalty).backward()
        before = scaler.get_scale()
        scaler.step(optimizers[0])
        scaler.update()
        taken += scaler.get_scale() >= before
        unfinished += not penalty.isfinite()
        if step % 5 == 0:
            with torch.autocast("cpu", dtype=dtype):
                loss = F.softplus(-critic(generator_(z).view(8, 1, 28, 28))).float().mean()
            optimizers[1].zero_grad()
            loss.backward()
            optimizers[1].step()
        assert all(p.isfinite().all() for p in critic.parameters())
    return taken, unfinished


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_a_short_training_stays_finite(dtype: torch.dtype) -> None:
    taken, unfinished = train(dtype, 60)
    assert unfinished <= 5
    assert taken >= 55


@pytest.mark.slow
def test_2000_steps_in_float16_stay_finite() -> None:
    taken, unfinished = train(torch.float16, 2000)
    assert unfinished <= 10
    assert taken >= 1990
