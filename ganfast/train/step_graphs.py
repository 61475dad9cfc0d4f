"""CUDA graphs around a training step that somebody else wrote."""

from collections.abc import Callable, Sequence
from typing import Any, Generic, ParamSpec, TypeVar, cast

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

P = ParamSpec("P")
R = TypeVar("R")

# Calls of a kind before its capture: libraries pick algorithms, optimizers create their state.
_WARM_UP = 3
_MOST = 8  # graphs of somebody else's step


def graphed(
    step: Callable[P, R], *, generators: Sequence[torch.Generator] = ()
) -> "GraphedStep[P, R]":
    """Replay a training step as a CUDA graph: one launch instead of thousands.

    Small networks leave a GPU waiting for Python. A graph repeats what the step has launched,
    without Python. The first three calls run the step as it is, on another stream; the fourth one
    records it, and from there on each call copies its tensors to where the graph reads them, and
    replays it. Every call is one step of training. Where the tensors are not on a CUDA device, the
    step runs as it is, so that a loop works everywhere.

    A graph repeats launches, not Python. So the step must

    - do all of forward, backward, ``optimizer.step()`` and ``zero_grad()`` itself;
    - take what changes as tensors of one shape, with ``drop_last=True`` in the loader. Numbers,
      strings and None among the arguments choose between up to eight graphs: a flag such as
      ``with_r1`` fits, the number of the step does not;
    - never wait for the device: no ``.item()``, ``.cpu()``, ``print`` of or ``if`` on a tensor.
      What it returns is read outside, and only when it is logged;
    - use optimizers with ``capturable=True`` where they have this option, and a tensor on the
      device as learning rate if that changes;
    - open autocast inside; draw random numbers on the device, by default or from ``generators``;
    - leave weights and the optimizers' states in place: make a new one after loading a checkpoint.

    Violations that it can detect raise an error that says what to change.

    Args:
        step: takes tensors on one device, in lists, tuples or dicts if it likes, and numbers,
            strings or None; returns tensors, likewise, or None.
        generators: CUDA generators, other than the device's default one, that the step draws from.

    Returns:
        A callable with the arguments of the step. Its results are copies, without a graph of
        autograd.

    Example:
        >>> net = nn.Linear(2, 1)
        >>> optimizer = torch.optim.Adam(net.parameters(), capturable=torch.cuda.is_available())
        >>> def step(x):
        ...     optimizer.zero_grad()
        ...     loss = net(x).square().mean()
        ...     loss.backward()
        ...     optimizer.step()
        ...     return loss.detach()
        >>> step = graphed(step)
        >>> loss = step(torch.randn(8, 2))
    """
    return GraphedStep(step, generators)


class GraphedStep(Generic[P, R]):
    """What :func:`graphed` returns, with at most ``most`` graphs."""

    def __init__(
        self, step: Callable[P, R], generators: Sequence[torch.Generator] = (), most: int = _MOST
    ) -> None:
        if not callable(step):
            raise TypeError(f"step must be callable, got {type(step).__name__}")
        self._step, self._generators, self._most = step, tuple(generators), most
        self._warm: dict[object, int] = {}
        self._captured: dict[object, _Captured] = {}
        self._recorder: _Recorder | None = None
        self._optimizers: dict[Optimizer, None] = {}  # in order

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Train one step.

        Raises:
            TypeError: an argument or a result is of another type.
            ValueError: shapes, devices, options of an optimizer or the number of kinds do not fit.
            RuntimeError: the step cannot be captured.
        """
        leaves, structure = tree_flatten((args, kwargs))
        tensors = [x for x in leaves if isinstance(x, Tensor)]
        if not tensors:
            raise ValueError("step must take at least one tensor, which tells its device, got none")
        devices = {x.device for x in tensors}
        if len(devices) > 1:
            names = ", ".join(sorted(map(str, devices)))
            raise ValueError(f"step must take tensors on one device, got {names}")
        (device,) = devices
        if device.type not in _RECORDERS:
            return self._step(*args, **kwargs)
        if torch.is_autocast_enabled(device.type):
            raise ValueError("autocast must be opened inside the step, got it around the call")
        if self._recorder is None:
            self._recorder = _RECORDERS[device.type](device, self._generators)
        kind = (structure, *(_constant(x) for x in leaves))
        return cast(R, self._run(self._recorder, kind, leaves, structure))

    def _run(self, recorder: "_Recorder", kind: object, leaves: list[Any], structure: Any) -> Any:
        if kind in self._captured:
            found = self._captured[kind].replay(leaves)
            return tree_map(_copied, found)
        warm = self._warm.get(kind, 0)
        if warm == 0 and len(self._warm) == self._most:
            raise ValueError(
                f"step must have at most {self._most} combinations of arguments that are not "
                "tensors, got more: pass what changes as a tensor; the last ones were "
                + ", ".join(repr(x) for x in leaves if not isinstance(x, Tensor))
            )

        def call(inputs: list[Any]) -> Any:
            args, kwargs = tree_unflatten(inputs, structure)
            return tree_map(_checked_result, self._step(*args, **kwargs))

        if warm < _WARM_UP:
            self._warm[kind] = warm + 1
            hook = register_optimizer_step_pre_hook(lambda o, *_: self._optimizers.setdefault(o))
            try:
                return tree_map(_copied, recorder.warm_up(lambda: call(leaves)))
            finally:
                hook.remove()
        for optimizer in self._optimizers:
            if not all(group.get("capturable", True) for group in optimizer.param_groups):
                name = type(optimizer).__name__
                raise ValueError(
                    f"capturable must be True: {name}(..., capturable=True), got False"
                )
        self._captured[kind] = _Captured(recorder, call, leaves, list(self._optimizers))
        return tree_map(_copied, self._captured[kind].replay(leaves))


class _Captured:
    """A recorded step, the tensors that it reads, and the settings that are fixed in it."""

    def __init__(
        self,
        recorder: "_Recorder",
        call: Callable[[list[Any]], Any],
        leaves: list[Any],
        optimizers: list[Optimizer],
    ) -> None:
        self._static = [x.detach().clone() if isinstance(x, Tensor) else x for x in leaves]
        for static, given in zip(self._static, leaves, strict=True):
            if isinstance(given, Tensor):
                static.requires_grad_(given.requires_grad)
        self._optimizers, self._settings = optimizers, _settings(optimizers)
        # A gradient from before the capture is memory that the graph may add to: it must stay.
        self._gradients = [
            p.grad for o in optimizers for group in o.param_groups for p in group["params"]
        ]
        self._replay = recorder.capture(lambda: call(self._static))

    def replay(self, leaves: list[Any]) -> Any:
        settings = _settings(self._optimizers)
        for (name, was), (_, now) in zip(self._settings, settings, strict=True):
            if was != now:
                raise ValueError(
                    f"{name} must stay {was}, as it is fixed in the graph, got {now}: make it a "
                    "tensor on the device where that is possible, as for a learning rate, or call "
                    "graphed again"
                )
        with torch.no_grad():
            for k, (static, given) in enumerate(zip(self._static, leaves, strict=True)):
                if not isinstance(given, Tensor):
                    continue
                if given.shape != static.shape or given.dtype != static.dtype:
                    raise ValueError(
                        f"tensor {k} of the step's arguments must keep shape {list(static.shape)} "
                        f"and {static.dtype}, got {list(given.shape)} and {given.dtype}; "
                        "drop_last=True leaves out a smaller last batch"
                    )
                static.copy_(given, non_blocking=True)
        return self._replay()


class _Recorder:
    """Records steps on one CUDA device."""

    def __init__(self, device: torch.device, generators: Sequence[torch.Generator]) -> None:
        self._device, self._generators = device, generators
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()  # graphs never run at once and share memory

    def warm_up(self, call: Callable[[], Any]) -> Any:
        """Call on the side stream: a capture must not meet work on the default one."""
        here = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(here)
        with torch.cuda.stream(self._stream):
            found = call()
        here.wait_stream(self._stream)
        return found

    def capture(self, call: Callable[[], Any]) -> Callable[[], Any]:
        """Record a call without running it; return what runs it."""
        graph = torch.cuda.CUDAGraph()
        for generator in self._generators:
            graph.register_generator_state(generator)
        here = torch.cuda.current_stream(self._device)
        try:
            # A failed capture does not go back to the stream by itself. In the mode thread_local
            # other threads may work, such as the one that pins batches.
            with (
                torch.cuda.stream(here),
                torch.cuda.graph(
                    graph, self._pool, self._stream, capture_error_mode="thread_local"
                ),
            ):
                found = call()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            # The end of a failed capture fails as well; what the step did is the context.
            cause = error.__context__ or error
            reason = str(cause).strip().partition("\n")[0]
            raise RuntimeError(
                "step must not wait for the device, as .item(), .cpu(), print, if on a tensor or "
                f"a copy from the host do, got: {reason}"
            ) from cause

        def replay() -> Any:
            graph.replay()
            return found

        return replay


_RECORDERS = {"cuda": _Recorder}


def _constant(leaf: object) -> object:
    """Return an argument's part of the key of a call: its value, or only that it is a tensor."""
    if isinstance(leaf, Tensor):
        return Tensor
    if leaf is None or isinstance(leaf, (bool, int, float, str)):
        return (type(leaf), leaf)
    raise TypeError(f"step must take tensors, numbers, strings or None, got {type(leaf).__name__}")


def _checked_result(leaf: object) -> object:
    if leaf is None or isinstance(leaf, Tensor):
        return leaf
    raise TypeError(
        f"step must return tensors, since a graph cannot change others, got {type(leaf).__name__}"
    )


def _copied(leaf: Tensor | None) -> Tensor | None:
    return None if leaf is None else leaf.detach().clone()


def _settings(optimizers: list[Optimizer]) -> list[tuple[str, object]]:
    """Numbers among the options of the optimizers, which a graph holds fixed."""
    return [
        (f"{name} of {type(optimizer).__name__}", value)
        for optimizer in optimizers
        for group in optimizer.param_groups
        for name, value in group.items()
        if name not in ("params", "initial_lr") and not isinstance(value, Tensor)
    ]
