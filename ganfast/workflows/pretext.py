"""Tasks that train a generator or a discriminator before the GAN."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from ganfast import data
from ganfast.models import autoencoder, dcgan
from ganfast.models.checkpoint import load
from ganfast.train.checkpoint import refuse_incomplete
from ganfast.train.loop import Descent
from ganfast.train.regularizer import shifted
from ganfast.workflows.gan import Config

Method = Literal["autoencoder", "denoising", "rotation", "contrastive", "classifier", "transfer"]
Weights = dict[str, Tensor]
Task = Callable[[Tensor, Tensor], Tensor]  # the loss of images and their labels

_TEMPERATURE = 0.5
_NOISE = 0.1  # standard deviation, in the views of the contrastive task


def pretext_weights(
    method: Method, config: Config, real: data.ImageData, steps: int, seed: int, source: str = ""
) -> dict[str, Weights]:
    """Train by a method and return weights under "generator" and "discriminator".

    ``autoencoder`` and ``denoising`` return decoder and encoder. ``rotation`` (Gidaris et al.
    2018), ``contrastive`` (Chen et al. 2020) and ``classifier`` return a discriminator that tells
    rotations, images or classes apart. ``transfer`` returns both networks of a checkpoint.

    Args:
        method, source: how to train, and the checkpoint for ``transfer``.
        config: settings of the GAN.
        real, steps, seed: images to train on, optimizer steps, and the seed of weights and order.

    Raises:
        FileNotFoundError: there is no checkpoint ``source``.
        ValueError: source, model or labels do not fit the method.
    """
    if method == "transfer":
        state = load(Path(source))
        refuse_incomplete(state, ("ema", "discriminator"))
        return {"generator": state["ema"], "discriminator": state["discriminator"]}
    if config.model not in ("dcgan", "wgan"):
        raise ValueError(f"model must be dcgan or wgan for {method!r}, got {config.model!r}")
    torch.manual_seed(seed)
    if method in ("autoencoder", "denoising"):
        net = autoencoder.ConvAutoencoder(64, channels=config.channels, size=config.size)
        if config.model == "wgan":
            net.encoder = _discriminator(config, 64)
        whole = net if method == "autoencoder" else autoencoder.Denoising(net)
        fit_to_task(whole, real, steps, seed, lambda x, y: F.mse_loss(whole(x), x))
        return {"generator": net.decoder.state_dict(), "discriminator": net.encoder.state_dict()}
    if method == "classifier" and real.labels is None:
        raise ValueError(f"data must have labels for 'classifier', got none in {real.name}")
    classes = 0 if real.labels is None else int(real.labels.max()) + 1
    outputs = {"rotation": 4, "contrastive": 64, "classifier": classes}[method]
    d = _discriminator(config, outputs)
    losses: dict[str, Task] = {
        "rotation": lambda x, y: rotation_loss(d, x),
        "contrastive": two_views(d, seed),
        "classifier": lambda x, y: F.cross_entropy(d(x), y),
    }
    fit_to_task(d, real, steps, seed, losses[method])
    return {"discriminator": d.state_dict()}


def rotation_loss(net: nn.Module, images: Tensor) -> Tensor:
    """Return the cross-entropy of recognizing the four quarter turns of each image."""
    turned = torch.cat([torch.rot90(images, k, (2, 3)) for k in range(4)])
    turns = torch.arange(4, device=images.device).repeat_interleave(len(images))
    return F.cross_entropy(net(turned), turns)


def contrastive_loss(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    r"""Return NT-Xent, the cross-entropy of finding the other view of each image.

    .. math:: -\frac{1}{2N} \sum_i \log
        \frac{e^{s_{i p(i)} / \tau}}{\sum_{j \ne i} e^{s_{ij} / \tau}}

    with cosines s and p(i) the other view of the same image (Chen et al. 2020).

    Args:
        a, b: embeddings (N, D) of two views of N images.
        temperature: :math:`\tau`.
    """
    n = len(a)
    x = F.normalize(torch.cat([a, b]), dim=1)
    similar = (x @ x.T / temperature).masked_fill(
        torch.eye(2 * n, dtype=torch.bool, device=x.device), float("-inf")
    )
    partners = torch.arange(2 * n, device=x.device).roll(n)
    return F.cross_entropy(similar, partners)


def two_views(net: nn.Module, seed: int) -> Task:
    """Return the task of recognizing two views of one image: shifted at random, with noise."""
    random = torch.Generator().manual_seed(seed)

    def loss(images: Tensor, _: Tensor) -> Tensor:
        one, two = (
            net(shifted(images, random) + _NOISE * torch.randn(images.shape, generator=random))
            for _ in range(2)
        )
        return contrastive_loss(one, two, _TEMPERATURE)

    return loss


def _discriminator(config: Config, outputs: int) -> dcgan.Discriminator:
    norm: dcgan.Norm = "none" if config.model == "wgan" else "batch"
    return dcgan.Discriminator(32, config.channels, config.size, outputs, norm)


def fit_to_task(
    net: nn.Module, real: data.ImageData, steps: int, seed: int, loss: Task, name: str = ""
) -> None:
    """Train a network on batches of real images; ``name`` is that of a progress bar."""
    descent = Descent(net.parameters(), 1e-3)
    stream = data.BatchStream(real, min(64, len(real)), seed)
    net.train()
    for _ in tqdm(range(steps), name, leave=False, disable=None if name else True):
        images, labels = next(stream)
        descent.step(loss(images, labels if labels is not None else images))


class TakenWeight(NamedTuple):
    """One weight: its name, and ``taken`` or the reason why it was not."""

    name: str
    status: str


@torch.no_grad()
def take(module: nn.Module, weights: Mapping[str, Tensor]) -> list[TakenWeight]:
    """Copy every weight with the same name and shape, and report every other with the reason.

    Raises:
        ValueError: no weight fits.
    """
    rows, mine = [], module.state_dict()
    for name, value in mine.items():
        other = weights.get(name)
        if other is None:
            rows.append(TakenWeight(name, "not in the source"))
        elif other.shape != value.shape:
            shapes = f"{_shape(other)} in the source, {_shape(value)} here"
            rows.append(TakenWeight(name, f"{shapes}: not taken"))
        else:
            value.copy_(other)
            rows.append(TakenWeight(name, "taken"))
    rows += [TakenWeight(name, "not in the network") for name in weights if name not in mine]
    if not any(row.status == "taken" for row in rows):
        raise ValueError(
            f"weights must have names and shapes of {type(module).__name__}, such as "
            f"{list(mine)[:3]}, got {list(weights)[:3]}"
        )
    return rows


def _shape(x: Tensor) -> str:
    return "x".join(map(str, x.shape)) or "one number"
