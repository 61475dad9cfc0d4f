"""Tokenizers' losses give the numbers of the projects' own files, at the commits in drop-in.md.

tokenizer_numbers.json holds, for each case, what the project's class gave on the same small
networks: losses, gradients of the decoder and of the discriminator, and logs.
"""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from compat.autoencoders import Perceptual, Untouched
from torch import Tensor, nn

from ganfast.compat import open_sora, seed_voken, sgm, tokenizer_1d

PATH = Path(__file__).with_name("tokenizer_numbers.json")
NUMBERS: dict[str, Any] = json.loads(PATH.read_text())
FRAMES = 3


class Setting:
    """A decoder, stand-ins for LPIPS and the discriminator, and images or videos."""

    def __init__(self, video: bool, dtype: torch.dtype, frames: bool = False) -> None:
        torch.manual_seed(0)
        self.video = video
        self.perceptual = Perceptual().to(dtype)
        self.decoder = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Tanh(), nn.Conv2d(4, 3, 3)).to(dtype)
        of_videos = nn.Conv3d(3, 1, 3, stride=2)
        of_images = nn.Conv2d(3, 1, 3, stride=2)
        self.discriminator = (of_videos if video and not frames else of_images).to(dtype)
        count = 2 * FRAMES if video else 2
        self.codes = torch.randn(count, 2, 12, 12, dtype=dtype)
        self.inputs = self.shaped(torch.randn(count, 3, 8, 8, dtype=dtype))
        self.weights = torch.rand(count, 3, 8, 8, dtype=dtype)

    def shaped(self, x: Tensor) -> Tensor:
        """Frames (B T, C, H, W) as videos (B, C, T, H, W)."""
        return x.unflatten(0, (2, FRAMES)).transpose(1, 2) if self.video else x

    def reconstruct(self) -> Tensor:
        return self.shaped(self.decoder(self.codes))

    @property
    def last(self) -> Tensor:
        return self.decoder[-1].weight


class Posterior:
    def __init__(self, x: Tensor) -> None:
        self.x = x

    def kl(self) -> Tensor:
        return self.x.square().flatten(1).sum(1)


Call = Callable[[Any, Setting, Tensor], tuple[Tensor, Any]]


class Case(NamedTuple):
    """How the project's class is made, and the calls for the two steps."""

    make: Callable[[type, dict[str, Any]], Any]
    cls: tuple[Any, str]  # module and name of ours
    generator: Call
    discriminator: Call
    video: bool = False
    dtype: torch.dtype = torch.float64
    training: bool = True
    frames: bool = False  # the discriminator takes frames

    def setting(self) -> Setting:
        return Setting(self.video, self.dtype, self.frames)


class Config(dict):
    __getattr__ = dict.__getitem__


def config(**changes: Any) -> Config:
    losses = {
        "reconstruction_loss": "l2",
        "reconstruction_weight": 1.5,
        "quantizer_weight": 0.7,
        "perceptual_loss": "lpips-convnext_s-1.0-0.1",
        "perceptual_weight": 1.1,
        "discriminator_start": 5,
        "discriminator_factor": 0.8,
        "discriminator_weight": 0.3,
        "lecam_regularization_weight": 0.5,
        "lecam_ema_decay": 0.9,
    }
    mode = changes.pop("quantize_mode", "vq")
    model = Config(vq_model=Config(quantize_mode=mode))
    return Config(losses=Config({**losses, **changes}), model=model)


def titok(name: str, step: int, **changes: Any) -> Case:
    def extra(y: Tensor) -> Any:
        if changes.get("quantize_mode") == "vae":
            return Posterior(y)
        names = ("quantizer_loss", "commitment_loss", "codebook_loss")
        return {n: (k + 1) * y.square().mean() for k, n in enumerate(names)}

    def discriminator(loss: Any, s: Setting, y: Tensor) -> tuple[Tensor, Any]:
        loss(s.inputs, y, {}, step, "discriminator")  # moves the averages
        return loss(s.inputs, 0.5 * y, {}, step, "discriminator")

    return Case(
        lambda cls, networks: cls(config(**changes), **networks),
        (tokenizer_1d, name),
        lambda loss, s, y: loss(s.inputs, y, extra(y), step, "generator"),
        discriminator,
        dtype=torch.float32,
    )


def general(step: int, weighted: bool = False, training: bool = True, **options: Any) -> Case:
    def call(loss: Any, s: Setting, y: Tensor, idx: int) -> tuple[Tensor, Any]:
        return loss(
            s.inputs,
            y,
            regularization_log={"kl": y.square().mean(), "other": y.mean()},
            optimizer_idx=idx,
            global_step=step,
            last_layer=s.last,
            split="val",
            weights=s.weights if weighted else None,
        )

    options = {
        "logvar_init": 0.3,
        "disc_factor": 0.8,
        "disc_weight": 0.7,
        "perceptual_weight": 0.5,
        "regularization_weights": {"kl": 0.1},
        "additional_log_keys": ["other"],
        **options,
    }
    return Case(
        lambda cls, networks: cls(5, **options, **networks),
        (sgm, "GeneralLPIPSWithDiscriminator"),
        lambda loss, s, y: call(loss, s, y, 0),
        lambda loss, s, y: call(loss, s, y, 1),
        video=options.get("dims") == 3,
        training=training,
        frames=True,
    )


def voken(name: str, step: int, training: bool = True, codes: int = 1, **options: Any) -> Case:
    def call(loss: Any, s: Setting, y: Tensor, idx: int) -> tuple[Tensor, Any]:
        terms = [(k + 1) * (y**2).mean() for k in range(4)]
        first: tuple[Any, ...] = (terms[0],) if codes == 1 else (tuple(terms),)
        if name != "IBQLoss":
            names = ("commitment", "per_sample_entropy", "codebook_entropy")
            first = (terms[0], SimpleNamespace(**dict(zip(names, terms[1:], strict=True))))
        return loss(*first, s.inputs, y, idx, step, last_layer=s.last)

    def discriminator(loss: Any, s: Setting, y: Tensor) -> tuple[Tensor, Any]:
        call(loss, s, y, 1)  # moves the averages
        return call(loss, s, 0.5 * y, 1)

    options = {"disc_factor": 0.8, "disc_weight": 0.7, "perceptual_weight": 0.5, **options}
    return Case(
        lambda cls, networks: cls(5, **options, **networks),
        (seed_voken, name),
        lambda loss, s, y: call(loss, s, y, 0),
        discriminator,
        video=name == "MAGVIT2VideoLoss",
        training=training,
    )


STAGES = ("ReconstructionLoss_Stage2", "ReconstructionLoss_Single_Stage")
CASES = {
    **{f"1d {name[19:]}": titok(name, 5) for name in STAGES},
    "1d before the start": titok(STAGES[0], 4, reconstruction_loss="l1"),
    "1d without lecam": titok(STAGES[0], 5, lecam_regularization_weight=0.0),
    "1d vae": titok(STAGES[1], 5, quantize_mode="vae", logvar_init=0.2, kl_weight=1e-3),
    "sgm": general(5),
    "sgm vanilla, learned": general(5, disc_loss="vanilla", learn_logvar=True),
    "sgm weighted": general(5, weighted=True),
    "sgm video": general(5, dims=3),
    "sgm evaluation": general(0, training=False),
    "sgm without lpips": general(5, perceptual_weight=0.0),
    "magvit2": voken("MAGVIT2Loss", 5, lecam_loss_weight=0.5),
    "magvit2 late": voken("MAGVIT2Loss", 3000, lecam_loss_weight=0.5, disc_loss="non_saturate"),
    "magvit2 fixed weight": voken(
        "MAGVIT2Loss", 6, lecam_loss_weight=0.5, gen_loss_weight=0.125, disc_loss="vanilla"
    ),
    "magvit2 evaluation": voken("MAGVIT2Loss", 6, training=False, lecam_loss_weight=0.5),
    "magvit2 video": voken("MAGVIT2VideoLoss", 6, lecam_loss_weight=0.5),
    "ibq": voken("IBQLoss", 6, lecam_loss_weight=0.5),
    "ibq entropy": voken("IBQLoss", 6, codes=4, quant_loss_weight=0.3, lecam_loss_weight=0.5),
    "ibq evaluation": voken("IBQLoss", 6, training=False, lecam_loss_weight=0.5),
}


def gradients(parameters: list[Tensor]) -> list[float]:
    """The norm of each gradient and its product with a wave; nothing where there is none."""
    found = []
    for p in parameters:
        if p.grad is not None:
            g = p.grad.double().flatten()
            found += [g.norm().item(), (g @ torch.arange(len(g)).double().sin()).item()]
    return found


def numbers_of(case: Case, loss: Any, s: Setting) -> dict[str, Any]:
    """Losses, gradients and logs of the generator's and of the discriminator's step."""
    loss.train(case.training)
    found: dict[str, Any] = {}
    for step, call, network in (
        ("generator", case.generator, s.decoder),
        ("discriminator", case.discriminator, s.discriminator),
    ):
        for net in (s.decoder, s.discriminator):
            net.zero_grad()
        with torch.set_grad_enabled(case.training):
            value, log = call(loss, s, s.reconstruct())
        if case.training:
            value.backward()
        found[step] = [value.item(), *gradients(list(network.parameters()))]
        found[f"{step} log"] = {name: float(x) for name, x in log.items()}
    return found


@pytest.mark.parametrize("name", CASES)
def test_the_numbers_of_the_projects(name: str) -> None:
    case = CASES[name]
    s = case.setting()
    module, cls = case.cls
    networks = {"perceptual_loss": s.perceptual, "discriminator": s.discriminator}
    loss = case.make(getattr(module, cls), networks)
    found, expected = numbers_of(case, loss, s), NUMBERS[name]
    rel = 1e-9 if case.dtype == torch.float64 else 1e-5
    for step, values in expected.items():
        assert found[step] == pytest.approx(values, rel=rel, abs=rel), step


def test_the_discriminator_gets_no_gradients_in_the_generators_step() -> None:
    for case in CASES.values():
        if not case.training:
            continue
        s = case.setting()
        module, cls = case.cls
        networks = {"perceptual_loss": s.perceptual, "discriminator": s.discriminator}
        loss = case.make(getattr(module, cls), networks)
        value, _ = case.generator(loss, s, s.reconstruct())
        value.backward()
        assert all(p.grad is None and p.requires_grad for p in s.discriminator.parameters())


@pytest.mark.parametrize(
    "case",
    [
        general(4),
        voken("MAGVIT2Loss", 4),
        voken("MAGVIT2VideoLoss", 4, lecam_loss_weight=0.5),
        voken("IBQLoss", 4, lecam_loss_weight=0.5),
    ],
)
def test_before_the_start_the_discriminator_does_not_run(case: Case) -> None:
    s = case.setting()
    module, cls = case.cls
    networks = {"perceptual_loss": s.perceptual, "discriminator": Untouched()}
    loss = case.make(getattr(module, cls), networks)
    y = s.reconstruct()
    value, log = case.generator(loss, s, y)
    value.backward()
    assert s.last.grad.isfinite().all()
    value, log = case.discriminator(loss, s, y.detach())
    value.backward()
    assert value == 0
    assert all(x == 0 for x in log.values())


def test_averages_of_images_move_from_the_beginning() -> None:
    """Open-MAGVIT2's images are the only loss that updates them before the start."""
    s = Setting(False, torch.float64)
    networks = {"perceptual_loss": s.perceptual, "discriminator": s.discriminator}
    loss = seed_voken.MAGVIT2Loss(5, lecam_loss_weight=0.5, **networks)
    y = s.reconstruct().detach()
    loss(None, None, s.inputs, y, 1, 0)
    real = s.discriminator(s.inputs).mean().item()
    assert float(loss.lecam_ema.logits_real_ema) == pytest.approx(0.001 * real)


class TestOpenSora:
    """Its three losses are called one after the other, as its trainer does."""

    @staticmethod
    def numbers_of(module: Any, networks: dict[str, Any], s: Setting, step: int) -> dict[str, Any]:
        loss = module.VAELoss(0.3, 0.5, 1e-3, dtype="fp32", **networks)
        s.perceptual.double()
        y = s.reconstruct()
        terms = loss.double()(s.inputs, y, Posterior(y))
        weighted, g = module.GeneratorLoss(5, 0.8, 0.7)(
            s.discriminator(y), terms["nll_loss"], s.last, step
        )
        (terms["nll_loss"] + terms["kl_loss"] + weighted).backward()
        found: dict[str, Any] = {name: x.item() for name, x in terms.items()}
        found["generator"] = [weighted.item(), g.item(), *gradients([*s.decoder.parameters()])]
        found["generator"] += gradients([loss.logvar])
        for kind in ("hinge", "vanilla", "wgan-gp"):
            s.discriminator.zero_grad()
            real, fake = s.discriminator(s.inputs), s.discriminator(y.detach())
            value = module.DiscriminatorLoss(5, 0.8, kind)(real, fake, step)
            value.backward()
            found[kind] = [value.item(), *gradients([*s.discriminator.parameters()])]
        found["no factor"] = module.DiscriminatorLoss(5, 0.0)(real, fake, step)
        x = s.inputs.clone().requires_grad_()
        penalty = module.gradient_penalty_fn(x, s.discriminator(x.tanh()).flatten(1).sum(1))
        found["penalty"] = penalty.item()
        averages = [torch.tensor(k / 10).double() for k in range(4)]
        found["lecam"] = module.lecam_reg(*averages).item()
        codes = torch.arange(12).reshape(2, 6) % 5
        found["perplexity"] = [float(x) for x in module.measure_perplexity(codes, 8)]
        return found

    @pytest.mark.parametrize("step", [4, 5])
    def test_the_numbers_of_the_project(self, step: int) -> None:
        s = Setting(True, torch.float64)
        found = self.numbers_of(open_sora, {"perceptual_loss": s.perceptual}, s, step)
        expected = NUMBERS[f"open_sora {step}"]
        assert found.keys() == expected.keys()
        for name, values in expected.items():
            assert found[name] == pytest.approx(values, rel=1e-9, abs=1e-12), name


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda n: sgm.GeneralLPIPSWithDiscriminator(0, disc_loss="wgan", **n), "hinge, vanilla"),
        (lambda n: seed_voken.IBQLoss(0, disc_loss="non_saturate", **n), "one of hinge, vanilla, "),
        (
            lambda n: seed_voken.IBQLoss(0, **n)(
                torch.zeros(()), *[torch.zeros(1, 3, 8, 8)] * 2, 2, 0
            ),
            "optimizer_idx must be 0 or 1, got 2",
        ),
        (
            lambda n: sgm.GeneralLPIPSWithDiscriminator(0, **n)(
                *[torch.zeros(1, 3, 8, 8)] * 2, optimizer_idx=2
            ),
            "optimizer_idx must be 0 or 1, got 2",
        ),
        (
            lambda n: tokenizer_1d.ReconstructionLoss_Stage2(config(), **n)(
                *[torch.zeros(1, 3, 8, 8)] * 2, {}, 0, "both"
            ),
            "mode must be one of generator, discriminator, got 'both'",
        ),
        (
            lambda n: tokenizer_1d.ReconstructionLoss_Stage2(config(reconstruction_loss="l3"), **n),
            "reconstruction_loss must be one of l1, l2, got 'l3'",
        ),
        (lambda n: open_sora.DiscriminatorLoss(disc_loss_type="lsgan"), "disc_loss_type must be"),
        (lambda n: open_sora.VAELoss(dtype="fp8"), "dtype must be one of bf16, fp16, fp32"),
    ],
)
def test_what_does_not_fit_is_refused(call: Any, message: str) -> None:
    networks = {"perceptual_loss": Perceptual(), "discriminator": nn.Conv2d(3, 1, 3)}
    with pytest.raises(ValueError, match=message):
        call(networks)


def test_in_training_the_last_layer_is_needed() -> None:
    s = Setting(False, torch.float64)
    networks = {"perceptual_loss": s.perceptual, "discriminator": s.discriminator}
    with pytest.raises(ValueError, match="last_layer must be a tensor in training, got None"):
        sgm.GeneralLPIPSWithDiscriminator(0, **networks)(s.inputs, s.reconstruct())
    with pytest.raises(ValueError, match="last_layer must be a tensor while gradients are"):
        seed_voken.IBQLoss(0, **networks)(torch.zeros(()), s.inputs, s.reconstruct(), 0, 0)
