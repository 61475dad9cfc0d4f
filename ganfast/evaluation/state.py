"""What is known of the features of some shards, as bytes that merge in any order."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ganfast._files import atomic_write, parse_tensors
from ganfast._names import printable
from ganfast.evaluation.problems import Problems
from ganfast.metrics import FrechetStatistics

_FORMAT = "ganfast state 1"
_BLOCK = 1024  # features that are added to the moments together


class Part(NamedTuple):
    """The shards of a source that a state holds."""

    name: str  # of the source
    of: int  # how many shards it has
    positions: frozenset[int]  # of those that are here


@dataclass
class State:
    """Moments of the features of some images, and all of the features or a sample of them.

    The sample is the features whose hashes are the smallest: of any split of the images, and in
    whatever order the parts are merged, it is the same.

    Attributes:
        settings: of the feature network.
        limit: features that are kept at most; None keeps all.
        n: images used.
        moments: mean and covariance, by layer; empty where they follow from the features of all.
        rows: the features that are kept, by layer.
        numbers: of their images, which the rows are ordered by.
        hashes: of their images.
        labels: the class of each of them, if classes were asked for and are known.
        problems: images that could not be used.
        unread: files that were left aside, by their ending.
        parts: the shards, by a hash of all shards of their source; empty for a single shard.
    """

    settings: dict[str, str]
    limit: int | None = None
    n: int = 0
    moments: dict[str, FrechetStatistics] = field(default_factory=dict)
    rows: dict[str, Tensor] = field(default_factory=dict)
    numbers: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    hashes: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    labels: list[str] | None = None
    problems: Problems = field(default_factory=Problems)
    unread: Counter[str] = field(default_factory=Counter)
    parts: dict[str, Part] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether the features of all images are here."""
        return len(self.numbers) == self.n

    def limited(self, limit: int | None) -> "State":
        """Return this state with so many features at most."""
        if limit is None or len(self.numbers) <= limit:
            return replace(self, limit=limit)
        kept = self.hashes.argsort(stable=True)[:limit].sort().values
        return replace(self._at(kept), limit=limit, moments=self.statistics())

    def statistics(self) -> dict[str, FrechetStatistics]:
        """Return mean and covariance, by layer."""
        return self.moments or {layer: _statistics([x]) for layer, x in self.rows.items()}

    def placed(self, numbers: Sequence[int]) -> "State":
        """Return the state of a shard with the numbers that its images have in the source."""
        problems = self.problems.placed(numbers)
        places = torch.tensor([numbers[i] for i in self.numbers.tolist()], dtype=torch.int64)
        return replace(self, numbers=places, problems=problems)

    def in_part(self, source: str, part: Part) -> "State":
        """Return the state as that of some shards of a source, for `merged` to tell it apart."""
        return replace(self, parts={source: part})

    def _at(self, places: Tensor) -> "State":
        labels = None if self.labels is None else [self.labels[i] for i in places.tolist()]
        return replace(
            self,
            rows={layer: x[places] for layer, x in self.rows.items()},
            numbers=self.numbers[places],
            hashes=self.hashes[places],
            labels=labels,
        )

    def to_bytes(self) -> bytes:
        """Return everything, as a safetensors file. Moments that follow from the rows are not."""
        from safetensors.torch import save

        tensors = {f"rows.{layer}": x for layer, x in self.rows.items()}
        tensors |= {"numbers": self.numbers, "hashes": self.hashes}
        if not self.complete:
            for layer, moments in self.moments.items():
                packed = moments.state_dict()
                size = len(packed["mean"])
                packed["scatter"] = packed["scatter"][_triangle(size)]
                tensors |= {f"moments.{layer}.{key}": value for key, value in packed.items()}
        facts = {
            "settings": self.settings, "limit": self.limit, "n": self.n, "labels": self.labels,
            "problems": self.problems.as_json(), "unread": self.unread,
            "parts": {key: [p.name, p.of, sorted(p.positions)] for key, p in self.parts.items()},
        }  # fmt: skip
        words = json.dumps(facts, sort_keys=True)
        tensors = {name: x.contiguous() for name, x in tensors.items()}
        # One entry: the order of several would differ from call to call.
        signed = json.dumps([_FORMAT, words, _digest(tensors, words)])
        return save(tensors, {"state": signed})

    @classmethod
    def from_bytes(cls, raw: bytes, name: str) -> "State":
        """Return what `to_bytes` was taken of.

        Args:
            raw: the bytes.
            name: of their file, for errors.

        Raises:
            ValueError: they are damaged, or of another version.
        """
        try:
            tensors, metadata = parse_tensors(raw)
            form, words, sha256 = json.loads(metadata["state"])
            if form != _FORMAT:
                raise ValueError(f"its format is not {_FORMAT!r} but {form!r}")
            if sha256 != _digest(tensors, words):
                raise ValueError("the checksum is wrong")
            return _parsed(tensors, json.loads(words))
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as e:
            raise ValueError(f"{name} must be a whole state file: {e}") from e

    def save(self, path: Path) -> None:
        """Write the state to a file, which is whole or not there."""
        with atomic_write(path) as file:
            file.write(self.to_bytes())

    @classmethod
    def load(cls, path: Path) -> "State":
        """Read a file of `save`. Raises OSError, and ValueError as `from_bytes`."""
        return cls.from_bytes(path.read_bytes(), printable(str(path)))


def merged(states: Iterable[State]) -> State:
    """Return the state of all images of some states.

    The order does not matter: to 1e-12 for the moments, and exactly for all else.

    Raises:
        ValueError: there are none, they are of different networks, or two hold the same shard.
    """
    total = Merger()
    for state in states:
        total.add(state)
    return total.state()


class Merger:
    """Merges states one by one."""

    def __init__(self) -> None:
        self._total: State | None = None
        self._left: list[State] = []  # whose rows are still to be sorted
        self._count = 0  # of these rows
        self._new: list[State] = []  # whose rows are still to be added to the moments
        self._positions: dict[str, set[int]] = {}  # of the shards of each source
        self._sources: dict[str, Part] = {}

    def add(self, state: State) -> None:
        """Add a state. Raises ValueError as `merged`."""
        if self._total is None:
            self._total = State(state.settings, state.limit)
        total = self._total
        if state.settings != total.settings:
            keys = {*state.settings, *total.settings}
            differ = sorted(k for k in keys if state.settings.get(k) != total.settings.get(k))
            raise ValueError(f"states must be of one feature network, got several: {differ}")
        self._add_parts(state.parts)
        limits = (total.limit, state.limit)
        total.limit = min((n for n in limits if n is not None), default=None)
        for layer, moments in state.moments.items():
            total.moments.setdefault(layer, FrechetStatistics(moments.dim)).merge(moments)
        if not state.moments:
            self._new.append(state)
            if sum(new.n for new in self._new) >= _BLOCK:
                self._add_rows()
        total.n += state.n
        total.problems.merge(state.problems)
        total.unread.update(state.unread)
        self._left.append(state)
        self._count += len(state.numbers)
        if total.limit is not None and self._count > 2 * total.limit + 4096:
            self._add_rows()
            self._left = [self._sorted(total).limited(total.limit)]
            self._count = len(self._left[0].numbers)

    def state(self) -> State:
        """Return the state of all. Raises ValueError if there is none."""
        if self._total is None:
            raise ValueError("states must be given, got none")
        self._add_rows()
        parts = {
            key: part._replace(positions=frozenset(self._positions[key]))
            for key, part in self._sources.items()
        }
        return replace(self._sorted(self._total).limited(self._total.limit), parts=parts)

    def _add_parts(self, parts: Mapping[str, Part]) -> None:
        for key, part in parts.items():
            here = self._positions.setdefault(key, set())
            twice = here & part.positions
            if twice:
                raise ValueError(
                    f"states must hold each shard once, got shard {min(twice)} of {part.name} twice"
                )
            here |= part.positions
            self._sources[key] = part

    def _add_rows(self) -> None:
        assert self._total is not None
        moments = self._total.moments
        for layer in dict.fromkeys(layer for state in self._new for layer in state.rows):
            parts = [state.rows[layer] for state in self._new if layer in state.rows]
            found = _statistics(parts)
            moments.setdefault(layer, FrechetStatistics(found.dim)).merge(found)
        self._new = []

    def _sorted(self, total: State) -> State:
        """Return the state of all with the rows of all, by their numbers."""
        left = [state for state in self._left if len(state.numbers)]
        if not left:
            return total
        known = [state.labels for state in left if state.labels is not None]
        joined = replace(
            total,
            rows={key: torch.cat([state.rows[key] for state in left]) for key in left[0].rows},
            numbers=torch.cat([state.numbers for state in left]),
            hashes=torch.cat([state.hashes for state in left]),
            labels=[y for labels in known for y in labels] if len(known) == len(left) else None,
        )
        by_hash = joined._at(joined.hashes.argsort(stable=True))
        return by_hash._at(by_hash.numbers.argsort(stable=True))


def of_features(
    settings: Mapping[str, str], name: str, index: Sequence[int], rows: Mapping[str, Tensor]
) -> State:
    """Return the state of one shard: the features of its images with these numbers in it."""
    numbers = torch.tensor(index, dtype=torch.int64)
    return State(
        dict(settings), n=len(index), rows=dict(rows), numbers=numbers,
        hashes=_hashes(name, numbers),
    )  # fmt: skip


def _statistics(parts: Sequence[Tensor]) -> FrechetStatistics:
    found = FrechetStatistics(parts[0].shape[1])
    found.update(torch.cat(list(parts)))
    return found


def _hashes(name: str, index: Tensor) -> Tensor:
    """Return 63 bits for each image of a shard, by splitmix64 of Steele, Lea & Flood 2014."""
    seed = int.from_bytes(hashlib.sha256(name.encode(errors="surrogateescape")).digest()[:8], "big")
    with np.errstate(over="ignore"):
        x = index.numpy().astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return torch.from_numpy(((x ^ (x >> np.uint64(31))) >> np.uint64(1)).astype(np.int64))


def _triangle(size: int) -> tuple[Tensor, Tensor]:
    rows, columns = torch.tril_indices(size, size)
    return rows, columns


def _parsed(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> State:
    """Check everything: the checksum is no signature."""
    n, limit, labels = facts["n"], facts["limit"], facts["labels"]
    numbers, hashes = tensors["numbers"], tensors["hashes"]
    m = len(numbers)
    whole = (limit is None or isinstance(limit, int)) and isinstance(n, int) and 0 <= m <= n
    if not whole or numbers.shape != (m,) or hashes.shape != (m,):
        raise ValueError(f"counts must fit, got {n} images and {m} features")
    if numbers.dtype != torch.int64 or hashes.dtype != torch.int64:
        raise ValueError("numbers and hashes must be int64")
    if labels is not None and (len(labels) != m or not all(isinstance(y, str) for y in labels)):
        raise ValueError(f"labels must be {m} words")
    rows = {name[5:]: x for name, x in tensors.items() if name.startswith("rows.")}
    for layer, x in rows.items():
        if not x.is_floating_point() or x.ndim != 2 or len(x) != m or not x.isfinite().all():
            raise ValueError(f"{layer} must be {m} finite features")
    state = State(
        {str(key): str(value) for key, value in facts["settings"].items()}, limit, n, {}, rows,
        numbers, hashes, labels, Problems.from_json(facts["problems"]),
        Counter({str(key): int(value) for key, value in facts["unread"].items()}),
        {str(key): Part(str(name), int(of), frozenset(map(int, positions)))
         for key, (name, of, positions) in facts["parts"].items()},
    )  # fmt: skip
    if not state.complete:
        for layer in {name.split(".")[1] for name in tensors if name.startswith("moments.")}:
            packed = {key: tensors[f"moments.{layer}.{key}"] for key in ("counts", "mean")}
            size = len(packed["mean"])
            scatter = torch.zeros(size, size, dtype=torch.float64)
            scatter[_triangle(size)] = tensors[f"moments.{layer}.scatter"]
            state.moments[layer] = FrechetStatistics(size)
            state.moments[layer].load_state_dict({**packed, "scatter": scatter})
    if any(moments.n != n for moments in state.moments.values()):
        raise ValueError(f"moments must be of {n} images")
    return state


def _digest(tensors: Mapping[str, Tensor], words: str) -> str:
    digest = hashlib.sha256(words.encode())
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].contiguous().numpy().tobytes())
    return digest.hexdigest()
