"""Map and merge: the states of some shards of a source, and statistics of all of them."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from ganfast.data.image_source import Source, notes_of
from ganfast.evaluation import inputs
from ganfast.evaluation.collect import Work, collect
from ganfast.evaluation.run import engine_of, remarks
from ganfast.evaluation.settings import Settings, compiled_if_it_pays, encoder_for, open_side
from ganfast.evaluation.state import Part, State, merged
from ganfast.metrics.moments import Moments, save_moments

SAMPLE = 10_000  # features in the state of a part


class Made(NamedTuple):
    """A state, and lines about what was not read or could not be used."""

    state: State
    remarks: list[str]


def statistics(
    images: str | Source,
    settings: Settings,
    *,
    part: tuple[int, int] = (0, 1),
    sample: int = 0,
    quiet: bool = False,
) -> Made:
    """Map the shards of a source, or of a part of it, to the state of their features.

    Args:
        images: by name, as for `ganfast.evaluate`, or opened.
        settings: the feature network and how to run it.
        part: ``(i, n)`` takes every n-th shard from the i-th on. The states of all n parts are
            merged by `merged`.
        sample: features that are kept besides the moments; of several parts so many in all.
        quiet: show no progress bar.

    Raises:
        FileNotFoundError, ModuleNotFoundError, ValueError: as `ganfast.evaluate`, and for a
            file that holds statistics already.
    """
    if isinstance(images, str):
        inputs.refuse_missing(images)
        if inputs.is_statistics(images):
            raise ValueError(f"{images} must hold images, got statistics")
    encoder = encoder_for([images], settings)
    source = open_side(images, encoder, settings, settings.samples)
    encoder = compiled_if_it_pays(encoder, (source.count or 0) // part[1], settings)
    work = Work(encoder, limit=sample, batch_size=settings.batch_size, on_error=settings.on_error)
    engine = engine_of(images, settings, work)
    found = collect(source, work, state=settings.state, part=part, engine=engine, quiet=quiet)
    source.unread = {**source.unread, **found.unread}
    notes = remarks(notes_of(source), found.problems.words, len(found.problems))
    return Made(found, notes)


def need_all(states: Sequence[tuple[str, State]]) -> None:
    """Raise ValueError unless the states of parts, by name, hold all shards of their sources."""
    found: dict[str, Part] = {}
    for name, state in states:
        first, settings = states[0][0], states[0][1].settings
        for key in sorted(settings.keys() | state.settings.keys()):
            one, other = (kept.get(key, "none") for kept in (settings, state.settings))
            if one != other:
                raise ValueError(
                    f"{name} must have {key} {one} as {first} has, got {other}: merge states of "
                    "one feature network and one way to resize"
                )
        if not state.parts:
            raise ValueError(f"{name} must be the state of a part, got that of a single shard")
        for key, part in state.parts.items():
            before = found.get(key, Part(part.name, part.of, frozenset()))
            if before.positions & part.positions:
                raise ValueError(
                    f"states must hold each shard once, got some of {name} twice: "
                    f"{min(before.positions & part.positions)} of {part.name}"
                )
            found[key] = Part(part.name, part.of, before.positions | part.positions)
    listings = {part.name for part in found.values()}
    if len(listings) < len(found):
        raise ValueError(
            f"states must be of one listing of {min(listings)}, got {len(found)}: the files have "
            "changed between the parts"
        )
    for part in found.values():
        missing = sorted(set(range(part.of)) - part.positions)
        if missing:
            shown = ", ".join(map(str, missing[:10])) + (", ..." if len(missing) > 10 else "")
            raise ValueError(
                f"states must hold all {part.of} shards of {part.name}, got "
                f"{len(part.positions)}: none of shards {shown}"
            )


def merge_files(paths: Iterable[Path]) -> Made:
    """Merge the state files of all parts of a source, or of several sources.

    Raises:
        FileNotFoundError, ValueError: a file is missing or damaged, parts are missing, are there
            twice, or are of different networks.
    """
    states = [(str(path), State.load(path)) for path in paths]
    need_all(states)
    total = merged(state for _, state in states)
    several = sorted(part.name for part in total.parts.values())
    notes = [f"images of {len(several)} sources: {', '.join(several)}"] if several[1:] else []
    return Made(total, remarks(notes, total.problems.words, len(total.problems)))


def save_statistics(path: Path, state: State) -> Moments:
    """Write mean and covariance, and the sample of features, to a .npz file.

    Raises:
        ValueError: there are fewer than two images.
    """
    moments = state.statistics()["features"].moments
    sample = state.rows["features"] if len(state.numbers) else None
    save_moments(path, moments, settings=state.settings, sample=sample)
    return moments
