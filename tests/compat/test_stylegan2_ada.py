"""StyleGAN2-ADA's loss, phase by phase, in one process and in two."""

import copy
from pathlib import Path
from typing import Any

import processes
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from compat.checks import arguments
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ganfast.compat.stylegan2_ada import StyleGAN2Loss

B, C, SIZE, LAYERS = 4, 2, 8, 3
GAIN, GAMMA, PL = 1.5, 3.0, 2.0
PHASES = ("Gmain", "Greg", "Gboth", "Dmain", "Dreg", "Dboth")


class Mapping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.style = nn.Linear(5, 6)
        self.averages = 0

    def forward(self, z: Tensor, c: Tensor, skip_w_avg_update: bool = False) -> Tensor:
        self.averages += not skip_w_avg_update
        return torch.tanh(self.style(z + c)).unsqueeze(1).repeat(1, LAYERS, 1)


class Synthesis(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Linear(LAYERS * 6, C * SIZE * SIZE)

    def forward(self, ws: Tensor) -> Tensor:
        return torch.sin(self.image(ws.flatten(1))).view(-1, C, SIZE, SIZE)


class D(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.out = nn.Conv2d(C, 3, 3), nn.Linear(3 * 36, 1)

    def forward(self, img: Tensor, c: Tensor) -> Tensor:
        return self.out(F.softplus(self.conv(img + c.mean())).flatten(1))


def networks() -> list[nn.Module]:
    torch.manual_seed(0)
    return [Mapping().double(), Synthesis().double(), D().double()]


def inputs(seed: int = 1) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    shapes = {"real_img": (B, C, SIZE, SIZE), "real_c": (B, 1), "gen_z": (B, 5), "gen_c": (B, 1)}
    return {k: torch.randn(s, generator=random, dtype=torch.float64) for k, s in shapes.items()}


def loss_of(nets: list[Any], report: dict[str, Tensor], **options: Any) -> StyleGAN2Loss:
    options = {"style_mixing_prob": 0, "r1_gamma": GAMMA, "pl_weight": PL} | options
    return StyleGAN2Loss("cpu", *nets, **options, report=report.__setitem__)


def trained_by_formula(nets: list[nn.Module], phase: str, x: dict[str, Tensor]) -> None:
    """The gradients of a phase by the formulas of the paper; noise after seed 2."""
    mapping, synthesis, d = nets
    total: Any = 0.0
    if phase in ("Gmain", "Gboth"):
        f = d(synthesis(mapping(x["gen_z"], x["gen_c"])), x["gen_c"])
        total = total + torch.log(1 + torch.exp(-f)).mean()
    if phase in ("Greg", "Gboth"):
        ws = mapping(x["gen_z"][: B // 2], x["gen_c"][: B // 2])
        images = synthesis(ws)
        torch.manual_seed(2)
        noise = torch.randn_like(images) / SIZE
        (of_ws,) = torch.autograd.grad((images * noise).sum(), ws, create_graph=True)
        lengths = (of_ws**2).sum(2).mean(1).sqrt()
        total = total + PL * ((lengths - 0.01 * lengths.mean()) ** 2).mean()
    if phase in ("Dmain", "Dboth"):
        fake = synthesis(mapping(x["gen_z"], x["gen_c"])).detach()
        total = total + torch.log(1 + torch.exp(-d(x["real_img"], x["real_c"]))).mean()
        total = total + torch.log(1 + torch.exp(d(fake, x["gen_c"]))).mean()
    if phase in ("Dreg", "Dboth"):
        real = x["real_img"].clone().requires_grad_()
        r = d(real, x["real_c"])
        (of_real,) = torch.autograd.grad(r.sum(), real, create_graph=True)
        total = total + GAMMA / 2 * (of_real**2).sum([1, 2, 3]).mean() + 0 * r.mean()
    (GAIN * total).backward()


@pytest.mark.parametrize("phase", PHASES)
def test_phases(phase: str) -> None:
    nets = networks()
    for module in nets[2:] if phase[0] == "G" else nets[:2]:
        module.requires_grad_(False)
    expected = copy.deepcopy(nets)
    trained_by_formula(expected, phase, inputs())
    report: dict[str, Tensor] = {}
    torch.manual_seed(2)
    loss_of(nets, report).accumulate_gradients(phase, **inputs(), sync=True, gain=GAIN)
    for module, e in zip(nets, expected, strict=True):
        torch.testing.assert_close(
            [p.grad for p in module.parameters() if p.grad is not None],
            [p.grad for p in e.parameters() if p.grad is not None],
            rtol=1e-6, atol=1e-9,
        )  # fmt: skip
    names = {
        "main": {"Gmain": ["scores/fake", "signs/fake", "G/loss"], "Dmain": [
            "scores/fake", "signs/fake", "scores/real", "signs/real", "D/loss"]},
        "reg": {"Greg": ["pl_penalty", "G/reg"], "Dreg": [
            "scores/real", "signs/real", "r1_penalty", "D/reg"]},
    }  # fmt: skip
    parts = ("main", "reg") if phase[1:] == "both" else (phase[1:],)
    assert set(report) == {f"Loss/{n}" for part in parts for n in names[part][phase[0] + part]}


def in_two_processes(rank: int, phase: str) -> None:
    """Two rounds of accumulation, of which the second exchanges the gradients."""
    nets = networks()
    trained = nets[:2] if phase[0] == "G" else nets[2:]
    for module in nets:
        module.requires_grad_(module in trained)
    expected = copy.deepcopy(nets)
    wrapped = [
        DistributedDataParallel(m, broadcast_buffers=False) if m in trained else m for m in nets
    ]
    loss = loss_of(wrapped, {})
    for _ in range(2):  # the wrapper complains of a missing gradient in the second one
        for module in (*nets, *expected):
            module.zero_grad()
        for k, sync in enumerate((False, True)):
            x = inputs(1 + 2 * rank + k)
            loss.pl_mean.zero_()
            torch.manual_seed(2)
            loss.accumulate_gradients(phase, **x, sync=sync, gain=GAIN)
            trained_by_formula(expected, phase, x)
        for module, e in zip(nets, expected, strict=True):
            for p, q in zip(module.parameters(), e.parameters(), strict=True):
                if q.grad is not None:
                    dist.all_reduce(q.grad)
                    torch.testing.assert_close(p.grad, q.grad / 2, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("phase", ["Gboth", "Greg", "Dboth", "Dreg"])
def test_gradients_are_exchanged_where_the_project_does(phase: str, tmp_path: Path) -> None:
    processes.run(2, tmp_path, in_two_processes, phase)


@pytest.mark.parametrize("probability", [1e-12, 1.0])
def test_styles_are_mixed_from_a_layer_on(probability: float) -> None:
    nets, x = networks(), inputs()
    loss = loss_of(nets, {}, style_mixing_prob=probability)
    _, ws = loss.run_G(x["gen_z"], x["gen_c"], sync=True)
    assert nets[0].averages == 1  # the other styles are left out of the average
    own = nets[0](x["gen_z"], x["gen_c"])
    assert (ws[:, 0] == own[:, 0]).all()
    assert (ws[:, -1] == own[:, -1]).all() == (probability < 1)


def test_refusals_and_augmentation() -> None:
    nets, x = networks(), inputs()
    loss = loss_of(nets, {}, augment_pipe=lambda img: 0 * img)
    with pytest.raises(ValueError, match="phase must be G or D with main, reg or both, got 'Gx'"):
        loss.accumulate_gradients("Gx", **x, sync=True, gain=1)
    logits = loss.run_D(x["real_img"], x["real_c"], sync=False)
    torch.testing.assert_close(logits, nets[2](0 * x["real_img"], x["real_c"]))


def test_signatures() -> None:
    assert arguments(StyleGAN2Loss) == (
        "device, G_mapping, G_synthesis, D, augment_pipe=None, style_mixing_prob=0.9, r1_gamma=10, "
        "pl_batch_shrink=2, pl_decay=0.01, pl_weight=2"
    )
    assert arguments(StyleGAN2Loss.accumulate_gradients) == (
        "self, phase, real_img, real_c, gen_z, gen_c, sync, gain"
    )
    assert arguments(StyleGAN2Loss.run_G) == "self, z, c, sync"
    assert arguments(StyleGAN2Loss.run_D) == "self, img, c, sync"
