"""The forward pass of a feature network as a CUDA graph: one launch per batch."""

import torch
from torch import Tensor, nn

_MOST = 8  # shapes with a graph


class Graphed(nn.Module):
    """Replays a frozen network on a CUDA device for shapes that come again.

    The first batch of a shape runs as usual and the second one is captured, so that a last batch of
    another size costs no graph. Results are copies, and equal those of the network.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self._seen: set[object] = set()
        self._graphs: dict[object, _Graph] = {}

    def forward(self, x: Tensor, layers: tuple[str, ...]) -> dict[str, Tensor]:
        key = (tuple(x.shape), x.stride(), x.dtype, layers)
        if key not in self._graphs:
            if key not in self._seen or len(self._graphs) == _MOST:
                self._seen.add(key)
                plain: dict[str, Tensor] = self.net(x, layers)
                return plain
            self._graphs[key] = _Graph(self.net, x, layers)
        return self._graphs[key](x)


class _Graph:
    def __init__(self, net: nn.Module, x: Tensor, layers: tuple[str, ...]) -> None:
        self._x = x.clone()
        here, other = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
        other.wait_stream(here)
        with torch.cuda.stream(other):  # libraries initialize themselves, which cannot be captured
            net(self._x, layers)
        here.wait_stream(other)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._found: dict[str, Tensor] = net(self._x, layers)

    def __call__(self, x: Tensor) -> dict[str, Tensor]:
        self._x.copy_(x)
        self._graph.replay()
        return {layer: found.clone() for layer, found in self._found.items()}
