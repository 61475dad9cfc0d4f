"""Make a labelled data set from a checkpoint, with a card of its quality."""

import hashlib
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor

from ganfast import _npz
from ganfast._files import atomic_write, parse_tensors
from ganfast._names import check_name
from ganfast.features.weight_files import sha256_of
from ganfast.metrics.validation import as_tensor
from ganfast.workflows import gan
from ganfast.workflows.dataset_card import write_card
from ganfast.workflows.dataset_export import Format, export
from ganfast.workflows.judge import Judge, judge_of
from ganfast.workflows.quality import Quality, quality
from ganfast.workflows.run_folder import claim, one_writer
from ganfast.workflows.sampler import Filters, Sampler, shuffled_labels

SHARD = 1000  # samples in a shard, the unit of resuming


@dataclass(frozen=True)
class Order:
    """The data set to make.

    Attributes:
        samples: number of samples, at least 14.
        shares: shares of the classes; empty means equal shares.
        format: format of the data set besides its shards.
        seed: the same seed gives the same data set.
        filters: quality filters of the samples.
        classifier: file or ``module:callable`` of a classifier that judges the samples; by default
            the one of :func:`ganfast.workflows.judge.judge_of`.
    """

    samples: int = 5000
    shares: tuple[float, ...] = ()
    format: Format = "npz"
    seed: int = 0
    filters: Filters = field(default_factory=Filters)
    classifier: str = ""

    def __post_init__(self) -> None:
        if self.samples < 14:
            raise ValueError(f"samples must be at least 14, got {self.samples}")
        check_name("format", self.format, get_args(Format))


@one_writer
def synthesize(
    checkpoint: Path, out: Path, order: Order, device: str = "cpu", overwrite: bool = False
) -> tuple[Quality, Judge]:
    """Write a data set and its card (``card.json``, ``card.html``, pictures) to ``out``.

    A later call continues where this one was stopped. Returns the scores, and what judged.

    Args:
        checkpoint: checkpoint of ``ganfast train``.
        out, order: folder of the data set, and what to make.
        device: ``cpu`` or ``cuda``.
        overwrite: start again even if ``out`` holds results.

    Raises:
        FileNotFoundError: there is no checkpoint.
        FileExistsError: ``out`` holds a data set of another order or checkpoint.
        ValueError: the checkpoint or the order do not fit.
    """
    config, pair = gan.from_checkpoint(checkpoint)
    real = gan.real_images(config)
    if overwrite:
        for folder in ("shards", "images"):
            shutil.rmtree(out / folder, ignore_errors=True)
        (out / "data.npz").unlink(missing_ok=True)
    judge = judge_of(real, out, order.classifier, overwrite)
    sampler = Sampler(config, pair, judge, order.filters, device)
    shares = list(order.shares) or [1.0] * sampler.classes
    if len(shares) != sampler.classes:
        raise ValueError(f"shares must be {sampler.classes}, one for each class, got {len(shares)}")
    claim(out / "order.json", {"checkpoint": sha256_of(checkpoint), **asdict(order)}, overwrite)
    labels = shuffled_labels(order.samples, shares, order.seed)
    made = torch.cat(
        [
            _shard(out, number, part, sampler, order.seed)
            for number, part in enumerate(torch.split(labels, SHARD))
        ]
    )
    names = [real.class_name(label) for label in range(sampler.classes)]
    export(out, made, labels, order.format, names)
    found = quality(real.images, made, judge)
    write_card(out, asdict(order), sampler, judge, found, made, labels, real)
    return found, judge


def load_dataset(path: Path, like: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Read uint8 images (N, C, H, W) and int64 labels (N,) from an npz that ``synthesize`` wrote.

    Args:
        path: the npz file, or its folder.
        like: images whose shape the data set must have.

    Raises:
        FileNotFoundError: the file does not exist.
        TypeError, ValueError: the file is damaged, is not such a data set, or its images have
            another shape.
    """
    file = path / "data.npz" if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(f"there is no data set {file}; synthesize one with --format npz")
    arrays = _npz.read(file, ("images", "labels"))
    if len(arrays) < 2:
        raise ValueError(
            f"{file} is not a data set of images and labels, it holds {_npz.names(file)}"
        )
    images, labels = (as_tensor(arrays[name], f"{file}: {name}") for name in ("images", "labels"))
    if images.dtype != torch.uint8 or images.dim() != 4 or 0 in images.shape:
        found = f"{images.dtype} {tuple(images.shape)}"
        raise ValueError(f"{file}: images must be uint8 (N, C, H, W), got {found}")
    if labels.dtype != torch.int64 or labels.shape != images.shape[:1] or int(labels.min()) < 0:
        found = f"{labels.dtype} {tuple(labels.shape)}"
        raise ValueError(f"{file}: labels must be int64 (N,) from 0 on, got {found}")
    if like is not None and images.shape[1:] != like.shape[1:]:
        raise ValueError(
            f"{file}: images must have the shape {tuple(like.shape[1:])} of the real ones, "
            f"got {tuple(images.shape[1:])}"
        )
    return images, labels


def _shard(out: Path, number: int, labels: Tensor, sampler: Sampler, seed: int) -> Tensor:
    """Read the images of a shard from its file, or draw and write them.

    A damaged file, or one with other labels, is replaced with a warning.
    """
    from safetensors.torch import save

    path = out / "shards" / f"shard-{number:05d}.safetensors"
    if path.exists():
        try:
            return _read_shard(path, labels, sampler)
        except ValueError as error:
            warnings.warn(f"{path} is damaged and drawn again: {error}", stacklevel=2)
    made = sampler.draw(labels, (seed, 1, number))
    tensors = {"images": made, "labels": labels}
    with atomic_write(path) as file:
        file.write(save(tensors, {"sha256": _digest(tensors)}))
    return made


def _read_shard(path: Path, labels: Tensor, sampler: Sampler) -> Tensor:
    """Read the images of a shard. Raises ValueError unless they are intact and have the labels."""
    try:
        tensors, facts = parse_tensors(path.read_bytes())
        images = tensors["images"]
        held = tensors["labels"]
    except (KeyError, OSError) as error:
        raise ValueError(f"it lacks {error}" if isinstance(error, KeyError) else error) from error
    shape = (len(labels), sampler.config.channels, sampler.config.size, sampler.config.size)
    if images.dtype != torch.uint8 or images.shape != shape:
        raise ValueError(f"images must be uint8 {shape}, got {images.dtype} {tuple(images.shape)}")
    if not torch.equal(held, labels):
        raise ValueError("it has other labels than this shard")
    if facts.get("sha256") not in (None, _digest(tensors)):  # shards of 0.1.0 have none
        raise ValueError("its checksum is wrong")
    return images


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(tensors[name].contiguous().numpy().tobytes())
    return digest.hexdigest()
