"""What is wrong with the images that were left out."""

from array import array
from collections.abc import Mapping

LISTED = 100  # images that are named
_LONGEST = 300  # characters of a sentence


class Problems:
    """The numbers of the images left out, and what is wrong with the first `LISTED` of them.

    A million of them take 8 MB.
    """

    def __init__(self) -> None:
        self.numbers = array("q")
        self._words: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def words(self) -> list[str]:
        """A sentence for each of the first images, by their numbers."""
        return [self._words[number] for number in sorted(self._words)]

    def add(self, found: Mapping[int, str]) -> None:
        """Add sentences by the numbers of their images."""
        self.numbers.extend(found)
        self._keep_first(found)

    def merge(self, other: "Problems") -> None:
        """Add what another process has found."""
        self.numbers.extend(other.numbers)
        self._keep_first(other._words)

    def _keep_first(self, found: Mapping[int, str]) -> None:
        merged = {**self._words, **{number: shortened(words) for number, words in found.items()}}
        self._words = {number: merged[number] for number in sorted(merged)[:LISTED]}


def shortened(words: str) -> str:
    """Cut a sentence that a file name or a decoder has made long."""
    return words if len(words) <= _LONGEST else f"{words[: _LONGEST - 4]} ..."
