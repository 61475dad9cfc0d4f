"""Make a labelled data set from a checkpoint, with a card of its quality."""

import hashlib
import io
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

from ganfast import _npz, data
from ganfast._files import atomic_write, read_tensors
from ganfast.metrics.validation import as_tensor
from ganfast.reporting import images, report
from ganfast.workflows import gan
from ganfast.workflows.judge import Judge, judge_of
from ganfast.workflows.quality import Quality, quality
from ganfast.workflows.run_folder import claim, one_writer
from ganfast.workflows.sampler import Filters, Sampler, shuffled_labels

Format = Literal["npz", "folder", "parquet", "safetensors"]

SHARD = 1000  # samples in a shard, the unit of resuming
_SHOWN = 40  # samples on the card, each beside its nearest real image
_PER_CLASS = 10


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
        if self.format not in get_args(Format):
            known = ", ".join(get_args(Format))
            raise ValueError(f"format must be one of {known}, got {self.format!r}")


@one_writer
def synthesize(
    checkpoint: Path, out: Path, order: Order, device: str = "cpu", overwrite: bool = False
) -> tuple[Quality, Judge]:
    """Write a data set and its card (``card.json``, ``card.html``, pictures) to ``out``.

    Returns the scores, and the network that they are of.

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
    claim(out / "order.json", {"checkpoint": _identity(checkpoint), **asdict(order)}, overwrite)
    labels = shuffled_labels(order.samples, shares, order.seed)
    made = torch.cat(
        [
            _shard(out, number, part, sampler, order.seed)
            for number, part in enumerate(torch.split(labels, SHARD))
        ]
    )
    names = [real.class_name(label) for label in range(sampler.classes)]
    _export(out, made, labels, order.format, names)
    found = quality(real.images, made, judge)
    _card(out, order, sampler, judge, found, made, labels, real)
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
    try:
        tensors, facts = read_tensors(path)
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


def _export(out: Path, made: Tensor, labels: Tensor, form: Format, names: list[str]) -> None:
    if form == "npz":
        with atomic_write(out / "data.npz") as file:
            np.savez_compressed(file, images=made.numpy(), labels=labels.numpy())
    if form == "folder":
        for i, (image, label) in enumerate(zip(made, labels.tolist(), strict=True)):
            path = out / "images" / names[label] / f"{i:06d}.png"
            if not path.exists():
                images.write_png(images.grid(image[None], padding=0), path)
    if form == "parquet":
        _write_parquet(out / "data.parquet", made, labels, names)


def _write_parquet(path: Path, made: Tensor, labels: Tensor, names: list[str]) -> None:
    """Write rows of an image and a label, as the Hugging Face datasets library reads them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    feature = {
        "image": {"_type": "Image"},
        "label": {"names": names, "_type": "ClassLabel"},
    }
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema(
        [("image", kind), ("label", pa.int64())],
        metadata={"huggingface": json.dumps({"info": {"features": feature}})},
    )
    with atomic_write(path) as file, pq.ParquetWriter(file, schema) as writer:
        for start in range(0, len(made), SHARD):
            part = range(start, min(start + SHARD, len(made)))
            pictures = [{"bytes": _png(made[i]), "path": f"{i:06d}.png"} for i in part]
            columns = [pa.array(pictures, kind), pa.array(labels[part.start : part.stop].tolist())]
            writer.write_table(pa.table(columns, schema=schema))


def _png(image: Tensor) -> bytes:
    file = io.BytesIO()
    images.grid(image[None], padding=0).save(file, format="PNG")
    return file.getvalue()


def _card(
    out: Path,
    order: Order,
    sampler: Sampler,
    judge: Judge,
    found: Quality,
    made: Tensor,
    labels: Tensor,
    real: data.ImageData,
) -> None:
    figures = {k: v for k, v in found._asdict().items() if k != "nearest"}
    config = asdict(sampler.config)
    card = {"figures": figures, "judge": judge.words, "order": asdict(order), "model": config}
    with atomic_write(out / "card.json") as file:
        file.write(json.dumps(card, indent=1).encode())
    nearest = real.images[found.nearest[:_SHOWN]]
    pairs = torch.stack([made[:_SHOWN], nearest], 1).flatten(0, 1)
    of_classes, per_class = _by_class(made, labels, sampler.classes)
    sheets = {"samples": (of_classes, per_class), "nearest": (pairs, 10)}
    pictures: dict[str, bytes] = {}
    for name, (shown, columns) in sheets.items():
        path = out / f"{name}.png"
        scale = 2 if sampler.config.size <= 64 else 1
        images.write_png(images.grid(shown, columns=columns, scale=scale), path)
        pictures[name] = path.read_bytes()
    names = [real.class_name(label) for label in range(sampler.classes)]
    counts = labels.bincount(minlength=sampler.classes).tolist()
    per_label = [(name, str(count)) for name, count in zip(names, counts, strict=True)]
    caption = "one class a row, in the order of the table" if real.classes > 1 else "samples"
    content = report.page(
        "ganfast synthesize: a data card",
        f"{len(made)} images by {config['model']}, trained on {config['data']}.",
        report.section(
            "Scores", report.table(found.rows(judge)), report.text(_SCORES.format(judge.words))
        ),
        report.section(
            "Samples",
            report.figure(pictures["samples"], caption),
            report.table(per_label, header=["class", "images"]),
        ),
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
    with atomic_write(out / "README.md") as file:
        file.write(_readme(order, judge, found, names, config).encode())


def _by_class(made: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, int]:
    """Return up to 10 samples of each of up to 20 classes, and how many there are of each."""
    places = [torch.where(labels == label)[0] for label in range(classes)]
    places = [of for of in places if len(of)][:20]
    each = min(_PER_CLASS if classes > 1 else 2 * _SHOWN, *(len(of) for of in places), len(made))
    return made[torch.cat([of[:each] for of in places])], each if classes > 1 else _PER_CLASS


def _readme(
    order: Order, judge: Judge, found: Quality, names: list[str], config: Mapping[str, object]
) -> str:
    """Return the data set's card as the Hugging Face hub shows it."""
    import yaml

    files = {"npz": "data.npz", "folder": "images/**", "parquet": "data.parquet"}
    front: dict[str, object] = {
        "task_categories": ["image-classification"],
        "tags": ["synthetic", "gan"],
        "size_categories": [_size_category(order.samples)],
    }
    if order.format in ("folder", "parquet"):
        front["configs"] = [{"config_name": "default", "data_files": files[order.format]}]
    rows = "\n".join(f"| {name} | {value} |" for name, value in found.rows(judge))
    return (
        f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n\n"
        f"# {order.samples:,} synthetic images\n\n"
        f"Drawn by `ganfast synthesize` from a {config['model']} of {config['size']} x "
        f"{config['size']} pixels, trained on {Path(str(config['data'])).name}. "
        f"Classes: {', '.join(names)}.\n\n"
        f"| score | |\n|---|---|\n{rows}\n\n{_SCORES.format(judge.words)}\n\n{_MEMORISED}\n"
    )


def _size_category(count: int) -> str:
    """Return the hub's name for a number of rows."""
    bounds = ((1000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"))
    return next((name for bound, name in bounds if count < bound), "n>100K")


_SCORES = (
    "The judge of the features and classes is {}. All scores compare with the images that the "
    "model was trained on, and are not comparable with FID. SWD needs no network. Lower distances "
    "are better; the low end of their scale is real against real. Precision is the share of "
    "samples that look like real images, recall the share of real images that look like samples."
)
_MEMORISED = (
    "The last score is the share of samples that are nearer to a real image than the median "
    "distance of real images to each other: about a half for new images, all for copies."
)
