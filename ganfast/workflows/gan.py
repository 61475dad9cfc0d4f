"""The settings of a GAN, and the networks, data, loss and score that follow from them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from ganfast import data, features, models
from ganfast.augment import AdaptiveAugment, DiffAugment
from ganfast.models.checkpoint import load, load_gan
from ganfast.models.registry import CONDITIONAL, check_model
from ganfast.train import Loss, TrainOptions, loss_by_name
from ganfast.train.checkpoint import refuse_missing, refused
from ganfast.train.config import from_mapping, read
from ganfast.train.objective import LossName
from ganfast.train.options import between, truth, whole
from ganfast.workflows.digit_scores import FrechetScore, resized


@dataclass(frozen=True)
class Config(TrainOptions):
    """All settings of a run: model, data, loss and the options of the trainer.

    Attributes:
        model: a name in ``ganfast.models.GANS``.
        data: an embedded data set by name, or an idx folder or image folder by path.
        size, channels: side and channels of the images; the digits are resized.
        limit: train on the first ``limit`` images of each class only; 0 is all.
        batch_size: images in a batch.
        labels: number of labels of a class-conditional model.
        loss: a kind of ``AdversarialLoss``, or a relativistic loss.
        label_smoothing: label smoothing of the loss.
        sigmoid: the discriminator ends in a sigmoid, and the loss takes probabilities.
        spectral_norm: normalize all layers of the discriminator spectrally.
        freeze_d: number of the discriminator's first layers that are not trained.
        start: checkpoint to take both networks' weights from; empty is none.
        augment: policy of DiffAugment, such as ``color,translation,cutout``, for all images that
            the discriminator sees; empty is none.
        adaptive: target of the mean sign of D(x), such as ADA's 0.6. The share of augmented images
            follows it; with 0 all images are augmented.
        adaptive_kimg: thousands of real images that take the share from 0 to 1.
        tensorboard: also log for TensorBoard, which must be installed.
        wandb: project of Weights & Biases to also log to, which must be installed; empty is none.
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
    channels_last: bool = True  # makes the models' convolutions faster, with other rounding
    ema: float = 0.995
    log_every: int = 25
    score_every: int = 250
    sample_every: int = 250
    checkpoint_every: int = 250
    latent_dim: int | tuple[int, ...] = field(init=False, default=1)  # set from the model
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
        DiffAugment(torch.zeros(1, 1, 2, 2), self.augment)  # raises for unknown policies
        between("adaptive", self.adaptive, 1.0)
        between("adaptive_kimg", self.adaptive_kimg, math.inf, zero=False)
        if self.adaptive and not self.augment:
            raise ValueError(f"adaptive must be 0 if augment is empty, got {self.adaptive}")
        if self.adaptive and self.loss.startswith(("wasserstein", "relativistic")):
            # The sign of D(x) does not tell real from fake there.
            raise ValueError(f"adaptive must be 0 for loss {self.loss!r}, got {self.adaptive}")

    def make_loss(self) -> Loss:
        """Make the loss. Raises ValueError if it does not have one of the options."""
        return loss_by_name(self.loss, self.label_smoothing, self.sigmoid)


def gan_config(words: Sequence[str], images: int) -> Config:
    """Read a config from ``field=value`` words, with batches no larger than ``images``.

    Raises:
        TypeError, ValueError: a word is not a setting, or settings do not fit each other.
    """
    return read(Config, None, [f"batch_size={min(64, images)}", *words])


def augmentation(config: Config, distributed: bool) -> Callable[[Tensor], Tensor] | None:
    """Make the augmentation of the discriminator's images, or None without ``augment``."""
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
    """Make both networks, with weights from the config's seed or from its ``start``.

    Raises:
        FileNotFoundError: there is no checkpoint ``start``.
        ValueError: the checkpoint does not fit, or ``freeze_d`` leaves nothing to train.
    """
    torch.manual_seed(config.seed)
    gan = models.create(
        config.model,
        channels=config.channels,
        size=config.size,
        classes=config.labels,
        sigmoid=config.sigmoid,
        spectral_norm=config.spectral_norm,
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
    """Freeze the first ``count`` layers that have weights of their own (FreezeD, Mo et al. 2020).

    Raises:
        ValueError: no layer would be left to train.
    """
    layers = [m for m in module.modules() if any(True for _ in m.parameters(recurse=False))]
    if count >= len(layers):
        raise ValueError(f"freeze_d must be below {len(layers)}, the layers of D, got {count}")
    for layer in layers[:count]:
        layer.requires_grad_(False)


def real_images(config: Config) -> data.ImageData:
    """Load the images of a config, at its size. Raises the errors of ``ganfast.data.load``."""
    if config.data in data.EMBEDDED:
        images = data.load(config.data, channels=config.channels)
        if images.images.shape[2] != config.size:
            images = replace(images, images=resized(images.images, config.size))
    else:
        images = data.load(config.data, size=config.size, channels=config.channels)
    return first_of_each(images, config.limit) if config.limit else images


def first_of_each(images: data.ImageData, count: int) -> data.ImageData:
    """Return the first ``count`` images of each class; without labels, the first ``count``."""
    if images.labels is None:
        return replace(images, images=images.images[:count])
    indices = [torch.where(images.labels == y)[0][:count] for y in torch.unique(images.labels)]
    kept = torch.cat(indices).sort().values
    return replace(images, images=images.images[kept], labels=images.labels[kept])


def make_score(config: Config, real: data.ImageData, device: str) -> FrechetScore | None:
    """Make the score of a run on grey embedded images; other images have none."""
    if config.channels != 1 or config.data not in data.EMBEDDED:
        return None
    net = features.digits().to(device)
    latent_dim = models.LATENTS[config.model]
    return FrechetScore(real.images, net, latent_dim, config.classes)


def from_checkpoint(path: Path) -> tuple[Config, models.Gan]:
    """Read a run's config and networks: the generator's moving average and D, in eval mode.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not a checkpoint of ``ganfast train``.
    """
    gan, saved = load_gan(path)
    known = {k: v for k, v in saved.items() if k not in ("latent_dim", "classes", "start")}
    return from_mapping(Config, known), gan
