"""Make a labelled data set from a checkpoint, with a card of its quality."""

import hashlib
import json
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from ganfast import _npz
from ganfast._files import atomic_write
from ganfast.metrics.validation import as_tensor
from ganfast.reporting import images, report
from ganfast.workflows import gan
from ganfast.workflows.digit_scores import Quality, quality
from ganfast.workflows.run_folder import claim, one_writer
from ganfast.workflows.sampler import Filters, Sampler, shuffled_labels

Format = Literal["npz", "folder", "safetensors"]

SHARD = 1000  # samples in a shard, the unit of resuming
_SHOWN = 40  # samples on the card, each beside its nearest real image


@dataclass(frozen=True)
class Order:
    """The data set to make.

    Attributes:
        samples: number of samples, at least 10.
        shares: shares of the classes; empty means equal shares.
        format: format of the data set besides its shards.
        seed: the same seed gives the same data set.
        filters: quality filters of the samples.
    """

    samples: int = 5000
    shares: tuple[float, ...] = ()
    format: Format = "npz"
    seed: int = 0
    filters: Filters = field(default_factory=Filters)

    def __post_init__(self) -> None:
        if self.samples < 10:
            raise ValueError(f"samples must be at least 10, got {self.samples}")
        if self.format not in get_args(Format):
            known = ", ".join(get_args(Format))
            raise ValueError(f"format must be one of {known}, got {self.format!r}")


@one_writer
def synthesize(
    checkpoint: Path, out: Path, order: Order, device: str = "cpu", overwrite: bool = False
) -> Quality:
    """Write a data set and its card (``card.json``, ``card.html``, pictures) to ``out``.

    A later call continues where this one was stopped.

    Args:
        checkpoint: checkpoint of ``ganfast train``.
        out: folder of the data set.
        order: the data set to make.
        device: ``cpu`` or ``cuda``.
        overwrite: start again, whatever ``out`` holds.

    Raises:
        FileNotFoundError: there is no checkpoint.
        FileExistsError: ``out`` holds a data set of another order or checkpoint.
        ValueError: the checkpoint or the order do not fit.
    """
    sampler = Sampler(checkpoint, order.filters, device)
    shares = list(order.shares) or [1.0] * sampler.classes
    if len(shares) != sampler.classes:
        raise ValueError(f"shares must be {sampler.classes}, one for each class, got {len(shares)}")
    if overwrite:
        for folder in ("shards", "images"):
            shutil.rmtree(out / folder, ignore_errors=True)
        (out / "data.npz").unlink(missing_ok=True)
    claim(out / "order.json", {"checkpoint": _identity(checkpoint), **asdict(order)}, overwrite)
    labels = shuffled_labels(order.samples, shares, order.seed)
    made = torch.cat(
        [
            _shard(out, number, part, sampler, order.seed)
            for number, part in enumerate(torch.split(labels, SHARD))
        ]
    )
    _export(out, made, labels, order.format)
    real = gan.real_images(sampler.config).images
    found = quality(real, made)
    _card(out, order, sampler, found, made, real[found.nearest])
    return found


def rows(found: Quality) -> list[tuple[str, str]]:
    """Return names and values of the scores, formatted."""
    return [
        ("FD (digits)", f"{found.fd:.2f}"),
        ("inception score (digit classifier)", f"{found.inception_score:.2f}"),
        ("precision", f"{found.precision:.3f}"),
        ("recall", f"{found.recall:.3f}"),
        ("nearer to a real image than real ones are", f"{found.closer:.1%}"),
    ]


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


def _identity(checkpoint: Path) -> str:
    return hashlib.sha256(checkpoint.read_bytes()).hexdigest()


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
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in ("images", "labels")}
            digest = (file.metadata() or {}).get("sha256")
    except (SafetensorError, OSError) as error:
        raise ValueError(str(error)) from error
    images: Tensor = tensors["images"]
    shape = (len(labels), sampler.config.channels, sampler.config.size, sampler.config.size)
    if images.dtype != torch.uint8 or images.shape != shape:
        raise ValueError(f"images must be uint8 {shape}, got {images.dtype} {tuple(images.shape)}")
    if not torch.equal(tensors["labels"], labels):
        raise ValueError("it has other labels than this shard")
    if digest not in (None, _digest(tensors)):  # shards of 0.1.0 have none
        raise ValueError("its checksum is wrong")
    return images


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(tensors[name].contiguous().numpy().tobytes())
    return digest.hexdigest()


def _export(out: Path, made: Tensor, labels: Tensor, form: Format) -> None:
    if form == "npz":
        with atomic_write(out / "data.npz") as file:
            np.savez_compressed(file, images=made.numpy(), labels=labels.numpy())
    if form == "folder":
        for i, (image, label) in enumerate(zip(made, labels.tolist(), strict=True)):
            path = out / "images" / str(label) / f"{i:06d}.png"
            if not path.exists():
                images.write_png(images.grid(image[None], padding=0), path)


def _card(
    out: Path, order: Order, sampler: Sampler, found: Quality, made: Tensor, nearest: Tensor
) -> None:
    figures = {k: v for k, v in found._asdict().items() if k != "nearest"}
    config = asdict(sampler.config)
    card = {"figures": figures, "order": asdict(order), "model": config}
    with atomic_write(out / "card.json") as file:
        file.write(json.dumps(card, indent=1).encode())
    pairs = torch.stack([made[:_SHOWN], nearest[:_SHOWN]], 1).flatten(0, 1)
    sheets = {"samples": made[: 2 * _SHOWN], "nearest": pairs}
    pictures: dict[str, bytes] = {}
    for name, shown in sheets.items():
        path = out / f"{name}.png"
        images.write_png(images.grid(shown, columns=10, scale=2), path)
        pictures[name] = path.read_bytes()
    content = report.page(
        "ganfast synthesize: a data card",
        f"{len(made)} images by {config['model']}, trained on {config['data']}.",
        report.section("Scores", report.table(rows(found)), report.text(_SCORES)),
        report.section("Samples", report.figure(pictures["samples"], "the first samples")),
        report.section(
            "Memorised?",
            report.figure(
                pictures["nearest"], "samples, each with its nearest real image to its right"
            ),
            report.text(_MEMORISED),
        ),
        report.section("Order", report.table([(k, str(v)) for k, v in asdict(order).items()])),
        settings=config,
    )
    report.write(out / "card.html", content)


_SCORES = (
    "All scores use the features and classes of the digit classifier that comes with ganfast, and "
    "compare with the images that the model was trained on. Precision is the share of samples that "
    "look like real images, recall the share of real images that look like samples."
)
_MEMORISED = (
    "The last score is the share of samples that are nearer to a real image than the median "
    "distance of real images to each other: about a half for new images, all for copies."
)
