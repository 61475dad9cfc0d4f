"""Compute the features of all items of a source: shard by shard, resumable, over processes."""

import hashlib
import json
import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn

import torch
from torch import Tensor

from ganfast._files import atomic_write, check_writable, remove_abandoned
from ganfast._names import printable
from ganfast.data.image_source import Shard, Source, digest
from ganfast.data.listing import in_lines
from ganfast.distributed import Processes, process_count, process_rank
from ganfast.evaluation.problems import Problems
from ganfast.evaluation.progress import progress_bar
from ganfast.evaluation.state import Merger, Part, State, merged, of_features
from ganfast.features import Encoder
from ganfast.features.user_models import UNKNOWN

OnError = Literal["stop", "skip"]
# Bytes of decoded images at which a batch ends: at their full size, and at most a million pixels.
_MOST_WHOLE, _MOST_SHRUNK = 1 << 27, 1 << 29
_AT_ONCE = 32  # images that are read together if they come resized
_FEATURES_AT_ONCE = 4096
_OLD = re.compile(r"[0-9a-f]{32}-\d{6}\.safetensors")  # a shard of version 0.1.0


@dataclass(frozen=True)
class Work:
    """What is computed of each shard."""

    encoder: Encoder
    layers: tuple[str, ...] = ("features",)
    limit: int | None = None  # features that are kept at most, besides the moments
    batch_size: int = 32  # fewer go through the network at once if they are large
    on_error: OnError = "stop"
    labels: bool = False  # also find out the class of each image


# Maps those shards that have these positions: yields the position and the state of each, in any
# order. Also takes how many shards there are, and the count that `Source.shards` was asked for.
Engine = Callable[[Sequence[int], int, int | None], Iterator[tuple[int, State]]]


def collect(
    source: Source,
    work: Work,
    *,
    state: Path | None = None,
    part: tuple[int, int] = (0, 1),
    engine: Engine | None = None,
    quiet: bool = False,
) -> State:
    """Run all shards through the network and merge their states, with a progress bar.

    Each of N processes takes every N-th shard. The first one returns what all have found; the
    others return it without moments and features.

    Args:
        source, work: the images or features, and what is computed of them.
        state: folder of finished shards, which are not computed again. File names hold a hash of
            the items and of all settings, so that no shard is mistaken for another. Features of a
            callable are not stored, since its code or weights may change unseen.
        part: ``(i, n)`` takes every n-th shard from the i-th on.
        engine: maps shards elsewhere.
        quiet: show no progress bar.

    Raises:
        ValueError: images cannot be used and ``on_error`` is ``"stop"``, with their names; or no
            image can be used; or there is no shard in this part; or the folder is one of an older
            version.
    """
    folder = None if source.is_features else state
    buckets = None if folder is None else _buckets(source, folder)
    shards = source.shards(buckets)
    chosen = range(part[0], len(shards), part[1])
    if not chosen:
        raise ValueError(
            f"{source.name} must have a shard for each part, got {len(shards)} for {part[1]} parts"
        )
    mine = chosen[process_rank() :: process_count()]
    whole = digest(source.name, *(shard.name for shard in shards))
    files: dict[int, Path] = {}
    if folder is not None:  # before the work, not after it
        files = {i: f for i in mine if (f := _file(folder, shards[i], work)) is not None}
    total = Merger()

    def add(position: int, found: State) -> None:
        shard = shards[position]
        placed = found.limited(work.limit).placed(shard.numbers)
        if placed.problems and work.on_error == "stop":
            _refuse(source, shards, position, found.problems)
        total.add(placed.in_part(whole, Part(source.name, len(shards), frozenset((position,)))))

    with progress_bar(Path(source.name).name, _items(source, shards, mine), quiet) as bar:
        todo: list[int] = []
        for position in mine:
            found = _load(files[position], shards[position], work) if position in files else None
            if found is None:
                todo.append(position)
            else:
                bar.update(found.n + len(found.problems))
                add(position, found)
        states: Iterator[tuple[int, State]]
        if engine is None:
            states = zip(todo, map_shards([shards[i] for i in todo], work, bar), strict=True)
        else:
            states = engine(todo, len(shards), buckets)
        for position, found in states:
            if engine is not None:
                bar.update(found.n + len(found.problems))
            if position in files:
                _compact(found, work).save(files[position])
            add(position, found)
    return _of_all(source, work, total, bool(mine))


def map_shards(shards: Sequence[Shard], work: Work, bar: Any = None) -> Iterator[State]:
    """Yield the state of each shard, whose images have the numbers 0, 1, ... in it.

    The next images are read while the network runs.

    Raises:
        ValueError: images cannot be used and ``on_error`` is ``"stop"``.
    """
    parts: list[dict[str, Tensor]] = []
    index: list[int] = []
    problems = Problems()
    for batch in _ahead(_batches(shards, work)):
        problems.add(batch.problems)
        if isinstance(batch.content, Tensor):
            parts.append({"features": batch.content})
        elif batch.content:
            found = work.encoder.of_shrunk(batch.content, work.layers)
            parts.append({layer: x.cpu() for layer, x in found.items()})
        index += (i for i in range(batch.start, batch.end) if i not in batch.problems)
        if bar is not None:
            bar.update(batch.end - batch.start)
        if batch.closes is None:
            continue
        source, labels = batch.closes
        rows = {layer: torch.cat([p[layer] for p in parts]) for layer in work.layers if parts}
        for layer, x in rows.items():
            if not bool(x.isfinite().all()):
                raise ValueError(f"{source.name}: the net's {layer} hold NaN or infinity")
        state = of_features(work.encoder.settings, batch.shard, index, rows)
        state.problems = problems
        state.unread.update(source.unread)
        state.labels = None if labels is None else [labels[i] for i in index]
        yield state
        parts, index, problems = [], [], Problems()


class _Batch(NamedTuple):
    """Images or features of a shard, from ``start`` to ``end``; the last has source and labels."""

    shard: str
    start: int
    end: int
    content: list[Tensor] | Tensor
    problems: dict[int, str]
    closes: tuple[Source, Sequence[str] | None] | None


def _opened(shards: Sequence[Shard]) -> Iterator[tuple[Shard, Source]]:
    """Open each shard while the one before it is used, as it may have to be fetched."""
    with ThreadPoolExecutor(1) as pool:
        coming = [pool.submit(shard.open) for shard in shards[:1]]
        for i, shard in enumerate(shards):
            source = coming.pop().result()
            coming = [pool.submit(other.open) for other in shards[i + 1 : i + 2]]
            yield shard, source


def _batches(shards: Sequence[Shard], work: Work) -> Iterator[_Batch]:
    for shard, source in _opened(shards):
        labels = source.labels if work.labels else None  # wrong ones raise before any work
        n = len(source)
        found = _features(source) if source.is_features else _images(source, work)
        for start, end, content, wrong in found:
            closes = (source, labels) if end == n else None
            yield _Batch(shard.name, start, end, content, wrong, closes)


_Read = Iterator[tuple[int, int, Any, dict[int, str]]]


def _features(source: Source) -> _Read:
    for start in range(0, len(source), _FEATURES_AT_ONCE):
        end = min(start + _FEATURES_AT_ONCE, len(source))
        rows = source.rows(start, end)
        yield start, end, rows if rows.dtype == torch.float64 else rows.float(), {}


def _images(source: Source, work: Work) -> _Read:
    """Yield start, end, images and problems of each batch."""
    encoder, size = work.encoder, work.batch_size
    at_once = _AT_ONCE if encoder.shrinks else min(8, os.cpu_count() or 1)
    most = _MOST_SHRUNK if encoder.shrinks else _MOST_WHOLE
    n = len(source)
    for first in range(0, n, size):
        last, begin = min(first + size, n), first
        images: list[Tensor] = []
        problems: dict[int, str] = {}
        for start in range(first, last, at_once):
            end = min(start + at_once, last)
            found, wrong = source.read(start, end, encoder.shrunk)
            images += found
            problems |= wrong
            if end == last or sum(image.nbytes for image in images) >= most:
                yield begin, end, images, problems
                images, problems, begin = [], {}, end


def _ahead(batches: Iterator[_Batch]) -> Iterator[_Batch]:
    """Yield batches, each read while the one before it is used."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = pool.submit(next, batches, None)
            yield batch


def _items(source: Source, shards: Sequence[Shard], mine: Sequence[int]) -> int | None:
    """Return how many images some shards have, if that is known."""
    return None if source.count is None else sum(len(shards[i].numbers) for i in mine)


def _refuse(source: Source, shards: Sequence[Shard], position: int, problems: Problems) -> NoReturn:
    """Name the first images that cannot be used.

    Where the number of images is known, the rest is read, too, without the network.
    """
    name, count = f"{source.name}: {shards[position].name}", None
    everything = Problems()
    if source.count is None:
        everything.merge(problems)
    else:
        name, count = source.name, source.count
        for shard in shards:
            opened = shard.open()
            for begin in range(0, len(opened), _AT_ONCE):
                end = min(begin + _AT_ONCE, len(opened))
                wrong = opened.read(begin, end, lambda image: image.new_empty(0))[1]
                everything.add({shard.numbers[i]: words for i, words in wrong.items()})
    of = "" if count is None else f" of {count}"
    raise ValueError(
        f"{name}: {len(everything)}{of} images cannot be used "
        f"(--on-error skip leaves them out):{in_lines(everything.words, len(everything))}"
    )


def feature_key(key: str | None, work: Work) -> str | None:
    """Return a hash of all that changes the features of a shard, or None if that is not known."""
    if key is None or work.encoder.settings["weights"] == UNKNOWN:
        return None
    described = [key, work.encoder.settings, work.layers, work.labels]
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:32]


def _file(folder: Path, shard: Shard, work: Work) -> Path | None:
    key = feature_key(shard.key(), work)
    return None if key is None else folder / f"{key}.state"


def _buckets(source: Source, folder: Path) -> int | None:
    """Return how many shards a source had when this folder was first used with it.

    Raises:
        ValueError: the folder holds shards of version 0.1.0.
    """
    check_writable(folder / "shard")
    remove_abandoned(folder)
    if any(_OLD.fullmatch(entry.name) for entry in os.scandir(folder)):
        raise ValueError(
            f"{folder} must be a folder of this version's finished features, got those of 0.1.0, "
            "which cannot be used: give another folder"
        )
    path = folder / f"{digest(os.path.abspath(source.name))[:32]}.json"
    try:
        count = json.loads(path.read_text())["shards"]
        if isinstance(count, int) and count > 0:
            return count
    except (OSError, ValueError, KeyError, TypeError):
        pass
    count = len(source.shards())
    with atomic_write(path) as file:
        file.write(json.dumps({"source": source.name, "shards": count}).encode())
    return count


def _compact(state: State, work: Work) -> State:
    """Return moments in place of more features than take their room, if they are enough."""
    dims = max((x.shape[1] for x in state.rows.values()), default=0)
    return state.limited(work.limit) if len(state.numbers) > dims else state


def _load(file: Path, shard: Shard, work: Work) -> State | None:
    """Return the state in a file, or None if it has to be computed.

    A damaged file, or one of other layers or images, is named and removed.
    """
    try:
        found = State.load(file)
        if set(found.rows or found.moments) != (set(work.layers) if found.n else set()):
            raise ValueError(f"layers must be {sorted(work.layers)}, got {sorted(found.rows)}")
        if found.settings != work.encoder.settings:
            raise ValueError("it is of another network")
        n = len(shard.numbers)
        if n < 1 << 32 and found.n + len(found.problems) != n:
            raise ValueError(f"there must be {n} images, got {found.n + len(found.problems)}")
    except FileNotFoundError:
        return None
    except ValueError as error:
        words = str(error).partition(" must be a whole state file: ")[2] or str(error)
        warnings.warn(
            f"{printable(str(file))} is damaged and computed again: {words}", stacklevel=2
        )
        file.unlink(missing_ok=True)
        return None
    enough = found.complete or (
        work.limit is not None and found.limit is not None and found.limit >= work.limit
    )
    return found if enough else None


def _of_all(source: Source, work: Work, total: Merger, some: bool) -> State:
    """Return what all processes have found, in the first one; in others without the features."""
    own = total.state() if some else State(work.encoder.settings, work.limit)
    if process_count() > 1:
        processes = Processes()
        joined, known = processes.to_first(own, merged), None
        if joined is not None:
            known = State(
                joined.settings, joined.limit, joined.n, problems=joined.problems,
                unread=joined.unread, parts=joined.parts,
            )  # fmt: skip
        known = processes.from_first(known)
        own = joined or known or own
    if not own.n:
        raise ValueError(f"{source.name}: none of its images can be used")
    return own
