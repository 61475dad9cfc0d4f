"""The part that says where time goes: the host's of a small loss, a GPU's of a Fréchet distance."""

import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from bench.kit import block_seconds
from bench.report.child import Context
from ganfast import ops
from ganfast.losses import discriminator_loss
from ganfast.metrics import frechet_distance, trace_sqrt_product
from ganfast.metrics.polar import DOUBLE, MIXED, polar_iteration

_BATCH = 64
_CALLS = 200
_OPERATIONS = 12  # that a profile lists

Loss = Callable[[Tensor, Tensor], Tensor]


def run(context: Context) -> None:
    """Note the microseconds of the host for a call, and the milliseconds of each stage."""
    small, device = context.settings.small, context.settings.device
    host = partial(_host, context, _CALLS // 20 if small else _CALLS)
    distance = partial(_frechet, context, 64 if small else 2048)
    context.go_through([(f"host time, B = {_BATCH}", host), (f"Fréchet on {device}", distance)])


# From the least that autograd asks for to a loss as users call it.
_LOSSES: dict[str, Loss] = {
    "empty autograd function in C++": lambda real, fake: torch.ops.aten.alias(real),
    "one launch in torch": lambda real, fake: real.sum(),
    "ops.flat": lambda real, fake: ops.flat(
        [real, fake], "softplus", [1.0, 1.0], [-1.0, 1.0], [0.0, 0.0]
    ),
    "discriminator_loss": discriminator_loss,
    "formula in torch": lambda real, fake: (
        torch.nn.functional.softplus(-real).mean() + torch.nn.functional.softplus(fake).mean()
    ),
}


def _host(context: Context, calls: int) -> None:
    """The host's time for a call: what it queues is waited for outside the clock."""
    device = context.settings.device
    real, fake = (torch.randn(_BATCH, device=device, requires_grad=True) for _ in range(2))
    for name, loss in _LOSSES.items():
        one = torch.ones_like(loss(real, fake))
        for mode, call in (
            ("forward", partial(loss, real, fake)),
            ("forward + backward", partial(_back, loss, real, fake, one)),
        ):
            context.note(_microseconds(call, calls, device), "host, us", name, mode)


def _back(loss: Loss, real: Tensor, fake: Tensor, one: Tensor) -> None:
    torch.autograd.grad(loss(real, fake), (real, fake), one, allow_unused=True)


def _microseconds(call: Callable[[], object], calls: int, device: str) -> float:
    best = float("inf")
    for _ in range(5):
        _wait(device)
        start = time.perf_counter()
        for _ in range(calls):
            call()
        best = min(best, (time.perf_counter() - start) / calls)
    return round(best * 1e6, 2)


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _frechet(context: Context, d: int) -> None:
    """The whole, its parts, single products, and the profile of the whole."""
    device = context.settings.device
    draw = torch.Generator().manual_seed(0)
    mu, sigma = zip(*(_moments(2 * d + 10, d, draw, device) for _ in range(2)), strict=True)
    a, single = sigma[0] @ sigma[1], sigma[0].float()
    stages: dict[str, Callable[[], object]] = {
        "frechet_distance": partial(frechet_distance, mu[0], sigma[0], mu[1], sigma[1]),
        "polar trace": partial(trace_sqrt_product, sigma[0], sigma[1], method="polar"),
        "Cholesky of both": lambda: [torch.linalg.cholesky_ex(s) for s in sigma],
        "iteration in float64": partial(polar_iteration, a[None], DOUBLE),
        "iteration in both": partial(polar_iteration, a[None], MIXED),
        "product in float64": lambda: a @ sigma[0],
        "product in float32": lambda: single @ single,
    }
    for name, stage in stages.items():
        stage()
        seconds = min(block_seconds(stage, device) for _ in range(5))
        context.note(round(seconds * 1e3, 3), f"Fréchet, d = {d}, ms", name)
    context.note(_profile(stages["frechet_distance"]), f"Fréchet, d = {d}, operations")


def _moments(n: int, d: int, draw: torch.Generator, device: str) -> tuple[Tensor, Tensor]:
    x = torch.randn(n, d, dtype=torch.float64, generator=draw) @ (
        torch.randn(d, d, dtype=torch.float64, generator=draw) / d**0.5
    )
    return x.mean(0).to(device), x.T.cov().to(device)


def _profile(call: Callable[[], object]) -> dict[str, list[float]]:
    """Calls of the dearest operations, their milliseconds on the device and on the host."""
    with torch.profiler.profile() as profile:
        call()
    events = profile.key_averages()
    events.sort(key=lambda e: (e.self_device_time_total, e.self_cpu_time_total), reverse=True)
    return {
        e.key: [
            e.count,
            round(e.self_device_time_total / 1e3, 3),
            round(e.self_cpu_time_total / 1e3, 3),
        ]
        for e in events[:_OPERATIONS]
    }
