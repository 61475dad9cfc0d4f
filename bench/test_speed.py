"""Every case as a pytest-benchmark suite, `pytest bench`: to look at one, or to compare runs.

Ratios between providers come from bench.collect, where they take turns.
"""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench import kit
from bench.collect import all_cases

CASES = [
    pytest.param(case, mode, provider, id=f"{case.family}: {case.name}-{mode}-{provider}")
    for case in all_cases()
    for mode in case.modes
    for provider in case.providers
]


@pytest.mark.parametrize(("case", "mode", "provider"), CASES)
def test_speed(benchmark: BenchmarkFixture, case: kit.Case, mode: str, provider: str) -> None:
    benchmark.group = f"{case.family}: {case.name}, {mode}"
    run = case.providers[provider]
    first, pool = kit.inputs(case, mode, "cpu")
    try:
        kit.call(run, mode, first)  # compiles
    except RuntimeError as error:
        if provider == kit.SUBJECT:
            raise
        pytest.skip(f"{provider} has no {mode}: {error}")
    once = provider in case.once
    benchmark.pedantic(  # type: ignore[no-untyped-call]
        lambda inputs: kit.call(run, mode, inputs),
        setup=lambda: ((next(pool),), {}),
        rounds=1 if once else 20,
        warmup_rounds=0 if once else 2,
    )
