"""What images a source holds, from a look at some of them."""

from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor

from ganfast.data.image_source import Source

_LOOKED_AT = 128


@dataclass(frozen=True)
class Survey:
    """What a look at evenly spaced images of a source found."""

    name: str
    count: int  # of all images, readable or not
    side: int  # median of the shorter sides, in pixels
    smallest: tuple[int, int]  # height and width of an image
    largest: tuple[int, int]
    grey: bool
    classes: dict[str, int]  # images of each, by its name; empty without labels

    def __str__(self) -> str:
        low, high = (f"{width} x {height}" for height, width in (self.smallest, self.largest))
        sizes = low if low == high else f"{low} to {high}"
        kinds = f" in {len(self.classes)} classes" if self.classes else ""
        return f"{self.count:,} images{kinds}, {sizes}, {'grey' if self.grey else 'colour'}"


def survey(source: Source) -> Survey:
    """Look at up to 128 images of a source that was opened in colour.

    Raises:
        ValueError: none of them can be read.
    """
    step = max(1, len(source) // _LOOKED_AT)
    found: list[Tensor] = []
    wrong: dict[int, str] = {}
    for index in range(0, len(source), step):
        facts, problem = source.read(index, index + 1, _facts)
        found += facts
        wrong |= problem
    if not found:
        raise ValueError(f"{source.name} must hold readable images: {next(iter(wrong.values()))}")
    facts_of_all = torch.stack(found)
    sizes, coloured = facts_of_all[:, :2], facts_of_all[:, 2]
    by_area = sizes.prod(1).argsort()
    smallest, largest = (tuple(sizes[by_area[i]].tolist()) for i in (0, -1))
    return Survey(
        name=source.name,
        count=len(source),
        side=int(sizes.amin(1).median()),
        smallest=smallest,
        largest=largest,
        grey=not bool(coloured.any()),
        classes=dict(Counter(source.labels or ())),
    )


def _facts(image: Tensor) -> Tensor:
    """Return height, width, and whether there is colour."""
    coloured = bool((image != image[:1]).any())
    return torch.tensor([*image.shape[1:], coloured])
