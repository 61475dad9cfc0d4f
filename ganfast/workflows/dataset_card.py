"""The card of a synthetic data set: what it is, how good it is, and how it looks."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from ganfast import data
from ganfast._files import atomic_write
from ganfast.reporting import images, report
from ganfast.workflows.judge import Judge
from ganfast.workflows.quality import Quality
from ganfast.workflows.sampler import Sampler

_SHOWN = 40  # samples on the card, each beside its nearest real image
_PER_CLASS = 10
# The hub's names for numbers of rows.
_SIZES = ((1000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (math.inf, "n>100K"))


def write_card(
    out: Path,
    order: Mapping[str, object],
    sampler: Sampler,
    judge: Judge,
    found: Quality,
    made: Tensor,
    labels: Tensor,
    real: data.ImageData,
) -> None:
    """Write ``card.json``, ``card.html`` and its pictures, and ``README.md`` for a hub.

    They show ``order``, what was asked for, by name; uint8 images (N, C, H, W) and labels (N,) that
    were made for it; their scores ``found``; and the ``real`` images that the model is trained on.
    """
    figures = {k: v for k, v in found._asdict().items() if k != "nearest"}
    config = asdict(sampler.config)
    card = {"figures": figures, "judge": judge.words, "order": dict(order), "model": config}
    with atomic_write(out / "card.json") as file:
        file.write(json.dumps(card, indent=1).encode())
    nearest = real.images[found.nearest[:_SHOWN]]
    pairs = torch.stack([made[:_SHOWN], nearest], 1).flatten(0, 1)
    of_classes, per_class = _by_class(made, labels, sampler.classes)
    scale = 2 if sampler.config.size <= 64 else 1

    def picture(name: str, shown: Tensor, columns: int, caption: str) -> str:
        path = out / f"{name}.png"
        images.write_png(images.grid(shown, columns=columns, scale=scale), path)
        return report.figure(path.read_bytes(), caption)

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
            picture("samples", of_classes, per_class, caption),
            report.table(per_label, header=["class", "images"]),
        ),
        report.section(
            "Memorised?",
            picture("nearest", pairs, 10, "samples, each with its nearest real image to its right"),
            report.text(_MEMORISED),
        ),
        report.section("Order", report.table([(k, str(v)) for k, v in order.items()])),
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
    order: Mapping[str, object],
    judge: Judge,
    found: Quality,
    names: list[str],
    config: Mapping[str, object],
) -> str:
    """Return the data set's card as the Hugging Face hub shows it."""
    import yaml

    samples, form = int(str(order["samples"])), str(order["format"])
    files = {"folder": "images/**", "parquet": "data.parquet"}
    front: dict[str, object] = {
        "task_categories": ["image-classification"],
        "tags": ["synthetic", "gan"],
        "size_categories": [next(name for bound, name in _SIZES if samples < bound)],
    }
    if form in files:
        front["configs"] = [{"config_name": "default", "data_files": files[form]}]
    rows = "\n".join(f"| {name} | {value} |" for name, value in found.rows(judge))
    return (
        f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n\n"
        f"# {samples:,} synthetic images\n\n"
        f"Drawn by `ganfast synthesize` from a {config['model']} of {config['size']} x "
        f"{config['size']} pixels, trained on {Path(str(config['data'])).name}. "
        f"Classes: {', '.join(names)}.\n\n"
        f"| score | |\n|---|---|\n{rows}\n\n{_SCORES.format(judge.words)}\n\n{_MEMORISED}\n"
    )


_SCORES = (
    "The judge of the features and classes is {}. All scores compare with the images that the "
    "model was trained on, and are not comparable with FID. SWD needs no network. Lower distances "
    "are better; the low end of their scale is real against real, and shares of the classes other "
    "than the real ones raise them. Precision is the share of "
    "samples that look like real images, recall the share of real images that look like samples."
)
_MEMORISED = (
    "The last score is the share of samples that are nearer to a real image than the median "
    "distance of real images to each other: about a half for new images, all for copies."
)
