"""Speed, extra memory and error of one computation by several providers, side by side.

A family's file makes a list of `Case`; everything else is here. The subject is the provider
"ganfast", the others are its alternatives. A provider is a function of a list of tensors:

    forward          L = f(x), with the graph recorded as in training
    forward_backward L and dL/dx
    double_backward  L, g = dL/dx, and the gradient of <g, v> with respect to x, for a given v

Where a provider's value is no scalar, the gradient that comes back to it is the last of its inputs.
"""

import gc
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bench import graphs, memory

SUBJECT = "ganfast"
BACKWARD_MODES = ("forward", "forward_backward")
ALL_MODES = (*BACKWARD_MODES, "double_backward")

_BLOCK_SECONDS = 1e-3  # calls of one block: far more than the clock costs
_MOST_CALLS = 100  # of one block
_LEAST_ROUNDS = 5
_MOST_ROUNDS = 400
_POOL_BYTES = 2**30
# On a GPU small inputs may come from its cache: a launch takes longer than their way from memory.
_MOST_COPIES = {"cpu": 2**14, "cuda": 2**10}

Provider = Callable[[list[Tensor]], Tensor | float]
Row = dict[str, object]


@dataclass(frozen=True)
class Case:
    """One computation on one size of input.

    `make` gives the inputs, on the CPU and the same at every call. `reference` is the provider
    that is exact in float64 (the eager formula, where none is named). `once` names providers so
    slow that the first call is the measurement. The last `constants` inputs require no gradient.
    `peak` counts memory on the CPU. `unvalued` names providers whose value means nothing. Each
    provider is timed at least `rounds` times.
    """

    family: str
    name: str
    make: Callable[[], list[Tensor]]
    providers: Mapping[str, Provider]
    modes: tuple[str, ...] = BACKWARD_MODES
    reference: Provider | None = None
    once: tuple[str, ...] = ()
    devices: tuple[str, ...] = ("cpu", "cuda")
    peak: Callable[[Callable[[], object]], int | None] = memory.torch_peak
    constants: int = 0
    unvalued: tuple[str, ...] = ()
    rounds: int = _LEAST_ROUNDS


class Inputs(NamedTuple):
    """What one call gets."""

    x: list[Tensor]
    v: list[Tensor]  # of double_backward, else empty


# Takes what each call of a block gets, and gives what runs the block.
Block = Callable[[list[Inputs]], Callable[[], object]]


def fused_case(
    family: str,
    name: str,
    make: Callable[[], list[Tensor]],
    eager: Provider,
    ganfast: Provider,
    modes: tuple[str, ...] = BACKWARD_MODES,
) -> Case:
    """The case of a fused op: against the eager formula, and that formula under torch.compile."""
    # Shapes as constants: what a trainer with one batch size gets after its first step.
    compiled = torch.compile(eager, dynamic=False)
    return Case(
        family, name, make, {"eager": eager, "compile": compiled, SUBJECT: ganfast}, modes, eager
    )


def call(provider: Provider, mode: str, inputs: Inputs) -> list[Tensor]:
    """All outputs of one call: the value, then the gradients that the mode asks for."""
    value = provider(inputs.x)
    if not isinstance(value, Tensor):
        value = torch.tensor(value, dtype=torch.float64)
    if mode == "forward":
        return [value]
    wanted = [x for x in inputs.x if x.requires_grad]
    back = inputs.x[-1] if value.dim() > 0 else None
    first = torch.autograd.grad(value, wanted, back, create_graph=mode == "double_backward")
    if mode == "forward_backward":
        return [value, *first]
    return [value, *first, *torch.autograd.grad(first, wanted, inputs.v)]


def measure(case: Case, device: str, budget: float, replays: bool = False) -> list[Row]:
    """One row for each mode and provider, timed for about `budget` seconds each.

    `replays` adds the replay of CUDA graphs of the eager formula and of the subject.
    """
    torch.compiler.reset()  # cases share code: else the limit of recompilations is reached
    return [row for mode in case.modes for row in _measure(case, mode, device, budget, replays)]


def _measure(case: Case, mode: str, device: str, budget: float, replays: bool) -> list[Row]:
    first, pool = inputs(case, mode, device)
    exact = _exact(case, mode, first)
    rows: dict[str, Row] = {}
    seconds: dict[str, list[float]] = {}
    blocks: dict[str, Block] = {}
    for name, provider in case.providers.items():
        row = rows[name] = _new_row(case, mode, name)
        start = time.perf_counter()
        try:
            outputs = call(provider, mode, first)  # compiles, loads, fills the caches of allocators
        except RuntimeError as error:
            if name == SUBJECT:
                raise
            row["unavailable"] = _sentence(error)
            continue
        _synchronize(device)
        seconds[name] = [time.perf_counter() - start] if name in case.once else []
        if name not in case.unvalued:
            row["error"] = _rounded(relative_error(outputs, exact))
        if name == SUBJECT:  # a number on the host comes from no graph
            replays = replays and all(output.device.type == device for output in outputs)
        del outputs
        row["peak_bytes"] = _peak(case, provider, mode, first, device)
        blocks[name] = partial(_calls, provider, mode)
    for name in [name for name in ("eager", SUBJECT) if replays and name in case.providers]:
        recorded = graphs.Recorded(partial(call, case.providers[name], mode))
        name = f"{name} graphs"
        row = rows[name] = _new_row(case, mode, name)
        try:
            row["error"] = _rounded(relative_error(recorded.outputs(first), exact))
        except RuntimeError as error:
            row["unavailable"] = _sentence(error)
            continue
        seconds[name], blocks[name] = [], recorded
    _time(blocks, device, budget, pool, seconds, case.rounds)
    for name, samples in seconds.items():
        rows[name] |= _percentiles(samples) | {"rounds": len(samples)}
        rows[name]["ratio"] = _rounded(np.median(samples) / np.median(seconds[SUBJECT]))
    return list(rows.values())


def _new_row(case: Case, mode: str, provider: str) -> Row:
    return {"family": case.family, "case": case.name, "mode": mode, "provider": provider}


def _sentence(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _calls(provider: Provider, mode: str, inputs: list[Inputs]) -> Callable[[], object]:
    def run() -> None:
        for x in inputs:
            call(provider, mode, x)

    return run


def _time(
    blocks: Mapping[str, Block],
    device: str,
    budget: float,
    pool: Iterator[Inputs],
    seconds: dict[str, list[float]],
    rounds: int,
) -> None:
    """Add to the samples of every provider that has none: seconds of a call, mean over a block.

    An own loop and not pytest-benchmark, which times one function to the end before the next: on a
    machine that others use, too, the load then falls on one side of a ratio. Here the providers
    take turns block by block, each round in another order, on inputs from one rotating pool.
    """
    names = [name for name, samples in seconds.items() if not samples]
    if not names:  # the first call of each was the measurement
        return

    def block(name: str, calls: int) -> float:
        """Seconds of a call."""
        run = blocks[name](list(itertools.islice(pool, calls)))
        return block_seconds(run, device) / calls

    calls = {name: min(max(int(_BLOCK_SECONDS / block(name, 1)), 1), _MOST_CALLS) for name in names}
    gc.collect()
    gc.disable()
    try:
        end = time.perf_counter() + budget * len(names)
        for index in range(_MOST_ROUNDS):
            if index >= rounds and time.perf_counter() > end:
                break
            turn = index % len(names)
            for name in names[turn:] + names[:turn]:
                seconds[name].append(block(name, calls[name]))
    finally:
        gc.enable()


def block_seconds(run: Callable[[], object], device: str) -> float:
    """How long it takes; on a GPU by the GPU's own clock."""
    if device == "cpu":
        start = time.perf_counter()
        run()
        return time.perf_counter() - start
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    torch.cuda.synchronize()
    begin.record()
    run()
    end.record()
    torch.cuda.synchronize()
    return float(begin.elapsed_time(end)) / 1e3


def inputs(case: Case, mode: str, device: str) -> tuple[Inputs, Iterator[Inputs]]:
    """The inputs of a case, and copies of them in turn: no call finds its own in a cache."""
    copy = copier(case, mode, device)
    first = copy()
    size = sum(t.nbytes for tensors in first for t in tensors)
    return first, itertools.cycle([first, *(copy() for _ in range(copies(size, device) - 1))])


def copier(case: Case, mode: str, device: str) -> Callable[[], Inputs]:
    """A function that gives the inputs of a case, in new memory at every call."""
    made = case.make()
    generator = torch.Generator().manual_seed(1)
    variables = len(made) - case.constants
    v = [torch.randn(x.shape, generator=generator).to(x) for x in made[:variables]]

    def copy() -> Inputs:
        x = [x.to(device, copy=True) for x in made]
        if case.modes != ("forward",):
            for wanted in x[:variables]:
                wanted.requires_grad_()
        double = mode == "double_backward"
        return Inputs(x, [v.to(device, copy=True) for v in v] if double else [])

    return copy


def copies(size: int, device: str) -> int:
    """How many inputs of `size` bytes take twice the last cache, within bounds; 2 or more."""
    enough = -(-2 * memory.last_cache_bytes(device) // size)
    return max(2, min(enough, _POOL_BYTES // size, _MOST_COPIES[device]))


def _exact(case: Case, mode: str, inputs: Inputs) -> list[Tensor]:
    x = [x.detach().double().requires_grad_(x.requires_grad) for x in inputs.x]
    reference = case.reference or case.providers["eager"]
    return call(reference, mode, Inputs(x, [v.double() for v in inputs.v]))


def relative_error(outputs: Sequence[Tensor], exact: Sequence[Tensor]) -> float:
    """Largest over the outputs of max |output - exact| / max |exact|."""

    def error(output: Tensor, exact: Tensor) -> float:
        largest = float(exact.abs().max())
        return float((output.double() - exact).abs().max()) / (largest or 1.0)

    return max(error(o.detach(), e.detach()) for o, e in zip(outputs, exact, strict=True))


def _peak(case: Case, provider: Provider, mode: str, inputs: Inputs, device: str) -> int | None:
    """Most bytes that one call holds at a time beyond its inputs; what it returns counts."""
    peak = case.peak if device == "cpu" else memory.cuda_peak
    return peak(lambda: call(provider, mode, inputs))


def _percentiles(seconds: Sequence[float]) -> Row:
    p20, median, p80 = (_rounded(p) for p in np.percentile(seconds, (20, 50, 80)) * 1e6)
    return {"median_us": median, "p20_us": p20, "p80_us": p80}


def _rounded(number: float) -> float:
    """Four digits: more are not there, and a results file is read by people."""
    return float(f"{number:.4g}")


def _synchronize(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()
