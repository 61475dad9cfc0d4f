"""Map shards on a Ray cluster: actors that hold the network, one shard at a time."""

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ganfast.evaluation.collect import Engine, Work, map_shards
from ganfast.evaluation.state import State

if TYPE_CHECKING:
    from ganfast.evaluation.settings import Settings

_RESTARTS = 20  # of each actor
_RETRIES = 3  # of a shard whose actor was lost
_CPUS = 4  # of each actor where there are no GPUs


def engine(spec: str, settings: "Settings", work: Work) -> Engine:
    """Return an engine for the shards of an input.

    A cluster is joined as `ray.init` finds it (``RAY_ADDRESS``), or started on this machine. Each
    actor opens the input and loads the network for itself, so both must be where it runs.

    Args:
        spec: the input by name, as for `ganfast.evaluate`.
        settings: of the network; ``workers`` is the number of actors, by default one for each GPU
            of the cluster, or for each four CPUs.
        work: what is computed of each shard.

    Raises:
        ModuleNotFoundError: ray is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise ModuleNotFoundError(
            "engine ray needs the package ray: pip install 'ganfast[ray]'", name="ray"
        ) from error

    def mapped(
        positions: Sequence[int], count: int, buckets: int | None
    ) -> Iterator[tuple[int, State]]:
        if not positions:
            return
        if not ray.is_initialized():
            ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        actors = _actors(ray, spec, settings, work, (count, buckets), len(positions))
        left = list(positions)
        running = {}

        def start(actor: Any) -> None:
            if left:
                position = left.pop(0)
                running[actor.map.remote(position)] = position, actor

        for actor in actors:
            start(actor)
        try:
            while running:
                (done, *_), _ = ray.wait(list(running))
                position, actor = running.pop(done)
                state = State.from_bytes(_result(ray, done), f"the state of shard {position}")
                start(actor)
                yield position, state
        finally:
            for actor in actors:
                ray.kill(actor)

    return mapped


def _actors(
    ray: Any, spec: str, settings: "Settings", work: Work, counts: tuple[int, int | None],
    shards: int,
) -> list[Any]:  # fmt: skip
    found = ray.cluster_resources()
    gpus, cpus = int(found.get("GPU", 0)), int(found.get("CPU", 1))
    wanted = settings.workers or gpus or cpus // _CPUS or 1
    number = min(wanted, shards)
    on_gpu = gpus > 0 and settings.device != "cpu"
    options: dict[str, Any] = {"num_gpus": 1} if on_gpu else {"num_cpus": max(1, cpus // wanted)}
    options |= {"max_restarts": _RESTARTS, "max_task_retries": _RETRIES}
    remote = ray.remote(**options)(_Mapper)
    settings = replace(settings, device="cuda" if on_gpu else "cpu", engine="here")
    plain = {name: value for name, value in vars(work).items() if name != "encoder"}
    arguments = (spec, settings, plain, counts, os.getcwd(), options.get("num_cpus"))
    return [remote.remote(*arguments) for _ in range(number)]


def _result(ray: Any, done: Any) -> bytes:
    """Return the bytes of a shard; an error of its own is raised as if it had happened here."""
    try:
        raw: bytes = ray.get(done)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayActorError as error:
        raise ValueError(
            f"a shard must be mapped within {_RETRIES} losses of its worker, which died each time "
            "(of memory?); with --state the same command goes on from here"
        ) from error
    return raw


class _Mapper:
    """An actor: the network, and the shards of an input."""

    def __init__(
        self, spec: str, settings: "Settings", work: dict[str, Any],
        counts: tuple[int, int | None], folder: str, threads: int | None,
    ) -> None:  # fmt: skip
        import torch

        from ganfast.evaluation.settings import encoder_for, open_side

        if os.path.isdir(folder):  # where relative paths start
            os.chdir(folder)
        if threads is not None:
            torch.set_num_threads(threads)
        self._error: Exception | None = None
        try:
            encoder = encoder_for([spec], settings)
            self._work = Work(encoder, **work)
            source = open_side(spec, encoder, settings, settings.samples)
            count, buckets = counts
            self._shards = source.shards(buckets)
            if len(self._shards) != count:
                raise ValueError(
                    f"{spec} must have the same files on every machine, got {len(self._shards)} "
                    f"shards here and {count} there"
                )
        except Exception as error:  # told by `map`, as Ray would start a failed actor again
            self._error = error

    def map(self, position: int) -> bytes:
        """Return the state of a shard as bytes."""
        if self._error is not None:
            raise self._error
        (state,) = map_shards([self._shards[position]], self._work)
        return state.limited(self._work.limit).to_bytes()
