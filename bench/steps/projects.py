"""Steps of projects' own code: networks, losses and the order of calls from a checkout.

Packages that a project imports and a step does not use may be absent.
"""

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.torch_version import TorchVersion

from bench.steps import networks, vocoders
from bench.steps.trainer import WAYS, Outputs, Step
from ganfast.compat import pix2pix, r3gan, taming
from ganfast.losses import frozen

Run = Callable[[], object]
_LOSSES_ALONE = ("own", "import")


class Project(NamedTuple):
    """A project that is known by a file of its checkout, and makes its step in several ways."""

    name: str
    file: str
    ways: tuple[str, ...]
    make: Callable[[Path, str, torch.device], Run]


class _Absent:
    """What a package that is not installed would provide."""

    def __init__(self, *arguments: object, **options: object) -> None: ...

    def __init_subclass__(cls, **options: object) -> None: ...


def _stand_in(*names: str) -> None:
    """Make modules importable whose packages are not installed."""
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError:
            module = ModuleType(name)
            module.__dict__.update(__path__=[], __getattr__=_absent)
            sys.modules[name] = module


def _absent(name: str) -> type:
    if name.startswith("__"):
        raise AttributeError(name)
    return _Absent


class _Vocoder(vocoders.HiFiGAN):
    """HiFi-GAN's step with a checkout's networks and losses.

    The mel spectrogram of its own step is the project's formula: its code needs librosa.
    """

    def __init__(
        self, swapped: bool, make: Callable[[], tuple[nn.Module, list[nn.Module]]], losses: Any
    ) -> None:
        super().__init__(swapped, lambda: [nn.Identity()])
        self.generator, discriminators = make()
        self.discriminator = nn.ModuleList(discriminators)
        self.losses = losses

    def criticize(self, fakes: Outputs) -> Outputs:
        return [discriminator(self.audio, fakes) for discriminator in self.discriminator]

    def judge(self, fakes: Outputs) -> Outputs:
        return fakes, self.criticize(fakes)

    def own_discriminator(self, outputs: Outputs) -> Tensor:
        first, second = (
            self.losses.discriminator_loss(real, fake)[0] for real, fake, *_ in outputs
        )
        loss: Tensor = first + second
        return loss

    def own_generator(self, outputs: Outputs) -> Tensor:
        fake, judged = outputs
        loss: Tensor = F.l1_loss(self.real_mel, vocoders.own_mel(fake, self.filters)) * 45
        for _, logits, of_real, of_fake in judged:
            loss = loss + self.losses.feature_loss(of_real, of_fake)
            loss = loss + self.losses.generator_loss(logits)[0]
        return loss

    def discriminator_loss(self, outputs: Outputs) -> Tensor:
        return super().discriminator_loss(_by_side(outputs)[:2])

    def generator_loss(self, outputs: Outputs) -> Tensor:
        fake, judged = outputs
        return super().generator_loss((fake, *_by_side(judged)[2:]))


def _by_side(judged: Outputs) -> list[list[list[Tensor]]]:
    """The logits of real and of fake samples, a list each, and their features."""
    logits = [[[x] for of in judged for x in of[side]] for side in (0, 1)]
    return [*logits, *[[maps for of in judged for maps in of[side]] for side in (2, 3)]]


def _hifigan(checkout: Path, way: str, device: torch.device) -> Run:
    models = importlib.import_module("models")
    h = SimpleNamespace(**json.loads((checkout / "config_v3.json").read_text()))

    def make() -> tuple[nn.Module, list[nn.Module]]:
        discriminators = [models.MultiPeriodDiscriminator(), models.MultiScaleDiscriminator()]
        return models.Generator(h), discriminators

    return Step(lambda swapped: _Vocoder(swapped, make, models), way, torch.float32, device)


def _bigvgan(checkout: Path, way: str, device: torch.device) -> Run:
    _stand_in("librosa", "librosa.filters", "torchaudio", "torchaudio.transforms")
    _stand_in("huggingface_hub", "nnAudio", "nnAudio.features", "matplotlib", "matplotlib.pylab")
    generators, discriminators, losses, env = (
        importlib.import_module(name) for name in ("bigvgan", "discriminators", "loss", "env")
    )
    config = checkout / "configs" / "bigvgan_base_22khz_80band.json"
    h = env.AttrDict(json.loads(config.read_text()))

    def make() -> tuple[nn.Module, list[nn.Module]]:
        kinds = (
            discriminators.MultiPeriodDiscriminator,
            discriminators.MultiResolutionDiscriminator,
        )
        return generators.BigVGAN(h), [kind(h) for kind in kinds]

    return Step(lambda swapped: _Vocoder(swapped, make, losses), way, torch.float32, device)


def _translator(
    kind: str, side: int, **options: object
) -> Callable[[Path, str, torch.device], Run]:
    """pix2pix's or CycleGAN's model, as its options are by default; a batch of one image."""

    def make(checkout: Path, way: str, device: torch.device) -> Run:
        _stand_in("torchvision", "torchvision.transforms", "dominate", "dominate.tags", "wandb")
        model = importlib.import_module(f"models.{kind}_model")
        opt = SimpleNamespace(
            isTrain=True, checkpoints_dir="", name="", preprocess="none", direction="AtoB",
            gpu_ids=[] if device.type == "cpu" else [0], device=device, amp=False,
            input_nc=3, output_nc=3, ngf=64, ndf=64, netD="basic", n_layers_D=3, init_type="normal",
            init_gain=0.02, lr=2e-4, beta1=0.5, no_antialias=True, no_antialias_up=True,
            **options,
        )  # fmt: skip
        own = model.networks.GANLoss
        if way != "own":
            model.networks.GANLoss = pix2pix.GANLoss
        made = getattr(model, {"pix2pix": "Pix2PixModel", "cycle_gan": "CycleGANModel"}[kind])(opt)
        model.networks.GANLoss = own
        a, b = torch.rand(2, 1, 3, side, side) * 2 - 1
        made.set_input({"A": a, "B": b, "A_paths": [], "B_paths": []})
        run: Run = made.optimize_parameters
        return run

    return make


class _Vgg:
    """torchvision's models, as far as LPIPS needs them."""

    @staticmethod
    def vgg16(**options: object) -> SimpleNamespace:
        stages = networks.Perception().stages
        layers = [layer for stage in stages for layer in stage.children()]
        return SimpleNamespace(features=nn.Sequential(*layers))


@contextmanager
def _toggled(module: nn.Module, network: nn.Module) -> Iterator[None]:
    """Lightning's toggle_optimizer: only one network's parameters require gradients."""
    module.requires_grad_(False)
    network.requires_grad_()
    yield
    module.requires_grad_()


def _taming(checkout: Path, way: str, device: torch.device) -> Run:
    """VQGAN's step as Lightning runs it, without codebook; LPIPS with random weights."""
    _stand_in("torchvision", "requests", "tqdm")
    names = ("losses.lpips", "losses.vqperceptual", "diffusionmodules.model")
    modules: list[Any] = [importlib.import_module(f"taming.modules.{name}") for name in names]
    lpips, losses, model = modules
    lpips.models, lpips.LPIPS.load_from_pretrained = _Vgg, lambda self: None
    config = {
        "ch": 64, "out_ch": 3, "ch_mult": (1, 2, 2, 4), "num_res_blocks": 1, "in_channels": 3,
        "attn_resolutions": [], "resolution": 64, "z_channels": 64, "double_z": False,
    }  # fmt: skip
    decoder = model.Decoder(**config)
    autoencoder = nn.Sequential(model.Encoder(**config), decoder).to(device)
    cls = (losses if way == "own" else taming).VQLPIPSWithDiscriminator
    loss = cls(0, disc_weight=0.8).to(device)
    both = nn.ModuleList([autoencoder, loss.discriminator])
    images = torch.rand(2, 3, 64, 64, device=device) * 2 - 1
    optimizers = [torch.optim.Adam(network.parameters(), 4.5e-6, (0.5, 0.9)) for network in both]

    def run() -> None:
        for index, network in enumerate(both):
            with _toggled(both, network):
                codes = torch.zeros((), device=device)
                last = decoder.conv_out.weight
                value, _ = loss(codes, images, autoencoder(images), index, 1, last_layer=last)
                optimizers[index].zero_grad()
                value.backward()
                optimizers[index].step()

    return run


def _r3gan(checkout: Path, way: str, device: torch.device) -> Run:
    """R3GAN's trainer for 32 x 32 images, at a quarter of the width."""
    _stand_in("pkg_resources")
    sys.modules["pkg_resources"].__dict__.setdefault("parse_version", TorchVersion)
    made, own = (importlib.import_module(f"R3GAN.{name}") for name in ("Networks", "Trainer"))
    g = made.Generator(64, [192] * 4, [24] * 4, [2] * 4, 2).to(device)
    d = made.Discriminator([192] * 4, [24] * 4, [2] * 4, 2).to(device)
    trainer = (own if way == "own" else r3gan).AdversarialTraining(g, d)
    optimizers = [torch.optim.Adam(network.parameters(), 2e-4, (0.0, 0.9)) for network in (d, g)]
    images, z = torch.rand(4, 3, 32, 32, device=device) * 2 - 1, torch.randn(4, 64, device=device)

    def run() -> None:
        optimizers[0].zero_grad()
        with frozen(g):
            trainer.AccumulateDiscriminatorGradients(z, images, None, 0.5)
        optimizers[0].step()
        optimizers[1].zero_grad()
        with frozen(d):
            trainer.AccumulateGeneratorGradients(z, images, None)
        optimizers[1].step()

    return run


PROJECTS = (
    Project("HiFi-GAN v3, 2 x 8192 samples", "config_v3.json", WAYS, _hifigan),
    Project("BigVGAN base, 2 x 8192 samples", "bigvgan.py", WAYS, _bigvgan),
    Project(
        "pix2pix, 256 x 256",
        "models/pix2pix_model.py",
        _LOSSES_ALONE,
        _translator(
            "pix2pix", 256, netG="unet_256", norm="batch", gan_mode="vanilla", pool_size=0,
            lambda_L1=100.0, no_dropout=False,
        ),
    ),
    Project(
        "CycleGAN, 128 x 128",
        "models/cycle_gan_model.py",
        _LOSSES_ALONE,
        _translator(
            "cycle_gan", 128, netG="resnet_9blocks", norm="instance", normG="instance",
            normD="instance", gan_mode="lsgan", pool_size=50, lambda_A=10.0, lambda_B=10.0,
            lambda_identity=0.5, no_dropout=True,
        ),
    ),
    Project(
        "VQGAN, 2 x 64 x 64", "taming/modules/losses/vqperceptual.py", _LOSSES_ALONE, _taming
    ),
    Project("R3GAN, 4 x 32 x 32", "R3GAN/Trainer.py", _LOSSES_ALONE, _r3gan),
)  # fmt: skip
