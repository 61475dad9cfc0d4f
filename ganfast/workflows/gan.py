"""A GAN from settings: its networks, data, loss and score; and from a checkpoint."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from ganfast import data, features, models
from ganfast.augment import AdaptiveAugment, DiffAugment
from ganfast.models.checkpoint import build, load, load_gan
from ganfast.models.registry import CONDITIONAL, check_model
from ganfast.train import Loss, TrainOptions, loss_by_name
from ganfast.train import config as settings
from ganfast.train.checkpoint import refuse_missing, refused
from ganfast.train.objective import LossName
from ganfast.train.options import between, truth, whole
from ganfast.workflows.digit_scores import FrechetScore, resized


@dataclass(frozen=True)
class Config(TrainOptions):
    """All of a run: the settings of training, and what is trained on what.

    Attributes:
        model: a name of ``ganfast.models.GANS``.
        data: an embedded data set by name, or an idx folder or image folder by path.
        size, channels: of the images; the digits are resized.
        limit: train on the first so many images of each class alone; 0 is all.
        batch_size: images of one batch.
        labels: number of classes of a class-conditional model.
        loss: a kind of ``AdversarialLoss``, or ``relativistic``.
        label_smoothing: of the loss.
        sigmoid: the discriminator ends in a sigmoid, and the loss takes probabilities.
        spectral_norm: on all layers of the discriminator.
        freeze_d: so many of the discriminator's layers, from the image on, are not trained.
        start: checkpoint from which both networks' weights are taken; none where empty.
        augment: policy of DiffAugment, such as ``color,translation,cutout``, on all images that the
            discriminator sees; none where empty.
        adaptive: with a target above 0, such as ADA's 0.6, a share of the images is augmented that
            keeps the mean sign of D(x) there; with 0 all are.
        adaptive_kimg: thousands of real images in which that share can go from 0 to 1.
        tensorboard: log for TensorBoard, too, which has to be installed.
        wandb: log to this project of Weights & Biases, too, which has to be installed; not where
            empty.
    """

    steps: int = 2000
    model: str = "dcgan"
    data: str = "digits"
    size: int = 28
    channels: int = 1
    limit: int = 0
    batch_size: int = 64
    labels: int = 10
    loss: LossName = "non_saturating"
    label_smoothing: float = 0.0
    sigmoid: bool = False
    spectral_norm: bool = False
    freeze_d: int = 0
    start: str = ""
    augment: str = ""
    adaptive: float = 0.0
    adaptive_kimg: float = 500.0
    tensorboard: bool = False
    wandb: str = ""
    channels_last: bool = True  # the models' convolutions are faster so, and round otherwise
    ema: float = 0.995
    log_every: int = 25
    score_every: int = 250
    sample_every: int = 250
    checkpoint_every: int = 250
    latent_dim: int | tuple[int, ...] = field(init=False, default=1)  # the model says
    classes: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        check_model(self.model)
        object.__setattr__(self, "classes", self.labels if self.model in CONDITIONAL else 0)
        object.__setattr__(self, "latent_dim", models.LATENTS[self.model])
        super().__post_init__()
        for name in ("size", "channels", "batch_size", "labels"):
            whole(name, getattr(self, name), minimum=1)
        for name in ("limit", "freeze_d"):
            whole(name, getattr(self, name), minimum=0)
        for name in ("sigmoid", "spectral_norm", "tensorboard"):
            truth(name, getattr(self, name))
        for name in ("data", "start", "augment", "wandb"):
            if not isinstance(getattr(self, name), str):
                raise TypeError(f"{name} must be text, got {getattr(self, name)!r}")
        between("label_smoothing", self.label_smoothing, 1.0)
        self.make_loss()
        DiffAugment(torch.zeros(1, 1, 2, 2), self.augment)  # refuses unknown pieces
        between("adaptive", self.adaptive, 1.0)
        between("adaptive_kimg", self.adaptive_kimg, math.inf, zero=False)
        if self.adaptive and not self.augment:
            raise ValueError("adaptive must be 0 where augment is empty: nothing is augmented")
        if self.adaptive and self.loss.startswith(("wasserstein", "relativistic")):
            raise ValueError(f"adaptive must be 0 for {self.loss!r}: the sign of D(x) says nothing")

    def make_loss(self) -> Loss:
        """Raises ValueError where the loss does not have what is asked of it."""
        return loss_by_name(self.loss, self.label_smoothing, self.sigmoid)


def augmentation(config: Config, distributed: bool) -> Callable[[Tensor], Tensor] | None:
    """What the discriminator's images go through, in one process or in several."""
    if not config.augment:
        return None
    if not config.adaptive:
        return partial(DiffAugment, policy=config.augment)
    return AdaptiveAugment(
        config.augment,
        target=config.adaptive,
        kimg=config.adaptive_kimg,
        distributed=distributed,
    )


def make(config: Config) -> models.Gan:
    """Both networks, with weights of the config's seed or from its ``start``.

    Raises FileNotFoundError and ValueError where ``start`` does not fit.
    """
    torch.manual_seed(config.seed)
    gan = build(
        config.model,
        config.channels,
        config.size,
        config.labels,
        config.sigmoid,
        config.spectral_norm,
    )
    if config.start:
        state = load(Path(config.start))
        refuse_missing(state, ("generator", "discriminator"))
        for name in ("generator", "discriminator"):
            with refused(name):
                getattr(gan, name).load_state_dict(state[name])
    freeze(gan.discriminator, config.freeze_d)
    return gan


def freeze(module: nn.Module, count: int) -> None:
    """Freeze the first layers that have weights of their own (FreezeD, Mo et al. 2020).

    Raises ValueError where none would be left to train.
    """
    layers = [m for m in module.modules() if any(True for _ in m.parameters(recurse=False))]
    if count >= len(layers):
        raise ValueError(f"freeze_d must be below {len(layers)}, D's layers, got {count}")
    for layer in layers[:count]:
        layer.requires_grad_(False)


def real_images(config: Config) -> data.ImageData:
    """The data of a config, at its size. Raises as ``ganfast.data.load``."""
    if config.data in data.EMBEDDED:
        images = data.load(config.data, channels=config.channels)
        if images.images.shape[2] != config.size:
            images = replace(images, images=resized(images.images, config.size))
    else:
        images = data.load(config.data, size=config.size, channels=config.channels)
    return first_of_each(images, config.limit) if config.limit else images


def first_of_each(images: data.ImageData, count: int) -> data.ImageData:
    """The first ``count`` images of each class, or of all where there are no labels."""
    if images.labels is None:
        return replace(images, images=images.images[:count])
    places = [torch.where(images.labels == y)[0][:count] for y in torch.unique(images.labels)]
    kept = torch.cat(places).sort().values
    return replace(images, images=images.images[kept], labels=images.labels[kept])


def score_of(config: Config, real: data.ImageData, device: str) -> FrechetScore | None:
    """The score of a config: on the digits' feature net, which takes grey images; else none."""
    if config.channels != 1 or config.data not in data.EMBEDDED:
        return None
    net = features.digits().to(device)
    latent_dim = models.LATENTS[config.model]
    return FrechetScore(real.images, net, latent_dim, config.classes)


def from_checkpoint(path: Path) -> tuple[Config, models.Gan]:
    """The config of a run, and its networks: the generator's moving average and D, in eval mode.

    Raises FileNotFoundError, or ValueError where it is no checkpoint of ``ganfast train``.
    """
    gan, saved = load_gan(path)
    known = {k: v for k, v in saved.items() if k not in ("latent_dim", "classes", "start")}
    return settings.from_mapping(Config, known), gan
