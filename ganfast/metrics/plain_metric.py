"""The part of `torchmetrics.Metric` that metrics of images use, where it is not installed."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import Self

from ganfast.distributed import process_count

State = Tensor | list[Tensor]


class Metric(nn.Module, ABC):
    """Counts updates, keeps the result of `compute`, and joins the states of processes for it."""

    plot_lower_bound: ClassVar[float | None] = None
    plot_upper_bound: ClassVar[float | None] = None

    def __init__(
        self, *, compute_on_cpu: bool = False, dist_sync_on_step: bool = False,
        process_group: Any = None, dist_sync_fn: Callable[..., list[Tensor]] | None = None,
        distributed_available_fn: Callable[[], bool] | None = None, sync_on_compute: bool = True,
        compute_with_cache: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.compute_on_cpu, self.compute_with_cache = compute_on_cpu, compute_with_cache
        self.dist_sync_on_step, self.sync_on_compute = dist_sync_on_step, sync_on_compute
        self.process_group, self.dist_sync_fn = process_group, dist_sync_fn
        self.distributed_available_fn = distributed_available_fn
        self._device = torch.get_default_device()
        self._dtype = torch.get_default_dtype()
        self._defaults: dict[str, State] = {}
        self._persistent: dict[str, bool] = {}
        self._update_count = 0
        self._computed: Any = None
        self._forward_cache: Any = None
        self._to_sync = sync_on_compute
        self._cache: dict[str, State] | None = None  # the states of this process after `sync`

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for name, wrap in (("update", _counted), ("compute", _kept)):
            if name in vars(cls):
                setattr(cls, name, wrap(vars(cls)[name]))

    @abstractmethod
    def compute(self) -> Any:
        """Return the metric of all batches, in all processes."""

    def add_state(
        self, name: str, default: State, dist_reduce_fx: Any = None, persistent: bool = False
    ) -> None:
        """Add an attribute that `reset` sets back to its default: a tensor or an empty list."""
        self._defaults[name] = copy.deepcopy(default)
        self._persistent[name] = persistent
        setattr(self, name, default)

    @property
    def metric_state(self) -> dict[str, State]:
        """The states by name."""
        return {name: getattr(self, name) for name in self._defaults}

    @property
    def update_count(self) -> int:
        """How often `update` was called since the last `reset`."""
        return self._update_count

    @property
    def update_called(self) -> bool:
        """Whether `update` was called since the last `reset`."""
        return self._update_count > 0

    @property
    def device(self) -> torch.device:
        """Where the states are."""
        return self._device

    @property
    def dtype(self) -> torch.dtype:
        """That of results, unless features are more precise."""
        return self._dtype

    def reset(self) -> None:
        """Set all states back to their defaults."""
        self._update_count, self._computed, self._forward_cache = 0, None, None
        self._cache = None
        for name, default in self._defaults.items():
            setattr(self, name, copy.deepcopy(default))

    def clone(self) -> Self:
        """Return a copy."""
        return copy.deepcopy(self)

    def persistent(self, mode: bool = False) -> None:
        """Say whether `state_dict` holds the states; by default it does not."""
        self._persistent = dict.fromkeys(self._persistent, mode)

    def type(self, dst_type: Any) -> Self:
        """Do nothing: the dtype is changed by `set_dtype` alone, also for the next three."""
        return self

    float = double = half = bfloat16 = lambda self: self

    def sync(
        self, dist_sync_fn: Callable[..., list[Tensor]] | None = None, process_group: Any = None,
        should_sync: bool = True, distributed_available: Callable[[], bool] | None = None,
    ) -> None:  # fmt: skip
        """Replace the states by those of all processes, until `unsync`; raises if they are."""
        if self._cache is not None and should_sync:
            raise RuntimeError("sync must be called once before unsync, got a second call")
        available = distributed_available or self.distributed_available_fn
        if should_sync and (available() if available else process_count() > 1):
            before = copy.deepcopy(self.metric_state)
            self._sync_dist(dist_sync_fn, process_group)
            self._cache = before

    def unsync(self, should_unsync: bool = True) -> None:
        """Go back to the states of this process; raises unless `sync` was called."""
        if not should_unsync:
            return
        if self._cache is None:
            raise RuntimeError("unsync must be called after sync, got none")
        for name, value in self._cache.items():
            setattr(self, name, value)
        self._cache = None

    @contextmanager
    def sync_context(
        self, dist_sync_fn: Callable[..., list[Tensor]] | None = None, process_group: Any = None,
        should_sync: bool = True, should_unsync: bool = True,
        distributed_available: Callable[[], bool] | None = None,
    ) -> Iterator[None]:  # fmt: skip
        """`sync` within the block."""
        self.sync(dist_sync_fn, process_group, should_sync, distributed_available)
        yield
        self.unsync(should_unsync and self._cache is not None)

    @abstractmethod
    def _sync_dist(self, dist_sync_fn: Any = None, process_group: Any = None) -> None:
        """Replace the states by those of all processes of a group."""

    def _plot(
        self, val: Tensor | Sequence[Tensor] | dict[str, Tensor] | None = None, ax: Any = None
    ) -> tuple[Any, Any]:
        from matplotlib import pyplot as plt

        value = self.compute() if val is None else val
        figure, axis = plt.subplots() if ax is None else (ax.get_figure(), ax)
        lines = value if isinstance(value, dict) else {type(self).__name__: value}
        for name, y in lines.items():
            points = [float(point) for point in (y if isinstance(y, Sequence) else [y])]
            axis.plot(range(len(points)), points, marker="o", label=name)
        axis.legend()
        axis.grid(True)
        axis.set_ylim(bottom=self.plot_lower_bound, top=self.plot_upper_bound)
        return figure, axis

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for name, value in self.metric_state.items():
            if self._persistent[name]:
                destination[prefix + name] = copy.deepcopy(value)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *arguments: Any
    ) -> None:
        for name in self._defaults:
            if prefix + name in state_dict:
                setattr(self, name, state_dict.pop(prefix + name))
        super()._load_from_state_dict(state_dict, prefix, *arguments)


def _counted(update: Callable[..., None]) -> Callable[..., None]:
    @wraps(update)
    def counted(self: Metric, *arguments: Any, **named: Any) -> None:
        self._computed = None
        self._update_count += 1
        update(self, *arguments, **named)
        if self.compute_on_cpu:
            for name, value in self.metric_state.items():
                if isinstance(value, list):
                    setattr(self, name, [x.cpu() for x in value])

    return counted


def _kept(compute: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(compute)
    def kept(self: Metric) -> Any:
        if self._computed is not None:
            return self._computed
        with self.sync_context(self.dist_sync_fn, should_sync=self._to_sync):
            value = compute(self)
        if self.compute_with_cache:
            self._computed = value
        return value

    return kept
