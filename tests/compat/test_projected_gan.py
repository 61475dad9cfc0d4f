"""The hinge loss of projected GAN, phase by phase."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from compat.checks import arguments, assert_same_networks
from torch import Tensor, nn

from ganfast.compat.projected_gan import ProjectedGANLoss


class G(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mapping_layer, self.image = nn.Linear(5, 6), nn.Linear(6, 2 * 8 * 8)
        self.updates: list[bool] = []

    def mapping(self, z: Tensor, c: Tensor, update_emas: bool = False) -> Tensor:
        self.updates.append(update_emas)
        return torch.tanh(self.mapping_layer(z + c))

    def synthesis(self, ws: Tensor, c: Tensor, update_emas: bool = False) -> Tensor:
        return torch.sin(self.image(ws)).view(-1, 2, 8, 8)


class D(nn.Module):
    """Two heads of different sizes, whose logits are joined."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleList([nn.Conv2d(2, 1, 3), nn.Conv2d(2, 1, 5)])

    def forward(self, img: Tensor, c: Tensor) -> Tensor:
        return torch.cat([3 * head(img + c.mean()).flatten(1) for head in self.heads], dim=1)


def setup() -> tuple[G, D, dict[str, Tensor]]:
    torch.manual_seed(0)
    x = {
        "real_img": torch.randn(4, 2, 8, 8).double(),
        "real_c": torch.randn(4, 1).double(),
        "gen_z": torch.randn(4, 5).double(),
        "gen_c": torch.randn(4, 1).double(),
    }
    return G().double(), D().double(), x


def blurred(img: Tensor, sigma: float) -> Tensor:
    """Two passes over rows and columns, by their sums."""
    size = int(sigma * 3)
    f = torch.tensor([2 ** -((t / sigma) ** 2) for t in range(-size, size + 1)]).double()
    f = f / f.sum()
    for dim in (2, 3):
        pads = [0, 0, size, size] if dim == 2 else [size, size, 0, 0]
        padded = F.pad(img, pads)
        n = img.shape[dim]
        img = sum(f[k] * padded.narrow(dim, k, n) for k in range(2 * size + 1))
    return img


@pytest.mark.parametrize("sigma", [0.0, 1.0])
def test_phases(sigma: float) -> None:
    g, d, x = setup()
    expected_g, expected_d = copy.deepcopy(g), copy.deepcopy(d)
    fake = expected_g.synthesis(expected_g.mapping(x["gen_z"], x["gen_c"]), x["gen_c"])
    real = x["real_img"]
    if sigma:
        fake, real = blurred(fake, sigma / 2), blurred(real, sigma / 2)
    f = expected_d(fake.detach(), x["gen_c"])
    r = expected_d(real, x["real_c"])
    d_loss = F.relu(1 - r).mean() + F.relu(1 + f).mean()
    d_loss.backward()
    seen: dict[str, Tensor] = {}
    loss = ProjectedGANLoss("cpu", g, d, None, sigma, 2, report=seen.__setitem__)
    loss.accumulate_gradients("Dboth", **x, gain=9, cur_nimg=1000)  # half of the fade
    assert_same_networks(d, expected_d)
    assert all(p.grad is None for p in g.parameters())
    assert g.updates == [True]
    want = {"scores/fake": f, "signs/fake": f.sign(), "scores/real": r, "signs/real": r.sign()}
    want["D/loss"] = d_loss
    torch.testing.assert_close(seen, {f"Loss/{k}": v.detach() for k, v in want.items()})

    seen.clear()
    f = d(fake, x["gen_c"])
    g_loss = -f.mean()
    g_loss.backward()
    loss.accumulate_gradients("Gmain", **x, gain=9, cur_nimg=1000)
    assert_same_networks(g, expected_g)
    assert g.updates == [True, False]
    want = {"scores/fake": f, "signs/fake": f.sign(), "G/loss": g_loss}
    torch.testing.assert_close(seen, {f"Loss/{k}": v.detach() for k, v in want.items()})


def test_other_phases() -> None:
    g, d, x = setup()
    seen: dict[str, Tensor] = {}
    loss = ProjectedGANLoss("cpu", g, d, None, report=seen.__setitem__)
    for phase in ("Greg", "Dreg"):
        loss.accumulate_gradients(phase, **x, gain=1, cur_nimg=0)  # type: ignore[arg-type]
    assert not seen
    with pytest.raises(ValueError, match="phase must be G or D with main, reg or both, got 'D'"):
        loss.accumulate_gradients("D", **x, gain=1, cur_nimg=0)  # type: ignore[arg-type]


def test_signature() -> None:
    assert arguments(ProjectedGANLoss) == (
        "device, G, D, G_ema, blur_init_sigma=0, blur_fade_kimg=0"
    )
    run: Any = ProjectedGANLoss.accumulate_gradients
    assert arguments(run) == "self, phase, real_img, real_c, gen_z, gen_c, gain, cur_nimg"
