"""Networks under torch.compile, and whole rounds as CUDA graphs."""

import warnings
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ganfast.train.batches import Batch


class Compiled:
    """A compiled network, or the network itself if compilation fails.

    It shares the weights of the module and leaves the module uncompiled: penalties need second
    derivatives, and torch.compile has none.
    """

    def __init__(self, module: nn.Module, name: str) -> None:
        self._module, self._name = module, name
        self._call: Any = torch.compile(module, dynamic=False)
        self._tried = False

    def __call__(self, *inputs: Any) -> Any:
        if self._tried:
            return self._call(*inputs)
        self._tried = True
        try:
            return self._call(*inputs)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, ImportError, OSError) as error:
            self._call = self._module
            reason = str(error).strip().partition("\n")[0]
            warnings.warn(f"the {self._name} is not compiled: {reason}", stacklevel=2)
            return self._module(*inputs)


RoundBatches = Sequence[Sequence[Batch]]  # for each step of the discriminator, its batches

# Rounds of a kind before its capture: libraries pick algorithms, optimizers create their state.
_WARM_UP = 3


class _Captured(NamedTuple):
    graph: torch.cuda.CUDAGraph
    batches: RoundBatches  # the graph reads them
    metrics: Tensor  # the graph writes them


class Graphs:
    """Train rounds by CUDA graphs: from the fourth of each kind on, its graph is replayed.

    The rounds of the warm-up train too. A graph is bound to the memory of weights and optimizer
    states; make a new object after loading other optimizer states.

    Args:
        play: trains one round on batches, given the number of the discriminator's first step, and
            returns its metrics.
        kind: maps that number to a key that is equal for rounds with the same work on the host.
        random: generator that a round draws from, besides the device's default one.
    """

    def __init__(
        self,
        play: Callable[[RoundBatches, int], Tensor],
        kind: Callable[[int], Hashable],
        random: torch.Generator,
    ) -> None:
        self._play, self._kind, self._random = play, kind, random
        self._warm: dict[Hashable, int] = {}
        self._captured: dict[Hashable, _Captured] = {}
        self._stream = torch.cuda.Stream(random.device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()  # graphs never run at once and share memory

    def __call__(self, batches: RoundBatches, d_step: int) -> Tensor:
        kind = self._kind(d_step)
        if self._warm.setdefault(kind, 0) < _WARM_UP:
            self._warm[kind] += 1
            return self._play_on_side_stream(batches, d_step)
        if kind not in self._captured:
            self._captured[kind] = self._capture(batches, d_step)
        graph, static, metrics = self._captured[kind]
        for fixed, new in zip(_tensors(static), _tensors(batches), strict=True):
            if fixed.shape != new.shape:
                raise ValueError(
                    f"batches must keep one shape under cuda_graphs, {tuple(fixed.shape)}, "
                    f"got {tuple(new.shape)}"
                )
            fixed.copy_(new, non_blocking=True)
        graph.replay()
        return metrics.clone()

    def _play_on_side_stream(self, batches: RoundBatches, d_step: int) -> Tensor:
        """Train a round on the side stream: a capture must not meet work on the default one."""
        default = torch.cuda.current_stream()
        self._stream.wait_stream(default)
        with torch.cuda.stream(self._stream):
            metrics = self._play(batches, d_step)
        default.wait_stream(self._stream)
        return metrics

    def _capture(self, batches: RoundBatches, d_step: int) -> _Captured:
        """Record a round without running it."""
        static = [
            [Batch(b.images.clone(), tuple(x.clone() for x in b.labels)) for b in each]
            for each in batches
        ]
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self._random)
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
            metrics = self._play(static, d_step)
        return _Captured(graph, static, metrics)


def _tensors(batches: RoundBatches) -> list[Tensor]:
    return [x for each in batches for batch in each for x in (batch.images, *batch.labels)]
