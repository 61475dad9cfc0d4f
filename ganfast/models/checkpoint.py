"""Checkpoints of the trainer, read without running code, and the GANs in them."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from ganfast.models.registry import GANS, Gan, create
from ganfast.regularizers import spectral_normalise

State = dict[str, Any]

FORMAT = "ganfast-train-2"


def load(path: Path) -> State:
    """Read a checkpoint to the CPU without running any code in it.

    Raises:
        FileNotFoundError: there is none.
        ValueError: the file is damaged, or no checkpoint of this trainer.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    try:
        with zipfile.ZipFile(path) as archive:  # torch itself does not look at the checksums
            damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"the checksum of its part {damaged} is wrong")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise ValueError(f"{path} cannot be read as a checkpoint: {error}") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise ValueError(f"{path} is not a checkpoint of this trainer ({FORMAT})")
    return state


_UNREADABLE = (
    zipfile.BadZipFile,
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    ValueError,
    KeyError,
    NotImplementedError,
)


def build(
    model: str, channels: int, size: int, labels: int, sigmoid: bool, spectral_norm: bool
) -> Gan:
    """Return both networks of a run's settings, with new weights.

    Raises ValueError where the model cannot be built so.
    """
    gan = create(model, channels=channels, size=size, classes=labels, sigmoid=sigmoid)
    if spectral_norm:
        spectral_normalise(gan.discriminator)
    return gan


def load_gan(path: Path) -> tuple[Gan, State]:
    """Return a trained GAN, in eval mode on the CPU, and the settings of its run.

    The generator has the weights of its moving average.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a checkpoint of ``ganfast train``, or not one of a GAN.
    """
    state = load(path)
    options = state.get("options")
    if not isinstance(options, dict) or "model" not in options:
        raise ValueError(f"{path} was not made by ganfast train: it does not say what model it is")
    if options["model"] not in GANS:
        raise ValueError(f"{path} must be the checkpoint of a GAN, got one of {options['model']!r}")
    shape = ("model", "channels", "size", "labels", "sigmoid", "spectral_norm")
    missing = [name for name in shape if name not in options]
    missing += [name for name in ("ema", "discriminator") if name not in state]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}")
    gan = build(**{name: options[name] for name in shape})
    for network, name in ((gan.generator, "ema"), (gan.discriminator, "discriminator")):
        try:
            network.load_state_dict(state[name])
        except (RuntimeError, TypeError, AttributeError) as error:
            words = " ".join(str(error).split())
            raise ValueError(f"{path}: {name} does not fit {options['model']}: {words}") from error
    for module in (gan.generator, gan.discriminator):
        module.eval().requires_grad_(False)
    return gan, options
