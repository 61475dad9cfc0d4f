"""What is wrong with the images that were left out."""

from collections.abc import Mapping, Sequence
from typing import Any

LISTED = 100  # images that are named
_LONGEST = 300  # characters of a sentence


class Problems:
    """How many images were left out, and what is wrong with the first `LISTED` of them."""

    def __init__(self) -> None:
        self._count = 0
        self._words: dict[int, str] = {}

    def __len__(self) -> int:
        return self._count

    @property
    def words(self) -> list[str]:
        """A sentence for each of the first images, by their numbers."""
        return [self._words[number] for number in sorted(self._words)]

    def add(self, found: Mapping[int, str], count: int | None = None) -> None:
        """Add sentences by the numbers of their images, the first ones of ``count`` images."""
        self._count += len(found) if count is None else count
        merged = dict(self._words)
        for number, words in found.items():  # a file name or a decoder makes some long
            short = len(words) <= _LONGEST
            merged[number] = words if short else f"{words[: _LONGEST - 4]} ..."
        self._words = {number: merged[number] for number in sorted(merged)[:LISTED]}

    def merge(self, other: "Problems") -> None:
        """Add what others have found."""
        self.add(other._words, len(other))

    def placed(self, numbers: Sequence[int]) -> "Problems":
        """Return the same problems, of the images with these numbers in place of 0, 1, ..."""
        moved = Problems()
        moved.add({numbers[i]: words for i, words in self._words.items()}, len(self))
        return moved

    def as_json(self) -> list[Any]:
        """Return everything for `from_json`."""
        return [self._count, [[number, words] for number, words in self._words.items()]]

    @classmethod
    def from_json(cls, content: Any) -> "Problems":
        """Return what `as_json` was taken of. Raises ValueError or TypeError for what is not."""
        count, words = content
        sentences = {int(number): str(sentence) for number, sentence in words}
        if not isinstance(count, int) or count < min(len(sentences), LISTED):
            raise ValueError(f"problems must be counted, got {count!r}")
        found = cls()
        found.add(sentences, count)
        return found
