"""Read the trainer's checkpoints, and the GANs in them, without running code."""

import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ganfast._files import unloaded
from ganfast.models.registry import GANS, Gan, create

State = dict[str, Any]

FORMAT = "ganfast-train-2"


def load(path: Path) -> State:
    """Read a checkpoint to the CPU without running any code in it.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is damaged, or is not a checkpoint of this trainer.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    try:
        with zipfile.ZipFile(path) as archive:  # torch itself does not verify the checksums
            _refuse_packed(archive, path.stat().st_size)
            damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"the checksum of its part {damaged} is wrong")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types on a broken file
        raise ValueError(f"{path} cannot be read as a checkpoint: {unloaded(error)}") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise ValueError(f"{path} is not a checkpoint of this trainer ({FORMAT})")
    return state


def _refuse_packed(archive: zipfile.ZipFile, size: int) -> None:
    """Raise ValueError unless the parts are stored as they are, so that they fit into the file."""
    parts = archive.infolist()
    packed = [part.filename for part in parts if part.compress_type != zipfile.ZIP_STORED]
    if packed:
        raise ValueError(f"its part {packed[0]} is compressed, which torch.save never does")
    if sum(part.file_size for part in parts) > size:
        raise ValueError("its parts are larger than the file")


def load_gan(path: Path) -> tuple[Gan, State]:
    """Read a trained GAN, in eval mode on the CPU, and the settings of its run.

    The generator gets the weights of its moving average.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not a checkpoint of ``ganfast train``, or its model is not a GAN.
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
    model, channels, size, labels, sigmoid, spectral_norm = (options[name] for name in shape)
    make = partial(
        create, model, channels=channels, size=size, classes=labels, sigmoid=sigmoid,
        spectral_norm=spectral_norm,
    )  # fmt: skip
    with torch.device("meta"):  # first without memory, which wrong options would take much of
        shapes = make()
    for network, name in ((shapes.generator, "ema"), (shapes.discriminator, "discriminator")):
        _refuse_other(network, state[name], f"{path}: {name} does not fit {model}")
    gan = make()
    for network, name in ((gan.generator, "ema"), (gan.discriminator, "discriminator")):
        try:
            network.load_state_dict(state[name])
        except (RuntimeError, TypeError, AttributeError) as error:
            words = " ".join(str(error).split())
            raise ValueError(f"{path}: {name} does not fit {model}: {words}") from error
        network.eval().requires_grad_(False)
    return gan, options


def _refuse_other(network: nn.Module, state: object, what: str) -> None:
    """Raise ValueError unless a state holds tensors of the network's shapes."""
    if not isinstance(state, dict):
        raise ValueError(f"{what}: it must hold tensors by name, got {type(state).__name__}")
    for key, value in network.state_dict().items():
        found = tuple(state[key].shape) if isinstance(state.get(key), Tensor) else "absent"
        if found != tuple(value.shape):
            raise ValueError(f"{what}: {key} must be {tuple(value.shape)}, got {found}")
