"""Calls recorded as CUDA graphs: what a trainer pays that replays its whole step."""

from collections.abc import Callable
from typing import Generic, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


class Recorded(Generic[T]):
    """Blocks of calls as graphs, one for each length; a replay reads the inputs it was made with.

    A block reads as many different inputs as it has calls, and the cost of the one launch is
    shared by all of them, as in a step that is one graph.
    """

    def __init__(self, call: Callable[[T], list[Tensor]]) -> None:
        self._call = call
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}

    def __call__(self, inputs: list[T]) -> Callable[[], object]:
        """The replay of a call for each of the inputs."""
        if len(inputs) not in self._graphs:
            self._graphs[len(inputs)] = self._record(inputs)[0]
        return self._graphs[len(inputs)].replay

    def outputs(self, x: T) -> list[Tensor]:
        """What a replay of one call gives. Raises RuntimeError where a call waits for the GPU."""
        self._graphs[1], outputs = self._record([x])
        return [output.detach().clone() for output in outputs]

    def _record(self, inputs: list[T]) -> tuple[torch.cuda.CUDAGraph, list[Tensor]]:
        self._warm_up(inputs[0])
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for x in inputs:
                outputs = self._call(x)
        graph.replay()  # also for the state that a call keeps, which no recording writes
        torch.cuda.synchronize()
        return graph, outputs

    def _warm_up(self, x: T) -> None:
        """Libraries set themselves up, and a call that waits is found before it ruins a capture."""
        here, aside = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            self._call(x)  # the first one may wait: it loads and chooses kernels
            torch.cuda.set_sync_debug_mode("error")
            try:
                self._call(x)
            finally:
                torch.cuda.set_sync_debug_mode("default")
        here.wait_stream(aside)
