"""Each option against a plain loop that does by hand what the option says."""

import copy
import json
import math
import sys
import types
import warnings
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ganfast.augment import AdaptiveAugment
from ganfast.losses import AdversarialLoss
from ganfast.train import Relativistic, Trainer, TrainOptions, loss_by_name
from ganfast.train.regularizer import shifted
from ganfast.train.steps import diversity

sys.path.insert(0, str(Path(__file__).parent))
import toy


def networks():
    """Without what draws from the global generator or remembers batches."""
    torch.manual_seed(1)
    g = nn.Sequential(nn.Linear(4, 36), nn.Tanh(), nn.Unflatten(1, (1, 6, 6)))
    d = nn.Sequential(nn.Flatten(), nn.Linear(36, 10), nn.Softplus(), nn.Linear(10, 1))
    return g, d


def squared_gradient(d, x):
    """Mean over samples of |grad D|^2, with its graph."""
    x = x.detach().requires_grad_()
    (g,) = torch.autograd.grad(d(x).sum(), x, create_graph=True)
    return g.flatten(1).square().sum(1).mean()


def plain(options, extra, d_loss=None, g_loss=None, after=lambda d: None, lr=lambda step: 1.0):
    """The weights of D and G after the run; ``extra(d, real, fake, r, f, number)`` adds to D's."""
    g, d = networks()
    noise = torch.Generator().manual_seed(options.seed)
    torch.randn(options.samples, 4, generator=noise)
    data = toy.Stream()
    optimizer_g = torch.optim.Adam(g.parameters(), options.lr_g, options.betas_g)
    optimizer_d = torch.optim.Adam(d.parameters(), options.lr_d, options.betas_d)
    d_loss = d_loss or (lambda r, f: F.softplus(-r).mean() + F.softplus(f).mean())
    g_loss = g_loss or (lambda f, r: F.softplus(-f).mean())
    for step in range(options.steps):
        for optimizer, base in ((optimizer_g, options.lr_g), (optimizer_d, options.lr_d)):
            optimizer.param_groups[0]["lr"] = base * lr(step)
        for i in range(options.d_steps):
            optimizer_d.zero_grad()
            reals = []
            for _ in range(options.accumulate):
                real, _ = next(data)
                reals.append(real)
                fake = g(torch.randn(8, 4, generator=noise)).detach()
                r, f = d(real), d(fake)
                loss = d_loss(r, f) + extra(d, real, fake, r, f, step * options.d_steps + i, noise)
                (loss / options.accumulate).backward()
            clip(d, options)
            optimizer_d.step()
            after(d)
        optimizer_g.zero_grad()
        for real in reals:
            loss = g_loss(d(g(torch.randn(8, 4, generator=noise))), d(real).detach())
            (loss / options.accumulate).backward()
        clip(g, options)
        optimizer_g.step()
    return d, g


def clip(module, options):
    if options.clip_gradients:
        grads = [p.grad for p in module.parameters()]
        norm = math.sqrt(sum(float(x.double().square().sum()) for x in grads))
        for x in grads:
            x.mul_(min(1.0, options.clip_gradients / (norm + 1e-6)))


def assert_same(tmp_path, changes, loss=None, **how):
    g, d = networks()
    trainer = toy.trainer(tmp_path, g=g, d=d, loss=loss, **changes)
    assert trainer.run()
    how.setdefault("extra", lambda *ignored: 0.0)
    for module, expected in zip((d, g), plain(trainer.options, **how), strict=True):
        start = networks()[0 if module is g else 1]
        assert any(
            not torch.equal(a, b)
            for a, b in zip(module.parameters(), start.parameters(), strict=True)
        )
        for a, b in zip(module.parameters(), expected.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize(("penalty", "sides"), [("r1", "r"), ("r2", "f"), ("r1_r2", "rf")])
def test_lazy_penalties(tmp_path, penalty, sides):
    def extra(d, real, fake, r, f, number, noise):
        if number % 3:
            return 0.0
        return sum(3 * 5.0 / 2 * squared_gradient(d, {"r": real, "f": fake}[s]) for s in sides)

    changes = {"penalty": penalty, "penalty_weight": 5.0, "penalty_every": 3}
    assert_same(tmp_path, changes, extra=extra)


def test_the_penalty_of_wgan_gp(tmp_path):
    def extra(d, real, fake, r, f, number, noise):
        alpha = torch.rand(8, 1, 1, 1, generator=noise)
        x = (fake + alpha * (real - fake)).requires_grad_()
        (g,) = torch.autograd.grad(d(x).sum(), x, create_graph=True)
        return 10 * (g.flatten(1).norm(dim=1) - 1).square().mean()

    assert_same(
        tmp_path,
        {"penalty": "wgan_gp"},
        AdversarialLoss("wasserstein"),
        extra=extra,
        d_loss=lambda r, f: f.mean() - r.mean(),
        g_loss=lambda f, r: -f.mean(),
    )


def test_lecam(tmp_path):
    averages = []

    def extra(d, real, fake, r, f, number, noise):
        means = [r.detach().mean(), f.detach().mean()]
        averages[:] = (
            [0.8 * a + 0.2 * m for a, m in zip(averages, means, strict=True)] if averages else means
        )
        ema_r, ema_f = averages
        return 0.3 * (F.relu(r - ema_f).square().mean() + F.relu(ema_r - f).square().mean())

    assert_same(tmp_path, {"lecam": 0.3, "lecam_decay": 0.8}, extra=extra)


def test_consistency(tmp_path):
    def extra(d, real, fake, r, f, number, noise):
        return 2.0 * (d(shifted(real, noise)) - r).square().mean()

    assert_same(tmp_path, {"consistency": 2.0}, extra=extra)


def test_relativistic_pairs(tmp_path):
    assert_same(
        tmp_path,
        {},
        Relativistic(),
        d_loss=lambda r, f: F.softplus(f - r).mean(),
        g_loss=lambda f, r: F.softplus(r - f).mean(),
    )


def test_clipped_weights(tmp_path):
    def after(d):
        with torch.no_grad():
            for p in d.parameters():
                p.clamp_(-0.1, 0.1)

    assert_same(tmp_path, {"clip_weights": 0.1}, after=after)


@pytest.mark.parametrize("changes", [{"accumulate": 3}, {"clip_gradients": 0.05}])
def test_accumulated_and_clipped_gradients(tmp_path, changes):
    assert_same(tmp_path, changes)


@pytest.mark.parametrize(
    ("decay", "lr"),
    [
        ("linear", lambda step: 1.0 if step < 4 else 1 - (step - 4) / 8),
        ("cosine", lambda step: 1.0 if step < 4 else (1 + math.cos(math.pi * (step - 4) / 8)) / 2),
    ],
)
def test_decayed_rates(tmp_path, decay, lr):
    changes = {"lr_decay": decay, "lr_decay_start": 4, "lr_g": 0.02, "lr_d": 0.005}
    assert_same(tmp_path, changes, lr=lr)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_fakes_are_made_once_where_they_are_reused(tmp_path, accumulate):
    g, d = networks()
    plain_g, plain_d = copy.deepcopy((g, d))
    changes = {"reuse_fakes": True, "d_steps": 1, "steps": 3, "accumulate": accumulate}
    made = []
    g.register_forward_hook(lambda module, inputs, output: made.append(output))
    trainer = toy.trainer(tmp_path, g=g, d=d, **changes)
    assert trainer.run()
    assert len(made) == 3 * accumulate

    noise = torch.Generator().manual_seed(trainer.options.seed)
    torch.randn(trainer.options.samples, 4, generator=noise)
    data = toy.Stream()
    optimizers = [torch.optim.Adam(m.parameters(), 1e-2, (0.5, 0.999)) for m in (plain_d, plain_g)]
    for _ in range(3):
        fakes = []
        for optimizer in optimizers:
            optimizer.zero_grad()
        for _ in range(accumulate):
            real, _ = next(data)
            fakes.append(plain_g(torch.randn(8, 4, generator=noise)))
            loss = (
                F.softplus(-plain_d(real)).mean() + F.softplus(plain_d(fakes[-1].detach())).mean()
            )
            (loss / accumulate).backward()
        optimizers[0].step()
        (sum(F.softplus(-plain_d(fake)).mean() for fake in fakes) / accumulate).backward()
        optimizers[1].step()
    for module, plain in ((g, plain_g), (d, plain_d)):
        for a, b in zip(module.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=2e-4, atol=2e-5)


def test_betas_are_each_networks_own(tmp_path):
    trainer = toy.trainer(tmp_path, betas_g=(0, 0.2), betas_d=(0.3, 0.4))
    assert trainer._steps.optimizer_g.param_groups[0]["betas"] == (0, 0.2)
    assert trainer._steps.optimizer_d.param_groups[0]["betas"] == (0.3, 0.4)


def test_what_the_discriminator_sees_is_augmented(tmp_path):
    seen, given = [], []

    def augment(images):
        given.append(images.requires_grad)
        return images + 100

    g, d = networks()
    d.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].min().item()))
    start = copy.deepcopy(g)
    toy.trainer(
        tmp_path, g=g, d=d, steps=2, d_steps=1, penalty="r1", hooks={"augment": augment}
    ).run()
    assert given == [True, False, True] * 2  # R1 is with respect to real images before it
    assert min(seen) >= 99
    assert not torch.equal(g[0].weight, start[0].weight)  # gradients pass the augmentation


@pytest.mark.parametrize(
    ("precision", "penalty"),
    [("bf16", "r1"), ("bf16", "zero_centered"), ("fp16", "r1"), ("fp16", "zero_centered")],
)
def test_half_precision_is_near(tmp_path, precision, penalty):
    """R1 is of the pass of the loss in bf16; all other penalties are in float32."""
    dtypes = []

    def watch(module, inputs, output):
        dtypes.append((inputs[0].requires_grad and inputs[0].is_leaf, output.dtype))

    weights = {}
    for name in ("fp32", precision):
        g, d = networks()
        d.register_forward_hook(watch)
        toy.trainer(
            tmp_path / name, g=g, d=d, steps=3, lr_d=1e-4, precision=name, penalty=penalty
        ).run()
        weights[name] = torch.cat([p.flatten() for p in d.parameters()])
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    shared = (precision, penalty) == ("bf16", "r1")
    at_points = {dtype for points, dtype in dtypes if points}
    assert at_points == ({torch.float32, half} if shared else {torch.float32})
    assert {dtype for points, dtype in dtypes if not points} == {torch.float32, half}
    torch.testing.assert_close(weights["fp32"], weights[precision], rtol=0, atol=2e-3)
    assert not torch.equal(weights["fp32"], weights[precision])


def test_channels_last(tmp_path):
    g = nn.Sequential(nn.Unflatten(1, (4, 1, 1)), nn.ConvTranspose2d(4, 1, 6))
    d = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Flatten(), nn.Linear(48, 1))
    strides = []
    d.register_forward_pre_hook(lambda module, inputs: strides.append(inputs[0]))
    trainer = toy.trainer(tmp_path, g=g, d=d, channels_last=True)
    assert trainer.run()
    assert g[1].weight.is_contiguous(memory_format=torch.channels_last)
    assert trainer.ema[1].weight.is_contiguous(memory_format=torch.channels_last)
    assert all(x.is_contiguous(memory_format=torch.channels_last) for x in strides)


def test_shifts_are_whole_pixels_of_each_image():
    x = torch.arange(24 * 16, dtype=torch.float32).reshape(1, 1, 24, 16).repeat(64, 2, 1, 1)
    x[:, 1] *= -1
    moved = shifted(x, torch.Generator().manual_seed(0))
    rows, columns = torch.arange(24), torch.arange(16)
    found = set()
    for before, after in zip(x, moved, strict=True):
        for dy in range(-3, 4):
            for dx in range(-2, 3):
                at = (rows + dy).clamp(0, 23)[:, None], (columns + dx).clamp(0, 15)[None]
                if torch.equal(before[:, at[0], at[1]], after):
                    found.add((dy, dx))
                    break
            else:
                continue
            break
        else:
            raise AssertionError("no shift explains the image")
    assert {dy for dy, _ in found} == set(range(-3, 4))
    assert {dx for _, dx in found} == set(range(-2, 3))


def test_losses_by_name():
    r, f = torch.randn(5), torch.randn(5)
    for name in ("hinge", "wasserstein", "least_squares"):
        a, b = loss_by_name(name), AdversarialLoss(name)
        assert torch.equal(a.discriminator(r, f), b.discriminator(r, f))
    smooth = loss_by_name("bce", label_smoothing=0.1, from_probs=True)
    expected = F.binary_cross_entropy(r.sigmoid(), torch.full((5,), 0.9))
    expected += F.binary_cross_entropy(f.sigmoid(), torch.zeros(5))
    torch.testing.assert_close(smooth.discriminator(r.sigmoid(), f.sigmoid()), expected)
    assert smooth.from_probs
    with pytest.raises(ValueError, match=r"loss must be one of .*, got 'hing'"):
        loss_by_name("hing")
    with pytest.raises(ValueError, match="must not be given for 'relativistic'"):
        loss_by_name("relativistic", label_smoothing=0.1)


def test_diversity_is_a_ratio_of_variances():
    real, fake = torch.randn(7, 2, 3, 3), 3 * torch.randn(5, 2, 3, 3) + 1
    expected = fake.var(0, correction=0).mean() / real.var(0, correction=0).mean()
    torch.testing.assert_close(diversity(real, fake), expected)
    assert diversity(real, fake[:1].expand(5, -1, -1, -1)) < 1e-6
    assert diversity(real[:1], fake[:1]) == 1


@pytest.mark.slow
def test_compiled_networks_train_as_they_are_with_penalties(tmp_path):
    changes = {"steps": 4, "penalty": "r1", "penalty_every": 2, "d_steps": 1}
    weights = []
    for compiled in (False, True):
        g, d = networks()
        trainer = toy.trainer(tmp_path / str(compiled), g=g, d=d, compile=compiled, **changes)
        assert trainer.run()
        weights.append([*g.parameters(), *d.parameters()])
    for a, b in zip(*weights, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert trainer._steps._discriminate._call is not d


def test_without_a_compiler_it_is_said_once_and_training_goes_on(tmp_path, monkeypatch):
    def compile_(module, **options):
        def call(*inputs):
            raise RuntimeError("no compiler was found\nmore words")

        return call

    monkeypatch.setattr(torch, "compile", compile_)
    with pytest.warns(UserWarning, match="is not compiled") as caught:
        assert toy.trainer(tmp_path, compile=True).run()
    assert [str(w.message) for w in caught] == [
        "the generator is not compiled: no compiler was found",
        "the discriminator is not compiled: no compiler was found",
    ]


@pytest.mark.parametrize("supported", [True, False])
def test_a_precision_without_instructions_is_said_to_be_slow(tmp_path, monkeypatch, supported):
    ops = types.SimpleNamespace(_is_mkldnn_bf16_supported=lambda: supported)
    monkeypatch.setattr(torch.ops, "mkldnn", ops)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        toy.trainer(tmp_path, precision="bf16")
        toy.trainer(tmp_path)
    said = [str(w.message) for w in caught if "no instructions" in str(w.message)]
    assert len(said) == (0 if supported else 1)


def test_cuda_graphs_need_a_gpu(tmp_path):
    with pytest.raises(ValueError, match="cuda_graphs must be False on the device cpu, got True"):
        toy.trainer(tmp_path, cuda_graphs=True)


@pytest.mark.parametrize(
    ("loss", "middle"), [(None, 0), (AdversarialLoss("bce", from_probs=True), 0.5)]
)
def test_adaptive_augmentation_follows_the_real_outputs(tmp_path, loss, middle):
    seen = []

    class Watched(AdaptiveAugment):
        def update(self, real_logits):
            seen.append(real_logits)
            super().update(real_logits)

    g, d = networks()
    d.append(nn.Sigmoid() if middle else nn.Identity())
    outputs = []
    d.register_forward_hook(lambda module, inputs, output: outputs.append(output.detach()))
    augment = Watched("translation", target=0.0, kimg=0.2, interval=2, p=0.5)
    trainer = toy.trainer(
        tmp_path, g=g, d=d, loss=loss, steps=4, d_steps=1, log_every=1, hooks={"augment": augment}
    )
    assert trainer.run()
    for k, given in enumerate(seen):  # the outputs of a round: real, fake, and the generator's fake
        assert torch.equal(given, outputs[3 * k] - middle)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    moved = [row["augment_p"] for row in rows]
    p, expected = 0.5, []
    for k in range(4):
        if k % 2:  # after two updates, of 8 images each
            signs = torch.cat(seen[k - 1 : k + 1]).sign().mean()
            p += float(signs.sign()) * 16 / 200
        expected.append(p)
    assert moved == pytest.approx(expected)


def test_in_a_relativistic_loss_the_fake_of_each_pair_is_the_middle(tmp_path):
    seen, outputs = [], []

    class Watched(AdaptiveAugment):
        def update(self, real_logits):
            seen.append(real_logits)
            super().update(real_logits)

    g, d = networks()
    d.register_forward_hook(lambda module, inputs, output: outputs.append(output.detach()))
    augment = Watched("translation", p=0.5)
    changes = {"steps": 3, "d_steps": 1, "penalty": "r1_r2", "hooks": {"augment": augment}}
    assert toy.trainer(tmp_path, g=g, d=d, loss=Relativistic(), **changes).run()
    # A round calls D for the real and the fake images, whose logits the penalties share, and twice
    # for the generator.
    assert len(outputs) == 4 * 3
    for k, given in enumerate(seen):
        assert torch.equal(given, outputs[4 * k] - outputs[4 * k + 1])


class Bounded(nn.Module):
    """A generator of images in [-1, 1]."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, z):
        return torch.tanh(self.scale * z.sum(1).view(-1, 1, 1, 1).expand(-1, 1, 2, 2))


@pytest.mark.parametrize(
    ("images", "found"),
    [
        (torch.linspace(0, 255, 32), "refused"),
        (torch.full((32,), float("nan")), "not finite"),
        (torch.linspace(0, 1, 32), "warned of"),
        (torch.linspace(-1, 1, 32), "taken"),
    ],
)
def test_data_in_another_range_than_the_generator(tmp_path, images, found):
    d = nn.Sequential(nn.Flatten(), nn.Linear(4, 1))
    options = TrainOptions(steps=1, latent_dim=3)
    loss = AdversarialLoss("hinge")
    trainer = Trainer(Bounded(), d, [images.view(8, 1, 2, 2)], loss, options, tmp_path)
    if found == "refused":
        with pytest.raises(ValueError, match=r"generator's range, got values up to 255"):
            trainer.run()
    elif found == "not finite":
        with pytest.raises(ValueError, match="data must give finite images"):
            trainer.run()
    elif found == "warned of":
        with pytest.warns(UserWarning, match=r"map x in \[0, 1\] to 2 x - 1"):
            trainer.run()
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            trainer.run()
