"""Files of public weights: where to find them, and checks that they are the right ones."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganfast._files import atomic_write, cache_folder, unloaded


@dataclass(frozen=True)
class WeightFile:
    """A published file: the names it goes by, its address, its sha256 and its size in bytes."""

    names: tuple[str, ...]
    url: str
    sha256: str
    size: int


INCEPTION = WeightFile(
    names=(
        "pt_inception-2015-12-05-6726825d.pth",  # pytorch-fid's name; the bytes are the same
        "weights-inception-2015-12-05-6726825d.pth",  # torch-fidelity's
    ),
    url="https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
    "pt_inception-2015-12-05-6726825d.pth",
    sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    size=95_628_359,
)
_CHUNK = 1 << 20


def folders() -> list[Path]:
    """Return the folders that are searched: our cache, then torch hub's, which others use."""
    return [cache_folder() / "weights", Path(torch.hub.get_dir()) / "checkpoints"]


def find(file: WeightFile) -> Path | None:
    """Return the first file with one of the names, or None."""
    candidates = (folder / name for folder in folders() for name in file.names)
    return next((path for path in candidates if path.is_file()), None)


def need(file: WeightFile) -> Path:
    """Return what `find` finds, or raise FileNotFoundError, which says what to put where."""
    path = find(file)
    if path is None:
        raise FileNotFoundError(
            f"the weights {file.names[0]} (or {file.names[1]}) are missing: put the file into "
            f"{folders()[0]}, give its path as --weights, or run `ganfast weights --download`, "
            f"which gets {file.url} ({file.size / 1e6:.0f} MB)"
        )
    return path


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def check(path: Path, sha256: str) -> None:
    """Raise ValueError unless this is a file's sha256, or the first digits of it."""
    found = sha256_of(path)
    if not found.startswith(sha256):
        raise ValueError(
            f"{path} must have sha256 {sha256}, got {found} ({path.stat().st_size:,} bytes); "
            "the download may have been cut off: remove the file and get it again"
        )


def read(path: Path) -> dict[str, Tensor]:
    """Read a state dict from a .safetensors file, or from a .pth file without running its code."""
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except (SafetensorError, RuntimeError, ValueError) as error:
            raise ValueError(f"{path} must be a file of weights: {error!s:.200}") from error
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types on a broken file
        raise ValueError(f"{path} must be a file of weights: {unloaded(error):.200}") from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f"{path} must be a state dict, names to tensors, got {type(state)}")
    return state


def download(file: WeightFile) -> Path:
    """Download a file into our cache, with a progress bar; it is whole and right, or not there."""
    import urllib.request

    from tqdm import tqdm

    target = folders()[0] / file.names[0]
    digest = hashlib.sha256()
    with (
        urllib.request.urlopen(file.url, timeout=60) as source,
        atomic_write(target) as copy,
        tqdm(total=file.size, unit="B", unit_scale=True, desc=file.names[0]) as bar,
    ):
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            copy.write(chunk)
            bar.update(len(chunk))
        if digest.hexdigest() != file.sha256:
            raise ValueError(f"{file.url} must have sha256 {file.sha256}, got {digest.hexdigest()}")
    return target
