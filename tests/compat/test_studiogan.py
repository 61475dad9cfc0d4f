"""PyTorch-StudioGAN's losses."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from compat.checks import arguments, assert_same, draw
from torch import Tensor

from ganfast.compat import studiogan

DISCRIMINATOR = {
    "vanilla": lambda r, f: F.softplus(-r).mean() + F.softplus(f).mean(),
    "logistic": lambda r, f: (F.softplus(-r) + F.softplus(f)).mean(),
    "ls": lambda r, f: (0.5 * (r - 1) ** 2 + 0.5 * f**2).mean(),
    "hinge": lambda r, f: ((1 - r).clamp(min=0) + (1 + f).clamp(min=0)).mean(),
    "wasserstein": lambda r, f: (f - r).mean(),
}
GENERATOR = {
    "vanilla": lambda f: F.softplus(-f).mean(),
    "logistic": lambda f: F.softplus(-f).mean(),
    "ls": lambda f: 0.5 * ((f - 1) ** 2).mean(),
    "hinge": lambda f: -f.mean(),
    "wasserstein": lambda f: -f.mean(),
}
LABELS = torch.tensor([0, 2, 0, 1, 2])


@pytest.mark.parametrize("name", DISCRIMINATOR)
def test_adversarial(name: str) -> None:
    real, fake = draw(6), draw(6, seed=1)
    d, g = getattr(studiogan, f"d_{name}"), getattr(studiogan, f"g_{name}")
    assert arguments(d) == "d_logit_real, d_logit_fake, DDP"
    assert arguments(g) == "d_logit_fake, DDP"
    assert_same(d(real, fake, DDP=False), DISCRIMINATOR[name](real, fake), (real, fake))
    assert_same(g(fake, DDP=False), GENERATOR[name](fake), (fake,))


def test_multi_hinge() -> None:
    scores = draw(5, 4)
    terms = []
    for row, y in zip(scores, LABELS.tolist(), strict=True):
        wrong = max(row[j] for j in range(4) if j != y)
        terms.append((1 + wrong - row[y]).clamp(min=0))
    got = studiogan.crammer_singer_loss(scores, LABELS, DDP=False, embed=None)
    assert_same(got, torch.stack(terms).mean(), (scores,))


def test_cross_entropy() -> None:
    logits = draw(5, 3)
    p = torch.softmax(logits, 1)
    expected = -torch.stack([p[i, y].log() for i, y in enumerate(LABELS.tolist())]).mean()
    got = studiogan.CrossEntropyLoss()(cls_output=logits, label=LABELS, embed=None)
    assert_same(got, expected, (logits,))


def cosine(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y) / (x.norm() * y.norm())


def test_contrastive() -> None:
    h, p, t = draw(5, 4), draw(5, 4, seed=1), 0.7
    terms = []
    for i in range(5):
        own = torch.exp(cosine(h[i], p[i]) / t)
        others = {j: torch.exp(cosine(h[i], h[j]) / t) for j in range(5) if j != i}
        near = own + sum(e for j, e in others.items() if LABELS[j] == LABELS[i])
        terms.append(-torch.log(near / (own + sum(others.values()))))
    got = studiogan.ConditionalContrastiveLoss(3, t, "cpu", False)(embed=h, proxy=p, label=LABELS)
    assert_same(got, torch.stack(terms).mean(), (h, p))


def test_data_to_data_cross_entropy() -> None:
    h, p, t, m = draw(5, 4), draw(5, 4, seed=1), 0.7, 0.9
    terms = []
    for i in range(5):
        positive = (m - cosine(h[i], p[i])).clamp(min=0) / t
        different = [j for j in range(5) if LABELS[j] != LABELS[i]]
        negative = [torch.exp((cosine(h[i], h[j]) - (1 - m)).clamp(min=0) / t) for j in different]
        terms.append(positive + torch.log(torch.exp(-positive) + sum(negative)))
    loss = studiogan.Data2DataCrossEntropyLoss(3, t, m, "cpu", False)
    assert_same(loss(embed=h, proxy=p, label=LABELS), torch.stack(terms).mean(), (h, p))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("CrossEntropyLoss", ()),
        ("ConditionalContrastiveLoss", (3, 0.7, "cpu", False)),
        ("Data2DataCrossEntropyLoss", (3, 0.7, 0.9, "cpu", False)),
    ],
)
def test_the_twin_head_has_the_losses_of_the_other(name: str, options: tuple[Any, ...]) -> None:
    """Called with a discriminator's whole output, each loss uses the part of its own head."""
    outputs = {
        key: draw(5, 3, seed=seed)
        for seed, key in enumerate(
            ("adv_output", "cls_output", "embed", "proxy", "mi_cls_output", "mi_embed", "mi_proxy")
        )
    } | {"label": LABELS}
    twin = getattr(studiogan, f"Mi{name}")(*options)
    swapped = outputs | {k: outputs[f"mi_{k}"] for k in ("cls_output", "embed", "proxy")}
    expected = getattr(studiogan, name)(*options)(**swapped)
    heads = [x for key, x in outputs.items() if key != "label"]
    assert_same(twin(**outputs), expected, heads)
    assert arguments(getattr(studiogan, f"Mi{name}")) == arguments(getattr(studiogan, name))


def test_features_lecam_and_codes() -> None:
    real, fake = draw(5, 4), draw(5, 4, seed=1)
    expected = (fake.mean(0) - real.mean(0)).abs().mean()
    assert_same(studiogan.feature_matching_loss(real, fake), expected, (real, fake))
    ema = SimpleNamespace(D_real=0.3, D_fake=-0.2)
    expected = ((real + 0.2).clamp(min=0) ** 2).mean() + ((0.3 - fake).clamp(min=0) ** 2).mean()
    assert_same(studiogan.lecam_reg(real, fake, ema), expected, (real, fake))
    var = (1.0 + draw(5, 4, seed=2) ** 2).detach().requires_grad_()
    log = -0.5 * (2 * torch.pi * var + 1e-6).log() - (real - fake) ** 2 / (2 * var + 1e-6)
    got = studiogan.normal_nll_loss(real, fake, var)
    assert_same(got, -log.sum(1).mean(), (real, fake, var))


WEIGHT = draw(3, 2, 4, 4, seed=5)


def discriminator(images: Tensor, label: Any, eval: bool) -> dict[str, Tensor]:
    return {"adv_output": torch.tanh(images.flatten(1) @ WEIGHT.flatten(1).T).sum(1)}


def squares(images: Tensor) -> Tensor:
    """The squared norm of each sample's gradient."""
    images = images.detach().requires_grad_()
    output = discriminator(images, None, False)["adv_output"].sum()
    (g,) = torch.autograd.grad(output, images, create_graph=True)
    return (g**2).sum([1, 2, 3])


def test_penalties() -> None:
    real, fake = draw(5, 2, 4, 4).detach(), draw(5, 2, 4, 4, seed=1).detach()
    pairs: list[tuple[Callable[[], Tensor], Callable[[Tensor], Tensor], bool]] = [
        (
            lambda: studiogan.cal_grad_penalty(real, None, fake, discriminator, "cpu"),
            lambda s: ((s.sqrt() - 1) ** 2).mean(),
            True,
        ),
        (
            lambda: studiogan.cal_maxgrad_penalty(real, None, fake, discriminator, "cpu"),
            lambda s: s.max(),
            True,
        ),
        (
            lambda: studiogan.cal_dra_penalty(real, None, discriminator, "cpu"),
            lambda s: ((s.sqrt() - 1) ** 2).mean(),
            False,
        ),
    ]
    for penalty, formula, between in pairs:
        torch.manual_seed(3)
        alpha = torch.rand(5, 1, 1, 1, dtype=real.dtype)
        if between:
            images = alpha * real + (1 - alpha) * fake
        else:
            images = real + alpha * (0.5 * real.std() * torch.rand(real.shape, dtype=real.dtype))
        torch.manual_seed(3)
        assert_same(penalty(), formula(squares(images)), (WEIGHT,))


def test_r1() -> None:
    images = draw(5, 2, 4, 4)
    output = discriminator(images, None, False)["adv_output"]
    expected = 0.5 * squares(images).mean()
    assert_same(studiogan.cal_r1_reg(output, images, "cpu"), expected, (WEIGHT,))
    assert_same(studiogan.stylegan_cal_r1_reg(output, images), expected, (WEIGHT,))


def test_path_length() -> None:
    ws, w = draw(4, 3, 5), draw(15, 2 * 8 * 8, seed=1)
    images = torch.sin(ws.flatten(1) @ w).view(4, 2, 8, 8)
    torch.manual_seed(4)
    (g,) = torch.autograd.grad((images * torch.randn_like(images) / 8).sum(), ws, create_graph=True)
    lengths = (g**2).sum(2).mean(1).sqrt()
    regularizer = studiogan.PathLengthRegularizer("cpu")
    regularizer.pl_mean = regularizer.pl_mean.double()
    torch.manual_seed(4)
    got = regularizer.cal_pl_reg(images, ws)
    assert_same(got, 2 * ((lengths - 0.01 * lengths.mean()) ** 2).mean(), (ws, w))
    torch.testing.assert_close(regularizer.pl_mean, 0.01 * lengths.mean().detach())


@pytest.mark.parametrize("steps", [2, 3])
def test_latents(steps: int) -> None:
    z, w = 0.1 * draw(5, 4).detach(), draw(4, 32, seed=1)

    def generator(z: Tensor, label: Any, eval: bool) -> Tensor:
        return torch.sin(z @ w).view(-1, 2, 4, 4)

    expected, cost = z, torch.zeros(()).double()
    for _ in range(steps - 1):
        expected = expected.detach().requires_grad_()
        output = discriminator(generator(expected, None, False), None, False)["adv_output"]
        (g,) = torch.autograd.grad(output.sum(), expected, create_graph=True)
        delta = 0.9 * g / (5.0 + (g**2).sum(1, keepdim=True))
        expected = torch.clamp(expected + delta, -1, 1)
        cost = cost + (delta**2).sum(1).mean()
    got, got_cost = studiogan.latent_optimise(
        z, None, generator, discriminator, 5, 1.0, steps, 0.9, 5.0, False, True, "cpu"
    )
    assert_same((got.sum(), got_cost), (expected.sum(), cost), (w,))
    torch.testing.assert_close(got, expected)


def test_small_things() -> None:
    x = draw(3)
    assert torch.equal(studiogan.GatherLayer.apply(x)[0], x)
    zero = studiogan.enable_allreduce({"adv_output": x, "label": LABELS, "embed": None})
    assert_same(zero, (0 * x).sum(), (x,))
    assert [studiogan.adjust_k(k, 0.5, 10) for k in (64, 16)] == [32, 10]


def test_signatures() -> None:
    mixed = "real_images, real_labels, fake_images, discriminator, device"
    expected = {
        "crammer_singer_loss": "adv_output, label, DDP, **_",
        "feature_matching_loss": "real_embed, fake_embed",
        "lecam_reg": "d_logit_real, d_logit_fake, ema",
        "cal_deriv": "inputs, outputs, device",
        "latent_optimise": "zs, fake_labels, generator, discriminator, batch_size, lo_rate, "
        "lo_steps, lo_alpha, lo_beta, eval, cal_trsp_cost, device",
        "cal_grad_penalty": mixed,
        "cal_maxgrad_penalty": mixed,
        "cal_dra_penalty": "real_images, real_labels, discriminator, device",
        "cal_r1_reg": "adv_output, images, device",
        "stylegan_cal_r1_reg": "adv_output, images",
        "adjust_k": "current_k, topk_gamma, inf_k",
        "normal_nll_loss": "x, mu, var",
        "enable_allreduce": "dict_",
        "ConditionalContrastiveLoss": "num_classes, temperature, master_rank, DDP",
        "Data2DataCrossEntropyLoss": "num_classes, temperature, m_p, master_rank, DDP",
        "PathLengthRegularizer": "device, pl_decay=0.01, pl_weight=2, pl_no_weight_grad=False",
    }
    assert {name: arguments(getattr(studiogan, name)) for name in expected} == expected
