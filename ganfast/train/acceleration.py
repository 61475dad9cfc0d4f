"""Networks through torch.compile, and whole rounds as CUDA graphs."""

import warnings
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ganfast.train.batches import Batch


class Compiled:
    """Call a network compiled for the shapes that it meets, or as it is where that fails.

    Its weights stay those of the module, which itself stays as it is: penalties need its second
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
            words = str(error).strip().partition("\n")[0]
            warnings.warn(f"the {self._name} is not compiled: {words}", stacklevel=2)
            return self._module(*inputs)


Batches = Sequence[Sequence[Batch]]

_WARM_UP = 3  # rounds of a kind before its capture: libraries choose, optimizers make their state


class _Captured(NamedTuple):
    graph: torch.cuda.CUDAGraph
    batches: Batches  # what the graph reads
    figures: Tensor  # what it writes


class Graphs:
    """Play rounds as ``play`` does, from the fourth of each kind on by replay of its graph.

    The warm-up's rounds are rounds of the training. All that a round changes must lie in tensors
    that stay where they are: make a new one where optimizers have got another state.

    Args:
        play: trains one round on batches, from a number of the discriminator's steps on, and
            returns its figures.
        kind: which rounds, by that number, do the same on the host.
        random: what is drawn from in a round, besides the device's default generator.
    """

    def __init__(
        self,
        play: Callable[[Batches, int], Tensor],
        kind: Callable[[int], Hashable],
        random: torch.Generator,
    ) -> None:
        self._play, self._kind, self._random = play, kind, random
        self._warm: dict[Hashable, int] = {}
        self._captured: dict[Hashable, _Captured] = {}
        self._stream = torch.cuda.Stream(random.device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()  # graphs that never run at a time share memory

    def __call__(self, batches: Batches, number: int) -> Tensor:
        kind = self._kind(number)
        if self._warm.setdefault(kind, 0) < _WARM_UP:
            self._warm[kind] += 1
            return self._aside(batches, number)
        if kind not in self._captured:
            self._captured[kind] = self._capture(batches, number)
        graph, static, figures = self._captured[kind]
        for mine, given in zip(_tensors(static), _tensors(batches), strict=True):
            if mine.shape != given.shape:
                raise ValueError(
                    f"cuda_graphs needs batches of one shape, got {tuple(given.shape)} after "
                    f"{tuple(mine.shape)}"
                )
            mine.copy_(given, non_blocking=True)
        graph.replay()
        return figures.clone()

    def _aside(self, batches: Batches, number: int) -> Tensor:
        """Play on a side stream: work of the default one must not be captured."""
        here = torch.cuda.current_stream()
        self._stream.wait_stream(here)
        with torch.cuda.stream(self._stream):
            figures = self._play(batches, number)
        here.wait_stream(self._stream)
        return figures

    def _capture(self, batches: Batches, number: int) -> _Captured:
        """Record a round, which does not run it."""
        static = [
            [Batch(b.images.clone(), tuple(x.clone() for x in b.labels)) for b in each]
            for each in batches
        ]
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self._random)
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
            figures = self._play(static, number)
        return _Captured(graph, static, figures)


def _tensors(batches: Batches) -> list[Tensor]:
    return [x for each in batches for batch in each for x in (batch.images, *batch.labels)]
