"""The parts that measure: cases of the benchmarks, their launches, bandwidth of the kernels."""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import TypeVar

import torch

from bench import bandwidth as kernels
from bench import collect, kit
from bench.report.child import Context, Job, Missing

T = TypeVar("T")

_FAMILIES_OF_THEIR_OWN = ("frechet", "train")
# Cases of a family that say most, first; those after them in the family's own order.
_FIRST = (r"\d maps", r"\(64, 1\)|64x64", r"\b(1M|4M)\b", r"\b64k\b")
_SMALL = r"\(64, 1\)$|(,|2 x) 64$|, 1k |64x3x64x64|16x512x8x8|d = 64$|DCGAN"
_SHARE_OF_CLOCK = 0.4  # of a part's time, the rest being inputs, references and recordings
_LEAST_SECONDS, _MOST_SECONDS = 0.005, 0.2  # for a provider in a mode

_ELEMENTS = {"cpu": 2**16, "cuda": 64 * 2**20}


def bench(context: Context) -> None:
    """The families that have no part of their own, without torch.compile."""
    cases = _cases(context, lambda case: case.family not in _FAMILIES_OF_THEIR_OWN)
    _measure(context, map(_without_compile, cases))


def frechet(context: Context) -> None:
    """Fréchet distances."""
    _measure(context, _cases(context, lambda case: case.family == "frechet"))


def train(context: Context) -> None:
    """Rounds of training, without torch.compile."""
    cases = _cases(context, lambda case: case.family == "train")
    _measure(context, map(_without_compile, cases))


def compiled(context: Context) -> None:
    """The cases that torch.compile is an alternative in, once more and with it."""
    cases = _cases(context, lambda case: _without_compile(case).providers != case.providers)
    _measure(context, cases[:1] if context.settings.small else cases)


def launches(context: Context) -> None:
    """Kernels of one call, for what this run has measured."""
    from bench.launches import launches as count

    if context.settings.device != "cuda":
        raise Missing("launches are counted on a GPU alone")
    measured = [
        (row["family"], row["case"], row["mode"], row["provider"])
        for row in json.loads(context.settings.out.read_text())["results"]
        if "median_us" in row
    ]
    if not measured:
        raise Missing("this run has measured no case")

    def run(case: kit.Case) -> None:
        for mode in case.modes:
            x = kit.copier(case, mode, "cuda")()
            for name, provider in case.providers.items():
                key = (case.family, case.name, mode, name)
                if key in measured and "graphs" not in name:
                    found = count(partial(kit.call, provider, mode, x))
                    row = dict(zip(("family", "case", "mode", "provider"), key, strict=True))
                    context.rows([row | {"launches": found}])

    wanted = {key[:2] for key in measured}
    cases = _cases(context, lambda case: (case.family, case.name) in wanted)
    context.go_through([(_name(case), partial(run, _without_compile(case))) for case in cases])


def bandwidth(context: Context) -> None:
    """Bytes per second of each kernel beside those of a copy."""
    device = context.settings.device
    context.note(_ELEMENTS[device], "elements")
    inputs: dict[torch.dtype, tuple[torch.Tensor, torch.Tensor]] = {}
    copies: dict[torch.dtype, float] = {}

    def run(dtype: torch.dtype, kernel: kernels.Kernel) -> None:
        if dtype not in inputs:
            inputs[dtype] = kernels.tensors(_ELEMENTS[device], dtype, device)
            copies[dtype] = kernels.bytes_per_second(kernels.COPY, *inputs[dtype])
            context.note(_gigabytes(copies[dtype]), _short(dtype), "copy, GB/s")
        speed = kernels.bytes_per_second(kernel, *inputs[dtype])
        found = {"GB/s": _gigabytes(speed), "share of copy": round(speed / copies[dtype], 3)}
        context.note(found, _short(dtype), kernel.name)
        print(f"{_short(dtype)} {kernel.name}: {found}", flush=True)

    context.go_through(
        [
            (f"{_short(dtype)} {kernel.name}", partial(run, dtype, kernel))
            for dtype in (torch.float32, torch.bfloat16)
            for kernel in kernels.KERNELS
        ]
    )


def by_value(cases: Iterable[T], family: Callable[[T], str], name: Callable[[T], str]) -> list[T]:
    """The cases so that wherever a run is cut, each family has its share behind it."""
    families: dict[str, list[T]] = {}
    for case in cases:
        families.setdefault(family(case), []).append(case)
    places: list[tuple[float, T]] = []
    for of_family in families.values():
        of_family.sort(key=lambda case: _rank(name(case)))
        places += [((i + 0.5) / len(of_family), case) for i, case in enumerate(of_family)]
    return [case for _, case in sorted(places, key=lambda place: place[0])]


def _rank(name: str) -> int:
    return next((i for i, words in enumerate(_FIRST) if re.search(words, name)), len(_FIRST))


def _cases(context: Context, wanted: Callable[[kit.Case], bool]) -> list[kit.Case]:
    device, small = context.settings.device, context.settings.small
    cases = [case for case in collect.all_cases() if device in case.devices and wanted(case)]
    if small:
        first: dict[str, kit.Case] = {}
        for case in cases:
            if re.search(_SMALL, case.name):
                first.setdefault(case.family, case)
        cases = [_smaller(case) for case in first.values()]
    return by_value(cases, lambda case: case.family, lambda case: case.name)


def _smaller(case: kit.Case) -> kit.Case:
    """One mode, and two providers beside torch.compile, whose first call is their time."""
    others = [name for name in case.providers if name != kit.SUBJECT]
    kept = {others[0], *(name for name in others if name == "compile"), kit.SUBJECT}
    return replace(
        case,
        providers={name: provider for name, provider in case.providers.items() if name in kept},
        modes=case.modes[:1],
        once=tuple(kept),
        peak=lambda call: None,
    )


def _without_compile(case: kit.Case) -> kit.Case:
    providers = {k: v for k, v in case.providers.items() if "compile" not in k}
    return replace(case, providers=providers)


def _measure(context: Context, cases: Iterable[kit.Case]) -> None:
    cases = list(cases)
    replays = context.settings.device == "cuda"
    timed = sum(len(case.modes) * (len(case.providers) + 2 * replays) for case in cases)
    seconds = _SHARE_OF_CLOCK * context.seconds / max(timed, 1)
    seconds = min(max(seconds, _LEAST_SECONDS), _MOST_SECONDS)

    def run(case: kit.Case) -> None:
        rows = kit.measure(case, context.settings.device, seconds, replays)
        context.rows(rows)
        for mode in case.modes:
            print(collect.line([row for row in rows if row["mode"] == mode]), flush=True)

    jobs: list[Job] = [(_name(case), partial(run, case)) for case in cases]
    context.go_through(jobs)


def _name(case: kit.Case) -> str:
    return f"{case.family}: {case.name}"


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _gigabytes(size: float) -> float:
    return float(f"{size / 1e9:.4g}")
