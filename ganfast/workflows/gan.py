"""The settings of a GAN, and the networks, data, loss and score that follow from them."""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from ganfast import data, models
from ganfast._names import check_name
from ganfast._numbers import check_between, check_truth, check_whole
from ganfast.augment import AdaptiveAugment, Augment, DiffAugment
from ganfast.augment.adaptive import STRENGTHS, check_policy
from ganfast.data.image_files import colour
from ganfast.data.squares import OnError
from ganfast.data.survey import Survey, survey
from ganfast.distributed import Processes
from ganfast.models.checkpoint import load, load_gan
from ganfast.models.registry import CONDITIONAL, R3GANS, check_model
from ganfast.train import Loss, TrainOptions, loss_by_name
from ganfast.train.checkpoint import refuse_incomplete, refused
from ganfast.train.config import from_mapping, values_of
from ganfast.train.objective import LossName
from ganfast.workflows.training_scores import Score, make_score

CHOSEN = (28, 32, 64)  # sides that are chosen for images of any size
_MAX_CLASSES = 1000  # that a class-conditional model is chosen for
_FEW = 10  # images of a class that has too few for that
# R3GAN's published gammas for CIFAR-10 and FFHQ, and between them at 128 pixels.
_GAMMA = {28: 0.05, 32: 0.05, 64: 2.0, 128: 17.0, 256: 150.0}


@dataclass(frozen=True)
class Config(TrainOptions):
    """All settings of a run: model, data, loss and the options of the trainer.

    What is left open (``model``, ``size``, ``channels``, ``labels``, ``batch_size``, ``score``) is
    chosen by the data; see :func:`fit_to`. An R3GAN brings the settings of its recipe; see
    :meth:`with_defaults`.

    Attributes:
        model: a name in ``ganfast.models.GANS``. An ``r3gan-W`` or ``cr3gan-W`` (with labels) sets
            ``loss``, ``penalty``, ``betas_g``, ``betas_d`` and the schedules as R3GAN has them,
            unless you set them. By default ``cdcgan`` for images with labels, else
            ``dcgan``.
        data: images to train on: an embedded data set by name, or a folder, .zip, .tar or .npz
            file, or a folder of idx files.
        size: side of the images, which are cut to their centre square and resized. By default the
            largest of 28, 32 and 64 that does not enlarge them.
        channels: 1 (grey) or 3 (RGB). By default 1 if all images looked at are grey.
        background: colour on which transparency is composed, such as ``white`` or ``#808080``.
        mirror: flip images from left to right at random. Not for text or digits.
        on_error: ``stop`` at images that cannot be read, or ``skip`` them with a warning.
        limit: train on the first ``limit`` images of each class only; 0 is all.
        batch_size: images in a batch. By default 64, or all if there are fewer.
        labels: number of labels of a class-conditional model. By default the classes of the data.
        score: distance to the real images that curves, the best checkpoint and patience go by:
            ``swd`` (multi-scale sliced Wasserstein, needs no network), ``digits``, ``inception``,
            another feature network of ``ganfast eval``, or ``none``. By default ``digits`` for the
            embedded digits, else ``swd``.
        loss: a kind of ``AdversarialLoss``, or a relativistic loss.
        label_smoothing: label smoothing of the loss.
        sigmoid: the discriminator ends in a sigmoid, and the loss takes probabilities.
        spectral_norm: normalize all layers of the discriminator spectrally.
        freeze_d: number of the discriminator's first layers that are not trained.
        start: checkpoint to take both networks' weights from; empty is none.
        augment: ``ada`` for StyleGAN2-ADA's augmentations, ``r3gan`` for R3GAN's strengths of them,
            or a policy of DiffAugment, such as ``color,translation,cutout``; for all images that
            the discriminator sees. Empty is none.
        adaptive: target of the mean sign of D(x), such as ADA's 0.6, or of D(x) - D(G(z)) for a
            relativistic loss. The probability of augmentation follows it; with 0 it is
            ``augment_p``, or 1. Without ``augment_p`` it is 0.6 for ``ada``.
        adaptive_kimg: thousands of real images that take the probability from 0 to 1.
        adaptive_limit: largest probability that ``adaptive`` reaches.
        tensorboard: also log for TensorBoard, which must be installed.
        wandb: project of Weights & Biases to also log to, which must be installed; empty is none.
    """

    steps: int = 2000
    model: str = ""
    data: str = "digits"
    size: int = 0
    channels: int = 0
    background: str = "white"
    mirror: bool = False
    on_error: OnError = "stop"
    limit: int = 0
    batch_size: int = 0
    labels: int = 0
    score: str = ""
    best_by: str = ""  # the score
    loss: LossName = "non_saturating"
    label_smoothing: float = 0.0
    sigmoid: bool = False
    spectral_norm: bool = False
    freeze_d: int = 0
    start: str = ""
    augment: str = ""
    adaptive: float = 0.0
    adaptive_kimg: float = 500.0
    adaptive_limit: float = 0.8
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
        for name in ("model", "data", "start", "augment", "wandb", "background", "score"):
            if not isinstance(getattr(self, name), str):
                raise TypeError(f"{name} must be text, got {getattr(self, name)!r}")
        if self.data in data.EMBEDDED:
            self._choose(model="dcgan", size=28, channels=1, labels=10, batch_size=64)
        digits = self.data == "digits" and self.channels == 1
        self._choose(score="digits" if digits else "swd")
        self._choose(best_by="swd" if self.score == "swd" else "fd")
        if self.model:
            check_model(self.model)
            object.__setattr__(self, "classes", self.labels if self.model in CONDITIONAL else 0)
            object.__setattr__(self, "latent_dim", models.LATENTS[self.model])
        super().__post_init__()
        for name in ("size", "channels", "batch_size", "labels", "limit", "freeze_d"):
            check_whole(name, getattr(self, name), minimum=0)
        if self.channels not in (0, 1, 3):
            raise ValueError(f"channels must be 1 (grey) or 3 (RGB), got {self.channels}")
        colour(self.background)
        check_name("on_error", self.on_error, get_args(OnError))
        for name in ("sigmoid", "spectral_norm", "tensorboard", "mirror"):
            check_truth(name, getattr(self, name))
        check_between("label_smoothing", self.label_smoothing, 1.0)
        self.make_loss()
        check_policy(self.augment, "augment")
        check_between("adaptive", self.adaptive, 1.0)
        check_between("adaptive_kimg", self.adaptive_kimg, math.inf, zero=False)
        check_between("adaptive_limit", self.adaptive_limit, 1.0, zero=False, last=True)
        if self.augment == "ada" and self.augment_p is None:
            self._choose(adaptive=0.6)
        for name in ("adaptive", "augment_p"):
            value = getattr(self, name)
            if value and not self.augment:
                raise ValueError(f"{name} must not be set if augment is empty, got {value}")
        if self.adaptive and self.augment_p is not None:
            raise ValueError(f"adaptive must be 0 with augment_p, got {self.adaptive}")
        if self.adaptive and self.loss == "wasserstein":
            # The sign of D(x) does not tell real from fake there.
            raise ValueError(f"adaptive must be 0 for loss {self.loss!r}, got {self.adaptive}")

    @classmethod
    def with_defaults(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Add the settings of R3GAN's recipe that are not set, if the model is an R3GAN.

        The burn-in takes the whole run: the published one, 20 million images, is longer than most.
        """
        if values.get("model") not in R3GANS:
            return dict(values)
        steps, batch = values.get("steps", cls.steps), values.get("batch_size") or 64
        size = values.get("size") or (28 if values.get("data", cls.data) in data.EMBEDDED else 64)
        whole_ = isinstance(steps, int) and isinstance(batch, int)
        kimg = steps * batch / 1000 if whole_ else 1.0  # other types are refused later
        recipe = {
            "loss": "relativistic",
            "penalty": "r1_r2",
            "penalty_weight": _GAMMA.get(size, _GAMMA[64]),
            "betas_g": (0.0, 0.9),
            "betas_d": (0.0, 0.9),
            "ema_kimg": kimg / 40,
        }
        if values.get("burn_in_kimg") != 0:
            ends = {"lr_end": 0.25, "penalty_end": 0.1, "beta2_end": 0.99}
            recipe |= {"burn_in_kimg": kimg, **ends}
        return recipe | dict(values)

    def _choose(self, **values: str | float) -> None:
        """Set the fields that are left open."""
        for name, value in values.items():
            if not getattr(self, name):
                object.__setattr__(self, name, value)

    @property
    def whole(self) -> bool:
        """True if nothing is left open."""
        return bool(self.model and self.size and self.channels and self.labels and self.batch_size)

    def make_loss(self) -> Loss:
        """Make the loss. Raises ValueError if it does not have one of the options."""
        return loss_by_name(self.loss, self.label_smoothing, self.sigmoid)


def gan_config(words: Sequence[str], real: data.ImageData, source: str) -> Config:
    """Read a config from ``field=value`` words, by default as these images of a source need it.

    Raises:
        TypeError, ValueError: a word is not a setting, or settings do not fit each other.
    """
    _, channels, size, _ = real.images.shape
    fit = {
        "data": source,
        "size": size,
        "channels": channels,
        "labels": max(1, real.classes),
        "batch_size": min(64, len(real)),
    }
    return from_mapping(Config, fit | values_of(None, words))


def augmentation(config: Config, distributed: bool) -> Callable[[Tensor], Tensor] | None:
    """Make the augmentation of the discriminator's images, or None without ``augment``."""
    if not config.augment:
        return None
    if config.adaptive:
        return AdaptiveAugment(
            config.augment,
            target=config.adaptive,
            kimg=config.adaptive_kimg,
            limit=config.adaptive_limit,
            distributed=distributed,
        )
    if config.augment_p is not None or config.augment in STRENGTHS:
        return Augment(config.augment)
    return partial(DiffAugment, policy=config.augment)


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
        refuse_incomplete(state, ("generator", "discriminator"))
        for name in ("generator", "discriminator"):
            with refused(name):
                getattr(gan, name).load_state_dict(state[name])
    modules = gan.discriminator.modules()
    layers = [m for m in modules if list(m.parameters(recurse=False))]  # with their own weights
    if config.freeze_d >= len(layers):
        raise ValueError(
            f"freeze_d must be below {len(layers)}, the layers of D, got {config.freeze_d}"
        )
    for layer in layers[: config.freeze_d]:  # FreezeD, Mo et al. 2020
        layer.requires_grad_(False)
    return gan


def fitted(config: Config, on_note: Callable[[str], None] | None = None) -> Config:
    """Return a config with what it leaves open chosen to fit its data.

    ``on_note`` is called with a line that says what the data are and what was chosen.

    Raises:
        FileNotFoundError: the data do not exist.
        ValueError: the data hold no readable images.
    """
    found = None
    if not config.whole:
        found = survey(data.open_source(config.data, 3, colour(config.background)))
        config = fit_to(config, found)
    if on_note is not None:
        where = "" if config.data in data.EMBEDDED else f", transparency on {config.background}"
        classes = f", {config.classes} classes" if config.classes else ""
        on_note(
            f"{config.data}{f': {found}' if found else ''}; training "
            f"{config.model} at {config.size} x {config.size}, "
            f"{'grey' if config.channels == 1 else 'colour'}{classes}, batches of "
            f"{config.batch_size}, score {config.score}{where if config.channels == 3 else ''}"
        )
    return config


def fit_to(config: Config, found: Survey) -> Config:
    """Return a config with what it leaves open chosen by what its images are."""
    changes: dict[str, Any] = {}
    if not config.model:
        counts = sorted(found.classes.values())
        some = 2 <= len(counts) <= _MAX_CLASSES and counts[len(counts) // 2] >= _FEW
        changes["model"] = "cdcgan" if some else "dcgan"
    if not config.size:
        fit = [size for size in CHOSEN if size <= found.side]
        changes["size"] = max(fit, default=min(CHOSEN))
        if config.model in R3GANS and config.penalty_weight == _GAMMA[64]:
            changes["penalty_weight"] = _GAMMA[changes["size"]]
    if not config.channels:
        changes["channels"] = 1 if found.grey else 3
    if not config.batch_size:
        changes["batch_size"] = min(64, found.count)
    if not config.labels:
        changes["labels"] = max(1, len(found.classes))
    return replace(config, **changes)


def real_images(config: Config) -> data.ImageData:
    """Load the images of a config that fits them. Raises the errors of ``ganfast.data.load``.

    Of several processes the first one goes ahead, so that they decode large sets once.
    """
    processes = Processes()
    if not processes.first:
        processes.wait()
    images = data.load(
        config.data,
        size=config.size,
        channels=config.channels,
        background=colour(config.background),
        on_error=config.on_error,
    )
    if processes.first:
        processes.wait()
    return first_of_each(images, config.limit) if config.limit else images


def images_of(
    source: str, words: Sequence[str], on_note: Callable[[str], None] | None = None
) -> data.ImageData:
    """Load the images of a source as a GAN with these settings takes them."""
    config = from_mapping(Config, {"data": source} | values_of(None, words))
    return real_images(fitted(config, on_note))


def first_of_each(images: data.ImageData, count: int) -> data.ImageData:
    """Return the first ``count`` images of each class; without labels, the first ``count``."""
    if images.labels is None:
        return replace(images, images=images.images[:count])
    indices = [torch.where(images.labels == y)[0][:count] for y in torch.unique(images.labels)]
    kept = torch.cat(indices).sort().values
    return replace(images, images=images.images[kept], labels=images.labels[kept])


def score_of(config: Config, real: data.ImageData, device: str) -> Score | None:
    """Make the score of a config, or None if it has none."""
    if config.score == "none" or not config.score_every:
        return None
    if config.score == "digits" and config.channels != 1:
        warnings.warn(
            "score digits is made for grey digits, and says little of images in colour: try swd",
            stacklevel=2,
        )
    return make_score(config.score, real, config.latent_shape, config.classes, device)


def from_checkpoint(path: Path) -> tuple[Config, models.Gan]:
    """Read a run's config and networks: the generator's moving average and D, in eval mode.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not a checkpoint of ``ganfast train``.
    """
    gan, saved = load_gan(path)
    known = {k: v for k, v in saved.items() if k not in ("latent_dim", "classes", "start")}
    return from_mapping(Config, known), gan
