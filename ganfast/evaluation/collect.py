"""Compute the features of all images of a source: in shards, resumable, over processes."""

import hashlib
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn

import torch
from torch import Tensor

from ganfast._files import atomic_write, check_writable, read_tensors, remove_abandoned
from ganfast._names import printable
from ganfast.data.image_source import ImageSource
from ganfast.distributed import gather_objects, process_count, process_rank
from ganfast.evaluation.problems import Problems, shortened
from ganfast.evaluation.progress import progress_bar
from ganfast.features import Encoder
from ganfast.features.user_models import UNKNOWN
from ganfast.metrics import FrechetStatistics

OnError = Literal["stop", "skip"]
SHARD = 1024  # images whose features are stored together: the most that a crash can lose
_NAMED = 10  # files that an error names
# Bytes of decoded images at which a batch ends: at their full size, and at most a million pixels.
_MOST_WHOLE, _MOST_SHRUNK = 1 << 27, 1 << 29
_AT_ONCE = 32  # images that are read together if they come resized


@dataclass
class Collected:
    """What `collect` found.

    Attributes:
        statistics: moments of each layer.
        features: features of each layer, if they were kept.
        n: images used.
        problems: the images left out.
    """

    statistics: dict[str, FrechetStatistics]
    features: dict[str, Tensor]
    n: int
    problems: Problems


class _Shard(NamedTuple):
    features: dict[str, Tensor]
    problems: dict[int, str]


def collect(
    source: ImageSource,
    encoder: Encoder,
    layers: tuple[str, ...],
    *,
    keep: bool,
    batch_size: int = 32,
    on_error: OnError = "stop",
    state: Path | None = None,
    quiet: bool = False,
) -> Collected:
    """Run all images through the network, with a progress bar on a terminal.

    Each of N processes takes every N-th shard, and all return the same result.

    Args:
        source: the images.
        encoder: the feature network.
        layers: layers to compute.
        keep: keep the features, not only their moments.
        batch_size: images that go through the network at once; fewer if they are large.
        on_error: ``"stop"`` at images that cannot be used, or ``"skip"`` them.
        state: folder of finished shards, which are not computed again. File names hold a hash of
            the images and of all settings, so that no shard is mistaken for another. Features of a
            callable are not stored, since its code or weights may change unseen.
        quiet: show no progress bar.

    Raises:
        ValueError: images cannot be used and ``on_error`` is ``"stop"``, with their names; or no
            image can be used.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    key = feature_key(source, encoder, layers)
    starts = list(range(0, len(source), SHARD))
    mine = range(process_rank(), len(starts), process_count())
    statistics: dict[str, FrechetStatistics] = {}
    kept: dict[int, dict[str, Tensor]] = {}
    problems = Problems()
    if state is not None:  # before the work, not after it
        check_writable(state / "shard")
        remove_abandoned(state)
    work = sum(min(SHARD, len(source) - starts[i]) for i in mine)
    with progress_bar(Path(source.name).name, work, quiet) as bar:
        for index in mine:
            start, stop = starts[index], min(starts[index] + SHARD, len(source))
            file = state / f"{key}-{index:06d}.safetensors" if state and key else None
            shard = _load(file, layers, stop - start) if file is not None else None
            if shard is not None:
                bar.update(stop - start)
            else:
                shard = _compute(source, encoder, layers, (start, stop), batch_size, on_error, bar)
                if file is not None:
                    _save(file, shard)
            if shard.problems and on_error == "stop":
                _refuse(source, shard.problems, stop)
            for layer, x in shard.features.items():
                statistics.setdefault(layer, FrechetStatistics(x.shape[1])).update(x)
            problems.add(shard.problems)
            if keep:
                kept[index] = shard.features
    if process_count() > 1:
        statistics, kept, problems = _of_all(statistics, kept, problems, layers)
    if not statistics:
        raise ValueError(f"{source.name}: none of the {len(source)} images can be used")
    parts = [kept[index] for index in sorted(kept) if kept[index]]
    return Collected(
        statistics=statistics,
        features={layer: torch.cat([part[layer] for part in parts]) for layer in layers}
        if keep
        else {},
        n=statistics[layers[0]].n,
        problems=problems,
    )


def _compute(
    source: ImageSource,
    encoder: Encoder,
    layers: tuple[str, ...],
    bounds: tuple[int, int],
    batch_size: int,
    on_error: OnError,
    bar: Any,
) -> _Shard:
    parts: list[dict[str, Tensor]] = []
    problems: dict[int, str] = {}
    for end, images, wrong in _ahead(_batches(source, encoder, bounds, batch_size)):
        problems |= {number: shortened(words) for number, words in wrong.items()}
        if problems and on_error == "stop":
            _refuse(source, problems, end)
        if images:
            found = encoder.of_shrunk(images, layers)
            parts.append({layer: x.cpu() for layer, x in found.items()})
        bar.update(len(images) + len(wrong))
    features = {layer: torch.cat([p[layer] for p in parts]) for layer in layers} if parts else {}
    for layer, x in features.items():
        if not bool(x.isfinite().all()):
            raise ValueError(f"{source.name}: the net's {layer} hold NaN or infinity")
    return _Shard(features, problems)


_Batch = tuple[int, list[Tensor], dict[int, str]]


def _batches(
    source: ImageSource, encoder: Encoder, bounds: tuple[int, int], size: int
) -> Iterator[_Batch]:
    """Yield the end, the images and the problems of each batch."""
    at_once = _AT_ONCE if encoder.shrinks else min(8, os.cpu_count() or 1)
    most = _MOST_SHRUNK if encoder.shrinks else _MOST_WHOLE
    for first in range(*bounds, size):
        last = min(first + size, bounds[1])
        images: list[Tensor] = []
        problems: dict[int, str] = {}
        for start in range(first, last, at_once):
            end = min(start + at_once, last)
            found, wrong = source.read(start, end, encoder.shrunk)
            images += found
            problems |= wrong
            if end == last or sum(image.nbytes for image in images) >= most:
                yield end, images, problems
                images, problems = [], {}


def _ahead(batches: Iterator[_Batch]) -> Iterator[_Batch]:
    """Yield batches, each read while the one before it is used."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = pool.submit(next, batches, None)
            yield batch


def _refuse(source: ImageSource, problems: Mapping[int, str], start: int) -> NoReturn:
    """Read the rest of the images, without the network, and name the first that cannot be used."""
    everything = Problems()
    everything.add(problems)
    for begin in range(start, len(source), SHARD):
        end = min(begin + SHARD, len(source))
        everything.add(source.read(begin, end, lambda image: image.new_empty(0))[1])
    more = len(everything) - _NAMED
    raise ValueError(
        f"{source.name}: {len(everything)} of {len(source)} images cannot be used "
        "(--on-error skip leaves them out):\n  "
        + "\n  ".join(everything.words[:_NAMED])
        + (f"\n  and {more} more" if more > 0 else "")
    )


def feature_key(source: ImageSource, encoder: Encoder, layers: tuple[str, ...] = ()) -> str | None:
    """Return a hash of all that changes the features, or None if that is not known."""
    if source.key is None or encoder.settings["weights"] == UNKNOWN:
        return None
    described = [source.key, encoder.settings, layers, SHARD]
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:32]


def _save(file: Path, shard: _Shard) -> None:
    from safetensors.torch import save

    facts = {"problems": json.dumps(shard.problems), "sha256": _digest(shard.features)}
    with atomic_write(file) as target:
        target.write(save(shard.features, metadata=facts))


def _load(file: Path, layers: tuple[str, ...], n: int) -> _Shard | None:
    """Return the shard of ``n`` images in a file, or None if it has to be computed.

    A damaged file, or one of other layers or images, is named and removed.
    """
    if not file.is_file():
        return None
    try:
        features, facts = read_tensors(file)
        problems = {int(k): str(v) for k, v in json.loads(facts["problems"]).items()}
        rows = n - len(problems)
        if set(features) != (set(layers) if rows else set()):
            raise ValueError(f"layers {sorted(features)}, not {sorted(layers)}")
        for layer, x in features.items():
            if x.dtype != torch.float32 or x.ndim != 2 or len(x) != rows:
                raise ValueError(f"{layer} is {x.dtype} {tuple(x.shape)}, not float32 ({rows}, D)")
            if not bool(x.isfinite().all()):
                raise ValueError(f"{layer} is not finite")
        if facts.get("sha256", _digest(features)) != _digest(features):  # 0.1.0 wrote none
            raise ValueError("the checksum is wrong")
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        warnings.warn(
            f"{printable(str(file))} is damaged and computed again: {error}", stacklevel=2
        )
        file.unlink(missing_ok=True)
        return None
    return _Shard(features, problems)


def _digest(features: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for layer in sorted(features):
        digest.update(features[layer].contiguous().numpy().tobytes())
    return digest.hexdigest()


def _of_all(
    statistics: dict[str, FrechetStatistics],
    kept: dict[int, dict[str, Tensor]],
    problems: Problems,
    layers: tuple[str, ...],
) -> tuple[dict[str, FrechetStatistics], dict[int, dict[str, Tensor]], Problems]:
    """Return what all processes have found, the same in each."""
    dims = {layer: side.dim for layer, side in statistics.items()}
    gathered = gather_objects((kept, problems, dims))
    dims = {layer: dim for _, _, those in gathered for layer, dim in those.items()}
    total = {
        layer: statistics.get(layer, FrechetStatistics(dims[layer])).reduce()
        for layer in layers
        if layer in dims
    }
    together = Problems()
    for _, those, _ in gathered:
        together.merge(those)
    return (
        total,
        {index: shard for those, _, _ in gathered for index, shard in those.items()},
        together,
    )
