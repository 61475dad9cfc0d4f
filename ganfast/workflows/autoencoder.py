"""Train an autoencoder as a generative baseline: decode samples of a normal fitted to its codes."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganfast import data
from ganfast._files import atomic_write
from ganfast._names import check_name
from ganfast._numbers import check_whole
from ganfast.data.squares import OnError
from ganfast.distributed import Processes
from ganfast.models import autoencoder
from ganfast.reporting import images, report
from ganfast.train.journal import Record
from ganfast.train.loop import Descent, Loop
from ganfast.train.options import CADENCE
from ganfast.workflows import classifiers, gan, training_scores
from ganfast.workflows.run_folder import one_writer, refuse_no_run, run_or_resume

MODELS = ("autoencoder", "conv-autoencoder", "denoising-autoencoder")
_HELD = 1000  # images at most that measure the error
_MOST = 10_000  # images whose codes and mean are computed
_SHOWN = 10

Net = autoencoder.Autoencoder | autoencoder.ConvAutoencoder | autoencoder.Denoising


@dataclass(frozen=True)
class AutoencoderConfig:
    """All settings of a run.

    Attributes:
        data, size, channels, background, on_error: the images, as for a GAN.
        model: ``autoencoder`` (dense), ``conv-autoencoder`` or ``denoising-autoencoder``.
        steps, batch_size, lr: steps, batch size and learning rate of Adam on the squared error.
        latent_dim: size of a code.
        seed: seed of weights, noise and the order of the data.
        log_every, checkpoint_every: steps between records and between checkpoints. The last step
            has both.
    """

    model: str = "autoencoder"
    data: str = "digits"
    size: int = 0
    channels: int = 0
    background: str = "white"
    on_error: OnError = "stop"
    steps: int = 1500
    batch_size: int = 64
    lr: float = 1e-3
    latent_dim: int = 16
    seed: int = 0
    log_every: int = 100
    checkpoint_every: int = 250

    def __post_init__(self) -> None:
        check_name("model", self.model, MODELS)
        for name in ("steps", "batch_size", "latent_dim", "log_every", "checkpoint_every"):
            check_whole(name, getattr(self, name), minimum=1)
        check_whole("seed", self.seed, minimum=0)
        if not self.lr > 0:
            raise ValueError(f"lr must be positive, got {self.lr}")


@dataclass(frozen=True)
class Result:
    """Squared errors per pixel on held-out images, and distances to the real images.

    Attributes:
        error: error of the reconstructions.
        error_of_mean: error of the mean image, for comparison.
        score: what the distances are called.
        of_reconstructions, of_samples: distances of reconstructions and of samples.
        of_real: distance between two halves of the real images.
        trained_on: number of images that it was trained on.
    """

    error: float
    error_of_mean: float
    score: str
    of_reconstructions: float
    of_samples: float
    of_real: float
    trained_on: int


@one_writer
def autoencode(
    config: AutoencoderConfig,
    out: Path,
    overwrite: bool = False,
    device: str = "cpu",
    resume: bool = False,
    resume_from: Path | None = None,
    on_note: Callable[[str], None] | None = None,
) -> Result | None:
    """Train, and write checkpoints, log, weights and ``report.html`` to ``out``.

    Ctrl-C and SIGTERM save the run, and the function returns None. A resumed run ends with the same
    bits as an uninterrupted one.

    Args:
        config: the settings.
        out, overwrite, device, resume, resume_from, on_note: as for
            :func:`ganfast.workflows.train.train`.

    Raises:
        FileExistsError: ``out`` holds a run, and neither ``resume`` nor ``overwrite`` is set.
        FileNotFoundError: there is no run to resume.
        FloatingPointError: the loss is not finite.
        ValueError: the checkpoint is damaged or has other settings, or several processes train.
    """
    from safetensors.torch import save

    if Processes().count > 1:
        raise ValueError(f"processes must be 1 for {config.model!r}, got {Processes().count}")
    if resume:
        refuse_no_run(out)
    names = ("size", "channels", "background", "on_error", "batch_size")
    fit = gan.fitted(
        gan.Config(data=config.data, **{name: getattr(config, name) for name in names}), on_note
    )
    config = replace(config, size=fit.size, channels=fit.channels)
    pool, held = _split(gan.real_images(fit))
    net = make(config).to(device)
    loop = AutoencoderLoop(net, pool, config, out)
    if not run_or_resume(loop, overwrite, resume, resume_from, config):
        return None
    net.to("cpu").eval()
    with torch.no_grad():
        parts = torch.split(pool.images[:_MOST], 500)
        codes = torch.cat([net.encoder(data.to_float(x)) for x in parts])
        real = data.to_float(held)
        back = net(real)
        made = net.decoder(sample_normal(codes, len(codes), config.seed))
    score = training_scores.make_score(fit.score, pool, (config.latent_dim,))
    of_back, of_made = (score.of_images(data.to_uint8(x))[score.name] for x in (back, made))
    mean = data.to_float(pool.images[:_MOST]).mean(0)
    result = Result(
        error=float((back - real).square().mean()),
        error_of_mean=float((mean - real).square().mean()),
        score=score.label,
        of_reconstructions=of_back,
        of_samples=of_made,
        of_real=score.real_against_real(),
        trained_on=len(pool),
    )
    with atomic_write(out / "autoencoder.safetensors") as file:
        file.write(save({k: v.contiguous() for k, v in net.state_dict().items()}))
    sheet = images.grid(torch.cat([real[:_SHOWN], back[:_SHOWN]]), columns=_SHOWN, scale=2)
    images.write_png(sheet, out / "reconstructions.png")
    images.write_png(images.grid(made[:100], scale=2), out / "samples.png")
    _write(out, config, result)
    return result


def _split(images: data.ImageData) -> tuple[data.ImageData, Tensor]:
    """Split images into those to train on and held-out ones, in random order, classes alike."""
    test = min(_HELD, max(1, len(images) // 5))
    if images.labels is not None:
        pool, (held, _) = classifiers.split(images, test, seed=0)
        return data.ImageData(*pool, name=images.name), held
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    return replace(images, images=images.images[order[test:]]), images.images[order[:test]]


def make(config: AutoencoderConfig) -> Net:
    """Make the autoencoder of a config that fits its data, with weights from its seed."""
    torch.manual_seed(config.seed)
    channels, size = config.channels, config.size
    if config.model == "autoencoder":
        return autoencoder.Autoencoder(config.latent_dim, shape=(channels, size, size))
    net = autoencoder.ConvAutoencoder(config.latent_dim, channels=channels, size=size)
    return autoencoder.Denoising(net) if config.model == "denoising-autoencoder" else net


def sample_normal(codes: Tensor, count: int, seed: int) -> Tensor:
    """Draw (count, D) from the normal with the mean and covariance of codes (N, D)."""
    x = codes.double()
    values, vectors = torch.linalg.eigh(torch.cov(x.T).reshape(x.shape[1], -1))
    random = torch.Generator().manual_seed(seed)
    z = torch.randn(count, x.shape[1], generator=random, dtype=torch.float64)
    drawn: Tensor = x.mean(0) + z @ (vectors * values.clamp_min(0).sqrt()).T
    return drawn.to(codes.dtype)


def rows(result: Result) -> list[tuple[str, str]]:
    """Return names and values of the result, formatted."""
    return [
        ("squared error per pixel, held out", f"{result.error:.4f}"),
        ("squared error of the mean image", f"{result.error_of_mean:.4f}"),
        (f"{result.score}, reconstructions", f"{result.of_reconstructions:.2f}"),
        (f"{result.score}, samples from a normal of the codes", f"{result.of_samples:.2f}"),
        (f"{result.score}, real vs real (two halves)", f"{result.of_real:.2f}"),
    ]


class AutoencoderLoop(Loop):
    """The training of an autoencoder on the squared error."""

    _free = CADENCE  # not the steps, over which the learning rate falls

    def __init__(
        self, net: nn.Module, real: data.ImageData, config: AutoencoderConfig, out: Path
    ) -> None:
        self._device = next(net.parameters()).device
        super().__init__(config, out, keep=2, random=torch.Generator(self._device))
        self.net = net
        self._descent = Descent(net.parameters(), config.lr, config.steps)
        self._stream = data.BatchStream(real, config.batch_size, config.seed)
        self._loss = torch.zeros(())

    def run(self) -> bool:
        self.net.train()
        return super().run()

    def _round(self) -> None:
        x = next(self._stream)[0].to(self._device)
        loss = F.mse_loss(self.net(x), x)
        self._descent.step(loss)
        self._loss = loss.detach()
        self.step += 1

    def _record(self) -> Record:
        loss = float(self._loss)
        if not math.isfinite(loss):
            raise FloatingPointError(f"training failed by step {self.step}: the loss is {loss}")
        return {"step": self.step, "loss": loss}

    def _parts(self) -> dict[str, Any]:
        optimizer, decay = self._descent.optimizer, self._descent.decay
        return {"net": self.net, "optimizer": optimizer, "decay": decay, "data": self._stream}


def _write(out: Path, config: AutoencoderConfig, result: Result) -> None:
    pictures = {
        "reconstructions.png": "held-out images, with their reconstructions below",
        "samples.png": "decoded samples of a normal of the codes",
    }
    figures = [report.figure((out / name).read_bytes(), words) for name, words in pictures.items()]
    content = report.page(
        f"ganfast train: {config.model}",
        f"{config.steps} steps on {result.trained_on:,} images of {config.data}.",
        report.section("Result", report.table(rows(result))),
        report.section("Pictures", *figures),
        settings=asdict(config),
    )
    report.write(out / "report.html", content)
