"""LeCam against the loops of the projects."""

import copy

import pytest
import torch
from losses.formulas import BAD_OUTPUTS, maps
from torch import Tensor, nn

from ganfast.losses import LeCam


def relu(x: Tensor) -> Tensor:
    return torch.clamp(x, min=0)


@pytest.mark.parametrize("start", [0, 3])
def test_on_elements(start: int) -> None:
    """As in google/lecam-gan: float averages, updated first, with decay 0 before the start."""
    lecam = LeCam(decay=0.9, start_step=start)
    average = {"real": 0.0, "fake": 0.0}
    for step in range(6):
        (real,), (fake,) = maps(1, step), maps(1, 100 + step)
        decay = 0.9 if step >= start else 0.0
        for side, x in (("real", real), ("fake", fake)):
            average[side] = decay * average[side] + (1 - decay) * x.mean().item()
        expected = (
            relu(real - average["fake"]).square().mean()
            + relu(average["real"] - fake).square().mean()
        )
        got = lecam(real, fake)
        torch.testing.assert_close(got, expected)
        for g, e in zip(
            torch.autograd.grad(got, (real, fake)),
            torch.autograd.grad(expected, (real, fake)),
            strict=True,
        ):
            torch.testing.assert_close(g, e)


def test_on_means() -> None:
    """As in 1d-tokenizer: on batch means, with averages from 0 that are updated afterwards."""
    lecam = LeCam("means", decay=0.999)
    ema_real = ema_fake = torch.zeros(())
    for step in range(4):
        (real,), (fake,) = maps(1, step), maps(1, 100 + step)
        expected = relu(real.mean() - ema_fake) ** 2 + relu(ema_real - fake.mean()) ** 2
        torch.testing.assert_close(lecam(real, fake), expected)
        ema_real = 0.999 * ema_real + 0.001 * real.mean().detach()
        ema_fake = 0.999 * ema_fake + 0.001 * fake.mean().detach()
    torch.testing.assert_close(lecam.ema_real, ema_real[None])


@pytest.mark.parametrize("on", ["elements", "means"])
def test_each_map_has_averages_of_its_own(on: str) -> None:
    together, alone = LeCam(on, maps=3), [LeCam(on) for _ in range(3)]
    for step in range(3):
        real, fake = maps(3, step), maps(3, 10 + step)
        expected = sum(lecam(r, f) for lecam, r, f in zip(alone, real, fake, strict=True))
        torch.testing.assert_close(together(real, [[f] for f in fake]), torch.as_tensor(expected))


def test_a_run_resumes() -> None:
    lecam = LeCam(start_step=2)
    for step in range(3):
        lecam(maps(1, step), maps(1, 10 + step))
    state = copy.deepcopy(lecam.state_dict())
    resumed = LeCam(start_step=2)
    resumed.load_state_dict(state)
    x = maps(1, 7), maps(1, 8)
    assert torch.equal(lecam(*x), resumed(*x))
    assert set(state) == {"ema_real", "ema_fake", "updates"}
    assert not list(lecam.parameters())


def test_averages_are_fixed_in_evaluation() -> None:
    lecam = LeCam()
    lecam(maps(1, 0), maps(1, 1))
    before = copy.deepcopy(lecam.state_dict())
    lecam.eval()(maps(1, 2), maps(1, 3))
    for name, value in lecam.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("on", ["elements", "means"])
def test_derivatives(on: str) -> None:
    lecam = LeCam(on, start_step=1)
    lecam(torch.tensor([0.5, 1.0]), torch.tensor([-1.0, 3.0]))
    lecam.eval()
    x = [t.double() + 0.3 for t in maps(2, 0)]
    x = [t.detach().requires_grad_() for t in (x[1], x[1] + 0.5)]
    assert torch.autograd.gradcheck(lecam, x)
    assert torch.autograd.gradgradcheck(lecam, x)


def test_it_moves_with_its_module() -> None:
    module = nn.Module()
    module.lecam = LeCam(maps=2)
    assert [t.device.type for t in module.to("meta").state_dict().values()] == ["meta"] * 3


@pytest.mark.parametrize(
    "options", [{"on": "pixels"}, {"decay": 1.0}, {"start_step": -1}, {"maps": 0}]
)
def test_invalid_options(options: dict) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(options))} must be"):
        LeCam(**options)


def test_another_number_of_maps() -> None:
    with pytest.raises(ValueError, match="must have 2 maps, got 1"):
        LeCam(maps=2)(torch.ones(2), torch.ones(2))


@pytest.mark.parametrize("bad", BAD_OUTPUTS.values(), ids=BAD_OUTPUTS)
@pytest.mark.parametrize("on", ["elements", "means"])
def test_invalid_outputs_update_nothing(on: str, bad: tuple) -> None:
    real, fake, error, message = bad
    lecam = LeCam(on, start_step=1)
    with pytest.raises(error, match=message):
        lecam(real, fake)
    assert lecam.updates == 0
    assert not lecam.ema_real.any()
    assert not lecam.ema_fake.any()
