"""Bytes per second of the kernels on a GPU, as a share of those of a copy.

Each kernel reads and writes the least that its formula asks for: what it reaches of a copy's speed
is what it reaches of the memory's. Launches count, the copy's too.

    python scripts/bandwidth.py [MILLIONS_OF_ELEMENTS]
"""

import statistics
import sys
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

import ganfast

OPS = torch.ops.ganfast
SAMPLES = 64
ROUNDS = 20

# What is run, and how many times the bytes of one tensor it moves.
Work = tuple[str, float, Callable[[], object]]


def works(x: Tensor, y: Tensor) -> Iterator[Work]:
    one = torch.ones((), device=x.device)
    for f in ("softplus", "square", "hinge"):
        of_x = ([x], f, [1.0], [1.0], [1.0])
        yield f"unary {f}", 1, partial(OPS.unary_reduce, *of_x)
        yield f"unary {f} statistics", 1, partial(OPS.unary_reduce_stats, *of_x, 0.0)
        yield f"unary {f} backward", 2, partial(OPS.unary_reduce_backward, one, *of_x)
    for h in ("l1", "square", "softplus"):
        pair = ([x], [y], h, [1.0], [1.0], [1.0])
        yield f"pair {h}", 2, partial(OPS.pair_reduce, *pair, False)
        yield f"pair {h} backward", 3, partial(OPS.pair_reduce_backward, one, *pair, [0])
    g = x.view(SAMPLES, -1)
    phi = ("centred", 1.0, 1.0, 0.0, False)
    derivatives = OPS.norm_reduce([g], *phi)[1]
    yield "norm", 1, partial(OPS.norm_reduce, [g], *phi)
    yield "norm backward", 2, partial(OPS.norm_reduce_backward, one, [g], derivatives, False)
    rows = ([g], [None], [None], "softplus", [1.0], [1.0], [0.0], False)
    of_samples = torch.ones(SAMPLES, device=x.device)
    yield "rows softplus", 1, partial(OPS.unary_rows, *rows)
    yield "rows softplus backward", 2, partial(OPS.unary_rows_backward, of_samples, *rows)


def seconds(run: Callable[[], object]) -> float:
    run()
    times = []
    for _ in range(ROUNDS):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end) / 1e3)
    return statistics.median(times)


def main(millions: int = 64) -> None:
    if ganfast.build_info()["kind"] != "cuda" or not torch.cuda.is_available():
        sys.exit(
            "bandwidth: it needs a GPU and the kernels compiled for it; ganfast info says more"
        )
    print(f"{torch.cuda.get_device_name()}, {millions}M elements")
    for dtype in (torch.float32, torch.bfloat16):
        x, y = (torch.randn(millions * 2**20, device="cuda").to(dtype) for _ in range(2))
        to = torch.empty_like(x)
        copy = 2 * x.nbytes / seconds(partial(to.copy_, x))
        print(f"{str(dtype).removeprefix('torch.')}: a copy moves {copy / 1e9:.0f} GB/s")
        for name, tensors, run in works(x, y):
            speed = tensors * x.nbytes / seconds(run)
            print(f"  {name:28} {speed / 1e9:6.0f} GB/s {speed / copy:5.0%}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
