"""What a call starts on the GPU, and calls that are replayed as graphs."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile


def launches(run: Callable[[], object]) -> list[str]:
    """The names of what a call starts on the GPU: kernels, copies and fills."""
    run()  # so that nothing is set up for the first time
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiled:
        run()
        torch.cuda.synchronize()
    return [event.name for event in profiled.events() if event.device_type == DeviceType.CUDA]


def launches_of(loss: Callable[[], Tensor], inputs: list[Tensor]) -> tuple[list[str], list[str]]:
    """What the loss starts on its way forward, and what on its way back."""
    value = loss()
    one = torch.ones_like(value)
    backward = launches(lambda: torch.autograd.grad(value, inputs, one, retain_graph=True))
    return launches(loss), backward


def captured(step: Callable[[], list[Tensor]]) -> tuple[torch.cuda.CUDAGraph, list[Tensor]]:
    """A graph of a step, and the tensors that a replay writes."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        made = step()
    return graph, made
