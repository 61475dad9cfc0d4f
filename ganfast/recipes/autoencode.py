"""Autoencoders as generative baselines: reconstruct, and sample from a normal of their codes."""

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganfast import data, features, images
from ganfast._files import atomic_write
from ganfast.models import autoencoder
from ganfast.recipes import classify, machine, report
from ganfast.recipes.scores import FD, FrechetScore
from ganfast.train.options import one_of, whole

MODELS = ("autoencoder", "conv-autoencoder", "denoising-autoencoder")
_HELD = 1000
_SHOWN = 10

Net = autoencoder.Autoencoder | autoencoder.ConvAutoencoder | autoencoder.Denoising


@dataclass(frozen=True)
class AutoencoderConfig:
    """All of a run on the embedded digits.

    Attributes:
        model: ``autoencoder`` (dense), ``conv-autoencoder`` or ``denoising-autoencoder``.
        steps, batch_size, lr: of Adam on the squared error.
        latent_dim: size of a code.
        seed: of weights, noise and the order of the data.
    """

    model: str = "autoencoder"
    steps: int = 1500
    batch_size: int = 64
    lr: float = 1e-3
    latent_dim: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        one_of("model", self.model, MODELS)
        for name in ("steps", "batch_size", "latent_dim"):
            whole(name, getattr(self, name), minimum=1)
        whole("seed", self.seed, minimum=0)
        if not self.lr > 0:
            raise ValueError(f"lr must be positive, got {self.lr}")


@dataclass(frozen=True)
class Result:
    """Squared errors per pixel on images held out, and distances of reconstructions and samples."""

    error: float
    error_of_mean: float
    fd_reconstructions: float
    fd_samples: float
    fd_real: float


def autoencode(config: AutoencoderConfig, out: Path, overwrite: bool = False) -> Result:
    """Train, and write the weights and ``report.html`` to ``out``.

    Raises:
        FileExistsError: ``out`` holds a run, and ``overwrite`` is not set.
        FloatingPointError: the loss is not finite.
    """
    from safetensors.torch import save

    path = out / "autoencoder.safetensors"
    if path.exists() and not overwrite:
        raise FileExistsError(f"{out} holds a run: --overwrite starts it again")
    pool, held = classify.split(data.digits(), _HELD, seed=0)
    net = make(config)
    _fit(net, data.ImageData(*pool, name="digits"), config)
    with torch.no_grad():
        codes = torch.cat([net.encoder(data.to_float(x)) for x in torch.split(pool[0], 500)])
        real = data.to_float(held[0])
        back = net(real)
        made = net.decoder(normal_of(codes, len(pool[0]), config.seed))
    score = FrechetScore(pool[0], features.digits())
    net_features = features.digits()
    result = Result(
        error=float((back - real).square().mean()),
        error_of_mean=float((data.to_float(pool[0]).mean(0) - real).square().mean()),
        fd_reconstructions=score.distance(features.extract(net_features, back)),
        fd_samples=score.distance(features.extract(net_features, made)),
        fd_real=score.real_against_real(),
    )
    with atomic_write(path) as file:
        file.write(save({k: v.contiguous() for k, v in net.state_dict().items()}))
    sheet = images.grid(torch.cat([real[:_SHOWN], back[:_SHOWN]]), columns=_SHOWN, scale=2)
    images.write_png(sheet, out / "reconstructions.png")
    images.write_png(images.grid(made[:100], scale=2), out / "samples.png")
    _write(out, config, result)
    return result


def make(config: AutoencoderConfig) -> Net:
    """The autoencoder of a config, with weights of its seed."""
    torch.manual_seed(config.seed)
    if config.model == "autoencoder":
        return autoencoder.Autoencoder(config.latent_dim)
    net = autoencoder.ConvAutoencoder(config.latent_dim)
    return autoencoder.Denoising(net) if config.model == "denoising-autoencoder" else net


def normal_of(codes: Tensor, count: int, seed: int) -> Tensor:
    """Draws (count, D) from the normal with mean and covariance of codes (N, D)."""
    wide = codes.double()
    values, vectors = torch.linalg.eigh(torch.cov(wide.T).reshape(wide.shape[1], -1))
    random = torch.Generator().manual_seed(seed)
    z = torch.randn(count, wide.shape[1], generator=random, dtype=torch.float64)
    drawn: Tensor = wide.mean(0) + z @ (vectors * values.clamp_min(0).sqrt()).T
    return drawn.to(codes.dtype)


def rows(result: Result) -> list[tuple[str, str]]:
    """What was measured, in words."""
    return [
        ("squared error per pixel, held out", f"{result.error:.4f}"),
        ("that of the mean image", f"{result.error_of_mean:.4f}"),
        (f"{FD}, reconstructions", f"{result.fd_reconstructions:.2f}"),
        (f"{FD}, samples from a normal of the codes", f"{result.fd_samples:.2f}"),
        (f"{FD}, real vs real (two halves)", f"{result.fd_real:.2f}"),
    ]


def _fit(net: nn.Module, real: data.ImageData, config: AutoencoderConfig) -> None:
    optimizer = torch.optim.Adam(net.parameters(), config.lr)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)
    stream = data.BatchStream(real, config.batch_size, config.seed)
    net.train()
    for step in range(1, config.steps + 1):
        x, _ = next(stream)
        loss = F.mse_loss(net(x), x)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        decay.step()
        if (step % 100 == 0 or step == config.steps) and not loss.isfinite():
            raise FloatingPointError(f"training failed by step {step}: the loss is {float(loss)}")
    net.eval()


def _write(out: Path, config: AutoencoderConfig, result: Result) -> None:
    pictures = (
        ("reconstructions.png", "images held out, and their reconstructions below"),
        ("samples.png", "decoded draws from a normal of the codes"),
    )
    figures = [report.figure((out / name).read_bytes(), words) for name, words in pictures]
    content = report.page(
        f"ganfast train: {config.model}",
        f"{config.steps} steps on 4,000 digits.",
        report.section("Result", report.table(rows(result))),
        report.section("Pictures", *figures),
        report.section("Settings", report.table([(k, str(v)) for k, v in asdict(config).items()])),
        report.section("Machine and versions", report.table(machine.facts())),
    )
    report.write(out / "report.html", content)
