"""Map shards on a Ray cluster: actors that hold the network, one shard at a time."""

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from ganfast.data.extras import needed
from ganfast.data.image_source import Shard
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
    """
    ray = needed("ray", "ray", "engine ray")

    def mapped(
        positions: Sequence[int], count: int, buckets: int | None
    ) -> Iterator[tuple[int, State]]:
        if not positions:
            return
        if not ray.is_initialized():
            ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        actors, order = _actors(ray, spec, settings, work, (count, buckets), len(positions))
        left = list(positions)
        running = {}

        def start(actor: Any) -> None:
            if left:
                position = left.pop(0)
                running[actor.map.remote(order, position)] = position, actor

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


class _Order(NamedTuple):
    """What an actor needs to map shards of an input.

    It goes with every shard, as arguments of a constructor may be lost before a restart.
    """

    spec: str
    settings: "Settings"
    work: dict[str, Any]
    counts: tuple[int, int | None]
    folder: str
    threads: int | None


def _actors(
    ray: Any, spec: str, settings: "Settings", work: Work, counts: tuple[int, int | None],
    shards: int,
) -> tuple[list[Any], _Order]:  # fmt: skip
    """Return actors, and what they are told."""
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
    order = _Order(spec, settings, plain, counts, os.getcwd(), options.get("num_cpus"))
    return [remote.remote() for _ in range(number)], order


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
    """An actor: the network, and the shards of an input, once it is told of them."""

    def __init__(self) -> None:
        self._shards: Sequence[Shard] = ()

    def map(self, order: _Order, position: int) -> bytes:
        """Return the state of a shard as bytes."""
        if not self._shards:
            self._open(order)
        (state,) = map_shards([self._shards[position]], self._work)
        return state.limited(self._work.limit).to_bytes()

    def _open(self, order: _Order) -> None:
        import torch

        from ganfast.evaluation.settings import encoder_for, open_side

        spec, settings, work, (count, buckets), folder, threads = order
        if os.path.isdir(folder):  # where relative paths start
            os.chdir(folder)
        if threads is not None:
            torch.set_num_threads(threads)
        encoder = encoder_for([spec], settings)
        self._work = Work(encoder, **work)
        source = open_side(spec, encoder, settings, settings.samples)
        shards = source.shards(buckets)
        if len(shards) != count:
            raise ValueError(
                f"{spec} must have the same files on every machine, got {len(shards)} shards here "
                f"and {count} there"
            )
        self._shards = shards
