"""StyleGAN2Loss phase by phase."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from compat.checks import arguments, assert_same_networks
from torch import Tensor, nn

from ganfast.compat.stylegan import StyleGAN2Loss

B, C, SIZE, LAYERS = 4, 2, 8, 3


class G(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.style = nn.Linear(5, 6)
        self.image = nn.Linear(LAYERS * 6, C * SIZE * SIZE)

    def mapping(self, z: Tensor, c: Tensor, update_emas: bool = False) -> Tensor:
        return torch.tanh(self.style(z + c)).unsqueeze(1).repeat(1, LAYERS, 1)

    def synthesis(self, ws: Tensor, update_emas: bool = False) -> Tensor:
        return torch.sin(self.image(ws.flatten(1))).view(-1, C, SIZE, SIZE)


class D(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.out = nn.Conv2d(C, 3, 3), nn.Linear(3 * 36, 1)

    def forward(self, img: Tensor, c: Tensor, update_emas: bool = False) -> Tensor:
        return self.out(F.softplus(self.conv(img + c.mean())).flatten(1))


def inputs() -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {
        "real_img": torch.randn(B, C, SIZE, SIZE).double(),
        "real_c": torch.randn(B, 1).double(),
        "gen_z": torch.randn(B, 5).double(),
        "gen_c": torch.randn(B, 1).double(),
    }


def networks() -> tuple[G, D]:
    torch.manual_seed(0)
    return G().double(), D().double()


def loss_of(g: G, d: D, statistics: dict[str, Tensor], **options: Any) -> StyleGAN2Loss:
    return StyleGAN2Loss("cpu", g, d, report=statistics.__setitem__, **options)


GAIN, GAMMA, PL = 1.5, 3.0, 2.0


@pytest.mark.parametrize("phase", ["Dmain", "Dreg", "Dboth"])
def test_discriminator(phase: str) -> None:
    g, d = networks()
    x, expected = inputs(), copy.deepcopy(d)
    real = x["real_img"].clone().requires_grad_()
    r = expected(real, x["real_c"])
    fake = g.synthesis(g.mapping(x["gen_z"], x["gen_c"])).detach()
    f = expected(fake, x["gen_c"])
    main = torch.log(1 + torch.exp(-r)) + torch.log(1 + torch.exp(f))
    (of_real,) = torch.autograd.grad(r.sum(), real, create_graph=True)
    r1 = (of_real**2).sum([1, 2, 3])
    total = 0.0
    if phase != "Dreg":
        total = total + main.mean()
    if phase != "Dmain":
        total = total + GAMMA / 2 * r1.mean()
    (GAIN * total).backward()

    seen: dict[str, Tensor] = {}
    loss_of(g, d, seen, r1_gamma=GAMMA).accumulate_gradients(phase, **x, gain=GAIN, cur_nimg=0)
    assert_same_networks(d, expected)
    assert all(p.grad is None for p in g.parameters())
    want = {"Loss/scores/real": r, "Loss/signs/real": r.sign()}
    if phase != "Dreg":
        want |= {"Loss/scores/fake": f, "Loss/signs/fake": f.sign(), "Loss/D/loss": main}
    if phase != "Dmain":
        want |= {"Loss/r1_penalty": r1, "Loss/D/reg": GAMMA / 2 * r1}
    torch.testing.assert_close(seen, {name: value.detach() for name, value in want.items()})


@pytest.mark.parametrize("phase", ["Gmain", "Greg", "Gboth"])
def test_generator(phase: str) -> None:
    g, d = networks()
    x, expected = inputs(), copy.deepcopy(g)
    ws = expected.mapping(x["gen_z"], x["gen_c"])
    f = d(expected.synthesis(ws), x["gen_c"])
    total = F.softplus(-f).mean() if phase != "Greg" else 0.0
    mean = torch.tensor(0.5)
    if phase != "Gmain":
        ws = expected.mapping(x["gen_z"][: B // 2], x["gen_c"][: B // 2])
        images = expected.synthesis(ws)
        torch.manual_seed(2)
        noise = torch.randn_like(images) / SIZE
        (of_ws,) = torch.autograd.grad((images * noise).sum(), ws, create_graph=True)
        lengths = (of_ws**2).sum(2).mean(1).sqrt()
        mean = 0.5 + 0.01 * (lengths.mean().float() - 0.5)
        total = total + PL * ((lengths - mean) ** 2).mean()
    (GAIN * total).backward()

    d.requires_grad_(False)
    loss = loss_of(g, d, {}, pl_weight=PL)
    loss.pl_mean.fill_(0.5)
    torch.manual_seed(2)
    loss.accumulate_gradients(phase, **x, gain=GAIN, cur_nimg=0)
    assert_same_networks(g, expected)
    torch.testing.assert_close(loss.pl_mean, mean.detach())


def test_phases_without_regularization_do_nothing() -> None:
    g, d = networks()
    loss = loss_of(g, d, {}, r1_gamma=0, pl_weight=0)
    for phase in ("Dreg", "Greg"):
        loss.accumulate_gradients(phase, **inputs(), gain=1, cur_nimg=0)
    assert all(p.grad is None for p in [*g.parameters(), *d.parameters()])
    with pytest.raises(ValueError, match="phase must be G or D with main, reg or both, got 'Gx'"):
        loss.accumulate_gradients("Gx", **inputs(), gain=1, cur_nimg=0)


def test_blur_fades() -> None:
    g, d = networks()
    images: list[Tensor] = []
    d.register_forward_pre_hook(lambda _, args: images.append(args[0].detach()))
    loss = loss_of(g, d, {}, r1_gamma=0, blur_init_sigma=2.0, blur_fade_kimg=1)
    x = inputs()
    for cur_nimg in (500, 1000):
        loss.accumulate_gradients("Dmain", **x, gain=1, cur_nimg=cur_nimg)
    t = torch.arange(-3, 4).double()
    f = 2.0 ** -(t**2)
    kernel = torch.outer(f, f) / f.sum() ** 2
    expected = F.conv2d(x["real_img"].flatten(0, 1)[:, None], kernel[None, None], padding=3)
    torch.testing.assert_close(images[1].flatten(0, 1)[:, None], expected, rtol=1e-6, atol=1e-7)
    assert torch.equal(images[3], x["real_img"])


@pytest.mark.parametrize("probability", [1e-12, 1.0])
def test_styles_are_mixed_from_a_layer_on(probability: float) -> None:
    g, d = networks()
    x = inputs()
    loss = loss_of(g, d, {}, style_mixing_prob=probability)
    _, ws = loss.run_G(x["gen_z"], x["gen_c"])
    own = g.mapping(x["gen_z"], x["gen_c"])
    same = (ws == own).all(dim=(0, 2)) if probability == 1 else (ws == own).all()[None]
    assert same[0]
    assert bool(same[-1]) == (probability < 1)


def test_signatures() -> None:
    assert arguments(StyleGAN2Loss) == (
        "device, G, D, augment_pipe=None, r1_gamma=10, style_mixing_prob=0, pl_weight=0, "
        "pl_batch_shrink=2, pl_decay=0.01, pl_no_weight_grad=False, blur_init_sigma=0, "
        "blur_fade_kimg=0"
    )
    assert arguments(StyleGAN2Loss.accumulate_gradients) == (
        "self, phase, real_img, real_c, gen_z, gen_c, gain, cur_nimg"
    )
    assert arguments(StyleGAN2Loss.run_G) == "self, z, c, update_emas=False"
    assert arguments(StyleGAN2Loss.run_D) == "self, img, c, blur_sigma=0, update_emas=False"
